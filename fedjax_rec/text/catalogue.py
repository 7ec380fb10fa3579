"""What a text model has of a catalogue: tokens of titles, or what lower layers made of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec.base import Array, Part, PyTree
from fedjax_rec.text.pretrained import Pretrained
from fedjax_rec.text.wordpiece import tokens_of

BLOCK = 64
"""Items that are encoded at once where the whole catalogue is."""

_parts: dict[Any, Part] = {}
"""By all that they depend on: programs ask for their shapes again and again."""


class CatalogueText:
    """The text of a catalogue and its encoder, as the frozen part of a model.

    No dataclass, so that a run's identity does not list each word of the vocabulary: the
    checksums of what `load` gives stand for it.

    Args:
      base: the encoder.
      titles: of each item (I).
      max_length: most tokens of one.
      num_cached: lower layers whose output is kept in place of tokens; of all of them, one
        vector a title.
    """

    def __init__(
        self, base: Pretrained, titles: tuple[str, ...], max_length: int, num_cached: int
    ) -> None:
        self._base, self._titles = base, titles
        self._max_length, self._num_cached = max_length, num_cached

    def load(self) -> Part:
        """Rows `{"item": [I]}`, the number of each, and dense `is_real`, text and `tower`.

        Returns:
          Host arrays; text is `tokens [I, T]`, `activations [I, T, D]`, or, where no layer is left
          to run, `vectors [I, D]` alone. The latest two are kept.
        """
        base = self._base
        place = (base.source, base.sha256, self._titles, self._max_length, self._num_cached)
        if place not in _parts:
            while len(_parts) > 1:
                _parts.pop(next(iter(_parts)))
            _parts[place] = self._made()
        return _parts[place]

    def _made(self) -> Part:
        base = self._base
        tokens = tokens_of(self._titles, base.vocabulary, self._max_length, is_lower=base.is_lower)
        is_real = tokens != base.vocabulary["[PAD]"]
        rows = {"item": np.arange(len(self._titles), dtype=np.int32)}
        if not self._num_cached:
            return Part(rows, {"tokens": tokens, "is_real": is_real, "tower": base.params})
        if self._num_cached == base.config.num_layers:
            vectors = _output(base, base.params["layers"], tokens, is_real, is_pooled=True)
            return Part(rows, {"vectors": vectors})
        lower, upper = (
            jax.tree.map(lambda leaf, part=part: leaf[part], base.params["layers"])
            for part in (slice(self._num_cached), slice(self._num_cached, None))
        )
        activations = _output(base, lower, tokens, is_real)
        kept = {"activations": activations, "is_real": is_real, "tower": {"layers": upper}}
        return Part(rows, kept)


def _output(
    base: Pretrained, layers: PyTree, tokens: Any, is_real: Any, *, is_pooled: bool = False
) -> np.ndarray:
    """What the lower layers say of each title: `[I, T, D]`, or `[I, D]` pooled."""
    from fedjax_rec.models.text_encoder import embedded, pooled, run_layers

    @jax.jit
    def run(params: PyTree, tokens: Array, is_real: Array) -> Array:
        vectors = embedded(params["embeddings"], tokens, base.config.epsilon)
        read = run_layers(base.config, params["layers"], vectors, is_real)
        return pooled(read, is_real) if is_pooled else read

    params = {"embeddings": base.params["embeddings"], "layers": layers}
    with jax.ensure_compile_time_eval():  # it may be asked for while something else is traced
        params = jax.tree.map(jnp.asarray, params)
        blocks = range(0, len(tokens), BLOCK)
        padded = [np.pad(one, ((0, -len(one) % BLOCK), (0, 0))) for one in (tokens, is_real)]
        made = [np.asarray(run(params, *(one[at : at + BLOCK] for one in padded))) for at in blocks]
    return np.concatenate(made)[: len(tokens)]
