"""Series as a figure of a paper, by matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedjax_rec.errors import UserError
from fedjax_rec.reporting.series import Series

FORMATS = (".svg", ".pdf", ".png")
SHAPE = 0.68
"""Height over width of a figure."""

LOOK: dict[Any, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters, as publishers ask
    "svg.fonttype": "none",
    "svg.hashsalt": "fedjax_rec",  # the same figure is the same file
    # Wong's colours, told apart by the colour-blind, with a dash for each
    "axes.prop_cycle": "cycler(color=['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', "
    "'#56B4E9']) + cycler(linestyle=['-', '--', '-.', ':', (0, (5, 1)), (0, (3, 1, 1, 1))])",
}


def draw(
    series: Sequence[Series], x_name: str, y_name: str, path: Path, width: float = 3.35
) -> None:
    """Writes lines with bands of a deviation over seeds as SVG, PDF or PNG.

    Args:
      series: at least one.
      x_name: of the axis.
      y_name: likewise.
      path: its suffix is the format.
      width: in inches, above 0; 3.35 is a column of a paper of two.

    Raises:
      UserError: the extra `report` is not installed, or the file cannot be written.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError('plot needs matplotlib: pip install "fedjax-rec[report]"') from error
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(width, SHAPE * width), layout="constrained")
        axes = figure.add_subplot()
        for one in series:
            (line,) = axes.plot(one.x, one.y, label=one.name, gid=f"row-{one.row}")
            if len(one.x) == 1:
                line.set_marker("o")
            if one.low != one.high:
                axes.fill_between(
                    one.x, one.low, one.high, color=line.get_color(), alpha=0.16, linewidth=0
                )
        axes.set_xlabel(x_name)
        axes.set_ylabel(y_name)
        if len(series) > 1:
            axes.legend()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=300, metadata=_without_date(path.suffix))
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _without_date(suffix: str) -> dict[str, None]:
    return {} if suffix == ".png" else {"Date" if suffix == ".svg" else "CreationDate": None}
