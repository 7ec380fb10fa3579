"""One view on files, folders and zips: names, and the bytes behind them."""

import gzip
import zipfile
import zlib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from fedjax_rec.errors import UserError

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)
_MEND = "it is cut short or damaged; delete it and get it again"


@dataclass(frozen=True)
class Files:
    """The files of a folder or the members of a zip (a wheel is a zip too).

    Attributes:
      where: the folder or the zip.
      names: what is inside, sorted; `/` separates folders.
      is_zip: whether `where` is a zip.
    """

    where: Path
    names: tuple[str, ...]
    is_zip: bool

    def find(self, *patterns: str) -> str | None:
        """First name whose last part fits a pattern; earlier patterns go first."""
        for pattern in patterns:
            for name in self.names:
                if fnmatch(name.rsplit("/", 1)[-1], pattern):
                    return name
        return None

    def label(self, name: str) -> str:
        """What error messages call this file."""
        return f"{self.where}:{name}" if self.is_zip else str(self.where / name)

    def read(self, name: str) -> bytes:
        """The content, unpacked when the name ends in `.gz`.

        Raises:
          UserError: the file, the zip or the gzip cannot be read whole.
        """
        try:
            if self.is_zip:
                with zipfile.ZipFile(self.where) as archive:
                    content = archive.read(name)
            else:
                content = (self.where / name).read_bytes()
            return gzip.decompress(content) if name.endswith(".gz") else content
        except _BROKEN as error:
            raise UserError(f"{self.label(name)}: cannot be read ({error}): {_MEND}") from error


def open_files(path: Path) -> Files:
    """The files at a path: of a folder (itself, not what is below), or of a zip.

    Raises:
      UserError: the path is neither, or the zip is broken.
    """
    try:
        if path.is_dir():
            names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_file()))
            return Files(path, names, is_zip=False)
        with zipfile.ZipFile(path) as archive:
            return Files(path, tuple(sorted(archive.namelist())), is_zip=True)
    except _BROKEN as error:
        raise UserError(f"{path}: cannot be read ({error}): {_MEND}") from error
