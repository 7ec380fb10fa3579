"""What a GGUF file holds: facts by name, then tensors, some of them in few bits."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?"))) | {10: "Q", 11: "q", 12: "d"}
"""Number of a type -> how `struct` calls it."""

TEXT, LIST = 8, 9
GROUP = 32
"""Numbers that share a scale."""


def read_gguf(
    content: bytes, origin: str = "gguf"
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Facts by name, and tensors by name in float32, the last axis as it lies in the file.

    Args:
      content: the file.
      origin: for messages.

    Raises:
      ValueError: it is no such file of version 2 or 3, it is cut short, or the form of a tensor's
        numbers is unknown: F32, Q4_1 and Q8_0 are known.

    Reference:
      The GGUF format, version 3, as its authors describe it. In groups of 32 numbers, `Q8_0` is
      `d q` with q of 8 bits, and `Q4_1` is `d q + m` with q of 4 bits, two to a byte: low halves
      are the first 16.
    """
    if content[:4] != b"GGUF":
        raise ValueError(f"{origin}: no GGUF file, for it does not begin with GGUF")
    reader = _Reader(content)
    try:
        version, num_tensors, num_facts = reader.next("I"), reader.next("Q"), reader.next("Q")
        if version not in (2, 3):
            raise ValueError(f"{origin}: version {version} is not known, 2 and 3 are")
        facts = {reader.text(): reader.value(reader.next("I")) for _ in range(num_facts)}
        told = [_told(reader) for _ in range(num_tensors)]
        align = facts.get("general.alignment", 32)
        start = -(-reader.place // align) * align
        tensors = {}
        for name, shape, form, offset in told:
            if form not in FORMS:
                raise ValueError(f"{origin}: {name} has numbers of the unknown form {form}")
            dtype, decoded = FORMS[form]
            count = int(np.prod(shape)) // (1 if form == 0 else GROUP)
            if (end := start + offset + count * dtype.itemsize) > len(content):
                raise ValueError(f"{origin}: cut short, for {name} should end at byte {end}")
            groups = np.frombuffer(content, dtype, count, start + offset)
            tensors[name] = decoded(groups).reshape(shape)
    except struct.error as error:
        raise ValueError(f"{origin}: cut short, or no GGUF file ({error})") from error
    return facts, tensors


def _told(reader: "_Reader") -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape with the fastest axis last, form and offset of a tensor."""
    name = reader.text()
    sides = [reader.next("Q") for _ in range(reader.next("I"))]
    return name, tuple(reversed(sides)), reader.next("I"), reader.next("Q")


class _Reader:
    """Numbers and texts one after another."""

    def __init__(self, content: bytes) -> None:
        self._content, self.place = content, 4

    def next(self, kind: str) -> Any:
        (found,) = struct.unpack_from(f"<{kind}", self._content, self.place)
        self.place += struct.calcsize(f"<{kind}")
        return found

    def text(self) -> str:
        length = self.next("Q")
        self.place += length
        return self._content[self.place - length : self.place].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == TEXT:
            return self.text()
        if kind == LIST:
            each = self.next("I")
            return [self.value(each) for _ in range(self.next("Q"))]
        return self.next(NUMBERS[kind])


def _of_four_bits(groups: NDArray[Any]) -> NDArray[np.float32]:
    halves = np.concatenate([groups["q"] & 15, groups["q"] >> 4], axis=1)
    scale, least = (groups[name].astype(np.float32)[:, None] for name in ("d", "m"))
    return np.asarray(scale * halves.astype(np.float32) + least)


def _of_eight_bits(groups: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(groups["d"].astype(np.float32)[:, None] * groups["q"].astype(np.float32))


FORMS: dict[int, tuple[Any, Callable[[NDArray[Any]], NDArray[np.float32]]]] = {
    0: (np.dtype("<f4"), np.asarray),
    3: (np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", GROUP // 2)]), _of_four_bits),
    8: (np.dtype([("d", "<f2"), ("q", "i1", GROUP)]), _of_eight_bits),
}
"""Number of a form -> a group of its numbers in the file, and how groups are decoded."""
