"""Items that people have met: what titles add to vectors of their own, and how far they go."""

from experiments.cells import Cells
from experiments.large_models.paired import GAIN, against, tell_difference
from experiments.trials import SEEDS, Comparison, Options, Trials, grid, spread

DATA = "ML-100K"
TITLES: Options = (
    *("--algorithm.model", "text_tower", "--algorithm.tower", "minilm"),
    *("--algorithm.num_cached_layers", "6"),
)
BOTH: Options = (*TITLES, "--algorithm.has_own_vectors", "true")
ALONE = "vectors of items"


def trials(*options: str) -> Trials:
    """Each rate of the projection with some options."""
    return [(*options, *rate) for rate in grid(dense_learning_rate=(0.05, 0.5, 5.0))]


METHODS: dict[str, tuple[str, Trials]] = {
    f"warm/{ALONE}": ("ml-100k/fedavg", [()]),
    "warm/titles": ("ml-100k/fedavg", trials(*TITLES)),
    "warm/titles and vectors": ("ml-100k/fedavg", trials(*BOTH)),
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

    return "\n\n".join(WARM.tables(cells, ["NDCG@10", "less vectors alone", "round"], figures))
