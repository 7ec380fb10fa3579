"""Which rows can be told apart, in which metrics, and whether they may be compared at all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.reporting.records import RunRecord
from fedjax_rec.reporting.rows import Row, rows_of, same_runs
from fedjax_rec.reporting.significance import LEVEL, Difference, difference, holm
from fedjax_rec.reporting.tables import data_differences, protocol_differences

ERRORS = ("rmse", "mae", "log_loss")
"""Of these metrics the smaller is the better."""

RANKED = (
    *("hit_rate", "ndcg", "mrr", "map", "precision", "recall", "auc"),
    *("rmse", "mae", "log_loss", "accuracy"),
)
"""Metrics of which there is a best."""

BY_DEFAULT = (
    *("hit_rate", "ndcg", "mrr", "auc", "rmse", "mae", "log_loss", "accuracy"),
    *("worst_decile_auc", "worst_decile_ndcg", "coverage", "exposure_gini", "popularity_lift"),
)
TWINS = {"map": "mrr", "recall": "hit_rate"}
"""What is equal by definition where each client holds out one item."""

ONE_ITEM = ("leave_one_out", "leave_one_out_hash")

BEST, NOT_APART, APART, UNTESTED = "*", "~", "", "?"


class Pair(NamedTuple):
    """The best row beside another.

    Attributes:
      row: index of the other.
      found: their difference, the best's less the other's.
      p: corrected for the number of pairs.
    """

    row: int
    found: Difference
    p: float


@dataclass(frozen=True)
class Judgement:
    """One metric over all rows.

    Attributes:
      best: index of the row with the best mean; `None` where there is none, or no best.
      pairs: those that were tested.
      marks: for each row `*` the best, `~` cannot be told from it, `?` not tested, or "".
    """

    best: int | None
    pairs: tuple[Pair, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Rows beside each other.

    Attributes:
      rows: in the order in which they are shown.
      metrics: keys, in the order in which they are shown.
      judgements: by key.
      equal: keys that were asked for and not shown -> the key that they equal by definition.
      differences: in what data or protocols differ; then nothing is tested.
    """

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    judgements: Mapping[str, Judgement]
    equal: Mapping[str, str]
    differences: tuple[str, ...]


def compare(
    records: Sequence[RunRecord], *, metrics: str = "", sort: str = "", force: bool = False
) -> Comparison:
    """Groups runs over seeds and tests each metric's best row against the others.

    Args:
      records: finished runs.
      metrics: keys with commas between, of test without a prefix (`ndcg@10,valid/auc`);
        `all`; "" a choice of those of test.
      sort: the metric by which rows are ordered, the best first; "" as they come.
      force: show rows of different data or protocols beside each other, and test nothing.

    Raises:
      UserError: nothing to compare, data or protocols differ, two folders hold one run, or no
        run has measured a metric.
    """
    differences = [f"data ({', '.join(names)})"] if (names := data_differences(records)) else []
    differences += protocol_differences(records)
    if differences and not force:
        raise UserError(
            f"compare: {', '.join(differences)} differ, and rows are not comparable; compare "
            "others, or give --force to see them all the same, untested"
        )
    rows = rows_of(records)
    for one, other in same_runs(rows):
        raise UserError(f"compare: {one} and {other} hold the same run; name one of them")
    if sort:
        key = key_of(sort, rows)
        rows = sorted(rows, key=lambda row: _rank(row, key))
    chosen, equal = _without_twins(_chosen(rows, metrics), rows)
    judgements = {key: judge(rows, key, is_tested=not differences) for key in chosen}
    return Comparison(tuple(rows), tuple(chosen), judgements, equal, tuple(differences))


