"""How rows of a comparison and their metrics are called wherever they are shown."""

from typing import Any

from fedjax_rec.reporting.comparison import Comparison
from fedjax_rec.reporting.rows import Row
from fedjax_rec.reporting.significance import LEVEL
from fedjax_rec.reporting.tables import (
    CHOSEN,
    NOISY,
    format_bytes,
    is_chosen_on_test,
    is_noisy,
    privacy_cell,
    seconds,
)

SHORT = {
    "hit_rate": "HR",
    "auc": "AUC",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "map": "MAP",
    "rmse": "RMSE",
    "mae": "MAE",
    "log_loss": "log loss",
    "worst_decile_auc": "AUC of the worst decile",
    "worst_decile_ndcg": "NDCG of the worst decile",
    "exposure_gini": "exposure Gini",
    "popularity_lift": "popularity lift",
}


def metric_name(key: str) -> str:
    """A metric's name in a table.

    >>> metric_name("test/ndcg@10"), metric_name("valid/auc"), metric_name("test_global/mrr@5")
    ('NDCG@10', 'valid AUC', 'test_global MRR@5')
    """
    split, _, rest = key.rpartition("/")
    name, at, cutoff = rest.partition("@")
    words = f"{SHORT.get(name, name.replace('_', ' '))}{at}{cutoff}"
    return words if split == "test" else f"{split} {words}"


def labels(row: Row) -> list[str]:
    """What has to stand beside a row's figures: its noise, and a round chosen on test."""
    summary = row.records[0].summary
    found = [CHOSEN] if any(is_chosen_on_test(record.summary) for record in row.records) else []
    if any(map(is_noisy, row.records)):
        return [*found, NOISY]
    privacy = privacy_cell(summary)
    return found if privacy == "no noise" else [*found, f"private: epsilon, delta {privacy}"]


def settings_words(row: Row) -> list[str]:
    """The settings that tell a row from others of its name; those of its algorithm by name alone.

    >>> from fedjax_rec.reporting.records import RunRecord
    >>> settings_words(Row((RunRecord(None, {}, {}),), {"algorithm.dim": 4, "rounds": 2}))
    ['dim 4', 'rounds 2']
    """
    return [
        f"{key.removeprefix('algorithm.')} {_value(value)}" for key, value in row.settings.items()
    ]


def costs(row: Row) -> dict[str, str]:
    """Seeds, rounds, bytes and seconds of a row, in words; seconds are means over seeds."""
    summaries = [record.summary for record in row.records]
    up = [
        (summary.get("communication") or {}).get("bytes_up_per_client_round")
        for summary in summaries
    ]
    known = [count for count in up if count is not None]
    return {
        "seeds": _spans([str(seed) for seed in row.seeds]),
        "rounds": _range([summary.get("rounds") for summary in summaries]),
        "reported": _range([summary.get("reported_round") for summary in summaries]),
        "up/client/round": format_bytes(sum(known) / len(known) if known else None),
        "seconds": f"{sum(map(seconds, summaries)) / len(summaries):.1f}",
    }


def legend(comparison: Comparison) -> list[str]:
    """What the signs mean, line by line; of signs that are shown alone."""
    marks = {mark for judged in comparison.judgements.values() for mark in judged.marks}
    figures = [row.figure(key) for row in comparison.rows for key in comparison.metrics]
    words = ["mean"]
    if any(figure and figure.sd_seeds is not None for figure in figures):
        words.append("± deviation over seeds")
    if any(figure and figure.se_people is not None for figure in figures):
        words.append("(standard error over people)")
    lines = [" ".join(words)] if len(words) > 1 else []
    if "*" in marks:
        lines.append("* best mean")
    if "~" in marks:
        lines.append(
            f"~ not to be told from the best at {LEVEL:.0%} (paired over people, with the "
            "variance of seeds; Holm)"
        )
    if "?" in marks:
        lines.append(
            "? not tested: one seed says nothing of a method, or no per_client.npz tells of people"
        )
    lines += [
        f"{metric_name(key)} equals {metric_name(twin)}: one held-out item"
        for key, twin in comparison.equal.items()
    ]
    return lines


def _spans(words: list[str]) -> str:
    """Seeds in a row as `A..B`.

    >>> _spans(["0", "1", "2"]), _spans(["0", "2"])
    ('0..2', '0,2')
    """
    numbers = [int(word) for word in words if word.isdecimal()]
    if len(words) > 2 and numbers == list(range(numbers[0], numbers[0] + len(words))):
        return f"{words[0]}..{words[-1]}"
    return ",".join(words)


def _range(counts: list[Any]) -> str:
    known = [count for count in counts if count is not None]
    if not known:
        return "-"
    low, high = min(known), max(known)
    return f"{low}" if low == high else f"{low}-{high}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
