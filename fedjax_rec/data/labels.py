"""Raw ids as text: what is one, what is a missing value, and how they are sorted."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from fedjax_rec.errors import UserError

MISSING = frozenset({"", "nan", "none", "null", "<na>", "n/a", "#n/a"})
"""What tables write where there is no value, in any case."""

LONGEST = 200
"""Most characters of an id: ids are kept in an array of one width."""


NO_IDS = (float, np.floating, bool, np.bool_)
"""What no id is."""


def bare(text: str) -> str:
    r"""A text without what cannot be seen at its ends: blanks and byte-order marks.

    >>> bare("\ufeff 7 ")
    '7'
    """
    return text.strip().strip("\ufeff\u200b").strip()


def is_missing(label: str) -> bool:
    """Whether a text stands for no value; blanks around it are no part of it.

    >>> is_missing("NaN"), is_missing("  "), is_missing("NA"), is_missing("Nancy")
    (True, True, True, False)
    """
    text = bare(label)
    return text.lower() in MISSING or text in ("NA", "NaT")


def as_labels(
    column: Sequence[Hashable], further: Iterable[Hashable], *, what: str, where: str
) -> dict[Hashable, str]:
    """Raw id -> its text, for a column of raw ids and for further ones.

    Args:
      column: text, whole numbers or bytes (UTF-8).
      further: likewise, ids that may be missing in the column.
      what: `user` or `item`, for errors.
      where: where they come from, for errors.

    Raises:
      UserError: an id is missing, a fraction, true or false, not UTF-8 or too long, has blanks
        around it or NUL in it, or is the same whole number as another one, written otherwise.

    >>> sorted(as_labels(["ann", 7], [b"8"], what="user", where="f").values())
    ['7', '8', 'ann']
    """
    everything = (*column, *further)
    # 1, 1.0 and True are equal, and would be one id without a word.
    if any(issubclass(kind, NO_IDS) for kind in set(map(type, everything))):
        wrong = next(raw for raw in everything if isinstance(raw, NO_IDS))
        _as_text(wrong, column, what, where)
    found = {raw: _as_text(raw, column, what, where) for raw in set(everything)}
    _check_spelling(set(found.values()), what, where)
    return found


def _as_text(raw: Hashable, column: Sequence[Hashable], what: str, where: str) -> str:
    try:
        text = raw.decode() if isinstance(raw, bytes) else str(raw)
    except UnicodeDecodeError:
        text, problem = repr(raw), "is not UTF-8 text"
    else:
        problem = _problem(raw, text)
    if not problem:
        return text
    alike = (n for n, one in enumerate(column, 1) if type(one) is type(raw))
    place = next((n for n in alike if column[n - 1] is raw or column[n - 1] == raw), 0)
    event = f"event {place}: " if place else ""
    raise UserError(
        f"{where}: {event}{what} id {text[:40]!r} {problem}; mend it, or leave the event out"
    )


def _problem(raw: Hashable, text: str) -> str:
    """What is wrong with an id; empty where nothing is."""
    if is_missing(text):
        return "is a missing value"
    if isinstance(raw, NO_IDS):
        return "is neither text nor a whole number"
    if text != bare(text):
        return "has blanks around it"
    if "\0" in text:
        return "holds a NUL character"
    return f"is longer than {LONGEST} characters" if len(text) > LONGEST else ""


def _check_spelling(labels: set[str], what: str, where: str) -> None:
    """Refuses a whole number in two spellings, where all ids are whole numbers."""
    if not _are_whole(labels):
        return
    spellings: dict[str, str] = {}
    for label in sorted(labels):
        other = spellings.setdefault(label.lstrip("0"), label)
        if other != label:
            raise UserError(
                f"{where}: {what} ids {other!r} and {label!r} are one number in two spellings; "
                "write it in one way, or put a letter before each id where they differ"
            )


def natural_sort(labels: Iterable[str]) -> list[str]:
    """Sorts raw ids: as numbers when every one is a whole number, else as text.

    >>> natural_sort(["10", "9", "1"]), natural_sort(["b10", "b9", "1"])
    (['1', '9', '10'], ['1', 'b10', 'b9'])
    """
    labels = list(labels)
    if not _are_whole(labels):
        return sorted(labels)

    def as_number(label: str) -> tuple[int, str, str]:
        digits = label.lstrip("0")
        return len(digits), digits, label

    return sorted(labels, key=as_number)


def _are_whole(labels: Iterable[str]) -> bool:
    return all(label.isascii() and label.isdigit() for label in labels)
