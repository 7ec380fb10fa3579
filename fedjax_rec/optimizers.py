"""Optax optimizers by name, for clients and for the server."""

import inspect

import optax

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
