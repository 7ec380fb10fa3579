"""Files of weights and words of text, against files and pieces written by hand."""

from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.text import pretrained, read_safetensors, tokens_of
from fedjax_rec.text.wordpiece import pieces_of, words_of
from tests.text.encoders import HEADS, LAYERS, WIDTH, WORDS, as_safetensors, write_encoder

VOCABULARY = {word: number for number, word in enumerate(WORDS)}


def test_tensors_are_read_as_they_were_written() -> None:
    tensors = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.float32([[[7]]])}
    content = as_safetensors(tensors)
    for given in (content, np.frombuffer(content, np.uint8)):
        found = read_safetensors(given)
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(found[name], tensor)


def test_a_file_that_is_cut_short_or_none_at_all_is_told_in_one_line() -> None:
    content = as_safetensors({"x": np.ones(4, np.float32)})
    with pytest.raises(ValueError, match="mine: cut short, for x should end at byte"):
        read_safetensors(content[:-1], "mine")
    with pytest.raises(ValueError, match="no safetensors file"):
        read_safetensors(b"PK" + bytes(40))
    with pytest.raises(ValueError, match="x has numbers of the unknown type F99"):
        read_safetensors(content.replace(b"F32", b"F99"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Toy Story (1995)", ["toy", "story", "(", "1995", ")"]),
        ("Léon:\tThe Professional\x00", ["leon", ":", "the", "professional"]),
        ("don't", ["don", "'", "t"]),
        ("中文 title", ["中", "文", "title"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_pieces_are_the_longest_and_a_word_is_known_as_a_whole_or_not() -> None:
    assert list(pieces_of("toys", VOCABULARY)) == ["toy", "##s"]
    assert list(pieces_of("toysx", VOCABULARY)) == ["[UNK]"]
    assert list(pieces_of("s", VOCABULARY)) == ["[UNK]"]  # the vocabulary has it inside only
    assert list(pieces_of("toy" + "s" * 100, VOCABULARY)) == ["[UNK]"]


def test_texts_are_cut_behind_their_first_pieces_and_padded() -> None:
    found = tokens_of(["Toys story of man", "star", ""], VOCABULARY, 5)
    named = [[WORDS[number] for number in row] for row in found]
    assert named == [
        ["[CLS]", "toy", "##s", "story", "[SEP]"],
        ["[CLS]", "star", "[SEP]", "[PAD]", "[PAD]"],
        ["[CLS]", "[SEP]", "[PAD]", "[PAD]", "[PAD]"],
    ]


def test_a_folder_of_ones_own_is_read_once(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "own")
    found = pretrained(str(folder))
    assert pretrained(str(folder)) is found
    assert (found.config.num_layers, found.config.num_heads) == (LAYERS, HEADS)
    assert found.params["layers"]["attention"]["query"]["kernel"].shape == (LAYERS, WIDTH, WIDTH)
    other = pretrained(str(write_encoder(tmp_path / "other", seed=1)))
    assert other.sha256 != found.sha256


def test_a_folder_that_holds_no_encoder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither minilm nor a folder with .* \(config.json is"):
        pretrained(str(tmp_path))
    with pytest.raises(UserError, match="hidden_act must be gelu, got 'relu'"):
        pretrained(str(write_encoder(tmp_path / "a", hidden_act="relu")))
    with pytest.raises(UserError, match=r"encoder.layer.2.attention.* is not there; the form is"):
        pretrained(str(write_encoder(tmp_path / "b", num_hidden_layers=3)))
    folder = write_encoder(tmp_path / "c")
    (folder / "vocab.txt").write_text("the\n")
    with pytest.raises(UserError, match=r"vocab.txt: \[PAD\] is not there"):
        pretrained(str(folder))
