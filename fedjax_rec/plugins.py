"""Others' code: a file that is named, or an installed entry point; never what a file asks for.

A plug-in registers models, metrics and the like when it is executed (`registry.register`).
It is loaded by `--plugin FILE.py`, by `load_plugin`, or because it is installed with an entry
point of the group `fedjax_rec.plugins`. A configuration records its name and SHA-256 alone.
"""

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol

from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.registry import SLOTS, registering

GROUP = "fedjax_rec.plugins"
ALWAYS_USED = ("metric", "list_metric", "reader")
"""Slots whose entries take part without being named."""


@dataclass(frozen=True)
class Plugin:
    """Code that was loaded.

    Attributes:
      name: of the file, `my_method.py`, or of the entry point.
      sha256: of its text.
      where: the file, or the entry point's module.
      module: what it defines.
      is_installed: it was found as an entry point, and not named by a path.
    """

    name: str
    sha256: str
    where: str
    module: ModuleType
    is_installed: bool = False

    def registered(self) -> list[tuple[str, str]]:
        """`(slot, name)` of everything that it registered."""
        return [
            (slot, name)
            for slot, registry in SLOTS.items()
            for name, origin in registry.origins.items()
            if origin == self.name
        ]


class Record(Protocol):
    """What a configuration says of a plug-in."""

    @property
    def name(self) -> str:
        """Of the plug-in."""

    @property
    def sha256(self) -> str:
        """Of its text."""


_loaded: dict[str, Plugin] = {}


def loaded_plugins() -> dict[str, Plugin]:
    """Name -> plug-in, of those that are loaded."""
    return dict(_loaded)


def load_plugin(path_or_name: str | os.PathLike[str]) -> Plugin:
    """Loads somebody's code, which registers what it brings.

    The same file is loaded once; a file that has changed since is loaded anew.

    Args:
      path_or_name: a Python file, or the name of an installed plug-in.

    Raises:
      UserError: there is no such file or plug-in, it raises, or a name is taken.
    """
    name = os.fspath(path_or_name)
    if name.endswith(".py") or os.sep in name:
        return _load_file(Path(name))
    installed = _installed()
    if name not in installed:
        hint = did_you_mean(name, installed) if installed else ""
        raise UserError(f"plug-in {name!r}: neither a file FILE.py nor an installed one{hint}")
    return _load_installed(installed[name])


def load_installed() -> list[Plugin]:
    """Loads every plug-in that is installed.

    Raises:
      UserError: as `load_plugin`.
    """
    return [_load_installed(entry) for entry in _installed().values()]


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load_file(path: Path) -> Plugin:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"plug-in {path}: {error.strerror}; name a Python file") from None
    sha256, name = hashlib.sha256(text).hexdigest(), path.name
    where = str(path.resolve())
    if (known := _loaded.get(name)) is not None:
        if known.sha256 == sha256:
            return known
        if known.where != where:
            raise UserError(
                f"plug-in {path}: another file of that name is loaded, {known.where}; rename one"
            )
    module = ModuleType(f"fedjax_rec_plugin_{path.stem}")
    module.__file__ = where

    def execute() -> ModuleType:
        sys.modules[module.__name__] = module  # dataclasses and pickles look there
        exec(compile(text, where, "exec"), module.__dict__)
        return module

    return _registered(name, sha256, where, execute)


def _load_installed(entry: EntryPoint) -> Plugin:
    if (known := _loaded.get(entry.name)) is not None:
        return known

    def execute() -> ModuleType:
        found = entry.load()
        if not isinstance(found, ModuleType):
            found()
        return sys.modules[entry.module]

    digest = _digest_of_module(entry.module)
    return _registered(entry.name, digest, entry.module, execute, is_installed=True)


def _digest_of_module(name: str) -> str:
    """SHA-256 of a module's file, or of all Python files of a package."""
    try:
        spec = find_spec(name)
    except ImportError:
        spec = None
    digest = hashlib.sha256()
    if spec is None:
        return digest.hexdigest()
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    for path in paths or [Path(spec.origin or "")]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _registered(
    name: str,
    sha256: str,
    where: str,
    execute: Callable[[], ModuleType],
    *,
    is_installed: bool = False,
) -> Plugin:
    """Executes a plug-in; one that fails leaves nothing behind."""
    forget_plugin(name)
    for registry in SLOTS.values():
        registry.load()  # now: what the package itself registers is not the plug-in's
    try:
        with registering(name):
            module = execute()
    except UserError as error:
        forget_plugin(name)
        raise UserError(f"plug-in {name}: {error}") from error
    except Exception as error:
        forget_plugin(name)
        raise UserError(f"plug-in {name}: {_told(error, where)}") from error
    plugin = Plugin(name, sha256, where, module, is_installed)
    _loaded[name] = plugin
    return plugin


def forget_plugin(name: str) -> None:
    """Takes back what a plug-in has registered."""
    _loaded.pop(name, None)
    for registry in SLOTS.values():
        registry.forget(name)


def _told(error: Exception, where: str) -> str:
    """An exception in one line, with the plug-in's own line where it came through one."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == where
    ]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    at = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{at}"


# ------------------------------------------------------------- in configurations


def plugins_used(words: Iterable[str]) -> list[Plugin]:
    """The loaded plug-ins that a run depends on: those named by path, and what it names.

    One that brings nothing but loggers looks on, and no run depends on it.

    Args:
      words: every name in the configuration.
    """
    named = set(words)

    def is_used(plugin: Plugin) -> bool:
        brought = plugin.registered()
        if brought and all(slot == "logger" for slot, _ in brought):
            return False
        return not plugin.is_installed or any(
            slot in ALWAYS_USED or name in named for slot, name in brought
        )

    return [plugin for plugin in _loaded.values() if is_used(plugin)]


def refuse_missing(records: Iterable[Record], where: str) -> None:
    """Refuses what was made with code that is not loaded now.

    Args:
      records: of a configuration.
      where: which one.

    Raises:
      UserError: a plug-in is not loaded, or is another one by now.
    """
    for record in records:
        known = _loaded.get(record.name)
        if known is None:
            raise UserError(
                f"{where}: made with the plug-in {record.name}, which is never loaded by itself; "
                f"give --plugin {record.name} if you trust it"
            )
        if known.sha256 != record.sha256:
            raise UserError(
                f"{where}: made with another {record.name} than {known.where} is now (sha256 "
                f"{record.sha256[:12]}, not {known.sha256[:12]}); give that version"
            )
