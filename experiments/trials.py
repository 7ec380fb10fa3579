"""A comparison of methods: a few settings tried on validation, the best run with every seed.

A cell has one core, so that one call a core, with methods of its own, fills a machine.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from experiments.cells import Cells, markdown, seconds
from fedjax_rec.evaluation.metrics import is_better

Options = tuple[str, ...]
Trials = list[Options]

ONE_CORE = ("--execution.num_devices", "1")
LIMIT = 900.0
SEEDS = (0, 1, 2)


def grid(**choices: tuple) -> Trials:
    """Every combination of settings, as options of `fedjax-rec run`.

    >>> grid(dim=(8, 16))
    [('--algorithm.dim', '8'), ('--algorithm.dim', '16')]
    """
    names = [f"--{name.replace('__', '.')}" for name in choices]
    names = [name if "." in name else f"--algorithm.{name[2:]}" for name in names]
    return [
        tuple(
            word for name, value in zip(names, values, strict=True) for word in (name, str(value))
        )
        for values in product(*choices.values())
    ]


def pairs(words: Options) -> list[tuple[str, str]]:
    """Keys and values of options, of which each is two words or one with `=`.

    >>> pairs(("--algorithm.dim", "8", "--algorithm.paths="))
    [('--algorithm.dim', '8'), ('--algorithm.paths', '')]
    """
    found, rest = [], iter(words)
    for word in rest:
        key, sign, value = word.partition("=")
        found.append((key, value if sign else next(rest)))
    return found


@dataclass(frozen=True)
class Comparison:
    """What is compared, where, and by what.

    Attributes:
      methods: name in the table -> preset, and settings to try.
      data: name in the table -> options that choose the data; settings are tried on the first.
      transferred: which methods run on the other data too, with what was chosen on the first.
      metric: by which settings are chosen, of validation.
    """

    methods: Mapping[str, tuple[str, Trials]]
    data: Mapping[str, Options]
    transferred: Iterable[str]
    metric: str

    def run(self, cells: Cells, method: str) -> None:
        """Tries the settings with seed 0, then runs the best with every seed."""
        preset, trials = self.methods[method]
        tried, *_ = self.data
        if len(trials) > 1:
            for number, trial in enumerate(trials):
                words = (*ONE_CORE, *self.data[tried], *trial)
                cells.run(f"{method}/trial-{number}", preset, *words, seconds=LIMIT)
        chosen = self.best(cells.found, method)
        if chosen is None:
            return
        for data, options in self.data.items():
            if data == tried or method in self.transferred:
                for seed in SEEDS:
                    name = f"{method}/{data}-{seed}"
                    words = (*ONE_CORE, *options, *chosen, "--seed", str(seed))
                    cells.run(name, preset, *words, seconds=LIMIT)
                    if "stopped" in cells.found[name]:
                        break  # other seeds take as long

    def best(self, cells: dict, method: str) -> Options | None:
        """The settings with the best validation metric, of equals the first; None: none ended."""
        trials = self.methods[method][1]
        if len(trials) == 1:
            return trials[0]
        metric, best, chosen = f"valid/{self.metric}", None, None
        for number, trial in enumerate(trials):
            score = cells.get(f"{method}/trial-{number}", {}).get("metrics", {}).get(metric)
            if score is not None and (best is None or is_better(metric, score, best)):
                best, chosen = score, trial
        return chosen

    def tables(
        self, cells: dict, heads: list[str], figures: Callable[[list], tuple[float, list[str]]]
    ) -> list[str]:
        """A table for each data set, best first.

        Args:
          cells: what is stored.
          heads: of the columns that `figures` fills.
          figures: cells of all seeds -> by what the row is sorted, lowest first, and its columns.
        """
        parts = []
        for data in self.data:
            rows = []
            for method in self.methods:
                names = [f"{method}/{data}-{seed}" for seed in SEEDS]
                found = [cells[name] for name in names if name in cells]
                stopped = [cell["stopped"] for cell in found if "stopped" in cell]
                if stopped:
                    rows.append((float("inf"), [method, stopped[0], *["-"] * (len(heads) + 1)]))
                elif len(found) == len(SEEDS):
                    place, columns = figures(found)
                    columns = [method, *columns, self._settings(cells, method), seconds(found[0])]
                    rows.append((place, columns))
            rows.sort(key=lambda row: row[0])
            if rows:
                head = [data, *heads, "settings", "time"]
                parts.append(markdown(head, [columns for _, columns in rows]))
        return parts

    def unfinished(self, cells: dict) -> dict[str, tuple[int, dict]]:
        """Methods without all seeds yet -> how many settings were tried, and the best cell."""
        tried, *_ = self.data
        found = {}
        for method, (_, trials) in self.methods.items():
            if f"{method}/{tried}-{SEEDS[-1]}" in cells:
                continue
            ended = [
                number
                for number in range(len(trials))
                if "metrics" in cells.get(f"{method}/trial-{number}", {})
            ]
            best = self.best(cells, method)
            if ended and best is not None:
                found[method] = len(ended), cells[f"{method}/trial-{trials.index(best)}"]
        return found

    def _settings(self, cells: dict, method: str) -> str:
        chosen = [
            f"{key.removeprefix('--').removeprefix('algorithm.')} {value}"
            for key, value in pairs(self.best(cells, method) or ())
            if key.startswith(("--algorithm.", "--server.")) and key != "--algorithm.name" and value
        ]
        return ", ".join(chosen) or "-"


def spread(cells: list[dict], key: str, scale: float = 100.0, digits: int = 1) -> str:
    """Mean and standard deviation of a metric over the seeds."""
    values = [scale * cell["metrics"][key] for cell in cells]
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
