"""The safetensors format: eight bytes of length, a JSON header, then the numbers of all arrays."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.errors import UserError

NAMES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
}
"""numpy's name of a type -> the format's."""

ALIGNMENT = 8
"""The header is padded so that numbers begin at a multiple of this."""


def write_safetensors(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Writes arrays, little-endian and row by row.

    Args:
      path: of the file.
      arrays: by name.
      metadata: text by name, which goes into the header.

    Raises:
      UserError: an array of a type that the format does not have.

    Reference:
      https://huggingface.co/docs/safetensors
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    # Wide types first: then every array begins at a multiple of its type's size.
    for name, array in sorted(arrays.items(), key=lambda one: (-one[1].dtype.itemsize, one[0])):
        kind = NAMES.get(array.dtype.name)
        if kind is None:
            raise UserError(f"{path}: {name} is of type {array.dtype}, which safetensors lacks")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": kind, "shape": [*array.shape], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in header:
            if name != "__metadata__":
                array = np.ascontiguousarray(arrays[name])
                if array.dtype.byteorder == ">":
                    array = array.astype(array.dtype.newbyteorder("<"))
                stream.write(array.tobytes())


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a file that `write_safetensors` has written.

    Args:
      path: of the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "x.safetensors"
    ...     write_safetensors(path, {"x": np.arange(3)}, {"made by": "hand"})
    ...     read_safetensors(path)
    ({'x': array([0, 1, 2])}, {'made by': 'hand'})
    """
    import ml_dtypes

    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    kinds = {short: name for name, short in NAMES.items() if name != "bfloat16"}
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + length + at for at in entry["data_offsets"])
        kind = ml_dtypes.bfloat16 if entry["dtype"] == "BF16" else kinds[entry["dtype"]]
        arrays[name] = np.frombuffer(content[begin:end], kind).reshape(entry["shape"])
    return arrays, metadata
