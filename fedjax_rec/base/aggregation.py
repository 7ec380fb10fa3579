"""What happens to an update between its client and the server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
class Mechanism:
    """Noise on what a round releases of its clients, as plain data for an accountant.

    Attributes:
      kind: `gaussian`: on a sum, drawn anew each round; `correlated`: on the sum, drawn so
        that the noise of later rounds takes back some of that of earlier ones; `local`: on
        each client's own message, before anybody reads it.
      noise_multiplier: its standard deviation over the L2 bound of one client's message.
      releases: what it hides: the `update`, or a `count` beside it.
      strategy: of correlated noise, the first column of its Toeplitz matrix C.
    """

    kind: Literal["gaussian", "correlated", "local"]
    noise_multiplier: float
    releases: Literal["update", "count"] = "update"
    strategy: tuple[float, ...] = ()


Scaling = Literal["no", "by_weight", "by_norm"]
"""What multiplies an update in `encode`: see `AggregateTransform`."""


@dataclass(frozen=True)
class AggregateTransform:
    """What happens to an update between the client and the server; two-sided.

    `encode` runs on the client, left to right in a chain; messages are summed;
    `decode` runs on the server, right to left.

    Attributes:
      init: `(key, template) -> state`, the server's; the key is the run's, for a link with
        randomness of its own.
      init_residual: `template -> Private`, one client's (error feedback).
      encode: `(key, message, state, residual, bound) -> (message, residual)`.
      decode: `(key, total, state, bound) -> (total, state)`.
      bound: `(bound, state) -> bound`: L2 norm of what leaves `encode` given that of
        what enters; `state` is `None` when the chain is built.
      support: as in `ClientUpdate`.
      scaling: a promise on `encode`, for the streaming executor: it multiplies the update by
        a number, weighs every row that changed by a number and fills `stats` with numbers, all
        of which follow from the message's weight (`by_weight`) or from its weight and the
        update's L2 norm (`by_norm`); it keeps no residual and draws no number. `no`: it does
        more.
      needs_bound: refused behind links that leave the update unbounded.
      mechanisms: the noise that it adds for privacy.
      is_bound_static: its bound is one number for the whole run.
      needs_static_bound: refused behind links whose bound changes from round to round.
      public_size: a public number of clients of a round, behind noise the weight that the
        server's rule reads; `None`: it states none, and where no link does the weight is 1.
      releases_counts: its divisor depends on private data.
      is_stacked: messages are not summed, for rules that are no sum: `decode` gets the
        table-shaped messages of the whole cohort, by place in it. Whoever sent nothing has
        zeros there, weight included. It costs the memory of C tables, on every device.
    """

    init: Callable[[Key, Part], PyTree] = lambda key, template: ()
    init_residual: Callable[[Part], PyTree] = lambda template: ()
    encode: Callable[[Key, Message, PyTree, PyTree, Array], tuple[Message, PyTree]] = (
        lambda key, message, state, residual, bound: (message, residual)
    )
    decode: Callable[[Key, Message, PyTree, Array], tuple[Message, PyTree]] = (
        lambda key, total, state, bound: (total, state)
    )
    bound: Callable[[Any, PyTree], Any] = lambda bound, state: bound
    support: Support = "slice"
    scaling: Scaling = "no"
    needs_bound: bool = False
    mechanisms: tuple[Mechanism, ...] = ()
    is_bound_static: bool = True
    needs_static_bound: bool = False
    public_size: Any = None
    releases_counts: bool = False
    is_stacked: bool = False

    @property
    def is_noise(self) -> bool:
        """Whether it adds noise to the update."""
        return any(mechanism.releases == "update" for mechanism in self.mechanisms)
