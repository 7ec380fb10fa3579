"""The report as one HTML page."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fedjax_rec.reporting.comparison import Comparison
from fedjax_rec.reporting.formats import cell
from fedjax_rec.reporting.page.style import STYLE
from fedjax_rec.reporting.page.svg import COLOURS, chart
from fedjax_rec.reporting.rows import Row
from fedjax_rec.reporting.series import Series, over_bytes, over_people, over_rounds, row_name
from fedjax_rec.reporting.tables import format_bytes, privacy_words, protocol_line
from fedjax_rec.reporting.words import costs, labels, legend, metric_name

CURVES = ("valid/ndcg", "test/ndcg", "valid/rmse", "test/rmse", "valid/log_loss", "test/log_loss")
"""Metrics that are drawn over rounds, where runs have them."""

OF_PEOPLE = ("auc", "ndcg")
"""The metric of people that is drawn is the first of these."""


def page(comparison: Comparison, title: str) -> str:
    """The whole page: nothing in it is fetched.

    Args:
      comparison: of `comparison.compare`.
      title: of the page.
    """
    figures = _figures(comparison)
    sections = [
        ("Comparison", _comparison_table(comparison)),
        ("Figures", _key(comparison) + f'<div class="figures">{"".join(figures)}</div>'),
        ("The worst served", _worst_table(comparison)),
        ("Protocol", _facts(comparison, _protocol)),
        ("Privacy", _facts(comparison, _privacy)),
        ("Communication and time", _costs_table(comparison)),
        ("Environment", _facts(comparison, _environment)),
    ]
    body = "".join(f"<section><h2>{name}</h2>{text}</section>\n" for name, text in sections if text)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )


# ---------------------------------------------------------------------- figures


def _figures(comparison: Comparison) -> list[str]:
    cutoff = _cutoff(comparison)
    keys = [f"{key}{cutoff}" if key.endswith("ndcg") else key for key in CURVES]
    found = []
    for key in keys:
        found.append(_figure(over_rounds(comparison, key), "rounds", metric_name(key)))
        if key.startswith("test/"):
            shown, unit = over_bytes(comparison, key)
            words = f"{unit} sent and received by all clients"
            found.append(_figure(shown, words, metric_name(key)))
    for name in OF_PEOPLE:
        key = f"test/{name}{cutoff if name == 'ndcg' else ''}"
        if shown := over_people(comparison, key):
            words = f"{metric_name(key)} of a person"
            found.append(_figure(shown, "per cent of people, the worst served first", words))
            break
    return [figure for figure in found if figure]


def _figure(series: Sequence[Series], x_name: str, y_name: str) -> str:
    if not series:
        return ""
    sources = dict.fromkeys(source for one in series for source in one.sources)
    return (
        f"<figure>{chart(series, x_name, y_name)}<figcaption>{escape(y_name)} by "
        f"{escape(x_name)}; bands: a deviation over seeds. From {escape(', '.join(sources))}"
        "</figcaption></figure>"
    )


def _key(comparison: Comparison) -> str:
    """Which colour is which row; figures leave a row out that they have nothing of."""
    words = [
        f'<span class="key tone-{n % COLOURS}"><span class="{"dashed" if n >= COLOURS else ""}">'
        f"</span>{escape(row_name(row))}</span>"
        for n, row in enumerate(comparison.rows)
    ]
    return f"<p>{''.join(words)}</p>"


def _cutoff(comparison: Comparison) -> str:
    keys = [key for key in comparison.metrics if key.startswith("test/ndcg@")]
    return f"@{keys[0].partition('@')[2]}" if keys else "@10"


# ----------------------------------------------------------------------- tables


def _comparison_table(comparison: Comparison) -> str:
    head = ["method", "seeds", *map(metric_name, comparison.metrics)]
    body = []
    for number, row in enumerate(comparison.rows):
        cells = [_named(row), (costs(row)["seeds"], "")]
        for key in comparison.metrics:
            mark = comparison.judgements[key].marks[number]
            cells.append((cell(row.figure(key), mark), "number best" if mark == "*" else "number"))
        body.append(cells)
    lines = [*legend(comparison), *(f"{one} differ" for one in comparison.differences)]
    notes = "".join(f'<p class="note">{escape(line)}</p>' for line in lines)
    return _table(head, body) + notes


def _worst_table(comparison: Comparison) -> str:
    """Worst decile and median of people, as `spread` of `summary.json` has them."""
    body = []
    for row in comparison.rows:
        for record in row.records:
            for key, spread in (record.summary.get("spread") or {}).items():
                values = (spread.get(name) for name in ("worst_decile", "p10", "p50", "gini"))
                texts = ("-" if one is None else f"{one:.4f}" for one in values)
                where = f"{Path(record.path).as_posix()}/summary.json"
                cells = [_named(row), (where, ""), (metric_name(key), "")]
                body.append([*cells, *((text, "number") for text in texts)])
    head = ["method", "from", "metric", "worst decile", "tenth", "median", "Gini"]
    return _table(head, body) if body else ""


def _costs_table(comparison: Comparison) -> str:
    body = []
    for row in comparison.rows:
        sent = row.records[0].summary.get("communication") or {}
        down = sent.get("bytes_down_per_client_round")
        cells = costs(row) | {"down/client/round": format_bytes(down)}
        body.append([_named(row), *((text, "number") for text in cells.values())])
    return _table(["method", *costs(comparison.rows[0]), "down/client/round"], body)


Cell = tuple[str, str]
"""The text of a cell, and its class."""


def _named(row: Row) -> Cell:
    return ", ".join([row_name(row), *labels(row)]), ""


def _table(head: Sequence[str], body: Iterable[Sequence[Cell]]) -> str:
    rows = list(body)
    kinds = [kind for _, kind in rows[0]]
    top = "".join(
        _cell("th", name, kind.split(" ")[0]) for name, kind in zip(head, kinds, strict=True)
    )
    lines = "".join(f"<tr>{''.join(_cell('td', *one) for one in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{lines}</table></div>'


def _cell(tag: str, text: str, kind: str) -> str:
    return f"<{tag}{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</{tag}>"


# ------------------------------------------------------------------------ facts


def _facts(comparison: Comparison, of_row: Callable[[Row], str]) -> str:
    """What a function says of rows, once for those of which it says the same."""
    found: dict[str, list[str]] = {}
    for row in comparison.rows:
        found.setdefault(of_row(row), []).append(row_name(row))
    return "<dl>{}</dl>".format(
        "".join(
            f"<dt>{escape('; '.join(names))}</dt><dd>{escape(text)}</dd>"
            for text, names in found.items()
        )
    )


def _protocol(row: Row) -> str:
    return f"data {row.data or '-'}; {protocol_line(row.protocol)}"


def _privacy(row: Row) -> str:
    summary = row.records[0].summary
    said = privacy_words(summary) or "no noise, and no promise"
    if not privacy_words(summary):
        return said
    covers = (summary.get("privacy") or {}).get("not_covered") or []
    return said + "".join(f"; not covered: {one}" for one in covers)


def _environment(row: Row) -> str:
    """Versions and machine of a row's runs."""
    return "; ".join(dict.fromkeys(_machine(Path(run)) for run in row.runs))


def _machine(run: Path) -> str:
    try:
        found: Mapping[str, Any] = json.loads((run / "environment.json").read_text("utf-8"))
    except (OSError, ValueError):
        return "not recorded"
    versions = ", ".join(f"{name} {text}" for name, text in (found.get("versions") or {}).items())
    git = found.get("git") or {}
    state = f"commit {git['commit'][:12]}" if git.get("commit") else "no commit known"
    changed = ", changed since" if git.get("is_dirty") else ""
    machine = (
        f"{found.get('processor', '')}, {found.get('num_devices', '?')} x {found.get('backend')}"
    )
    return f"{versions}; {machine}; {found.get('platform', '')}; {state}{changed}"
