"""Tables of results, printed by the command line."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedjax_rec.reporting.records import RunRecord

KEY = re.compile(r"(valid|test)/(\w+)(?:@(\d+))?")
SPLITS = ("valid", "test")
METRICS = (
    *("hit_rate", "ndcg", "mrr", "map", "precision", "recall"),
    *("worst_decile_ndcg", "coverage", "exposure_gini", "popularity", "popularity_lift"),
    *("rmse", "mae", "log_loss", "accuracy"),
)
IN_A_LINE = ("auc", "worst_decile_auc")
"""Metrics without a cut-off that stand below a table of cut-offs."""
BESIDE = ("hit_rate", "ndcg")
"""Metrics that Popularity's are shown beside."""

NOISY = "NOISE, NO GUARANTEE"
"""Stands wherever the figures of a run are compared whose noise no accountant has counted."""

CHOSEN = "ROUND CHOSEN ON TEST"
"""Stands wherever the figures of such a run are shown."""


def open_console(*, is_stderr: bool = False) -> Console:
    """Standard output; wide enough for our tables when it is no terminal.

    Args:
      is_stderr: standard error in its place.
    """
    console = Console(stderr=is_stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    return console


def print_results(console: Console, summary: Mapping[str, Any]) -> None:
    """Prints a finished run: metrics by split, then protocol, bytes, seconds and notes.

    Args:
      console: where to.
      summary: the object in `summary.json`.
    """
    table = results_table(summary["metrics"], summary.get("popularity") or {})
    table.title = CHOSEN if is_chosen_on_test(summary) else None
    console.print(table)
    for line in _facts(summary):
        console.print(escape(line), highlight=False, soft_wrap=True)


def is_chosen_on_test(summary: Mapping[str, Any]) -> bool:
    """Whether the reported round is the best one on the very items of its figures."""
    return "on test" in (summary.get("protocol") or {}).get("selection", "")


def results_table(
    metrics: Mapping[str, float], popular: Mapping[str, float] | None = None
) -> Table:
    """A row a metric, a column for each split and cut-off, if it has one.

    Args:
      metrics: of the run.
      popular: Popularity's on the same terms; some of them stand below the run's.
    """
    matches = [found.groups() for key in metrics if (found := KEY.fullmatch(key))]
    parts = [found for found in matches if found[1] not in IN_A_LINE]
    columns = sorted(
        {(split, f"@{cutoff}" if cutoff else "") for split, _, cutoff in parts},
        key=lambda column: (SPLITS.index(column[0]), len(column[1]), column[1]),
    )
    names = sorted({name for _, name, _ in parts})
    names.sort(key=lambda name: (*METRICS, name).index(name))
    table = Table("metric")
    for split, cutoff in columns:
        table.add_column(f"{split} {cutoff}".strip(), justify="right")
    for name in names:
        values = [metrics.get(f"{split}/{name}{cutoff}") for split, cutoff in columns]
        table.add_row(name, *map(_value, values))
        if popular and name in BESIDE:
            values = [popular.get(f"{split}/{name}{cutoff}") for split, cutoff in columns]
            table.add_row(f"{name} of Popularity", *map(_value, values), style="dim")
    return table


def _facts(summary: Mapping[str, Any]) -> list[str]:
    protocol, sent = summary.get("protocol") or {}, summary.get("communication") or {}
    lines = [*_areas(summary["metrics"]), f"protocol: {protocol_line(protocol)}"]
    if sent:
        lines.append(
            f"communication ({sent['payload']}): "
            f"{format_bytes(sent['bytes_up_per_client_round'])} up and "
            f"{format_bytes(sent['bytes_down_per_client_round'])} down per client and round, "
            f"{format_bytes(sent['total_up'] + sent['total_down'])} in all"
        )
    lines.append(f"time: {_timing(summary.get('timing') or {})}")
    rounds, reported = summary.get("rounds"), summary.get("reported_round")
    chosen = f" (reported: round {reported})" if reported not in (None, rounds) else ""
    lines.append(
        f"rounds: {rounds}{chosen}, clients: {summary.get('num_clients')}, "
        f"items: {summary.get('num_items')}"
    )
    if said := stop_words(summary):
        lines.append(said)
    if said := privacy_words(summary):
        lines.append(f"privacy: {said}")
        covers = (summary.get("privacy") or {}).get("not_covered") or []
        lines += [f"  not covered: {one}" for one in covers]
    return lines + list(summary.get("notes") or [])


def stop_words(summary: Mapping[str, Any]) -> str:
    """Why training ended where it did; empty where nothing could have ended it early.

    >>> stop_words({"rounds": 40, "stop": {"ended_by": "patience", "patience_counted_from": 25,
    ...     "metric": "ndcg@10", "popularity": 0.02}})
    'stopped by patience in round 40; it counted from round 25 (ndcg@10 above Popularity: 0.0200)'
    """
    stop = summary.get("stop") or {}
    if not stop:
        return ""
    floor, first = stop.get("popularity"), stop.get("patience_counted_from")
    above = "" if floor is None else f" ({stop['metric']} above Popularity: {floor:.4f})"
    if stop["ended_by"] == "rounds":
        never = f"; patience never counted{above}" if floor is not None and first is None else ""
        return f"not stopped early{never}"
    since = f"; it counted from round {first}{above}" if stop["ended_by"] == "patience" else ""
    return f"stopped by {stop['ended_by']} in round {summary.get('rounds')}{since}"


def privacy_words(summary: Mapping[str, Any]) -> str:
    """What the noise of a run guarantees, in one line; empty where there is none.

    >>> privacy_words({"privacy": {"claims": "none", "noise_multiplier": 1, "reasons": ["why"]}})
    'no guarantee: why'
    """
    found = summary.get("privacy") or {}
    if found.get("claims", "none") != "none":
        rounds = f"{found['rounds']:,} rounds"
        return (
            f"epsilon {_rounded_up(found['epsilon'])}, delta {found['delta']:g}, "
            f"{found['unit']}, {rounds}"
        )
    reasons = found.get("reasons") or ["no accountant has counted it"]
    return f"no guarantee: {reasons[0]}" if _has_noise(summary) else ""


def privacy_cell(summary: Mapping[str, Any]) -> str:
    """Epsilon and delta of a run, or that it promises nothing.

    >>> privacy_cell({})
    'no noise'
    """
    found = summary.get("privacy") or {}
    if found.get("claims", "none") != "none":
        return f"{_rounded_up(found['epsilon'])}, {found['delta']:g}"
    return "no guarantee" if _has_noise(summary) else "no noise"


def _rounded_up(epsilon: float) -> str:
    """Three decimals; a rounded epsilon must not flatter."""
    return f"{math.ceil(epsilon * 1000) / 1000:g}"


def _has_noise(summary: Mapping[str, Any]) -> bool:
    """Whether noise was added; older versions said so in a note."""
    noise = (summary.get("privacy") or {}).get("noise_multiplier")
    notes = summary.get("notes") or []
    return noise is not None or any(str(note).startswith("privacy: noise") for note in notes)


def _areas(metrics: Mapping[str, float]) -> list[str]:
    words = []
    for split in SPLITS:
        area, worst = (f"{split}/{name}" for name in IN_A_LINE)
        if area in metrics:  # of labels, clients have none of their own
            of_worst = f" (worst decile {_value(metrics[worst])})" if worst in metrics else ""
            words.append(f"{split} {_value(metrics[area])}{of_worst}")
    return [f"AUC: {', '.join(words)}"] if words else []


def _timing(timing: Mapping[str, float]) -> str:
    words = []
    for name, value in timing.items():
        if name.endswith("_seconds"):
            words.append(f"{name.removesuffix('_seconds')} {value:.1f} s")
        elif name.endswith("_per_second"):
            words.append(f"{value:,.0f} {name.removesuffix('_per_second')}/s")
    return ", ".join(words)


def protocol_line(protocol: Mapping[str, Any]) -> str:
    """A protocol's fields in one line.

    >>> protocol_line({"candidates": "full", "time_ties": "hash"})
    'candidates full, time ties hash'
    """
    unused = {"candidates_seed"} if protocol.get("candidates") == "full" else set()
    shown = {name: value for name, value in protocol.items() if name not in unused}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())


