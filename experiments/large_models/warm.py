"""Items that people have met: what titles add to vectors of their own, and how far they go."""

from experiments.cells import Cells
from experiments.large_models.paired import GAIN, against, tell_difference
from experiments.trials import SEEDS, Comparison, Options, Trials, grid, spread

DATA = "ML-100K"
TRAINING: Options = (
    *("--cohort.size", "256", "--algorithm.batch_size", "64"),
    *("--rounds", "1500", "--evaluate.every", "25", "--stop.patience", "6"),
)
"""One training for all rows: that of `ml-100k/minilm_lora`, with more people a round."""
ADAM: Options = (
    *("--cohort.sampler", "uniform", "--algorithm.local_optimizer", "adam"),
    *("--algorithm.num_negatives", "3", "--algorithm.user_learning_rate", "0.05"),
)
FROZEN: Options = (
    *("--algorithm.paths=", "--algorithm.num_cached_layers", "6"),
    *("--algorithm.max_positives", "0"),
)
TITLES: Options = (*FROZEN, "--algorithm.has_own_vectors", "false")


def trials(options: Options, **rates: tuple[float, ...]) -> Trials:
    """Some rates with the same training."""
    return [(*TRAINING, *options, *rate) for rate in grid(**rates)]


METHODS: dict[str, tuple[str, Trials]] = {
    "warm/vectors": ("ml-100k/fedavg", trials(ADAM, item_learning_rate=(0.003, 0.01, 0.03))),
    "warm/titles": (
        "ml-100k/minilm_lora",
        trials(TITLES, dense_learning_rate=(0.0003, 0.001, 0.003)),
    ),
    "warm/titles and vectors": (
        "ml-100k/minilm_lora",
        trials(FROZEN, dense_learning_rate=(0.0003, 0.001, 0.003)),
    ),
}
WARM = Comparison(METHODS, {DATA: ()}, (), metric="ndcg@10")


def run(cells: Cells) -> None:
    """Runs what is not stored, and stores how each row differs from vectors alone."""
    first, *others = METHODS
    for method in METHODS:
        WARM.run(cells, method)
    for row in others:
        names = [[f"{one}/{DATA}-{seed}" for seed in SEEDS] for one in (row, first)]
        tell_difference(cells, f"{row} less vectors", *names)


def table(cells: dict) -> str:
    """NDCG@10 of each row, and its difference from vectors alone."""

    def figures(found: list[dict]) -> tuple[float, list[str]]:
        gains = [cell["metrics"][GAIN] for cell in found]
        row = next(name for name in METHODS if found[0] is cells.get(f"{name}/{DATA}-{SEEDS[0]}"))
        less = against(cells.get(f"{row} less vectors"))
        columns = [spread(found, GAIN, scale=1, digits=4), less, str(found[0]["reported_round"])]
        return -sum(gains), columns

    tables = WARM.tables(cells, ["NDCG@10", "less vectors alone", "round"], figures)
    return "\n\n".join(tables).replace("| warm/", "| ")
