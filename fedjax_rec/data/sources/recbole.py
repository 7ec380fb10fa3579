"""RecBole atomic files: `NAME.inter` with `NAME.item`, tabs, a typed header.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from fedjax_rec.data.interactions import Interactions, from_events
from fedjax_rec.data.sources.columns import Column, floats, split_columns, text_ids
from fedjax_rec.data.sources.files import Files
from fedjax_rec.errors import UserError

_IDS = ("user_id", "item_id")


def read_recbole(files: Files, member: str, name: str) -> Interactions:
    """Reads `NAME.inter[.gz]`, and titles from a `NAME.item[.gz]` beside it.

    Of the columns, `user_id` and `item_id` are needed, `rating` and `timestamp` (seconds)
    are used, all others are passed over. Ids are any text.

    Args:
      files: the folder or zip that holds both.
      member: the name of the `.inter` file in it.
      name: the data set's name.

    Returns:
      The events in the file's order, titles where the `.item` file has them.

    Raises:
      UserError: names file and line of a bad header, an empty id, a rating or time that
        is not finite, or a line with a wrong number of columns.
    """
    label = files.label(member)
    columns = read_table(files, member)
    missing = [field for field in _IDS if field not in columns]
    if missing:
        raise UserError(
            f"{label}, line 1: no column {missing[0]!r}; "
            "the header of an .inter file begins user_id:token<tab>item_id:token"
        )
    users, items = (
        text_ids(columns[field], label=label, what=field, first_line=2) for field in _IDS
    )
    numbers = {
        field: floats(columns[field], label=label, what=field, first_line=2)
        for field in ("rating", "timestamp")
        if field in columns
    }
    return from_events(
        users,
        items,
        numbers.get("rating"),
        numbers.get("timestamp"),
        name=name,
        titles=_titles(files, member),
        where=label,
    )


def read_table(files: Files, member: str) -> dict[str, Column]:
    """Field name -> column of an atomic file.

    Raises:
      UserError: a bad header, two columns of one name, or names the line with a wrong number
        of columns.
    """
    label = files.label(member)
    header, _, body = files.read(member).partition(b"\n")
    fields = header.decode("utf-8", "replace").rstrip("\r").split("\t")
    if not all(":" in field for field in fields):
        raise UserError(
            f"{label}, line 1: {fields[0][:40]!r} is not a typed header of tab-separated "
            "fields such as user_id:token; add the header line"
        )
    names = [field.split(":", 1)[0].strip() for field in fields]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(
            f"{label}, line 1: {twice.count(twice[0])} columns are called {twice[0]!r}; rename or "
            "remove all but one"
        )
    columns = split_columns(body, len(fields), label=label, expected=", ".join(names), first_line=2)
    return dict(zip(names, columns, strict=True))


def _titles(files: Files, member: str) -> dict[str, str] | None:
    """Item id -> title, from the `.item` file's first field that is a title or a name."""
    stem = member.removesuffix(".gz").removesuffix(".inter")
    listing = next((n for n in (f"{stem}.item", f"{stem}.item.gz") if n in files.names), None)
    if listing is None:
        return None
    columns = read_table(files, listing)
    title = next((field for field in columns if "title" in field or "name" in field), None)
    if title is None or "item_id" not in columns:
        return None
    pairs = zip(columns["item_id"], columns[title], strict=True)
    return {i.decode("utf-8", "replace"): t.decode("utf-8", "replace") for i, t in pairs}