def data_name(record: RunRecord) -> str:
    """What a run was trained and asked on: the data's name, and the start of their digest.

    Two runs are comparable only where it is the same.

    >>> data_name(RunRecord(None, {"data": {"name": "mine"}}, {"data": {"sha256": "ab12cd34ef"}}))
    'mine (ab12cd34)'
    """
    found = record.summary.get("data") or {}
    name = found.get("name") or (record.config.get("data") or {}).get("name", "")
    return f"{name} ({found['sha256'][:8]})" if "sha256" in found else str(name)


def is_noisy(record: RunRecord) -> bool:
    """Whether noise was added for privacy and no guarantee is stated."""
    privacy = record.summary.get("privacy") or {}
    return _has_noise(record.summary) and privacy.get("claims", "none") == "none"


def data_differences(records: Sequence[RunRecord]) -> list[str]:
    """The data sets of the runs, where they are not of one."""
    names = list(dict.fromkeys(filter(None, map(data_name, records))))
    return names if len(names) > 1 else []


def protocol_names(records: Sequence[RunRecord]) -> list[str]:
    """What is asked of the model; a letter tells protocols of the same question apart."""
    protocols = [dict(record.summary.get("protocol") or {}, selection="") for record in records]
    names = [str(one.get("candidates", one.get("task", "-"))) for one in protocols]
    is_chosen = [is_chosen_on_test(record.summary) for record in records]
    names = [
        f"{name}, {CHOSEN}" if yes else name for name, yes in zip(names, is_chosen, strict=True)
    ]
    distinct: list[Mapping[str, Any]] = []
    for protocol in protocols:
        if protocol not in distinct:
            distinct.append(protocol)
    if len(distinct) == 1:
        return names
    letters = [chr(ord("A") + distinct.index(protocol) % 26) for protocol in protocols]
    return [f"{letter}: {name}" for letter, name in zip(letters, names, strict=True)]


