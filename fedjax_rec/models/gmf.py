"""Generalised matrix factorisation: a dot product with learnt weights."""

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Inputs, Key, Model, Part, Private, Pullback, View
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.rows import gather, scatter


def gmf(num_items: int, dim: int = 32, *, init_stddev: float = 0.1) -> Model:
    """Generalised matrix factorisation (GMF).

    The score of item i for user u is `h . (p_u * q_i)`, a logit; p_u is private, q_i and h
    are shared.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D), at least 1.
      init_stddev: standard deviation of the normal initial values of p and q, at least 0.

    Returns:
      A row-wise model with rows `{"item": [I, D]}`, dense h `[D]`, private dense `[D]` and
      an analytic gradient: `ds_i/dq_i = h * p_u`, `ds_i/dp_u = h * q_i`, `ds_i/dh = p_u * q_i`.

    Raises:
      ValueError: `dim` or `init_stddev` is out of range.

    Reference:
      He et al. (2017), "Neural collaborative filtering", equations 8 and 9. The sigmoid of
      equation 9 is in the loss (`objectives.binary_cross_entropy`). Difference: they start
      all parameters normal with deviation 0.01, where a product of three small numbers hardly
      moves by plain gradient descent; here h starts at 1, so that training starts from matrix
      factorisation.

    >>> model = gmf(num_items=5, dim=2)
    >>> shared, frozen = model.init(jax.random.key(0))
    >>> shared.rows["item"].shape, shared.dense.tolist()
    ((5, 2), [1.0, 1.0])
    """
    refuse_out_of_range(dim=dim, init_stddev=init_stddev)

    def init(key: Key) -> tuple[Part, Part]:
        table = init_stddev * jax.random.normal(key, (num_items, dim))
        return Part({"item": table}, jnp.ones(dim)), Part({}, ())

    def init_private(key: Key) -> Private:
        return Private({}, init_stddev * jax.random.normal(key, (dim,)))

    def score(view: View, inputs: Inputs) -> Array:
        items = gather(view.shared.rows["item"], inputs.ids)
        weighted_user: Array = view.shared.dense * view.private.dense
        return items @ weighted_user

    def score_vjp(view: View, inputs: Inputs) -> tuple[Array, Pullback]:
        table, weights, user = view.shared.rows["item"], view.shared.dense, view.private.dense
        items = gather(table, inputs.ids)

        def pullback(cotangent: Array) -> tuple[Part, Private]:
            to_items = scatter(jnp.outer(cotangent, weights * user), table, inputs.ids)
            to_product = cotangent @ items
            return Part({"item": to_items}, to_product * user), Private({}, to_product * weights)

        return items @ (weights * user), pullback

    return Model(
        {"item": num_items}, init, score, init_private, is_row_wise=True, score_vjp=score_vjp
    )
