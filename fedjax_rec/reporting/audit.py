"""The table of `fedjax-rec audit evaluation`."""

from collections.abc import Mapping

from rich.table import Table

TITLES = {
    "train": "train",
    "heldout": "train and held-out",
    "heldout_and_candidates": "train, held-out and candidates",
    "local_only": "train and held-out; no federation",
}


def audit_table(found: Mapping[str, Mapping[str, Mapping[str, float]]], metric: str) -> Table:
    """A row for each arm, a column for each list of candidates, own and global.

    Args:
      found: of `audit.audit_evaluation`.
      metric: which, such as `hit_rate@10`.
    """
    first = next(iter(found.values()))
    columns = [
        (candidates, key)
        for candidates, scores in first.items()
        for key in scores
        if key.partition("/")[2] == metric
    ]
    table = Table("training negatives avoid", title=metric)
    for candidates, key in columns:
        table.add_column(f"{candidates}, {key.partition('/')[0]}", justify="right")
    for arm, scores in found.items():
        values = (scores[candidates].get(key) for candidates, key in columns)
        table.add_row(
            TITLES.get(arm, arm), *("-" if value is None else f"{value:.3f}" for value in values)
        )
    return table
