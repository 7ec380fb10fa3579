"""Optax optimizers by name, for clients and for the server."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_rec.base import (
    LocalSGD,
    Part,
    Private,
    PyTree,
    decided,
    is_concrete,
    is_repeating,
    is_zero,
)
from fedjax_rec.errors import UserError
from fedjax_rec.registry import OPTIMIZERS


def named_optimizer(
    name: str, learning_rate: float, momentum: float = 0.0
) -> optax.GradientTransformation:
    """The optimizer that is registered as `name`.

    Args:
      name: any optax optimizer whose first argument is a learning rate: `sgd`, `adam`,
        `yogi`, `adagrad`, ...; or one that was registered.
      learning_rate: its learning rate, positive and finite.
      momentum: passed on where it is not 0 and the optimizer takes it.

    Raises:
      UserError: no such optimizer, or it has no momentum.

    >>> import jax.numpy as jnp
    >>> optimizer = named_optimizer("sgd", 0.5)
    >>> update, _ = optimizer.update(jnp.float32(1.0), optimizer.init(jnp.float32(0.0)))
    >>> float(update)
    -0.5
    """
    factory: Callable[..., optax.GradientTransformation] = OPTIMIZERS.find(name)
    if is_concrete(learning_rate) and not 0 < learning_rate < float("inf"):
        raise UserError(
            f"optimizer {name}: learning_rate must be above 0 and finite, got {learning_rate}"
        )
    if is_zero(momentum):
        return factory(learning_rate)
    if "momentum" not in inspect.signature(factory).parameters:
        raise UserError(f"optimizer {name} takes no momentum; leave it at 0 or use sgd")
    return factory(learning_rate, momentum=momentum)


def _known_optimizers() -> list[str]:
    """Names in optax of callables of one learning rate that return a transformation."""
    known = []
    for name, value in vars(optax).items():
        if name.startswith("_") or not inspect.isfunction(value):
            continue
        parameters = list(inspect.signature(value).parameters.values())
        needed = [
            p.name for p in parameters if p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD
        ]
        if needed == ["learning_rate"]:
            known.append(name)
    return sorted(known)


for known_name in _known_optimizers():
    OPTIMIZERS.register(known_name, getattr(optax, known_name))


PROBE = np.array([[1.0, -3.0, 1e-6], [2e-3, 1e6, -5.0]])
"""A gradient of many magnitudes; a table, for some optimizers treat rows as a whole."""

SCALES = (1e-12, 1.0, 1e12)
"""What it is multiplied by, each in a run of its own: a clip has to show."""


TWO_PARTS = (Part({"item": 0}, 0), Private({}, 0))
"""Parameters with a leaf of every kind."""


def as_sgd(optimizer: optax.GradientTransformation, params: PyTree = TWO_PARTS) -> LocalSGD | None:
    """What an optimizer of `(shared, private)` is, if it is plain SGD, with momentum or not.

    A role that it never moves has the learning rate 0.

    It is known by what it does: its state holds a velocity or nothing, and to a constant
    gradient g of any magnitude, at any parameters, it answers
    `-learning_rate (1 + momentum + momentum^2 + ...) g`. That tells `optax.sgd(0.1)` from a
    schedule, a clip, weight decay, a pull to the start and Nesterov's momentum.

    Args:
      optimizer: what is asked.
      params: a tree like the one that it optimizes. Leaves of a role must share one rate.

    Returns:
      Its numbers; `None` for any other optimizer.

    >>> as_sgd(optax.sgd(0.5, momentum=0.75))
    LocalSGD(shared_learning_rate=0.5, private_learning_rate=0.5, momentum=0.75)
    >>> as_sgd(optax.adam(0.5)) is None
    True
    """
    shared, private = map(jax.tree.leaves, params)
    roles = [0] * len(shared) + [1] * len(private)
    found = _rates(optimizer, jax.tree.map(lambda _: PROBE, params), roles)
    if found is None or len(set(found.groups)) > len(set(roles)):
        return None
    of_role = {0: 0.0, 1: 0.0} | dict(zip(roles, found.values, strict=True))
    return LocalSGD(of_role[0], of_role[1], found.momentum)


def sgd_rates(
    optimizer: optax.GradientTransformation, params: PyTree
) -> tuple[PyTree, float] | None:
    """The learning rate of every leaf of `params`, and the momentum, of what is plain SGD.

    >>> sgd_rates(optax.sgd(0.5), {"a": 0, "b": 0})
    ({'a': 0.5, 'b': 0.5}, 0.0)
    """
    structure = jax.tree.structure(params)
    probe = jax.tree.map(lambda _: PROBE, params)
    found = _rates(optimizer, probe, range(len(jax.tree.leaves(params))))
    if found is None:
        return None
    return jax.tree.unflatten(structure, found.values), found.momentum


def sgd_rate(optimizer: optax.GradientTransformation) -> float | None:
    """The learning rate of a server's optimizer that is plain SGD without momentum.

    >>> sgd_rate(optax.sgd(0.5)), sgd_rate(optax.adam(0.5))
    (0.5, None)
    """
    found = _rates(optimizer, Part({"item": PROBE}, PROBE), [0, 0])
    if found is None or not is_zero(found.momentum) or len(set(found.groups)) > 1:
        return None
    return found.values[0]


class _Rates(NamedTuple):
    """Of plain SGD, by leaf: which share a learning rate, and that rate; and the momentum.

    A group is the place of the first leaf of the same role with the same rate. Groups, and
    what is 0, are structure; other rates and the momentum may be tracers.
    """

    groups: tuple[int, ...]
    values: tuple[float, ...]
    momentum: float


def _rates(
    optimizer: optax.GradientTransformation, probe: PyTree, roles: Sequence[int]
) -> _Rates | None:
    """What is known of an optimizer that is plain SGD; `None` for any other.

    What it is follows from concrete numbers, once. Inside a program, where its numbers are
    tracers, they are read off two steps of it.

    Args:
      optimizer: what is asked.
      probe: a gradient for each leaf.
      roles: of the leaves; whether rates are equal is asked within a role only.
    """
    found: list[_Rates | None] = []

    def structure() -> tuple[tuple[int, ...], tuple[bool, ...], bool] | None:
        found.append(known := _measured_rates(optimizer, probe, roles))
        return known and (known.groups, tuple(map(is_zero, known.values)), is_zero(known.momentum))

    known = decided(structure)
    if known is None or not is_repeating():
        return found[0] if found else None
    groups, is_still, has_no_momentum = known
    ones, zeros = (
        jax.tree.map(lambda leaf, n=n: jnp.full(leaf.shape, n), probe) for n in (1.0, 0.0)
    )
    first, state = optimizer.update(ones, optimizer.init(ones), ones)
    second, _ = optimizer.update(zeros, state, ones)
    moves = [-leaf[0, 0] for leaf in jax.tree.leaves(first)]
    values = tuple(0.0 if is_still[group] else moves[group] for group in groups)
    moving = is_still.index(False)
    momentum = 0.0 if has_no_momentum else -jax.tree.leaves(second)[moving][0, 0] / moves[moving]
    return _Rates(groups, values, momentum)


def _measured_rates(
    optimizer: optax.GradientTransformation, probe: PyTree, roles: Sequence[int]
) -> _Rates | None:
    """The same, of an optimizer with concrete numbers."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        runs = [
            _answers(optimizer, jax.tree.map(lambda leaf: scale * leaf, probe), start=2 * place)  # noqa: B023
            for place, scale in enumerate(SCALES)
        ]
    if any(run is None for run in runs):
        return None
    # [scales, steps, leaves, rows, columns]
    moves = np.stack([-run / (scale * PROBE) for run, scale in zip(runs, SCALES, strict=True)])
    rates = moves[1, 0, :, 0, 0]
    if not rates.any():
        return None
    moving = np.flatnonzero(rates)[0]
    momentum = round(float(moves[1, 1, moving, 0, 0] / rates[moving]) - 1, 15)
    sums = np.cumsum(momentum ** np.arange(moves.shape[1]))
    expected = sums[:, None, None, None] * rates[:, None, None]
    if not np.allclose(moves, expected, rtol=1e-9, atol=0):
        return None
    values = tuple(map(float, rates + 0.0))
    kinds = list(zip(roles, values, strict=True))
    return _Rates(tuple(map(kinds.index, kinds)), values, momentum)


def _answers(optimizer: optax.GradientTransformation, gradients: PyTree, start: float) -> Any:
    """Updates of four steps; `None` if the state holds anything but velocities."""

    def params_after(steps: int) -> PyTree:  # moved: a pull to the start has to show
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, start + steps), gradients)

    gradients = jax.tree.map(jnp.asarray, gradients)
    state = optimizer.init(params_after(0))
    if any(jnp.shape(leaf) != PROBE.shape for leaf in jax.tree.leaves(state)):
        return None
    answers = []
    for step in range(4):
        updates, state = optimizer.update(gradients, state, params_after(step))
        answers.append(np.stack(jax.tree.leaves(updates)))
    return np.stack(answers)
