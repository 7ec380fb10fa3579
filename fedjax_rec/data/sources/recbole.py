"""RecBole's atomic files: tabs, and a typed header.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from fedjax_rec.data.sources.columns import Column, split_columns
from fedjax_rec.data.sources.files import Files
from fedjax_rec.data.sources.layouts import RECBOLE
from fedjax_rec.data.sources.texts import part_header


def read_atomic(files: Files, member: str) -> dict[str, Column]:
    """Field name -> column of an atomic file, all of them.

    Raises:
      UserError: a bad header, two columns of one name, or names the line with a wrong number
        of columns.
    """
    label = files.label(member)
    body, first_line, names = part_header(files.read(member), RECBOLE, label)
    columns = split_columns(
        body, len(names), label=label, expected=", ".join(names), first_line=first_line
    )
    return dict(zip(names, columns, strict=True))
