"""A comparison as text that goes elsewhere: markdown, CSV, LaTeX and JSON."""

import csv
import io
import json
from typing import Any

from fedjax_rec.reporting.comparison import Comparison, row_facts
from fedjax_rec.reporting.rows import Figure, Row
from fedjax_rec.reporting.words import costs, labels, legend, metric_name, settings_words

FIGURES = ("mean", "sd_seeds", "se_people")


def to_json(comparison: Comparison) -> str:
    """The comparison as JSON: figures as precise as they are, and every test that was made.

    `rows` hold `name`, `data`, `protocol`, `settings`, `seeds`, `runs`, `labels` and `metrics`:
    for each key `mean`, `sd_seeds` and `se_people`. `tests` hold, for each key, the `best` row
    and its `pairs`.
    """
    keys = (*comparison.metrics, *comparison.equal)
    rows = []
    for row in comparison.rows:
        figures = {key: figure for key in keys if (figure := row.figure(key))}
        metrics = {key: figure.__dict__ for key, figure in figures.items()}
        rows.append(row_facts(row) | {"labels": labels(row), "metrics": metrics})
    tests = {
        key: {
            "best": judged.best,
            "pairs": [
                {"row": pair.row, **pair.found._asdict(), "p_corrected": pair.p}
                for pair in judged.pairs
            ],
        }
        for key, judged in comparison.judgements.items()
        if judged.best is not None
    }
    content = {"rows": rows, "tests": tests, "differences": list(comparison.differences)}
    return json.dumps(content, indent=2, allow_nan=False)


def to_csv(comparison: Comparison) -> str:
    """A line a row, three columns and a mark a metric, as precise as they are."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [f"{key} {name}" for key in comparison.metrics for name in (*FIGURES, "mark")]
    writer.writerow(["method", "settings", "labels", "data", "seeds", *names])
    for number, row in enumerate(comparison.rows):
        words: list[Any] = [row.name, "; ".join(settings_words(row)), "; ".join(labels(row))]
        words += [row.data, ";".join(map(str, row.seeds))]
        for key in comparison.metrics:
            figure = row.figure(key)
            words += [_exact(getattr(figure, name, None)) for name in FIGURES]
            words.append(comparison.judgements[key].marks[number])
        writer.writerow(words)
    return stream.getvalue()


def to_markdown(comparison: Comparison) -> str:
    """A table in markdown; the best in bold."""
    names = ["method", "seeds", *map(metric_name, comparison.metrics)]
    lines = [names, ["---", "---", *["---:"] * len(comparison.metrics)]]
    for number, row in enumerate(comparison.rows):
        cells = [_markdown_text(", ".join(_described(row))), costs(row)["seeds"]]
        cells += [_markdown(*one) for one in _figures(comparison, number)]
        lines.append(cells)
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    notes = [
        line.replace("* ", "**bold**: ").replace("~ ", "\\~: ", 1) for line in legend(comparison)
    ]
    return text + "".join(f"\n{line}\n" for line in notes)


def to_latex(comparison: Comparison) -> str:
    r"""A `tabular` for LaTeX without packages: the best in bold, `\sim` for a tie with it."""
    head = ["method", "seeds", *(_latex_text(metric_name(key)) for key in comparison.metrics)]
    lines = [rf"\begin{{tabular}}{{ll{'r' * len(comparison.metrics)}}}", r"\hline"]
    lines += [" & ".join(head) + r" \\", r"\hline"]
    for number, row in enumerate(comparison.rows):
        cells = [_latex_text(", ".join(_described(row))), _latex_text(costs(row)["seeds"])]
        cells += [_latex(*one) for one in _figures(comparison, number)]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\hline", r"\end{tabular}"]
    return "\n".join([*(f"% {line}" for line in legend(comparison)), *lines]) + "\n"


def cell(figure: Figure | None, mark: str = "") -> str:
    """A figure as a cell of text.

    >>> cell(Figure(0.5, 0.01, 0.125), "*"), cell(Figure(0.5, None, None))
    ('0.5000 ±0.0100 (0.1250)*', '0.5000')
    """
    if figure is None:
        return "-"
    words = [f"{figure.mean:.4f}"]
    words += [f"±{figure.sd_seeds:.4f}"] if figure.sd_seeds is not None else []
    words += [f"({figure.se_people:.4f})"] if figure.se_people is not None else []
    return " ".join(words) + mark


def _described(row: Row) -> list[str]:
    return [row.name, *settings_words(row), *labels(row)]


def _figures(comparison: Comparison, number: int) -> list[tuple[Figure | None, str]]:
    """The figures of a row with their marks."""
    row = comparison.rows[number]
    return [(row.figure(k), comparison.judgements[k].marks[number]) for k in comparison.metrics]


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _markdown(figure: Figure | None, mark: str) -> str:
    text = cell(figure)
    mean, _, rest = text.partition(" ")
    if mark == "*":
        return f"**{mean}** {rest}".strip()
    return text + {"~": " \\~", "?": " ?"}.get(mark, "")


def _latex(figure: Figure | None, mark: str) -> str:
    mean, _, rest = cell(figure).partition(" ")
    shown = rf"\mathbf{{{mean}}}" if mark == "*" else mean
    sign = {"~": r"^{\sim}", "?": "^{?}"}.get(mark, "")
    return f"${shown}{sign} {rest}$".replace("±", r"\pm ").replace(" $", "$")


def _markdown_text(text: str) -> str:
    return text.replace("|", "\\|")


def _latex_text(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    >>> _latex_text("item_rate 5%")
    'item\\_rate 5\\%'
    """
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
