"""Mistakes of a request, told in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the request: one line that says what, where and how to mend it.

    The command line prints the line and exits with 2.
    """


class DivergedError(Exception):
    """A run that cannot come to anything any more: one line that names what to change.

    The command line prints the line and exits with 1.
    """


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint at the nearest valid word, to be put behind the wrong one.

    Returns:
      `" (did you mean 'x'?)"`, or the choices when none is near.

    >>> did_you_mean("ruonds", ["rounds", "seed"])
    " (did you mean 'rounds'?)"
    >>> did_you_mean("zzz", ["rounds", "seed"])
    ' (choose from: rounds, seed)'
    """
    names = list(choices)
    near = difflib.get_close_matches(word, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (choose from: {', '.join(names)})"
