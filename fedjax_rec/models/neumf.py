"""NeuMF: generalised matrix factorisation and a perceptron, joined in the last layer."""

import jax

from fedjax_rec.base import Array, Inputs, Key, Model, Part, Private, View
from fedjax_rec.models.gmf import gmf
from fedjax_rec.models.ncf import ncf


def neumf(num_items: int, dim: int = 32, num_layers: int = 3, *, init_stddev: float = 0.1) -> Model:
    """Neural matrix factorisation (NeuMF).

    The score of item i for user u is `h . [p_u * q_i; z(p'_u, q'_i)] + b`, where z is the last
    hidden layer of `ncf` and each half has its own vectors. The last layer is linear, so
    the score is the sum of the scores of `gmf` and of `ncf`.

    Args:
      num_items: size of the catalogue (I).
      dim: width of a vector (D) in both halves, at least 1.
      num_layers: hidden layers of the perceptron, at least 1.
      init_stddev: standard deviation of the normal initial values of all vectors, at least 0.

    Returns:
      A row-wise model with rows `{"item": {"gmf": [I, D], "mlp": [I, D]}}`, dense
      `{"gmf": [D], "mlp": Tower}` and private dense `{"gmf": [D], "mlp": [D]}`.

    Raises:
      ValueError: `dim`, `num_layers` or `init_stddev` is out of range.

    Reference:
      He et al. (2017), "Neural collaborative filtering", equation 12. Differences: those of
      `gmf` and `ncf`; no pre-training of the halves (equation 13).

    >>> model = neumf(num_items=5, dim=4)
    >>> shared, frozen = model.init(jax.random.key(0))
    >>> {half: table.shape for half, table in shared.rows["item"].items()}
    {'gmf': (5, 4), 'mlp': (5, 4)}
    """
    product = gmf(num_items, dim, init_stddev=init_stddev)
    perceptron = ncf(num_items, dim, num_layers, init_stddev=init_stddev)

    def init(key: Key) -> tuple[Part, Part]:
        key_product, key_perceptron = jax.random.split(key)
        (left, _), (right, _) = product.init(key_product), perceptron.init(key_perceptron)
        rows = {"gmf": left.rows["item"], "mlp": right.rows["item"]}
        return Part({"item": rows}, {"gmf": left.dense, "mlp": right.dense}), Part({}, ())

    def init_private(key: Key) -> Private:
        left, right = map(product.init_private, jax.random.split(key))
        return Private({}, {"gmf": left.dense, "mlp": right.dense})

    def score(view: View, inputs: Inputs) -> Array:
        left = product.score(_half(view, "gmf"), inputs)
        return left + perceptron.score(_half(view, "mlp"), inputs)

    return Model({"item": num_items}, init, score, init_private, is_row_wise=True)


def _half(view: View, name: str) -> View:
    """What one half sees."""
    shared = Part({"item": view.shared.rows["item"][name]}, view.shared.dense[name])
    return view._replace(shared=shared, private=Private({}, view.private.dense[name]))
