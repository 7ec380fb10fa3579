"""Files of training, validation and test events that make one data set."""

import re

from fedjax_rec.data.sources.files import VALIDATION_PARTS, Files
from fedjax_rec.data.sources.layouts import Layout
from fedjax_rec.errors import UserError

_TRAIN = re.compile(r"(?<![a-z])(?:train|training)(?![a-z])", re.IGNORECASE)
_HELD = re.compile(
    r"(?<![a-z])(?:train|training|test|testing|" + "|".join(VALIDATION_PARTS) + r")(?![a-z])",
    re.IGNORECASE,
)
_NAMES = {"valid": VALIDATION_PARTS, "test": ("test", "testing")}


def parts_beside(files: Files, member: str, layout: Layout) -> dict[str, str]:
    """Part -> its file: `train`, `valid` where there is one, `test`; or the file alone.

    Args:
      files: the folder or zip.
      member: the file that is read.
      layout: with `has_parts` a file of training events without test events is refused.

    Raises:
      UserError: a part lacks another, or a validation part has no test part beside it.

    >>> from pathlib import Path
    >>> from fedjax_rec.data.sources.layouts import LIGHTGCN
    >>> files = Files(Path("x"), ("test.txt.gz", "train.txt.gz"), is_zip=False)
    >>> parts_beside(files, "train.txt.gz", LIGHTGCN)
    {'train': 'train.txt.gz', 'test': 'test.txt.gz'}
    """
    plain = member.rpartition("/")[2].removesuffix(".gz")
    if not _TRAIN.search(plain):
        return {"train": member}
    found = {"train": member}
    for part, words in _NAMES.items():
        names = [_TRAIN.sub(word, plain, count=1) for word in words]
        beside = files.beside(member, *names)
        if beside is not None:
            found[part] = beside
    if "test" not in found and ("valid" in found or layout.has_parts):
        wanted = _TRAIN.sub("test", plain, count=1)
        raise UserError(f"{files.label(member)}: no {wanted} beside it; put it there")
    return found


def training_part(names: list[str]) -> str | None:
    """Of names of parts that belong together the one of training events, else `None`.

    >>> training_part(["a.test.csv", "a.train.csv"]), training_part(["a.csv", "b.csv"])
    ('a.train.csv', None)
    """
    stems = {_HELD.sub("*", name.removesuffix(".gz"), count=1) for name in names}
    training = [name for name in names if _TRAIN.search(name.rpartition("/")[2])]
    is_part = all(_HELD.search(name.rpartition("/")[2]) for name in names)
    return training[0] if len(stems) == 1 == len(training) and is_part and len(names) > 1 else None
