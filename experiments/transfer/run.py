"""Do defaults hold on data that nobody tuned them for? Ten methods on ten sets.

.venv/bin/python -m experiments.transfer.run [DATA ...] [--only METHOD ...]
"""

import sys
from pathlib import Path

from experiments.cells import Cells, machine, markdown, percent

GAIN = "test/ndcg@10"
LIMIT = 900.0
BY_HASH = ("--split.holdout", "leave_one_out_hash", "--split.validation", "hash")
FEW_ASKED = ("--evaluate.training_clients", "5000")

DATA: dict[str, tuple[str, ...]] = {
    "lastfm-2k": BY_HASH,
    "ml-1m": ("--split.validation", "hash"),
    "s3rec-toys": (),
    "s3rec-yelp": (),
    "letter-instruments": (),
    "sasrec-video": (),
    "beauty": (),
    "amazon-beauty-selfrec": BY_HASH,
    "gowalla": BY_HASH,
    "anime": BY_HASH,
}
"""Set -> how it is split: leave-one-out by order, by hash where times and order lack."""

FEDERATED = ("--evaluate.every", "10", *FEW_ASKED)
METHODS: dict[str, tuple[str, ...]] = {
    "Popularity": ("ml-100k/popularity",),
    "EASE": ("ml-100k/ease",),
    "item-kNN": ("ml-100k/item_knn",),
    "BPR-MF, pooled, tuned": (
        *("ml-100k/bpr_mf", "--tune.trials", "8", "--tune.minutes", "10"),
        *FEW_ASKED,
    ),
    "FedMF": ("ml-100k/fedmf", *FEDERATED),
    "FedAvg": ("ml-100k/fedavg", "--rounds", "200", *FEDERATED),
    "PFedRec": ("ml-100k/pfedrec", *FEDERATED),
    "FCF": ("ml-100k/fcf", *FEDERATED),
    "CoLR": ("ml-100k/colr", *FEDERATED),
    "FedAdam": (
        *("ml-100k/fedavg", "--algorithm.name", "fedadam", "--rounds", "200"),
        *FEDERATED,
    ),
}
"""Method -> preset, and what all sets have in common that differs from it."""

YARDSTICK = "BPR-MF, pooled, tuned"
BY_DEFAULT = ("FedMF", "FedAvg", "PFedRec")
FACTOR = 1.15


def name_of(data: str, method: str) -> str:
    """The name of a cell."""
    return f"{data}/{method}"


def run(cells: Cells, sets: list[str], methods: list[str]) -> None:
    """Runs what is not stored, the small sets first."""
    for data in sets:
        for method in methods:
            preset, *options = METHODS[method]
            words = ("--data.name", data, *DATA[data], "--evaluate.at_k", "10", *options)
            cells.run(name_of(data, method), preset, *words, seconds=LIMIT)


def table(cells: dict) -> str:
    """HR@10 / NDCG@10 in percent, a row a method and a column a set."""
    found = [data for data in DATA if any(name_of(data, method) in cells for method in METHODS)]
    rows = [
        [
            method,
            *(
                percent(cells[name_of(data, method)]) if name_of(data, method) in cells else "-"
                for data in found
            ),
        ]
        for method in METHODS
    ]
    verdicts = [f"- {data}: {said}" for data in found if (said := verdict(cells, data))]
    return "\n".join(
        [markdown(["method", *found], rows), "", *verdicts, "", f"Ran on: {machine(cells)}"]
    )


def verdict(cells: dict, data: str) -> str:
    """Which of the defaults beat Popularity as clearly as tuned factorisation would have to."""
    gains = {
        method: cells[name_of(data, method)]["metrics"][GAIN]
        for method in METHODS
        if "metrics" in cells.get(name_of(data, method), {})
    }
    if "Popularity" not in gains:
        return "Popularity has not been run"
    least = FACTOR * gains["Popularity"]
    asked = [method for method in BY_DEFAULT if method in gains]
    above = [method for method in asked if gains[method] >= least]
    below = [method for method in asked if gains[method] < least]
    said = [f"15 % above Popularity: {', '.join(above) or 'none'}"] if asked else []
    said += [f"not: {', '.join(below)}"] if below else []
    if YARDSTICK in gains:
        word = "does too" if gains[YARDSTICK] >= least else "does not either"
        said.append(f"tuned BPR-MF {word}")
    if {"FCF", "EASE"} <= gains.keys():
        said.append(f"FCF reaches {100 * gains['FCF'] / gains['EASE']:.0f} % of EASE")
    return "; ".join(said)


if __name__ == "__main__":
    words = sys.argv[1:]
    place = words.index("--only") if "--only" in words else len(words)
    cells = Cells(Path(__file__).parent)
    run(cells, words[:place] or list(DATA), words[place + 1 :] or list(METHODS))
    cells.write_readme(table(cells.found))
