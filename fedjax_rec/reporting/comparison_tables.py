"""A comparison on the screen: as many tables as its width asks for, and no number cut."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedjax_rec.reporting.comparison import Comparison
from fedjax_rec.reporting.formats import cell
from fedjax_rec.reporting.rows import Row
from fedjax_rec.reporting.tables import protocol_line, protocol_names
from fedjax_rec.reporting.words import costs, labels, legend, metric_name, settings_words

FRAME = 3
"""Characters that a column takes beside its text."""

MOST_NAME = 28
"""The widest column of names; a longer word is broken."""


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Prints what is the same for all rows, then metrics, then costs, then what signs mean.

    Args:
      console: where to; names wrap to its width.
      comparison: of `compare`.
    """
    for line in _common(comparison):
        console.print(escape(line), highlight=False, soft_wrap=True)
    rows = comparison.rows
    columns = [(metric_name(key), _cells(comparison, key)) for key in comparison.metrics]
    for group in _fitting(columns, console.width, _name_width(rows)):
        _print(console, _table(rows, group, _named))
    facts = [costs(row) for row in rows]
    wholes: list[Column] = [(name, [fact[name] for fact in facts]) for name in facts[0]]
    wholes += _apart(comparison)
    for group in _fitting(wholes, console.width, _name_width(rows)):
        _print(console, _table(rows, group, _short))
    for line in legend(comparison):
        console.print(escape(line), highlight=False)


Column = tuple[str, Sequence[str]]
"""A header and its cells."""


def _cells(comparison: Comparison, key: str) -> list[str]:
    """One width for all, so that signs stand below each other."""
    marks = comparison.judgements[key].marks
    pairs = zip(comparison.rows, marks, strict=True)
    return [cell(row.figure(key), mark or " ") for row, mark in pairs]


def _common(comparison: Comparison) -> list[str]:
    if comparison.differences:
        return []
    first = comparison.rows[0]
    protocol = {name: value for name, value in first.protocol.items() if name != "selection"}
    return [f"data: {first.data or '-'}", f"protocol: {protocol_line(protocol)}"]


def _apart(comparison: Comparison) -> list[Column]:
    """Data and protocol, where rows differ in them."""
    if not comparison.differences:
        return []
    names = protocol_names([row.records[0] for row in comparison.rows])
    return [("data", [row.data for row in comparison.rows]), ("protocol", names)]


def _fitting(columns: Sequence[Column], width: int, name: int) -> list[list[Column]]:
    """Columns in groups that fit beside the names; one at least in each."""
    groups: list[list[Column]] = []
    left = 0
    for column in columns:
        needed = _width(column) + FRAME
        if needed > left:
            groups.append([])
            left = width - name - FRAME - 1
        groups[-1].append(column)
        left -= needed
    return groups


def _width(column: Column) -> int:
    """Of its longest cell; a header may wrap between words."""
    header, cells = column
    return max(map(len, [*header.split(), *cells]))


def _name_width(rows: Sequence[Row]) -> int:
    """Room for the longest word of a name: longer lines wrap between words."""
    words = [word for row in rows for word in _named(row).split()]
    return min(MOST_NAME, max(map(len, ["popularity", *words])))


def _table(rows: Sequence[Row], columns: Sequence[Column], name: Callable[[Row], str]) -> Table:
    table = Table()
    width = _name_width(rows)
    table.add_column("method", overflow="fold", min_width=width, max_width=width)
    for header, cells in columns:
        table.add_column(header, min_width=_width((header, cells)), justify="right")
    for number, row in enumerate(rows):
        table.add_row(escape(name(row)), *(escape(cells[number]) for _, cells in columns))
    return table


def _print(console: Console, table: Table) -> None:
    """Wider than the console where a number would be cut."""
    needed = console.measure(table).minimum
    console.print(table, width=max(needed, console.width), crop=False)


def _named(row: Row) -> str:
    return "\n".join([row.name, *settings_words(row), *labels(row)])


def _short(row: Row) -> str:
    return "\n".join([row.name, *settings_words(row)])
