"""Which events are used at all: by rating, by time, and by how many of them there are."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.interactions import Interactions, pick
from fedjax_rec.data.times import NoTimeError, from_numbers, from_texts
from fedjax_rec.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Rules that leave events out, applied in this order.

    Attributes:
      min_rating: the least value of an event that is used; 0: all.
      since: events from this time on: a date, or seconds since 1970; empty: all.
      until: events before this time; empty: all.
      core: users and items that have so many of each other, at least; 0: all. Those that have
        fewer leave, repeatedly, until none has.
    """

    min_rating: float = 0.0
    since: str = ""
    until: str = ""
    core: int = 0

    def __bool__(self) -> bool:
        """Whether any rule is set."""
        return self != Filters()


def select(interactions: Interactions, filters: Filters) -> tuple[Interactions, list[str]]:
    """The events that rules leave, and in a line for each rule what it left out.

    Users and items without an event leave with their events; the rest is numbered anew.

    Args:
      interactions: all events, of one domain.
      filters: the rules.

    Raises:
      UserError: a rule needs times that are unknown, a text is no time, nothing is left, or
        the files list candidates, whose items may leave.

    >>> from fedjax_rec.data.interactions import from_events
    >>> events = from_events([1, 1, 2, 2, 3], [5, 6, 5, 6, 7])
    >>> left, lines = select(events, Filters(core=2))
    >>> left.num_users, left.item_labels.tolist()
    (2, ['5', '6'])
    >>> lines
    ['custom: data.core 2 leaves out 1 of 5 events, 1 of 3 users, 1 of 3 items']
    """
    if filters and interactions.file_split and interactions.file_split.candidates is not None:
        raise UserError(
            f"{interactions.name}: its files list candidates, which a filter would empty; leave "
            "data.min_rating, data.since, data.until and data.core out"
        )
    lines: list[str] = []
    if filters.min_rating:
        kept = interactions.values >= filters.min_rating
        interactions = _keep(interactions, kept, f"data.min_rating {filters.min_rating:g}", lines)
    for rule in ("since", "until"):
        if text := getattr(filters, rule):
            kept = _by_time(interactions, rule, text)
            interactions = _keep(interactions, kept, f"data.{rule} {text}", lines)
    if filters.core:
        kept = in_core(interactions, filters.core)
        interactions = _keep(interactions, kept, f"data.core {filters.core}", lines)
    return interactions, lines


def in_core(interactions: Interactions, least: int) -> NDArray[np.bool_]:
    """`[E]` the events of users and items that have `least` of each other, repeats counted once.

    >>> from fedjax_rec.data.interactions import from_events
    >>> in_core(from_events([1, 1, 2, 2, 3], [5, 6, 5, 6, 6]), 2).tolist()
    [True, True, True, True, False]
    """
    pairs = interactions.users.astype(np.int64) * interactions.num_items + interactions.items
    distinct, number = np.unique(pairs, return_inverse=True)
    users, items = np.divmod(distinct, interactions.num_items)
    is_left = np.ones(len(distinct), bool)
    while True:
        of_user = np.bincount(users[is_left], minlength=interactions.num_users)
        of_item = np.bincount(items[is_left], minlength=interactions.num_items)
        still = is_left & (of_user[users] >= least) & (of_item[items] >= least)
        if (still == is_left).all():
            return np.asarray(is_left[number])
        is_left = still


def _by_time(interactions: Interactions, rule: str, text: str) -> NDArray[np.bool_]:
    if interactions.is_order_only or (interactions.times == 0).any():
        raise UserError(
            f"{interactions.name}: data.{rule} needs every event's time, and some have none; leave "
            "it out"
        )
    bound = _moment(text, f"data.{rule}")
    return interactions.times >= bound if rule == "since" else interactions.times < bound


def _moment(text: str, what: str) -> int:
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        return int(from_numbers(np.array([number]))[0][0])
    try:
        return int(from_texts([text])[0][0])
    except NoTimeError:
        raise UserError(
            f"{what}: {text!r} is no time; write it as 2020-09-01 or in seconds since 1970"
        ) from None


def _keep(
    interactions: Interactions, kept: NDArray[np.bool_], rule: str, lines: list[str]
) -> Interactions:
    """The marked events, with their users and items alone."""
    left = without_idle(interactions, kept)
    counts = [
        f"{before - after} of {before} {what}"
        for what in ("events", "users", "items")
        if (before := getattr(interactions, f"num_{what}"))
        != (after := getattr(left, f"num_{what}"))
    ]
    counts = counts or [f"0 of {interactions.num_events} events"]
    lines.append(f"{interactions.name}: {rule} leaves out {', '.join(counts)}")
    return left


def without_idle(interactions: Interactions, kept: NDArray[np.bool_]) -> Interactions:
    """Some events, with the users and items that have any of them, numbered anew.

    Raises:
      UserError: there is none.
    """
    if not kept.any():
        raise UserError(
            f"{interactions.name}: no event is left; loosen data.min_rating, data.since, "
            "data.until or data.core"
        )
    split = interactions.file_split
    events = replace(pick(interactions, kept), file_split=None if split is None else split.of(kept))
    users, of_user = np.unique(events.users, return_inverse=True)
    items, of_item = np.unique(events.items, return_inverse=True)
    titles = events.item_titles
    return replace(
        events,
        users=of_user.astype(np.int32),
        items=of_item.astype(np.int32),
        user_labels=events.user_labels[users],
        item_labels=events.item_labels[items],
        item_titles=None if titles is None else tuple(titles[i] for i in items),
    )
