"""What `run` tells while it works and at its end: in words, as JSON, or hardly anything."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedjax_rec.simulation import Report


@dataclass(frozen=True)
class Told:
    """Where what goes.

    Attributes:
      quiet: of lines, warnings alone.
      json: standard output gets the summary alone, as JSON; all else goes to standard error.
    """

    quiet: bool
    json: bool

    def notice(self, text: str) -> None:
        """Prints a notice on standard error; where it is quiet, of warnings alone."""
        if not self.quiet or text.startswith("warning"):
            sys.stderr.write(f"{text}\n")

    def line(self, text: str) -> None:
        """Prints a line that the user must see."""
        print(text, file=sys.stderr if self.json or self.quiet else sys.stdout)

    def progress_line(self, text: str) -> None:
        """Prints a line that is worth reading and may be left out."""
        if not self.quiet:
            print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    @contextmanager
    def progress(self) -> Iterator[Callable[["Report"], None]]:
        """Shows reports as they come, where it is not quiet."""
        if self.quiet:
            yield lambda report: None
            return
        from fedjax_rec.reporting import ProgressLine, open_console

        with ProgressLine(open_console(is_stderr=self.json)) as shown:
            yield shown

    def results(self, summary: Mapping[str, Any], *, before: str = "", after: str = "") -> None:
        """Prints a finished run.

        Args:
          summary: the object in `summary.json`.
          before: a line above the tables.
          after: a line below.
        """
        if self.json:
            from fedjax_rec.simulation.records import to_json

            print(to_json(summary))
        elif not self.quiet:
            from fedjax_rec.reporting import open_console, print_results

            if before:
                print(before)
            print_results(open_console(), summary)
            if after:
                print(after)
