"""Optax optimizers by name, for clients and for the server."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_rec.base import LocalSGD, Part, Private
from fedjax_rec.errors import UserError, did_you_mean


def named_optimizer(
    name: str, learning_rate: float, momentum: float = 0.0
) -> optax.GradientTransformation:
    """The optimizer that optax calls `name`.

    Args:
      name: any optax optimizer whose first argument is a learning rate: `sgd`, `adam`,
        `yogi`, `adagrad`, ...
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
    known = _known_optimizers()
    if name not in known:
        raise UserError(f"unknown optimizer {name!r}{did_you_mean(name, known)}")
    if not 0 < learning_rate < float("inf"):
        raise UserError(
            f"optimizer {name}: learning_rate must be above 0 and finite, got {learning_rate}"
        )
    factory = getattr(optax, name)
    if not momentum:
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


def as_sgd(optimizer: optax.GradientTransformation) -> LocalSGD | None:
    """What an optimizer of `(shared, private)` is, if it is plain SGD, with momentum or not.

    It is known by what it does: its state holds a velocity or nothing, and to a constant
    gradient g of any magnitude, at any parameters, it answers
    `-learning_rate (1 + momentum + momentum^2 + ...) g`. That tells `optax.sgd(0.1)` from a
    schedule, a clip, weight decay and Nesterov's momentum.

    Returns:
      Its numbers; `None` for any other optimizer.

    >>> as_sgd(optax.sgd(0.5, momentum=0.75))
    LocalSGD(shared_learning_rate=0.5, private_learning_rate=0.5, momentum=0.75)
    >>> as_sgd(optax.adam(0.5)) is None
    True
    """
    gradient = np.array([1.0, -3.0, 1e-12, 1e12], np.float32)
    with jax.ensure_compile_time_eval():
        answer, elsewhere = (_answers(optimizer, gradient, start) for start in (0.0, 2.0))
    if answer is None or elsewhere is None or not np.array_equal(answer, elsewhere):
        return None
    moves = -answer / gradient  # [steps, (shared rows, dense, private), gradients]
    rates, growth = moves[0, :, 0], moves[1, 0, 0] / moves[0, 0, 0]
    momentum = round(float(growth) - 1, 6)
    sums = np.cumsum(momentum ** np.arange(len(moves)))
    is_sgd = rates[0] == rates[1] and np.allclose(
        moves, sums[:, None, None] * rates[None, :, None], rtol=1e-5, atol=0
    )
    return LocalSGD(float(rates[0]), float(rates[2]), momentum) if is_sgd else None


def _answers(
    optimizer: optax.GradientTransformation, gradient: np.ndarray, start: float
) -> np.ndarray | None:
    """Updates of four steps; `None` if the state holds anything but velocities."""
    gradients = (Part({"item": gradient}, gradient), Private({}, gradient))
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, start), gradients)
    gradients = jax.tree.map(jnp.asarray, gradients)
    state = optimizer.init(params)
    if any(jnp.shape(leaf) != gradient.shape for leaf in jax.tree.leaves(state)):
        return None
    answers = []
    for _ in range(4):
        updates, state = optimizer.update(gradients, state, params)
        answers.append(np.stack(jax.tree.leaves(updates)))
    return np.stack(answers)
