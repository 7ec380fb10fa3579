"""Byte-level BPE: pieces of words are joined in the order in which a vocabulary learnt to."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

WORDS = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[^\W_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
"""Words, with the blank in front of one; of texts without digits."""


def byte_pair_tokens(
    vocabulary: Mapping[str, int], merges: Sequence[str]
) -> Callable[[str], list[int]]:
    """`text -> numbers of its pieces`, each digit by itself, no marks before or behind.

    Args:
      vocabulary: piece, each byte written as a letter -> number.
      merges: two pieces with a blank between, those that are joined first in front.

    Reference:
      Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword
      units", on the bytes of Radford et al. (2019), "Language models are unsupervised multitask
      learners", section 2.2; digits apart as SmolLM2's tokenizer has them.

    >>> pieces = {"t": 0, "o": 1, "to": 2, "Ġto": 3, "Ġ": 4, "1": 5}
    >>> tokens = byte_pair_tokens(pieces, ["t o", "Ġ to"])
    >>> tokens("to to11"), tokens("o 1")
    ([2, 3, 5, 5], [1, 4, 5])
    """
    rank = {tuple(merge.split(" ")): number for number, merge in enumerate(merges)}
    letter = _letters()

    @lru_cache(maxsize=2**16)
    def of_word(word: str) -> tuple[int, ...]:
        pieces = [letter[byte] for byte in word.encode()]
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            first = min(pairs, key=lambda pair: rank.get(pair, len(rank)))
            if first not in rank:
                break
            pieces = list(_joined(pieces, first))
        return tuple(vocabulary[piece] for piece in pieces)

    return lambda text: [number for word in words_of(text) for number in of_word(word)]


def words_of(text: str) -> Iterator[str]:
    """Words with the blank in front of them, punctuation in runs, and digits one by one.

    >>> list(words_of("it's  Se7en (1995)"))
    ['it', "'s", ' ', ' Se', '7', 'en', ' (', '1', '9', '9', '5', ')']
    """
    begin = 0
    for place, one in enumerate(text):
        if unicodedata.category(one).startswith("N"):
            yield from WORDS.findall(text[begin:place])
            yield one
            begin = place + 1
    yield from WORDS.findall(text[begin:])


def _joined(pieces: Sequence[str], pair: tuple[str, str]) -> Iterator[str]:
    place = 0
    while place < len(pieces):
        is_pair = tuple(pieces[place : place + 2]) == pair
        yield "".join(pair) if is_pair else pieces[place]
        place += 2 if is_pair else 1


def _letters() -> dict[int, str]:
    """Byte -> the letter that stands for it: itself where it can be seen."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {
        byte: chr(256 + number) for number, byte in enumerate(others)
    }
