"""Transformers over sequences: centralised, federated, and beside what needs no training.

.venv/bin/python -m experiments.sequences.run [TABLE ...]
"""

import statistics
import sys
from pathlib import Path

from experiments.cells import Cells, machine, markdown, seconds

HITS, GAIN = "test/hit_rate@10", "test/ndcg@10"
VALID = "valid/ndcg@10"
SEEDS = (0, 1, 2)

TOYS = ("--data.name", "s3rec-toys", "--evaluate.at_k", "10")
BEAUTY = ("--data.name", "beauty", "--evaluate.at_k", "10")
ML_1M = ("--data.name", "ml-1m-2999", "--evaluate.at_k", "10")

TABLES = {
    "toys": {
        "Popularity": ("ml-100k/popularity", *TOYS),
        "item-kNN": ("ml-100k/item_knn", *TOYS),
        "EASE": ("ml-100k/ease", *TOYS),
        "SASRec": ("s3rec-toys/sasrec",),
        "SASRec, federated": ("s3rec-toys/fedsasrec",),
    },
    "beauty": {
        "Popularity": ("ml-100k/popularity", *BEAUTY),
        "SASRec, BCE, 1 negative": (
            "beauty/sasrec",
            *("--algorithm.loss", "bce", "--algorithm.num_negatives", "1"),
            *("--algorithm.is_by_position", "true"),
        ),
        "SASRec+, 3,000 negatives": ("beauty/sasrec",),
    },
    "ml-1m-2999": {
        "Popularity": ("ml-100k/popularity", *ML_1M),
        "item-kNN": ("ml-100k/item_knn", *ML_1M),
        "EASE": ("ml-100k/ease", *ML_1M),
        "SASRec": ("ml-1m-2999/sasrec",),
        "HSTU": ("ml-1m-2999/hstu",),
        "BERT4Rec": ("ml-1m-2999/bert4rec",),
        "GRU4Rec": ("ml-1m-2999/gru4rec",),
    },
}
"""Table -> row -> preset, and what differs from it."""

PUBLISHED = {
    ("beauty", "SASRec, BCE, 1 negative"): (0.0246, 0.0126),
    ("beauty", "SASRec+, 3,000 negatives"): (0.0490, 0.0295),
}
"""HR@10 and NDCG@10 of Klenitskiy and Vasilev (2023), on the same file."""

DETERMINISTIC = ("Popularity", "item-kNN", "EASE")
WITH_SEEDS = {"ml-1m-2999": ("SASRec", "HSTU", "BERT4Rec")}


def seeds_of(table: str, row: str) -> tuple[int, ...]:
    """The seeds that a row is run with."""
    return SEEDS if row in WITH_SEEDS.get(table, ()) else (0,)


def run(cells: Cells, tables: list[str]) -> None:
    """Runs what is not stored, each table's first seeds first."""
    for seed in SEEDS:
        for table in tables:
            for row, (preset, *options) in TABLES[table].items():
                if seed not in seeds_of(table, row):
                    continue
                words = (*options, "--seed", str(seed)) if seed else options
                by_round = () if row in DETERMINISTIC else (VALID, GAIN)
                cells.run(f"{table}/{row}/{seed}", preset, *words, by_round=by_round)


def rows_of(cells: dict, table: str) -> list[list[str]]:
    """HR@10 and NDCG@10 with both errors, beside what is published."""
    rows = []
    for row in TABLES[table]:
        found = [
            cells[name]
            for seed in seeds_of(table, row)
            if (name := f"{table}/{row}/{seed}") in cells and "metrics" in cells[name]
        ]
        if not found:
            continue
        hits, gains = ([cell["metrics"][key] for cell in found] for key in (HITS, GAIN))
        spread = f" ± {statistics.stdev(gains):.4f}" if len(gains) > 1 else ""
        published = PUBLISHED.get((table, row))
        rows.append(
            [
                table,
                row,
                f"{statistics.mean(hits):.4f}",
                f"{statistics.mean(gains):.4f}{spread}",
                people_error(found[0]),
                f"{published[0]:.4f} / {published[1]:.4f}" if published else "-",
                str(found[0]["reported_round"]),
                str(len(gains)),
                seconds(found[0]),
            ]
        )
    return rows


def people_error(cell: dict) -> str:
    """The standard error of HR@10 over people, which for hits follows from the mean."""
    rate, people = cell["metrics"][HITS], cell["num_clients"]
    return f"{(rate * (1 - rate) / people) ** 0.5:.4f}"


def table(cells: dict) -> str:
    """All tables as one."""
    heads = [
        "data",
        "method",
        "HR@10",
        "NDCG@10",
        "HR's error over people",
        "published HR / NDCG",
        "round",
        "seeds",
        "time",
    ]
    rows = [row for name in TABLES for row in rows_of(cells, name)]
    return f"{markdown(heads, rows)}\n\nRan on: {machine(cells)}"


if __name__ == "__main__":
    cells = Cells(Path(__file__).parent)
    run(cells, sys.argv[1:] or list(TABLES))
    cells.write_readme(table(cells.found))
