"""WordPiece: words in the longest pieces that a vocabulary has."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

LONGEST_WORD = 100
"""Letters of a word; a longer one is unknown as a whole."""


def words_of(text: str, *, is_lower: bool = True) -> list[str]:
    """Words, and punctuation marks and Chinese characters each by itself.

    >>> words_of("Café, 1995!")
    ['cafe', ',', '1995', '!']
    """
    if is_lower:
        plain = unicodedata.normalize("NFD", text.lower())
        text = "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")
    spaced = (
        f" {letter} " if _is_alone(letter) else " " if letter.isspace() else letter
        for letter in text
        if letter.isspace() or not _is_dropped(letter)
    )
    return "".join(spaced).split()


def pieces_of(word: str, vocabulary: Mapping[str, int]) -> Iterator[str]:
    """The longest piece that begins a word, then the longest that goes on, marked by `##`.

    >>> list(pieces_of("toys", {"toy": 0, "##s": 1})), list(pieces_of("toy!", {"toy": 0}))
    (['toy', '##s'], ['[UNK]'])
    """
    found, begin = [], 0
    while begin < len(word):
        mark = "##" if begin else ""
        ends = range(len(word), begin, -1) if len(word) <= LONGEST_WORD else ()
        end = next((end for end in ends if mark + word[begin:end] in vocabulary), 0)
        if not end:
            yield "[UNK]"
            return
        found.append(mark + word[begin:end])
        begin = end
    yield from found


def tokens_of(
    texts: Sequence[str], vocabulary: Mapping[str, int], max_length: int, *, is_lower: bool = True
) -> np.ndarray:
    """`[N, T]` int32 numbers of each text's pieces between `[CLS]` and `[SEP]`, padded by `[PAD]`.

    Args:
      texts: N of them.
      vocabulary: piece -> number; it has the marks `[PAD]`, `[UNK]`, `[CLS]` and `[SEP]`.
      max_length: most pieces, both marks included, at least 3; T is no more than are needed.
      is_lower: letters are made small and lose their accents first.

    Reference:
      Devlin et al. (2019), "BERT: pre-training of deep bidirectional transformers", section 3,
      and the released code's `BasicTokenizer` and `WordpieceTokenizer`.

    >>> vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "toy": 4, "##s": 5}
    >>> tokens_of(["Toys", "toy"], vocabulary, max_length=8).tolist()
    [[2, 4, 5, 3], [2, 4, 3, 0]]
    """
    rows = []
    for text in texts:
        words = words_of(text, is_lower=is_lower)
        pieces = [piece for word in words for piece in pieces_of(word, vocabulary)]
        marked = ["[CLS]", *pieces[: max_length - 2], "[SEP]"]
        rows.append([vocabulary[piece] for piece in marked])
    table = np.full((len(rows), max(map(len, rows), default=2)), vocabulary["[PAD]"], np.int32)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


def _is_dropped(letter: str) -> bool:
    return letter in "\0\ufffd" or unicodedata.category(letter).startswith("C")


def _is_alone(letter: str) -> bool:
    code = ord(letter)
    is_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    is_chinese = (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0x20000 <= code <= 0x2CEAF
        or 0xF900 <= code <= 0xFAFF
        or 0x2F800 <= code <= 0x2FA1F
    )
    return is_mark or is_chinese or unicodedata.category(letter).startswith("P")
