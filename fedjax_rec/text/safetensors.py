"""Tensors of a safetensors file: a JSON header behind its length, then the numbers."""

import json
from typing import Any

import jax.numpy as jnp
import numpy as np

DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
}


def read_safetensors(content: Any, origin: str = "safetensors") -> dict[str, np.ndarray]:
    """Name -> array; numbers are looked at where they lie, not copied.

    Args:
      content: the file's bytes, or a memory map of them.
      origin: for messages.

    Raises:
      ValueError: it is no such file, it is cut short, or a type of number is unknown.

    Reference:
      The safetensors format, version 0.4: eight bytes of length, little end first, a header
      of `{name: {dtype, shape, data_offsets}}`, and what the offsets point into.

    >>> header = b'{"x": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}'
    >>> numbers = np.array([3, 4], np.int32).tobytes()
    >>> read_safetensors(len(header).to_bytes(8, "little") + header + numbers)["x"].tolist()
    [3, 4]
    """
    length = int.from_bytes(bytes(content[:8]), "little")
    try:
        header = json.loads(bytes(content[8 : 8 + length]))
    except ValueError as error:
        raise ValueError(f"{origin}: no safetensors file, for it has no header") from error
    found, start = {}, 8 + length
    for name, told in header.items():
        if name == "__metadata__":
            continue
        if told["dtype"] not in DTYPES:
            raise ValueError(f"{origin}: {name} has numbers of the unknown type {told['dtype']}")
        begin, end = (start + offset for offset in told["data_offsets"])
        if end > len(content):
            raise ValueError(f"{origin}: cut short, for {name} should end at byte {end}")
        numbers = np.frombuffer(content[begin:end], DTYPES[told["dtype"]])
        found[name] = numbers.reshape(told["shape"])
    return found
