"""Configurations as TOML files: reading, writing, comparing, presets."""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedjax_rec.config.schema import OPTIONS, RunConfig
from fedjax_rec.config.validation import apply_overrides, from_dict
from fedjax_rec.errors import UserError, did_you_mean


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return repr(value)


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _literal(key)


def flatten(config: RunConfig) -> dict[str, Any]:
    """Dotted key -> value, the algorithm's own settings included, in the schema's order.

    >>> config = from_dict({"data": {"name": "synthetic"}, "algorithm": {"name": "fedmf"}}, "here")
    >>> flatten(config)["algorithm.name"]
    'fedmf'
    """
    flat: dict[str, Any] = {}
    for key in OPTIONS:
        section, _, name = key.rpartition(".")
        flat[key] = getattr(getattr(config, section) if section else config, name)
        if key == "algorithm.name":
            flat |= {f"algorithm.{name}": v for name, v in config.algorithm.settings.items()}
    return flat


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML, every option written out; `from_dict` reads it back equal."""
    lines: list[str] = []
    current = ""
    for key, value in flatten(config).items():
        section, dot, name = key.partition(".")
        if not dot:
            section, name = "", key
        if section != current:
            lines += ["", f"[{section}]"]
            current = section
        lines.append(f"{_bare(name)} = {_literal(value)}")
    return "\n".join(lines) + "\n"


def first_difference(
    old: RunConfig, new: RunConfig, ignored: Sequence[str] = ()
) -> tuple[str, Any, Any] | None:
    """The first key whose values differ, with both; `None` where none does.

    Args:
      ignored: keys and sections that are not compared.
    """
    before, after = flatten(old), flatten(new)
    for key in [*after, *(key for key in before if key not in after)]:
        is_ignored = key in ignored or key.partition(".")[0] in ignored
        if not is_ignored and before.get(key) != after.get(key):
            return key, before.get(key), after.get(key)
    return None


# -------------------------------------------------------------------- presets


def preset_folder() -> Path:
    """Where presets lie: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    """Every preset, `<dataset>/<algorithm>`."""
    folder = preset_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml")
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file, without what a run has recorded of itself there.

    Raises:
      UserError: no such file, or not TOML.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a preset's name or a TOML file") from None
    except ValueError as error:  # TOML's and Unicode's errors are both ValueErrors
        raise UserError(f"{path}: not a TOML file: {error}") from None
    table.pop("recorded", None)  # data, plug-ins and digests: found by the run, not asked for
    return table


def load_preset(name_or_path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of a preset, `ml-100k/fedmf`, or of a TOML file.

    Args:
      name_or_path: a path ends in `.toml` or names a file.
      overrides: words of the command line, as `apply_overrides` takes them.

    Raises:
      UserError: no such preset or file, or a mistake in it.
    """
    path = Path(name_or_path)
    label = ""
    if path.suffix != ".toml" and not path.is_file():
        path = preset_folder() / f"{name_or_path}.toml"
        label = name_or_path
        if name_or_path not in preset_names():
            hint = did_you_mean(name_or_path, preset_names())
            raise UserError(f"no preset {name_or_path!r}{hint}, nor a file of that name")
    table = read_toml(path)
    if label:
        table["preset"] = label
    where = f"in {f'preset {label}' if label else path}" + (
        ", as the command line changes it" if overrides else ""
    )
    return from_dict(apply_overrides(table, overrides), where)
