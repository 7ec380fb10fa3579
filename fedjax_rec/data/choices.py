"""The hold-out where nobody has chosen one: what the files say, else times, else a hash."""

from collections.abc import Callable, Iterator
from typing import Any

from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.rules import (
    OF_RECORDS,
    VALIDATIONS_OF,
    Holdout,
    TimesMissingError,
    Validation,
)
from fedjax_rec.data.splits import Split, hold_out
from fedjax_rec.errors import UserError

DEFAULTS: dict[Holdout, tuple[Validation, ...]] = {
    "file": ("file", "second_latest", "hash"),
    "leave_one_out": ("second_latest", "hash"),
    "leave_one_out_hash": ("hash",),
    "temporal": ("temporal",),
    "ratio": ("ratio",),
    "users": ("users",),
    "common_records": ("records",),
    "own_records": ("records",),
}
"""The validation rules that are tried, in this order, where nobody has chosen one."""


def hold_out_or_hash(
    interactions: Interactions,
    holdout: Holdout | None,
    validation: Validation | None,
    notice: Callable[[str], None],
    **rules: Any,
) -> Split:
    """`hold_out` by the rules that are chosen, and by the best there are for what is not.

    Where the files say what is held out, that is; otherwise each client's latest event, or,
    where the times of those are unknown, one by hash. Likewise the validation item. What is
    chosen for want of times is said.

    Args:
      interactions: all events.
      holdout: the rule for test items; `None`: nobody has chosen one.
      validation: the rule for validation items; likewise.
      notice: gets what was chosen for want of times.
      rules: the other arguments of `hold_out`.

    Raises:
      UserError: see `hold_out`.

    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1] * 4, [5, 6, 7, 8], name="mine")
    >>> split = hold_out_or_hash(events, None, None, print)
    mine: for 1 clients the time of the latest event is unknown: held out by leave_one_out_hash, \
validated by hash
    >>> split.holdout, split.validation
    ('leave_one_out_hash', 'hash')
    """
    reason = ""
    choices = list(_choices(interactions, holdout, validation))
    for number, (test, valid) in enumerate(choices, 1):
        try:
            split = hold_out(interactions, test, validation=valid, **rules)
        except TimesMissingError as error:
            if number == len(choices):
                raise
            reason = reason or str(error).partition(";")[0]
            continue
        if reason:
            notice(f"{reason}: held out by {test}, validated by {valid}")
        return split
    raise AssertionError  # there is always a choice


def possible_holdouts(interactions: Interactions) -> list[str]:
    """The hold-outs that the data allow and that test anything, with a validation rule each.

    >>> from fedjax_rec.data.interactions import from_events
    >>> possible_holdouts(from_events([1] * 4, [5, 6, 7, 8]))
    ['leave_one_out_hash (hash)', 'ratio (ratio)']
    """
    found = []
    for test, validations in DEFAULTS.items():
        for valid in validations if test not in OF_RECORDS else ():
            try:
                split = hold_out(interactions, test, validation=valid)
            except UserError:
                continue
            if (split.test.items < interactions.num_items).any():
                found.append(f"{test} ({valid})")
            break
    return found


def _choices(
    interactions: Interactions, holdout: Holdout | None, validation: Validation | None
) -> Iterator[tuple[Holdout, Validation]]:
    """What to try, in this order."""
    split = interactions.file_split
    tests: tuple[Holdout, ...] = (holdout,) if holdout else ("leave_one_out", "leave_one_out_hash")
    if holdout is None and split is not None:
        tests = ("file",)
    if validation and not any(validation in VALIDATIONS_OF[test] for test in tests):
        yield tests[0], validation  # to be refused
    for test in tests:
        if validation and validation not in VALIDATIONS_OF[test]:
            continue
        for valid in (validation,) if validation else DEFAULTS[test]:
            if valid == "file" and validation is None and (split is None or split.is_valid is None):
                continue
            yield test, valid
