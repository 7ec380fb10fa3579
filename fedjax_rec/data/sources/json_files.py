"""Events as JSON: an object a line, or one object of lists of items by user."""

import json
from typing import Any

from fedjax_rec.data.sources.columns import Column
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.data.sources.texts import Table
from fedjax_rec.errors import UserError, did_you_mean


def read_json_lines(content: bytes, layout: Layout, label: str) -> Table:
    r"""The named fields of one object a line; blank lines are passed over and counted.

    A field without which an event is none, or an id that is no text or whole number, is refused
    with its line. Fields that no role names are told of.

    Args:
      content: the file.
      layout: of the shape `json_lines`; its columns are names of fields.
      label: what to call the file in errors.

    Raises:
      UserError: names the line.

    >>> layout = Layout(name="x", summary="", shape="json_lines", user="u", item="i")
    >>> read_json_lines(b'{"u": "ann", "i": 5}\n', layout, "f").columns
    {'user': [b'ann'], 'item': [b'5']}
    """
    columns: dict[str, list[bytes]] = {role: [] for role in layout.columns}
    lines: list[int] = []
    num_blank = 0
    unused: dict[str, None] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            num_blank += 1
            continue
        entry = _parsed(line, f"{label}, line {number}")
        for role, field in layout.columns.items():
            columns[role].append(_text(entry, str(field), role, f"{label}, line {number}"))
        unused |= dict.fromkeys(entry)
        lines.append(number)
    if not lines:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    others = tuple(name for name in unused if name not in layout.columns.values())
    return Table({**columns}, lines, others, {"blank lines": num_blank} if num_blank else {})


def read_json_lists(content: bytes, layout: Layout, label: str) -> Table:
    """Users and items of one object `{user: [item, item, ...], ...}`.

    Raises:
      UserError: something else; names the user.

    >>> layout = Layout(name="x", summary="", shape="json")
    >>> read_json_lists(b'{"7": [30, 4]}', layout, "f").columns
    {'user': [b'7', b'7'], 'item': [b'30', b'4']}
    """
    users: Column = []
    items: Column = []
    for user, listed in _parsed(content, label).items():
        if not isinstance(listed, list):
            raise UserError(f"{label}: user {user[:40]!r} has no list of items; give one to each")
        for item in listed:
            users.append(user.encode())
            items.append(_id(item, f"{label}: user {user[:40]!r}", "item"))
    if not items:
        raise UserError(f"{label}: no events: the data set is empty; check the file")
    return Table({"user": users, "item": items}, 1)


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    try:
        # Numbers stay as they are written, so that an id of 19 digits does.
        found = json.loads(text, parse_float=str, object_pairs_hook=_without_twins)
    except _TwinError as problem:
        raise UserError(f"{where}: {problem}; keep one") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is no JSON ({str(error)[:60]}); mend or remove it") from None
    if not isinstance(found, dict):
        raise UserError(f"{where}: is no JSON object {{...}}; mend or remove it")
    return found


class _TwinError(Exception):
    """An object names a field twice."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise _TwinError(f"holds {twin[:40]!r} twice")
    return found


def _text(entry: dict[str, Any], field: str, role: str, where: str) -> bytes:
    if field not in entry:
        raise UserError(
            f"{where}: no field {field!r} for data.{role}{did_you_mean(field, entry)}; it has "
            f"{', '.join(map(repr, list(entry)[:12]))}"
        )
    value = entry[field]
    if role in ("user", "item"):
        return _id(value, where, role)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return b"nan"  # refused with its line, as any missing number
    return str(value).encode()


def _id(value: Any, where: str, role: str) -> bytes:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{where}: {role} id {value!r} is neither text nor a whole number; mend it")
    return str(value).encode("utf-8", "surrogatepass")
