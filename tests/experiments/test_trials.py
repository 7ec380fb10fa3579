"""Comparisons of methods: the best of the settings by validation, then every seed."""

from typing import Any

from experiments.trials import SEEDS, Comparison, grid

METHODS = {
    "tuned": ("preset/tuned", grid(rate=(1.0, 2.0, 3.0))),
    "plain": ("preset/plain", [()]),
}
DATA = {"small": (), "large": ("--data.name", "large")}


class Stored:
    """Cells whose metrics are looked up instead of run."""

    def __init__(self, scores: dict[str, float | None]) -> None:
        self.scores, self.found, self.commands = scores, {}, {}

    def run(self, name: str, preset: str, *options: str, seconds: float | None = None) -> None:
        score = self.scores.get(name, 0.5)
        times = {f"{part}_seconds": 1.0 for part in ("compile", "train", "evaluate")}
        metrics = {"valid/ndcg@10": score, "valid/rmse": score}
        cell: dict[str, Any] = {"metrics": metrics, "timing": times}
        self.found[name] = {"stopped": "over 15 minutes"} if score is None else cell
        self.commands[name] = (preset, *options)


def compare(scores: dict[str, float | None], metric: str = "ndcg@10") -> tuple[Comparison, Any]:
    comparison, cells = Comparison(METHODS, DATA, ("tuned",), metric), Stored(scores)
    for method in METHODS:
        comparison.run(cells, method)  # type: ignore[arg-type]
    return comparison, cells


def test_the_best_setting_by_validation_runs_with_every_seed_and_on_other_data() -> None:
    scores = {"tuned/trial-0": 0.1, "tuned/trial-1": 0.3, "tuned/trial-2": 0.3}
    comparison, cells = compare(scores)
    assert comparison.best(cells.found, "tuned") == ("--algorithm.rate", "2.0"), (
        "the first of equals"
    )
    for data, options in DATA.items():
        for seed in SEEDS:
            words = cells.commands[f"tuned/{data}-{seed}"]
            assert words[-4:] == ("--algorithm.rate", "2.0", "--seed", str(seed))
            assert set(options) <= set(words)
    assert "plain/small-2" in cells.found
    assert "plain/large-0" not in cells.found
    assert not comparison.unfinished(cells.found)


def test_of_errors_the_smallest_is_the_best() -> None:
    comparison, cells = compare({"tuned/trial-0": 0.4, "tuned/trial-1": 0.2}, metric="rmse")
    assert comparison.best(cells.found, "tuned") == ("--algorithm.rate", "2.0")


def test_what_takes_too_long_is_told_and_not_repeated() -> None:
    comparison, cells = compare({"tuned/large-0": None})
    assert "tuned/large-1" not in cells.found

    def figures(found: list) -> tuple[float, list[str]]:
        return 0.0, ["figure"]

    small, large = comparison.tables(cells.found, ["score"], figures)
    assert "| tuned | figure | rate 1.0 | 3 s |" in small
    assert "| tuned | over 15 minutes | - | - |" in large


def test_a_method_without_all_seeds_is_not_complete() -> None:
    comparison, cells = compare({"tuned/trial-1": 0.9})
    kept = {name: cell for name, cell in cells.found.items() if name.startswith("tuned/trial")}
    del kept["tuned/trial-2"]
    assert comparison.unfinished(kept) == {"tuned": (2, kept["tuned/trial-1"])}
    nothing = {f"tuned/trial-{number}": {"stopped": "over 15 minutes"} for number in range(3)}
    assert comparison.best(nothing, "tuned") is None