def protocol_differences(records: Sequence[RunRecord]) -> list[str]:
    """Fields of the protocol that differ between runs, with their values; empty when none.

    >>> a, b = ({"metrics": {}, "protocol": {"candidates": name}} for name in ("full", "uni99"))
    >>> protocol_differences([RunRecord(None, {}, a), RunRecord(None, {}, b)])
    ['candidates (full, uni99)']
    """
    protocols = [record.summary.get("protocol") or {} for record in records]
    found = []
    names = dict.fromkeys(name for protocol in protocols for name in protocol)
    if not any(is_chosen_on_test(record.summary) for record in records):
        names.pop("selection", None)  # which round is reported: the question asked is the same
    for name in names:
        values = list(dict.fromkeys(str(protocol.get(name, "-")) for protocol in protocols))
        if len(values) > 1:
            found.append(f"{name} ({', '.join(values)})")
    return found


def facts_table(title: str, facts: Mapping[str, Any]) -> Table:
    """Two columns: a name and its value."""
    table = Table(title=escape(title), show_header=False)
    for name, value in facts.items():
        table.add_row(escape(name), escape(_fact(value)))
    return table


def _fact(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _value(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def seconds(summary: Mapping[str, Any]) -> float:
    """All that a run's `timing` counts in seconds.

    >>> seconds({"timing": {"train_seconds": 1.5, "evaluate_seconds": 0.25}})
    1.75
    """
    timing = summary.get("timing") or {}
    return float(sum(v for name, v in timing.items() if name.endswith("_seconds")))


def format_bytes(count: float | None) -> str:
    """A number of bytes in decimal units.

    >>> format_bytes(215_296), format_bytes(12)
    ('215.3 kB', '12 B')
    """
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
