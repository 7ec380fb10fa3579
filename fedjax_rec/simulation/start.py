"""A run that starts from what an earlier one has learned: shared dense parameters, and no others.

Rows belong to items, which another catalogue does not have, and what clients keep belongs to them.
What is left is what crosses over from one catalogue to another: factors, projections, towers.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy.typing as npt

from fedjax_rec.base import FederatedAlgorithm, Part, ServerState
from fedjax_rec.errors import UserError
from fedjax_rec.models.lora import RESIDUAL
from fedjax_rec.simulation.checkpoint import Checkpointer
from fedjax_rec.simulation.identity import Facts, checksum, shape_of
from fedjax_rec.simulation.progress import Progress
from fedjax_rec.tree import named_leaves

SHARED, EXTRA, STATE = "shared/dense", "extra/dense", "0/"
"""What names of leaves begin with, in a state and where a checkpoint holds it."""

MOST_NAMES = 8
"""Leaves that a line names; of more it says how many."""


@dataclass(frozen=True, eq=False)
class Start:
    """What a run may start from.

    Attributes:
      source: the earlier run's folder.
      round: whose parameters they are: the one that the earlier run reports.
      arrays: name in a server's state, such as `shared/dense/projection/kernel` -> numbers.
      frozen: name -> checksum of what was frozen beside them.
      weights: SHA-256 of the weights that the earlier model read; `None` where it read none.
      alpha: by which factors counted, if there were any (LoRA).
    """

    source: Path
    round: int
    arrays: Mapping[str, npt.NDArray[Any]]
    frozen: Mapping[str, str]
    weights: str | None
    alpha: float | None

    @property
    def facts(self) -> Facts:
        """What identifies it, wherever its folder lies."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {shape_of(array)} ".encode() + array.tobytes())
        return {"sha256": digest.hexdigest(), "round": self.round}

    def taken(self, state: ServerState) -> dict[str, npt.NDArray[Any]]:
        """Name -> numbers of what a run with such a state begins with.

        Args:
          state: of the run that is to start, or its shapes.

        Raises:
          UserError: nothing is in common, a shape differs, or kernels would lose their residual.
        """
        places = {name: shape_of(leaf) for name, leaf in named_leaves(state).items()}
        for name, array in self.arrays.items():
            if places.get(name, shape_of(array)) != shape_of(array):
                raise UserError(
                    f"start: {_short(name)} is {shape_of(array)} in {self.source} and "
                    f"{places[name]} here; give both runs the same sizes"
                )
            if name not in places and not _is_shared(name):
                raise UserError(
                    f"start: {self.source} keeps {_short(name)}, without which its factors mean "
                    "something else; start fedexlora from it, with the same paths"
                )
        found = {name: self.arrays[name] for name in places if name in self.arrays}
        if not found:
            here = [name for name in places if _is_shared(name)]
            raise UserError(
                f"start: nothing is in common with {self.source}: its shared dense parameters are "
                f"{_listed(self.arrays)}, and those of this run {_listed(here)}"
            )
        return found

    def refuse_other_base(self, algorithm: FederatedAlgorithm, frozen: Part) -> None:
        """Refuses what was trained beside other frozen parameters, where it meant something else.

        What a catalogue brings, such as the tokens of its titles, may differ.

        Args:
          algorithm: of the run that is to start.
          frozen: all that it has frozen.

        Raises:
          UserError: weights that were read, numbers that were drawn, or alpha differ.
        """
        model = algorithm.model
        alpha = _alpha(algorithm.recipe.describe() if algorithm.recipe else {})
        if None not in (alpha, self.alpha) and alpha != self.alpha:
            raise UserError(
                f"start: factors count alpha / rank times, and alpha is {self.alpha:g} in "
                f"{self.source} and {alpha:g} here; set algorithm.alpha as it is there"
            )
        weights = model.weights.sha256 if model.weights else None
        if weights != self.weights:
            raise UserError(
                f"start: {self.source} was trained beside other frozen weights: "
                f"{_digest(self.weights)} there and {_digest(weights)} here; name the same base"
            )
        drawn = named_leaves(jax.eval_shape(model.init, jax.random.key(0))[1])
        for name, leaf in named_leaves(frozen).items():
            is_compared = name.startswith("dense/") and name in drawn and name in self.frozen
            if is_compared and self.frozen[name] != checksum(leaf):
                raise UserError(
                    f"start: {self.source} was trained beside other frozen parameters: "
                    f"{_short(name)} was drawn otherwise; give this run the seed of that one"
                )

    def in_words(self, state: ServerState) -> str:
        """One line: what a run with such a state takes over, and what begins afresh."""
        found = self.taken(state)
        numbers = sum(array.size for array in found.values())
        dense = [name for name in named_leaves(state) if _is_shared(name)]
        fresh = [name for name in dense if name not in found]
        fresh += [f"rows of {table}" for table in state.shared.rows] + ["what clients keep"]
        left = [name for name in self.arrays if name not in found]
        unused = f"; not taken, for they have no place here: {_listed(left)}" if left else ""
        return (
            f"start: takes {_listed(found)} ({numbers:,} numbers) of {self.source}, round "
            f"{self.round}; afresh: {_listed(fresh)}{unused}"
        )


