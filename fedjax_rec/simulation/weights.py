"""Frozen parameters that nobody draws, on the device."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Model, Part
from fedjax_rec.tree import joined


def with_weights(model: Model, drawn: Part) -> Part:
    """All frozen parameters of a model: those that `init` drew, and its weights.

    Weights are read here and nowhere else, outside of compiled functions: there they would
    be constants, which take long to compile and much space in the cache of programs.

    Args:
      model: whose they are.
      drawn: what `model.init` drew.

    Raises:
      ValueError: both hold a parameter in the same place.
    """
    if model.weights is None:
        return drawn
    loaded = jax.tree.map(jnp.asarray, model.weights.load())
    whole: Part = joined(drawn, loaded)
    return whole
