"""The command line: `fedjax-rec VERB ...`.

Exit codes: 0 done; 2 a mistake in the request, told in one line; 1 a failure; 130
interrupted. A verb's module holds its arguments and imports what it needs when it runs,
so that `--help` is quick.
"""

import os
import sys
from collections.abc import Sequence

from fedjax_rec import __version__
from fedjax_rec.cli.arguments import parse, take_overrides
from fedjax_rec.cli.process import in_one_line, not_written
from fedjax_rec.errors import DivergedError, MethodError, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
      argv: words after the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"fedjax-rec {__version__}")
        return 0
    try:
        rest, overrides = take_overrides(words)
        request = parse(rest, overrides)
        with in_one_line():
            return 0 if request is None else request.execute()
    except UserError as error:
        print("fedjax-rec: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except (DivergedError, MethodError) as error:
        print("fedjax-rec: error:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("fedjax-rec: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not (line := not_written(error)):
            raise
        print("fedjax-rec: error:", line, file=sys.stderr)
        return 1
