"""One run of a sweep: a preset, a point, a seed, and the folder that tells them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedjax_rec.errors import UserError
from fedjax_rec.sweeps.points import Point


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
      preset: its name or file.
      point: the settings that are varied.
      seed: of the run.
      folder: below that of the sweep.
    """

    preset: str
    point: Point
    seed: int
    folder: Path

    @property
    def overrides(self) -> list[str]:
        """The words of `fedjax-rec run` that are this cell's own."""
        words = [word for key, value in self.point for word in (f"--{key}", value)]
        return [*words, "--seed", str(self.seed)]


def cells_of(
    presets: Sequence[str], points: Sequence[Point], seeds: Sequence[int], output: Path
) -> list[Cell]:
    """Every preset at every point with every seed, seeds varying fastest.

    Folders are `PRESET/KEY=VALUE,KEY=VALUE/seed-SEED`, keys by their last word where that is
    enough.

    Raises:
      UserError: two cells would lie in one folder.

    >>> point = (("algorithm.dim", "8"), ("server.learning_rate", "0.5"))
    >>> [cell.folder.as_posix() for cell in cells_of(["a/fedmf"], [point], [3], Path("runs"))]
    ['runs/a/fedmf/dim=8,learning_rate=0.5/seed-3']
    """
    cells = [
        Cell(preset, point, seed, output / _preset_folder(preset) / _named(point) / f"seed-{seed}")
        for preset in presets
        for point in points
        for seed in seeds
    ]
    folders = [cell.folder for cell in cells]
    if twice := [folder for folder in folders if folders.count(folder) > 1]:
        raise UserError(f"sweep: two runs would lie in {twice[0]}; name each preset and value once")
    return cells


def parse_seeds(text: str) -> list[int]:
    """Seeds from `A..B`, inclusive, or from numbers with commas between.

    Raises:
      UserError: not of that form, or one is there twice.

    >>> parse_seeds("0..2"), parse_seeds("3,7"), parse_seeds("5")
    ([0, 1, 2], [3, 7], [5])
    """
    seeds: list[int] = []
    for word in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", word)
        if not found or (found[2] and int(found[2]) < int(found[1])):
            raise UserError(f"seeds: expected such as 0..4 or 0,2,5, got {text!r}")
        seeds += range(int(found[1]), int(found[2] or found[1]) + 1)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds: {text!r} names one twice")
    return seeds


def _preset_folder(preset: str) -> Path:
    path = Path(preset)
    return Path(path.stem if path.suffix == ".toml" or path.is_file() else preset)


def _named(point: Point) -> str:
    """The name of a point's folder; empty for a point of no settings."""
    last = [key.rpartition(".")[2] for key, _ in point]
    names = [
        name if last.count(name) == 1 else key for name, (key, _) in zip(last, point, strict=True)
    ]
    pairs = (f"{name}={value}" for name, (_, value) in zip(names, point, strict=True))
    return re.sub(r"[^\w.,=+-]", "_", ",".join(pairs))
