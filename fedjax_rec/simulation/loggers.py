"""What follows a run as it goes: a logger gets each line that `metrics.jsonl` gets."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fedjax_rec.registry import LOGGERS
from fedjax_rec.simulation.records import write_atomically


class Logger(Protocol):
    """Gets a run's lines, in order."""

    def log(self, line: Mapping[str, Any]) -> None:
        """One round: `round`, `seconds`, `train/...`; at evaluations `valid/...`, `test/...`."""

    def close(self) -> None:
        """The run ends, or is cut off by an error."""


OpenLogger = Callable[[Path, int], Logger]
"""`(folder, round) -> Logger`: called when a run begins or goes on. `round`: so many rounds are
done; what an earlier call logged of later ones is void, for they are run again."""


class CsvLogger:
    """`metrics.csv`: `round,metric,value`, a row for each number of a round.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> logger = CsvLogger(folder, 0)
    >>> logger.log({"round": 1, "train/loss": 0.5})
    >>> logger.close()
    >>> (folder / "metrics.csv").read_text().splitlines()
    ['round,metric,value', '1,train/loss,0.5']
    """

    def __init__(self, folder: Path, round: int) -> None:
        """Opens the file and drops the rows of later rounds.

        Args:
          folder: of the run.
          round: rounds done.
        """
        path = folder / "metrics.csv"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        kept = io.StringIO()
        writer = csv.writer(kept, lineterminator="\n")
        writer.writerow(["round", "metric", "value"])
        rows = list(csv.reader(io.StringIO(text)))[1:]
        writer.writerows(row for row in rows if len(row) == 3 and int(row[0]) <= round)
        write_atomically(path, kept.getvalue())
        self._stream = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream, lineterminator="\n")

    def log(self, line: Mapping[str, Any]) -> None:
        """Adds the numbers of a round; they are in the file when this returns."""
        numbers = {key: value for key, value in line.items() if key != "round"}
        self._writer.writerows([line["round"], key, value] for key, value in numbers.items())
        self._stream.flush()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


LOGGERS.register("csv", CsvLogger)
