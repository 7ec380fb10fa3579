"""What a language model has of the records that it is asked about: prompts in tokens."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_rec.base import Part, PyTree
from fedjax_rec.errors import UserError
from fedjax_rec.text.language_models import LanguageModel

ENDING = "\nAnswer:"
ANSWERS = (" Yes", " No")

_parts: dict[Any, Part] = {}
"""By all that they depend on: programs ask for them again and again."""


class Prompts:
    """The prompts of records and the language model that reads them, as a model's frozen part.

    No dataclass, so that a run's identity does not list every prompt: the checksums of what
    `load` gives stand for it.

    Args:
      base: the language model.
      texts: of each record (I).
      max_length: most tokens of one.
      dtype: of the base's numbers.
    """

    def __init__(
        self, base: LanguageModel, texts: tuple[str, ...], max_length: int, dtype: Any
    ) -> None:
        self._base, self._texts = base, texts
        self._max_length, self._dtype = max_length, np.dtype(dtype)

    def load(self) -> Part:
        """Rows `{"item": [I]}`, the number of each, dense `tokens [I, T]`, `lengths [I]`, `base`.

        Returns:
          Host arrays; the latest are kept.

        Raises:
          UserError: the base is a shape.
        """
        place = self._place
        if place not in _parts:
            if self._base.params is None:
                raise UserError(
                    f"base {self._base.source!r}: is a shape without weights, which `plan` can "
                    "tell the memory of; a run needs a folder with safetensors, or smollm2"
                )
            params = jax.tree.map(lambda leaf: leaf.astype(self._dtype), self._base.params())
            params |= {"head": self._of_answers(params)}
            _parts.clear()
            number = np.arange(len(self._texts), dtype=np.int32)
            _parts[place] = _part(number, *self.tokens(), params)
        return _parts[place]

    def shapes(self) -> Part:
        """The same as `jax.ShapeDtypeStruct`: no weights are read and nothing is allocated."""
        from fedjax_rec.models.llama import shapes_of

        num, longest = len(self._texts), self._max_length
        if self._base.tokens is not None:
            longest = self.tokens()[0].shape[1]

        def whole(*sides: int) -> Any:
            return jax.ShapeDtypeStruct(sides, jnp.int32)

        size = self._base.config
        head = jax.ShapeDtypeStruct((2, size.dim), self._dtype)
        params = shapes_of(size, self._dtype) | {"head": head}
        return _part(whole(num), whole(num, longest), whole(num), params)

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """`[I, T]` tokens of each prompt and its ending, padded behind, and `[I]` how many.

        Raises:
          UserError: a prompt has more tokens than are read.
        """
        assert self._base.tokens is not None
        rows = [self._base.tokens(f"{text}{ENDING}") for text in self._texts]
        lengths = np.array([len(row) for row in rows], np.int32)
        if (longest := int(lengths.max())) > self._max_length:
            raise UserError(
                f"algorithm.max_length: a prompt has {longest} tokens, and {self._max_length} are "
                f"read; set it to {longest}"
            )
        table = np.zeros((len(rows), longest), np.int32)
        for number, row in enumerate(rows):
            table[number, : len(row)] = row
        return table, lengths

    def _of_answers(self, params: PyTree) -> np.ndarray:
        """`[2, D]` the rows by which Yes and No are predicted behind a prompt."""
        assert self._base.tokens is not None
        before = self._base.tokens(ENDING)
        numbers = []
        for answer in ANSWERS:
            told = self._base.tokens(f"{ENDING}{answer}")
            if told[: len(before)] != before or len(told) == len(before):
                raise UserError(
                    f"base {self._base.source!r}: its tokenizer joins {answer!r} to what stands "
                    "before it, so that no token answers"
                )
            numbers.append(told[len(before)])
        if numbers[0] == numbers[1]:
            raise UserError(
                f"base {self._base.source!r}: its tokenizer begins {' and '.join(ANSWERS)} with "
                "one and the same token, so that none answers"
            )
        table = params["head"] if self._base.config.has_head else params["embedding"]
        return np.asarray(table[np.array(numbers)])

    @property
    def _place(self) -> tuple[Any, ...]:
        base = self._base
        return base.source, base.sha256, self._texts, self._max_length, self._dtype


def _part(number: Any, tokens: Any, lengths: Any, base: PyTree) -> Part:
    return Part({"item": number}, {"tokens": tokens, "lengths": lengths, "base": base})
