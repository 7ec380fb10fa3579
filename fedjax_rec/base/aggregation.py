"""What happens to an update between its client and the server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from fedjax_rec.base.parts import Array, Key, Part, PyTree
from fedjax_rec.base.slots import Support


class Message(NamedTuple):
    """What is summed over clients, or stacked.

    Attributes:
      update: a client's is slice-shaped `[S, ...]`, the total is table-shaped; in a stack
        every leaf has the cohort's axis `[C]` in front.
      weight: `[]`.
      row_weight: table -> `[S]`, or `[I]` in the total; empty unless a transform fills it.
      stats: anything else a transform needs summed.
    """

    update: Part
    weight: Array
    row_weight: dict[str, Array]
    stats: dict[str, Array]


@dataclass(frozen=True)
class AggregateTransform:
    """What happens to an update between the client and the server; two-sided.

    `encode` runs on the client, left to right in a chain; messages are summed;
    `decode` runs on the server, right to left.

    Attributes:
      init: `template -> state`, the server's.
      init_residual: `template -> Private`, one client's (error feedback).
      encode: `(key, message, state, residual, bound) -> (message, residual)`.
      decode: `(key, total, state, bound) -> (total, state)`.
      bound: `(bound, state) -> bound`: L2 norm of what leaves `encode` given that of
        what enters; `state` is `None` when the chain is built.
      support: as in `ClientUpdate`.
      is_scaling: a promise that `encode` multiplies the update by a number, and weighs
        every row that changed by a number, that follow from the message's weight alone;
        it keeps no residual and draws no number.
      needs_bound: refused behind links that leave the update unbounded.
      is_noise: adds noise for privacy.
      releases_counts: its divisor depends on private data.
      is_stacked: messages are not summed, for rules that are no sum: `decode` gets the
        table-shaped messages of the whole cohort, by place in it. Whoever sent nothing has
        zeros there, weight included. It costs the memory of C tables, on every device.
    """

    init: Callable[[Part], PyTree] = lambda template: ()
    init_residual: Callable[[Part], PyTree] = lambda template: ()
    encode: Callable[[Key, Message, PyTree, PyTree, Array], tuple[Message, PyTree]] = (
        lambda key, message, state, residual, bound: (message, residual)
    )
    decode: Callable[[Key, Message, PyTree, Array], tuple[Message, PyTree]] = (
        lambda key, total, state, bound: (total, state)
    )
    bound: Callable[[Any, PyTree], Any] = lambda bound, state: bound
    support: Support = "slice"
    is_scaling: bool = False
    needs_bound: bool = False
    is_noise: bool = False
    releases_counts: bool = False
    is_stacked: bool = False
