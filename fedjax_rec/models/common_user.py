"""A model whose users are all alike."""

import jax

from fedjax_rec.base import Array, Inputs, Key, Model, Part, Private, View, nothing_private


def common_user(model: Model) -> Model:
    """The model with one user's vector for everybody, which is shared.

    Args:
      model: what is private in it is dense.

    Returns:
      A model without private parameters whose shared dense part is `(dense, user)`.

    Raises:
      ValueError: clients have tables of their own.

    >>> from fedjax_rec.models import matrix_factorization
    >>> shared, _ = common_user(matrix_factorization(5, dim=2)).init(jax.random.key(0))
    >>> dense, user = shared.dense
    >>> dense, user.shape
    ((), (2,))
    """
    if jax.eval_shape(model.init_private, jax.random.key(0)).rows:
        raise ValueError("common_user: clients have tables of their own")

    def init(key: Key) -> tuple[Part, Part]:
        shared, frozen = model.init(key)
        user = model.init_private(jax.random.fold_in(key, 1)).dense
        return shared._replace(dense=(shared.dense, user)), frozen

    def score(view: View, inputs: Inputs) -> Array:
        dense, user = view.shared.dense
        shared = view.shared._replace(dense=dense)
        return model.score(view._replace(shared=shared, private=Private({}, user)), inputs)

    return model.with_score(
        score,
        init=init,
        init_private=lambda key: nothing_private(),
        is_row_wise=model.is_row_wise,
    )
