"""Baselines whose server reads everybody's histories once, and how items occur together in them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import (
    Array,
    ClientData,
    Cohort,
    FederatedAlgorithm,
    History,
    LengthClass,
    Message,
    Model,
    Part,
    ServerState,
    ServerUpdate,
    empty,
)
from fedjax_rec.baselines import idle
from fedjax_rec.transforms import total

DENSE_FROM = 32
"""Histories of more than one item in so many are multiplied as dense rows: a product of
matrices costs `2 I^2` quick steps a person, pairs of items `L^2` slow ones."""

PAIRS_AT_ONCE = 1024
PEOPLE_AT_ONCE = 256


class Histories(NamedTuple):
    """What the server reads.

    Attributes:
      data: everybody's events.
      is_there: `[N]` whose events count: those of users that are held out do not.
    """

    data: ClientData
    is_there: Array


def pooled_histories(data: ClientData, held_users: npt.ArrayLike | None) -> Histories:
    """Everybody's histories, but for those of users that are held out, `[N]` flags."""
    is_held = np.zeros(data.num_clients, bool) if held_users is None else np.asarray(held_users)
    return Histories(data, jnp.asarray(~is_held))


def from_histories(
    model: Model,
    histories: Histories,
    conclude: Callable[[Histories], Part],
    *,
    working_bytes: int = 0,
) -> FederatedAlgorithm:
    """One round, in which the server concludes from everybody's histories.

    This is no federated training: the server holds every event, clients send nothing, and who
    is in the cohort does not matter.

    Args:
      model: scores from what the server concluded.
      histories: that are pooled.
      conclude: the new shared parameters.
      working_bytes: memory that `conclude` takes beside what it returns.
    """

    def apply(state: ServerState, message: Message, cohort: Cohort) -> ServerState:
        return state._replace(shared=conclude(state.extra.dense))

    return FederatedAlgorithm(
        model,
        idle.OBJECTIVE,
        idle.CLIENT,
        total(),
        ServerUpdate(lambda shared: (), apply, working_bytes=working_bytes),
        template=lambda shared: empty(),
        init_extra=lambda key, shared: Part({}, histories),
    )


def distinct_items(history: History, num_items: int) -> Array:
    """`[L]` the client's items, each once, and the number of items for padding.

    >>> items = jnp.array([7, 2, 7, 9])
    >>> distinct_items(History(items, items, items, jnp.int32(3), items, jnp.int32(0)), 9).tolist()
    [2, 7, 9, 9]
    """
    items = jnp.sort(history.items)
    is_first = jnp.append(True, items[1:] != items[:-1])[: items.shape[0]]
    return jnp.where(is_first, items, num_items)


def item_counts(histories: Histories) -> Array:
    """`[I]` how many people have each item."""

    def count(people: Array, items: Array, counts: Array) -> Array:
        return counts.at[items.ravel()].add(1.0, mode="drop")

    counts = jnp.zeros(histories.data.num_items)
    for length in histories.data.classes:
        counts = _by_chunks(histories, length, _num_at_once(length), count, counts)
    return counts


def dense_rows(histories: Histories) -> Array:
    """`[N, I]` X: who has what."""

    def write(people: Array, items: Array, rows: Array) -> Array:
        return rows.at[people[:, None], items].set(1.0, mode="drop")

    rows = jnp.zeros((histories.data.num_clients, histories.data.num_items))
    for length in histories.data.classes:
        rows = _by_chunks(histories, length, _num_at_once(length), write, rows)
    return rows


def co_occurrences(histories: Histories, begin: Array | int, size: int) -> Array:
    """`[size, I]` rows of the Gram matrix `G = X^T X`: how many people have both items.

    Args:
      histories: whose items are counted.
      begin: the first row, at most `I - size`.
      size: how many rows.
    """
    num_items = histories.data.num_items

    def multiply(people: Array, items: Array, gram: Array) -> Array:
        person = jnp.arange(items.shape[0])[:, None]
        rows = jnp.zeros((items.shape[0], num_items)).at[person, items].set(1.0, mode="drop")
        return gram + jax.lax.dynamic_slice_in_dim(rows, begin, size, 1).T @ rows

    def add_pairs(people: Array, items: Array, gram: Array) -> Array:
        first, end = (jnp.sum(items < bound, axis=1) for bound in (begin, begin + size))

        def add(number: Array, gram: Array) -> Array:
            item = jnp.take_along_axis(items, (first + number)[:, None], axis=1, mode="clip")
            row = jnp.where((first + number < end)[:, None], item - begin, size)
            return gram.at[row, items].add(1.0, mode="drop")

        counted: Array = jax.lax.fori_loop(0, jnp.max(end - first), add, gram)
        return counted

    gram = jnp.zeros((size, num_items))
    for length in histories.data.classes:
        if length.num_events * DENSE_FROM > num_items:
            gram = _by_chunks(histories, length, PEOPLE_AT_ONCE, multiply, gram)
        else:
            gram = _by_chunks(histories, length, _num_at_once(length), add_pairs, gram)
    return gram


def blocks_of(num_rows: int, size: int) -> Iterator[int]:
    """Where blocks begin that cover the rows; the last one overlaps the one before it.

    >>> list(blocks_of(10, 4))
    [0, 4, 6]
    """
    yield from (min(begin, num_rows - size) for begin in range(0, num_rows, size))


def _num_at_once(length: LengthClass) -> int:
    return max(PAIRS_AT_ONCE // length.num_events, 1)


def _by_chunks(
    histories: Histories,
    length: LengthClass,
    num_people: int,
    add: Callable[[Array, Array, Array], Array],
    start: Array,
) -> Array:
    """A sum over the people of a length class, so many at once.

    Args:
      add: `([P] people, [P, L] their distinct items, sorted, sum) -> sum`; whoever is held out
        has none.
      start: the sum of nobody.
    """
    data = histories.data
    by_rank = jnp.argsort(data.rank)

    def chunk(number: Array, carry: Array) -> Array:
        place = length.start + number * num_people + jnp.arange(num_people)
        people = by_rank.at[place].get(mode="clip")
        is_there = (place < length.stop) & histories.is_there[people]

        def items_of(person: Array, is_there: Array) -> Array:
            items = distinct_items(data.history(person, length), data.num_items)
            return jnp.sort(jnp.where(is_there, items, data.num_items))

        return add(people, jax.vmap(items_of)(people, is_there), carry)

    num_chunks = -(-(length.stop - length.start) // num_people)
    result: Array = jax.lax.fori_loop(0, num_chunks, chunk, start)
    return result