def start_from(folder: str | Path) -> Start:
    """What a run may start from: the shared dense parameters of an earlier, finished run.

    Args:
      folder: of that run, made by the command line or by `simulate`. Its data are not needed.

    Returns:
      Parameters of the round that it reports, for `simulate(start=...)`.

    Raises:
      UserError: no folder of a finished run, or its checkpoint cannot be read.

    >>> start_from("no/such/run")
    Traceback (most recent call last):
    ...
    fedjax_rec.errors.UserError: start: no/such/run: no such folder; name that of a finished run
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"start: {folder}: no such folder; name that of a finished run")
    if not (folder / "checkpoints").is_dir():
        raise UserError(f"start: {folder}: not the folder of a run (it has no checkpoints)")
    if not (folder / "summary.json").exists():
        raise UserError(f"start: {folder}: not finished; let that run end first")
    checkpointer = Checkpointer(folder / "checkpoints")
    try:
        return _read(checkpointer, folder)
    finally:
        checkpointer.close()


def _read(checkpointer: Checkpointer, folder: Path) -> Start:
    steps = checkpointer.steps()
    newest = checkpointer.record(steps[-1]) if steps else None
    if newest is None:
        raise UserError(
            f"start: {folder}: its newest checkpoint is damaged or missing; run it again"
        )
    if "identity" not in newest:
        raise UserError(f"start: {folder}: an older version made it, which says not of what")
    round, identity = Progress.from_record(newest).reported_round, newest["identity"]

    def is_wanted(name: str) -> bool:
        own = name.removeprefix(STATE) if name.startswith(STATE) else ""
        is_residual = own.startswith(EXTRA) and own.endswith(f"/{RESIDUAL}")
        return is_residual or _is_shared(own)

    arrays = checkpointer.arrays(round, is_wanted)
    return Start(
        source=folder,
        round=round,
        arrays={name.removeprefix(STATE): array for name, array in arrays.items()},
        frozen=identity["frozen"],
        weights=identity["slots"].get("model.weights.sha256"),
        alpha=_alpha(identity["algorithm"]),
    )


def _is_shared(name: str) -> bool:
    return f"{name}/".startswith(f"{SHARED}/")


def _alpha(settings: Facts) -> float | None:
    """LoRA's, by whatever path the settings of an algorithm name it."""
    named = {key.rpartition(".")[2]: value for key, value in settings.items()}
    return named.get("alpha")


def _short(name: str) -> str:
    return name.removeprefix(f"{SHARED}/")


def _listed(names: Iterable[str]) -> str:
    short = [_short(name) for name in names]
    more = [f"{len(short) - MOST_NAMES} more"] if len(short) > MOST_NAMES else []
    return ", ".join([*short[:MOST_NAMES], *more]) or "none"


def _digest(sha256: str | None) -> str:
    return f"SHA-256 {sha256[:12]}..." if sha256 else "none"
