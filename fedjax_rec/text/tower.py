"""Items by their titles: a pretrained text encoder, a projection, and a private user vector."""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    Inputs,
    ItemSide,
    Key,
    Model,
    Part,
    Private,
    PyTree,
    View,
    Weights,
    empty,
)
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.rows import gather
from fedjax_rec.text.catalogue import BLOCK, CatalogueText
from fedjax_rec.text.pretrained import Pretrained, pretrained


def text_tower(
    num_items: int,
    dim: int = 32,
    *,
    titles: Sequence[str] | None = None,
    tower: str = "minilm",
    max_length: int = 24,
    num_cached_layers: int = 0,
    has_own_vectors: bool = False,
    init_stddev: float = 0.1,
    is_rematerialised: bool = True,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Model:
    """A recommender that knows an item by its title.

    The score of item i for user u is `p_u . v_i`, `v_i = W f(t_i) + q_i`: f is the mean of a
    text encoder's output over the title's tokens, brought to length `sqrt(D_f)`; W is a
    projection that all share, p_u is private, and q_i an item's own vector where there is one.
    The encoder is frozen; `models.lora` puts factors beside its layers, and they are trained.

    Tokens, and activations, are there once, whatever rows a client has: its rows bring the
    number of each item, and text is looked up by it in a step.

    Args:
      num_items: size of the catalogue (I).
      dim: width of p_u (D), at least 1.
      titles: of each item; a run takes them from its data.
      tower: `minilm`, or a folder with an encoder of one's own: see `text.pretrained`.
      max_length: tokens of a title that are read, at least 3; two of them are marks.
      num_cached_layers: of the encoder's lower layers, whose output is computed once and kept
        for every title; only those above are run, and can be adapted. 0 runs all. With all of
        them, a title is one vector, and a step costs what it does without text.
      has_own_vectors: q_i; without, an item that nobody has met is as good as any other.
      init_stddev: of the normal initial p_u; q_i start at 0.
      is_rematerialised: activations are made again for the gradient: less memory, more time.
      precision: of activations.

    Returns:
      A row-wise model with shared dense `projection/kernel [D_f, D]`, rows `{"item": [I, D]}` with
      `has_own_vectors`, private dense `[D]` and frozen dense text, with the `tower`'s stacked
      `layers` where any is left to run.

    Raises:
      UserError: see `text.pretrained`.
      ValueError: no titles, other than `num_items` of them, or a number out of range.

    Reference:
      Yuan et al. (2023), "Where to go next for recommender systems? ID- vs. modality-based
      recommender models revisited", section 3, for text in place of q_i. Differences: the
      encoder is one of sentences, its output a mean over tokens; p_u is private, as in
      Zhang et al. (2024), "TransFR: transferable federated recommendation with pre-trained
      language models".
    """
    refuse_out_of_range(dim=dim, init_stddev=init_stddev)
    base = _checked(num_items, titles, tower, max_length, num_cached_layers)
    size, length = base.config, min(max_length, base.config.max_length)

    from fedjax_rec.models.text_encoder import projected  # loads flax

    said = _encoder(base, num_cached_layers, is_rematerialised, jnp.dtype(precision))
    text = CatalogueText(base, tuple(titles or ()), length, num_cached_layers)

    def init(key: Key) -> tuple[Part, Part]:
        kernel = jax.random.normal(key, (size.dim, dim)) * size.dim**-0.5
        rows = {"item": jnp.zeros((num_items, dim))} if has_own_vectors else {}
        return Part(rows, {"projection": {"kernel": kernel}}), empty()

    def init_private(key: Key) -> Private:
        return Private({}, init_stddev * jax.random.normal(key, (dim,)))

    def texts(shared: Part, frozen: Part, numbers: Array) -> Array:
        text = jnp.sqrt(size.dim) * said(frozen.dense, numbers)
        return projected(shared.dense["projection"], text)

    def vectors_of(shared: Part, frozen: Part, ids: Array | None) -> Array:
        vectors = texts(shared, frozen, gather(frozen.rows["item"], ids))
        return vectors + gather(shared.rows["item"], ids) if has_own_vectors else vectors

    def score(view: View, inputs: Inputs) -> Array:
        user: Array = view.private.dense
        return user @ vectors_of(view.shared, view.frozen, inputs.ids).T

    def encode(shared: Part, frozen: Part, extra: Part) -> PyTree:
        number = frozen.rows["item"]
        blocks = jnp.pad(number, (0, -num_items % BLOCK)).reshape(-1, BLOCK)
        found = jax.lax.map(lambda block: texts(shared, frozen, block), blocks)
        vectors = found.reshape(-1, dim)[:num_items]
        return vectors + shared.rows["item"] if has_own_vectors else vectors

    def score_encoded(view: View, inputs: Inputs, encoded: PyTree) -> Array:
        user: Array = view.private.dense
        return user @ gather(encoded, inputs.ids).T

    return Model(
        {"item": num_items},
        init,
        score,
        init_private,
        is_row_wise=True,
        weights=Weights(text.load, base.source, base.sha256),
        item_side=ItemSide(encode, score_encoded),
    )


def _encoder(
    base: Pretrained, num_cached: int, is_rematerialised: bool, dtype: jnp.dtype
) -> Callable[[PyTree, Array], Array]:
    """`kept, [B] -> [B, D_f]`: what is said of some items, of length 1."""
    from fedjax_rec.models.text_encoder import embedded, pooled, run_layers  # loads flax

    size = base.config

    def known(kept: PyTree, numbers: Array) -> Array:
        return jnp.asarray(kept["vectors"][numbers])

    def read(kept: PyTree, numbers: Array) -> Array:
        is_real = kept["is_real"][numbers]
        if num_cached:
            vectors = kept["activations"][numbers]
        else:
            vectors = embedded(kept["tower"]["embeddings"], kept["tokens"][numbers], size.epsilon)
        vectors = run_layers(
            size,
            kept["tower"]["layers"],
            vectors,
            is_real,
            is_rematerialised=is_rematerialised,
            dtype=dtype,
        )
        return pooled(vectors, is_real)

    return known if num_cached == size.num_layers else read


def _checked(
    num_items: int, titles: Sequence[str] | None, tower: str, max_length: int, num_cached: int
) -> Pretrained:
    """The encoder, if what is asked of it can be."""
    if titles is None or len(titles) != num_items:
        count = "none" if titles is None else len(titles)
        raise ValueError(f"text_tower reads a title of each of {num_items} items, got {count}")
    if max_length < 3:
        raise ValueError(f"max_length must be at least 3, got {max_length}")
    base = pretrained(tower)
    if not 0 <= num_cached <= base.config.num_layers:
        most = base.config.num_layers
        raise ValueError(f"num_cached_layers must be 0 to {most}, got {num_cached}")
    return base
