"""Tables in parquet, by the extra `data`: the one place that knows pyarrow."""

import io
from typing import Any

import numpy as np

from fedjax_rec.data.sources.columns import Column
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.data.sources.numbers import Numbers
from fedjax_rec.data.sources.texts import Table
from fedjax_rec.errors import UserError, did_you_mean

INSTALL = "pip install 'fedjax-rec[data]'"


def read_parquet(content: bytes, layout: Layout, label: str) -> Table:
    """The named columns of a parquet file.

    Args:
      content: the file.
      layout: of the shape `parquet`.
      label: what to call the file in errors.

    Raises:
      UserError: pyarrow is not installed, a broken file, a column that is not there, or one of
        a type that is none of ids, numbers or times; a missing value, by its row.
    """
    file = _opened(content, label)
    names = [str(name) for name in file.schema_arrow.names]
    wanted = {}
    for role, column in layout.columns.items():
        if isinstance(column, int):
            if column > len(names):
                raise UserError(f"{label}: no column {column} for data.{role}: it has {len(names)}")
            wanted[role] = names[column - 1]
        elif column not in names:
            raise UserError(
                f"{label}: no column {column!r} for data.{role}{did_you_mean(column, names)}; it "
                f"has {', '.join(map(repr, names[:12]))}"
            )
        else:
            wanted[role] = column
    table = file.read(columns=list(wanted.values()))
    if not table.num_rows:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    columns = {role: _column(table[name], role, name, label) for role, name in wanted.items()}
    return Table(columns, 1, tuple(name for name in names if name not in wanted.values()))


def parquet_head(content: bytes, label: str, most: int) -> dict[str, list[str]]:
    """Name of a column -> its first values as texts, a missing one empty.

    Raises:
      UserError: pyarrow is not installed, or a broken file.
    """
    file = _opened(content, label)
    first = next(file.iter_batches(batch_size=most), None)
    if first is None:
        return {str(name): [] for name in file.schema_arrow.names}
    return {
        str(name): ["" if value is None else str(value) for value in column.to_pylist()]
        for name, column in zip(first.schema.names, first.columns, strict=True)
    }


def _opened(content: bytes, label: str) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{label}: parquet needs pyarrow; {INSTALL}") from None
    try:
        return pq.ParquetFile(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0][:80]
        raise UserError(f"{label}: cannot be read as parquet ({reason}); get it again") from None


def _column(chunks: Any, role: str, name: str, label: str) -> Column | Numbers:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = chunks.combine_chunks()
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py() + 1
        raise UserError(f"{label}, row {row}: column {name!r} has no value; mend or remove the row")
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if role == "time" and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return np.asarray(column.cast(pa.timestamp("s"), safe=False)).astype(np.int64)
    if pa.types.is_integer(kind):
        if pa.types.is_uint64(kind) and role in ("user", "item"):
            return [str(number).encode() for number in column.to_pylist()]
        return np.asarray(column).astype(np.int64)
    if role in ("rating", "time") and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return np.asarray(column.cast(pa.float64()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [text.encode() for text in column.to_pylist()]
    raise UserError(
        f"{label}: column {name!r} for data.{role} is of type {kind}; store ids as text or whole "
        "numbers, and ratings as numbers"
    )
