"""Tables of `README.md`, made from the stored results and from nothing else."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE / "README.md"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->"
COLUMNS = (
    "peer",
    "ms a round",
    "min",
    "clients/s",
    "M examples/s",
    "of `ours`",
    "compile s",
    "peak MB",
    "HR@10",
    "NDCG@10",
)


def update() -> None:
    """Writes the tables into `README.md`."""
    README.write_text(with_tables(README.read_text()))


def with_tables(page: str) -> str:
    """The page with its tables made anew."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + tables() + END + rest.split(END)[1]


def tables() -> str:
    """One section for each stored file, in the order of their names."""
    sections = [section(json.loads(path.read_text())) for path in sorted(RESULTS.glob("*.json"))]
    return "\n".join(sections) if sections else "No results are stored yet.\n"


def section(rows: list[dict[str, Any]]) -> str:
    """Heading, table and circumstances of one run."""
    row = rows[0]
    options, machine = row["options"], row["hardware"]
    others = sorted({f"{k} {v}" for r in rows for k, v in r["versions"].items()})
    rounds = next((r["rounds"] for r in rows if r["rounds"]), 0)
    return (
        f"### {row['workload']}: {options['data']}, {row['clients']} of "
        f"{options['num_clients']} clients, {options['items']} items, d={options['dim']}, "
        f"{options['epochs']} local epoch{'s' if options['epochs'] > 1 else ''}\n\n"
        f"{table(rows)}\n"
        f"Medians of {options['repeats']} repeats; quality after {rounds} rounds. "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"load before the run {row['load']:.2f}. {', '.join(others)}.\n"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown; a row without figures gives its note."""
    ours = next((r["seconds_per_round"] for r in rows if r["peer"] == "ours"), None)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += [_line(row, ours) for row in rows]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any], ours: float | None) -> str:
    seconds = row["seconds_per_round"]
    if seconds is None:
        cells = [row["peer"], *["-"] * (len(COLUMNS) - 2), row["note"]]
    else:
        cells = [
            row["peer"],
            _short(1000 * seconds),
            _short(1000 * row["seconds_min"]),
            f"{row['clients_per_second']:,.0f}",
            _short(row["examples_per_second"] / 1e6),
            f"{_short(seconds / ours)}x" if ours else "-",
            f"{row['compile_seconds']:.1f}",
            f"{row['peak_mb']:.0f}",
            *_quality(row),
        ]
    return "| " + " | ".join(cells) + " |"


def _quality(row: dict[str, Any]) -> list[str]:
    """HR and NDCG, or the loss where nothing is ranked."""
    if row["hit_rate@10"] is None:
        return [f"loss {row['options']['loss']:.4f}", "-"]
    return [f"{row['hit_rate@10']:.3f}", f"{row['ndcg@10']:.3f}"]


def _short(value: float) -> str:
    """Three significant digits.

    >>> [_short(value) for value in (0.01234, 1.234, 56.78, 1234.5)]
    ['0.0123', '1.23', '56.8', '1,234']
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"
