"""What clients have seen: lists of unequal length, read a step at a time."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array

MOST_PER_STEP = 2**13
"""How many seen items are read at a time, at most."""

T = TypeVar("T")


class Seen(NamedTuple):
    """The seen items of all clients.

    Attributes:
      offsets: `[N + 1]` where each client's items begin.
      items: `[E]` client after client, distinct within a client (`data.item_lists`).
    """

    offsets: Array
    items: Array

    def fold(self, slots: Array, step: Callable[[T, Array, Array], T], start: T) -> T:
        """`step(state, row, item)` over the lists of some clients, many items at a time.

        The lists are read as one: no client's list is padded to the longest one.

        Args:
          slots: `[C]` whose lists.
          step: gets `row [P]`, a place in `slots`, and `item [P]`; past the end of the
            lists the row is C.
          start: the first state.
        """
        if not self.items.shape[0]:
            return start
        begins = self.offsets[slots]
        counts = self.offsets[slots + 1] - begins
        ends = jnp.cumsum(counts)
        size = self._step_size(slots.size)

        def read(index: Array, state: T) -> T:
            place = index * size + jnp.arange(size)
            row = jnp.searchsorted(ends, place, side="right")
            before = (ends - counts).at[row].get(mode="clip")
            item = self.items.at[begins.at[row].get(mode="clip") + place - before].get(mode="clip")
            return step(state, row, item)

        num_steps = (ends[-1] + size - 1) // size
        folded: T = jax.lax.fori_loop(0, num_steps, read, start)
        return folded

    def _step_size(self, num_clients: int) -> int:
        """As many as these clients have on average, up to a power of two."""
        num_all = max(self.offsets.shape[0] - 1, 1)
        mean = -(-self.items.shape[0] * num_clients // num_all)
        return min(MOST_PER_STEP, 1 << max(mean - 1, 0).bit_length())
