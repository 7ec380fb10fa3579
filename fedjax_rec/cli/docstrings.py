"""What Google docstrings say of a function and of its arguments."""

import inspect
import re
from typing import Any


def summary_of(function: Any) -> str:
    """The first line.

    >>> summary_of(summary_of)
    'The first line.'
    """
    return (inspect.getdoc(function) or "").split("\n", 1)[0]


def body_of(function: Any) -> list[str]:
    """The paragraphs between the first line and the first section.

    >>> body_of(meanings_of)
    ['A line that is indented further goes on with what is above it.']
    """
    text = re.split(r"\n\s*\n(?=\w+:\n|>>>)", inspect.getdoc(function) or "", maxsplit=1)[0]
    return [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text)[1:]]


def meanings_of(function: Any) -> dict[str, str]:
    """Argument -> what the section `Args` says of it.

    A line that is indented further goes on with what is above it.

    Args:
      function: anything with a docstring.

    >>> meanings_of(meanings_of)
    {'function': 'anything with a docstring.'}
    """
    found = re.search(r"^Args:\n((?:[ ].*\n?|\n)+)", inspect.getdoc(function) or "", re.MULTILINE)
    meanings: dict[str, str] = {}
    name = ""
    for line in found[1].splitlines() if found else ():
        if head := re.match(r"  \**(\w+): (.*)", line):
            name = head[1]
            meanings[name] = head[2]
        elif name and line.strip():
            meanings[name] += f" {line.strip()}"
    return meanings
