"""Matrix factorisation: a shared table of item vectors, a private user vector."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Inputs, Key, Model, Part, Private, Pullback, View
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.rows import gather, scatter


def matrix_factorization(num_items: int, dim: int = 32, *, init_stddev: float = 0.1) -> Model:
    """Matrix factorisation without biases.

    The score of item i for user u is `p_u . q_i`; p_u is private, q_i is shared.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the normal initial values of both, at least 0.

    Returns:
      A row-wise model with rows `{"item": [I, D]}`, private dense `[D]` and an analytic
      gradient: `ds_i/dq_i = p_u`, `ds_i/dp_u = q_i`.

    Raises:
      ValueError: `dim` or `init_stddev` is out of range.

    Reference:
      Koren, Bell and Volinsky (2009), "Matrix factorization techniques for recommender
      systems", equation 1. Difference: without the bias terms of equation 3.

    >>> import jax
    >>> model = matrix_factorization(num_items=5, dim=2)
    >>> shared, frozen = model.init(jax.random.key(0))
    >>> shared.rows["item"].shape, model.init_private(jax.random.key(1)).dense.shape
    ((5, 2), (2,))
    """
    refuse_out_of_range(dim=dim, init_stddev=init_stddev)

    def init(key: Key) -> tuple[Part, Part]:
        table = init_stddev * jax.random.normal(key, (num_items, dim))
        return Part({"item": table}, ()), Part({}, ())

    def init_private(key: Key) -> Private:
        return Private({}, init_stddev * jax.random.normal(key, (dim,)))

    def score(view: View, inputs: Inputs) -> Array:
        items = gather(view.shared.rows["item"], inputs.ids)
        user: Array = view.private.dense
        # In this order, scores of many clients lie client after client, as they are read.
        return user @ items.T

    def score_vjp(view: View, inputs: Inputs) -> tuple[Array, Pullback]:
        table, user = view.shared.rows["item"], view.private.dense
        items = gather(table, inputs.ids)

        def pullback(cotangent: Array) -> tuple[Part, Private]:
            to_items = scatter(jnp.outer(cotangent, user), table, inputs.ids)
            return Part({"item": to_items}, ()), Private({}, cotangent @ items)

        return items @ user, pullback

    return Model(
        {"item": num_items}, init, score, init_private, is_row_wise=True, score_vjp=score_vjp
    )
