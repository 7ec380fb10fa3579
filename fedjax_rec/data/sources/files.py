"""One view on files, folders and zips: names, and the bytes behind them."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, cast

from fedjax_rec.errors import UserError

ARCHIVES = (".zip", ".whl")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)
_BOM = b"\xef\xbb\xbf"
_NO_DATA = {
    (b"\xff\xfe", b"\xfe\xff"): "is UTF-16 text; save it as UTF-8",
    (b"version https://git-lfs",): "is a pointer of Git LFS; get the file itself: git lfs pull",
    (b"<!doctype", b"<html", b"<?xml"): "is a page of HTML or XML and no table; get the file again",
}
"""How a file starts that is something else, and what to say."""
VALIDATION_PARTS = ("valid", "val", "validation", "dev")
"""What a file of validation events is called, beside those of training and test."""
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

    def find(self, *patterns: str) -> list[str]:
        """The names whose last part `fits` one of the patterns."""
        return [name for name in self.names if any(fits(name, pattern) for pattern in patterns)]

    def refuse_left_out(self, member: str, names: Sequence[str]) -> None:
        """Raises `UserError` where one of some files lies beside a member that does without it."""
        found = self.beside(member, *names)
        if found is not None:
            raise UserError(
                f"{self.label(found)}: would be left out, for validation items are chosen by "
                f"split.validation; append its lines to {member.rpartition('/')[2]} or take it away"
            )

    def beside(self, member: str, *names: str) -> str | None:
        """The first of some files that lies in a member's folder, plain or as `.gz`."""
        folder, slash, _ = member.rpartition("/")
        for name in names:
            for ending in ("", ".gz"):
                if (found := f"{folder}{slash}{name}{ending}") in self.names:
                    return found
        return None

    def label(self, name: str) -> str:
        """What error messages call this file."""
        return f"{self.where}:{name}" if self.is_zip else str(self.where / name)

    def first_line(self, name: str) -> bytes:
        """The first line, read without the rest and a byte-order mark; at most 1,000 bytes.

        Raises:
          UserError: as `read`, as far as it is read.
        """
        with self._open(name) as stream:
            return _without_mark(stream.readline(1000), self.label(name))

    def head(self, name: str, most: int = 65_536) -> bytes:
        """The first bytes without a byte-order mark, in whole lines where one ends among them.

        Raises:
          UserError: as `read`, as far as it is read.
        """
        with self._open(name) as stream:
            start = _in_lines(_without_mark(stream.read(most), self.label(name)))
        return start if len(start) < most - 3 else start[: start.rfind(b"\n") + 1] or start

    def read(self, name: str) -> bytes:
        """The content without a byte-order mark, unpacked when the name ends in `.gz`.

        Raises:
          UserError: the file, the zip or the gzip cannot be read whole, or is no UTF-8, or is
            a page or a pointer in place of the data.
        """
        with self._open(name) as stream:
            return _in_lines(_without_mark(stream.read(), self.label(name)))

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        """The unpacked content as a stream; what goes wrong with it becomes one line."""
        try:
            with ExitStack() as stack:
                stream: IO[bytes]
                if self.is_zip:
                    archive = stack.enter_context(zipfile.ZipFile(self.where))
                    stream = stack.enter_context(archive.open(name))
                else:
                    stream = stack.enter_context((self.where / name).open("rb"))
                if name.endswith(".gz"):
                    stream = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=stream)))
                yield stream
        except _BROKEN as error:
            raise UserError(f"{self.label(name)}: cannot be read ({error}): {_MEND}") from error


def split_member(path: Path) -> tuple[Path, str]:
    """The archive and the file in it that `ARCHIVE.zip:MEMBER` names; else the path and nothing.

    >>> split_member(Path("x/steam.zip:steam/play.dat")), split_member(Path("x/u.data"))
    ((PosixPath('x/steam.zip'), 'steam/play.dat'), (PosixPath('x/u.data'), ''))
    """
    for ending in ARCHIVES:
        archive, colon, member = str(path).partition(f"{ending}:")
        if colon and not path.exists():
            return Path(f"{archive}{ending}"), member
    return path, ""


def _without_mark(content: bytes, label: str) -> bytes:
    content = content.removeprefix(_BOM)
    start = content[:100].lstrip().lower()
    for starts, problem in _NO_DATA.items():
        if start.startswith(starts):
            raise UserError(f"{label}: {problem}")
    return content


def _in_lines(content: bytes) -> bytes:
    r"""Text whose lines end in `\r` alone, as on old computers, with `\n` in their place."""
    is_old = b"\r" in content and b"\n" not in content and b"\0" not in content
    return content.replace(b"\r", b"\n") if is_old else content


def _is_visible(name: str) -> bool:
    """Not of what operating systems put beside files, such as `._x.inter` of macOS."""
    return not name.rpartition("/")[2].startswith(".") and "__MACOSX" not in name.split("/")


def fits(name: str, pattern: str) -> bool:
    """Whether the last part of a name fits a pattern, plain or as `.gz`.

    >>> fits("ml-1m/ratings.dat.gz", "ratings.dat"), fits("ratings.dat.bak", "ratings.dat")
    (True, False)
    """
    return fnmatch(name.rsplit("/", 1)[-1].removesuffix(".gz"), pattern)


def open_files(path: Path) -> Files:
    """The files at a path: of a folder (itself, not what is below), or of a zip; no hidden ones.

    Raises:
      UserError: the path is neither, or the zip is broken.
    """
    try:
        if path.is_dir():
            names = [entry.name for entry in path.iterdir() if entry.is_file()]
            return Files(path, tuple(sorted(filter(_is_visible, names))), is_zip=False)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            return Files(path, tuple(sorted(filter(_is_visible, names))), is_zip=True)
    except _BROKEN as error:
        raise UserError(f"{path}: cannot be read ({error}): {_MEND}") from error
