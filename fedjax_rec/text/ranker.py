"""A language model as a recommender: will this person like that item, yes or no?"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from fedjax_rec.base import Array, Inputs, ItemSide, Key, Model, Part, PyTree, View, Weights, empty
from fedjax_rec.models.rows import gather
from fedjax_rec.text.language_models import language_model
from fedjax_rec.text.prompts import Prompts

BLOCK = 16
"""Prompts that are read at once where all are."""


def llm_ranker(
    num_items: int,
    *,
    titles: Sequence[str] | None = None,
    base: str = "smollm2",
    max_length: int = 256,
    is_rematerialised: bool = True,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Model:
    """The odds that a language model answers a prompt with Yes.

    A record is a prompt: a person's likes and dislikes in words, and an item. Its score is
    `logit(Yes) - logit(No)` behind its last token, the log odds of Yes between the two. The
    language model is frozen; `models.lora` puts factors beside its layers, and they are trained.

    Args:
      num_items: prompts (I).
      titles: the prompts; a run takes them from its data.
      base: `smollm2`, a folder with a language model of one's own, or for `plan` alone `llama-1b`
        or `llama-7b`: see `text.language_model`.
      max_length: tokens of the longest prompt at most, the question's ending among them, at
        least 1.
      is_rematerialised: activations are made again for the gradient: less memory, more time.
      precision: of the base and of activations.

    Returns:
      A row-wise model of nothing but frozen parameters: rows `{"item": [I]}`, dense `tokens`,
      `lengths` and `base`, with stacked `layers` of `query`, `key`, `value`, `output`, `gate`, `up`
      and `down`.

    Raises:
      UserError: see `text.language_model`; when weights are read, a prompt that is too long.
      ValueError: no prompts, other than `num_items` of them, or a number out of range.

    Reference:
      Bao et al. (2023), "TALLRec: an effective and efficient tuning framework to align large
      language model with recommendation", sections 3.1 and 4. Differences: only the two answers
      count, in training too; and the base is whatever is named.
    """
    if titles is None or len(titles) != num_items:
        count = "none" if titles is None else len(titles)
        raise ValueError(f"llm_ranker reads a prompt of each of {num_items} records, got {count}")
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    model = language_model(base)
    dtype = jnp.dtype(precision)
    prompts = Prompts(model, tuple(titles), max_length, dtype)
    size = model.config  # a run's identity lists what functions hold

    from fedjax_rec.models.llama import last_vectors  # loads flax

    def init(key: Key) -> tuple[Part, Part]:
        return empty(), empty()

    def odds(frozen: Part, numbers: Array) -> Array:
        """`[B] -> [B]` for these prompts."""
        kept = frozen.dense
        read = last_vectors(
            size,
            kept["base"],
            kept["tokens"][numbers],
            kept["lengths"][numbers],
            is_rematerialised=is_rematerialised,
            dtype=dtype,
        )
        logits: Array = read @ kept["base"]["head"].astype(jnp.float32).T
        return logits[:, 0] - logits[:, 1]

    def score(view: View, inputs: Inputs) -> Array:
        return odds(view.frozen, gather(view.frozen.rows["item"], inputs.ids))

    def encode(shared: Part, frozen: Part, extra: Part) -> PyTree:
        number = frozen.rows["item"]
        blocks = jnp.pad(number, (0, -num_items % BLOCK)).reshape(-1, BLOCK)
        found = jax.lax.map(lambda block: odds(frozen, block), blocks)
        return found.reshape(-1)[:num_items]

    def score_encoded(view: View, inputs: Inputs, encoded: PyTree) -> Array:
        return gather(encoded, inputs.ids)

    return Model(
        {"item": num_items},
        init,
        score,
        is_row_wise=True,
        weights=Weights(prompts.load, model.source, model.sha256, prompts.shapes),
        item_side=ItemSide(encode, score_encoded),
    )