def judge(rows: Sequence[Row], key: str, *, is_tested: bool = True) -> Judgement:
    """Which row is the best in a metric, and which cannot be told from it at `LEVEL`.

    Each other row makes a pair with the best, of rows of one seed nothing is said, and
    probabilities are Holm's of all pairs that are tested.
    """
    figures = {n: figure.mean for n, row in enumerate(rows) if (figure := row.figure(key))}
    base = key.rpartition("/")[2].partition("@")[0]
    if not is_tested or base not in RANKED or len(rows) < 2 or not figures:
        return Judgement(None, (), ("",) * len(rows))
    sign = -1 if base in ERRORS else 1
    best = max(figures, key=lambda n: sign * figures[n])
    found = {
        n: one for n in figures if n != best and (one := _difference(rows[best], rows[n], key))
    }
    corrected = dict(zip(found, holm([one.p for one in found.values()]), strict=True))
    pairs = tuple(Pair(n, found[n], corrected[n]) for n in found)
    marks = [UNTESTED if n in figures else "" for n in range(len(rows))]
    marks[best] = BEST
    for pair in pairs:
        marks[pair.row] = APART if pair.p <= LEVEL else NOT_APART
    return Judgement(best, pairs, tuple(marks))


def _difference(best: Row, other: Row, key: str) -> Difference | None:
    one, two = best.values(key), other.values(key)
    if one is None or two is None or one.shape[1] != two.shape[1]:
        return None
    return difference(one, two)


def _chosen(rows: Sequence[Row], asked: str) -> list[str]:
    measured = _measured(rows)
    if asked == "all":
        return measured
    if asked:
        return list(dict.fromkeys(key_of(word.strip(), rows) for word in asked.split(",")))
    cutoff = _cutoff(rows)
    names = [f"test/{name}{at}" for name in BY_DEFAULT for at in ("", cutoff)]
    return [key for key in dict.fromkeys(names) if key in measured]


def _measured(rows: Sequence[Row]) -> list[str]:
    """What any run has measured."""
    records = [record for row in rows for record in row.records]
    return list(dict.fromkeys(key for record in records for key in record.summary["metrics"]))


def _cutoff(rows: Sequence[Row]) -> str:
    """`@10` where all rows have it, else the largest that all have, else the largest."""
    of_rows = [
        {int(found[1]) for key in _measured([row]) if (found := re.search(r"^test/.*@(\d+)$", key))}
        for row in rows
    ]
    of_rows = [cutoffs for cutoffs in of_rows if cutoffs]
    if not of_rows:
        return ""
    common = set.intersection(*of_rows) or set.union(*of_rows)
    return f"@{10 if 10 in common else max(common)}"


def key_of(word: str, rows: Sequence[Row]) -> str:
    """A metric by its key, with or without `test/`, and with or without a cutoff.

    Raises:
      UserError: no run has measured it.
    """
    measured = _measured(rows)
    key = word if "/" in word else f"test/{word}"
    if key not in measured and "@" not in key:
        key += _cutoff(rows)
    if key not in measured:
        known = [one.removeprefix("test/") for one in measured]
        raise UserError(f"no run has measured {word!r}{did_you_mean(word, known)}")
    return key


def _rank(row: Row, key: str) -> tuple[bool, float]:
    figure = row.figure(key)
    if figure is None:
        return True, 0.0
    is_error = key.rpartition("/")[2] in ERRORS
    return False, figure.mean if is_error else -figure.mean


def _without_twins(keys: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], dict[str, str]]:
    """The keys without those that equal another one of them by definition, and these."""
    if any(row.protocol.get("holdout") not in ONE_ITEM for row in rows):
        return list(keys), {}
    equal = {}
    for key in keys:
        split, _, rest = key.rpartition("/")
        name, at, cutoff = rest.partition("@")
        twin = f"{split}/{TWINS.get(name, '')}{at}{cutoff}"
        if twin in keys:
            equal[key] = twin
    return [key for key in keys if key not in equal], equal


def row_facts(row: Row) -> dict[str, Any]:
    """What a row is, as plain data: `name`, `data`, `protocol`, `settings`, `seeds`, `runs`."""
    return {
        "name": row.name,
        "data": row.data,
        "protocol": row.protocol,
        "settings": dict(row.settings),
        "seeds": row.seeds,
        "runs": row.runs,
    }
