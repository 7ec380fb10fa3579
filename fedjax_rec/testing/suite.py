"""An algorithm or a transform put to all of its laws."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec.base import (
    AggregateTransform,
    FederatedAlgorithm,
    Message,
    Part,
)
from fedjax_rec.data.toys import toy_data_for
from fedjax_rec.testing.laws import CHECKS, NotApplicable
from fedjax_rec.testing.subject import Subject, as_numbers, shapes_of


@dataclass(frozen=True)
class Outcome:
    """What became of one law.

    Attributes:
      law: its name in `CHECKS`.
      verdict: `passed`, `failed` or `not applicable`.
      why: of the last two.
    """

    law: str
    verdict: str
    why: str = ""


def put_to_laws(factory: Callable[..., FederatedAlgorithm], **options: Any) -> Iterator[Outcome]:
    """Puts an algorithm to every check, one after another; nothing is raised.

    Args:
      factory: as of `check_algorithm`.
      **options: its keyword arguments.

    Yields:
      What became of each law, as soon as it is known.
    """
    subject = Subject(factory, options, toy_data_for(factory))
    for law, check in CHECKS.items():
        try:
            check(subject)
        except NotApplicable as reason:
            yield Outcome(law, "not applicable", str(reason))
        except Exception as error:  # noqa: BLE001  whatever an author's code may raise
            is_law = isinstance(error, AssertionError)
            yield Outcome(law, "failed", str(error) if is_law else _in_one_line(error))
        else:
            yield Outcome(law, "passed")


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def check_algorithm(
    factory: Callable[..., FederatedAlgorithm],
    progress: Callable[[Outcome], None] = lambda outcome: None,
    /,
    **options: Any,
) -> list[Outcome]:
    """Puts an algorithm to every check.

    Args:
      factory: `(num_items, **options) -> FederatedAlgorithm`. Where it takes `is_sliced`,
        slices are compared with whole tables; where it takes `data`, it gets the clients',
        and where it takes `num_other`, two domains.
      progress: is told what became of each law, as soon as it is known.
      **options: its keyword arguments.

    Returns:
      What became of each law: a law that has nothing to look at is not applicable.

    Raises:
      AssertionError: a law is broken; the message says which.
      Exception: whatever the algorithm raises.
    """
    subject = Subject(factory, options, toy_data_for(factory))
    outcomes = []
    for law, check in CHECKS.items():
        try:
            check(subject)
        except NotApplicable as reason:
            outcomes.append(Outcome(law, "not applicable", str(reason)))
        else:
            outcomes.append(Outcome(law, "passed"))
        progress(outcomes[-1])
    return outcomes


def check_transform(transform: AggregateTransform, seed: int = 0) -> None:
    """Puts an aggregate transform to its contract.

    Nothing encodes to nothing; what leaves `encode` keeps the bound it states; `decode` of
    a finite total is finite, of an empty one too; states keep their trees.

    Raises:
      AssertionError: the contract is broken; the message says where.
    """
    rng = np.random.default_rng(seed)
    template = Part({"item": jnp.zeros((6, 3))}, {"head": jnp.zeros(4)})
    bound, key = jnp.float32(jnp.inf), jax.random.key(seed)
    state, residual = transform.init(key, template), transform.init_residual(template)

    def message(scale: float) -> Message:
        update = jax.tree.map(
            lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32), template
        )
        return Message(update, jnp.float32(7), {}, {})

    nothing, _ = transform.encode(key, message(0.0), state, residual, bound)
    sent = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(nothing.update))
    assert sent == 0, "a client without an update sends something"
    stated = float(transform.bound(float("inf"), None))
    for scale in (1e-6, 1.0, 1e6):
        encoded, kept = transform.encode(key, message(scale), state, residual, bound)
        assert shapes_of(kept) == shapes_of(residual), "encode changes the residual's tree"
        norm = np.sqrt(sum(np.sum(as_numbers(x) ** 2) for x in jax.tree.leaves(encoded.update)))
        assert norm <= stated * (1 + 1e-5), f"norm {norm:.3g} is above the bound {stated:.3g}"
        if transform.is_stacked:
            encoded = jax.tree.map(lambda leaf: leaf[None], encoded)
        for total in (encoded, jax.tree.map(jnp.zeros_like, encoded)):
            decoded, after = transform.decode(key, total, state, jnp.float32(1))
            assert shapes_of(after) == shapes_of(state), "decode changes the state's tree"
            for leaf in jax.tree.leaves(decoded.update):
                assert np.isfinite(as_numbers(leaf)).all(), "decode gives NaN"
