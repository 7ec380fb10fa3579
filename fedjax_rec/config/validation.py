"""One validator for files and the command line; every mistake is a `UserError` of one line."""

import difflib
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from fedjax_rec.config.layers import CHAIN, put_link
from fedjax_rec.config.schema import (
    OPTIONS,
    SECTIONS,
    Link,
    PluginRecord,
    RunConfig,
    Scalar,
    type_name,
)
from fedjax_rec.errors import UserError, did_you_mean


def _conforms(kind: Any, value: Any) -> bool:
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool)
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_conforms(int, each) for each in value)
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str if get_origin(kind) is Literal else kind)


LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "least": ("at least", operator.ge),
    "most": ("at most", operator.le),
    "above": ("above", operator.gt),
    "below": ("below", operator.lt),
}


def _broken_limit(limits: Mapping[str, Any], value: Any) -> str:
    for name, (words, holds) in LIMITS.items():
        if name in limits and not holds(value, limits[name]):
            return f"{words} {limits[name]}"
    return ""


def _checked(key: str, value: Any, where: str) -> Any:
    """`value` as the type of the option `key`, or a `UserError`."""
    kind, entry = OPTIONS[key]
    if not _conforms(kind, value):
        raise UserError(f"{key}: expected {type_name(kind)}, got {value!r} ({where})")
    if get_origin(kind) is Literal and value not in get_args(kind):
        hint = did_you_mean(value, get_args(kind))
        raise UserError(f"{key}: {value!r} is not a choice{hint} ({where})")
    if get_origin(kind) is tuple:
        value = tuple(value)
        if not value or len(set(value)) < len(value):
            raise UserError(f"{key}: expected distinct integers, got {list(value)} ({where})")
    for each in value if isinstance(value, tuple) else (value,):
        if limit := _broken_limit(entry.metadata, each):
            raise UserError(f"{key}: expected {limit}, got {each!r} ({where})")
    return float(value) if kind is float else value


RENAMED = {"split.repeats": "data.repeats"}
"""Older names of keys, which are still read."""

MOVED = ("aggregate.clip_norm", "aggregate.noise_multiplier")
"""Keys of older versions, from before noise came with a statement."""


def _unknown(key: str, where: str) -> UserError:
    """Hints at the same name in another section, else at the nearest key."""
    if key in MOVED:
        return UserError(
            f"{key}: noise comes with what it guarantees now: set privacy.epsilon, or "
            "privacy.noise_multiplier with privacy.clip_norm; a clip without noise is a link "
            f"clip_by_norm of [[{CHAIN}]] ({where})"
        )
    section, _, _ = key.rpartition(".")
    names = [name for name in OPTIONS if name.endswith("." + key)]
    if names:
        return UserError(f"unknown key {key!r} (did you mean {names[0]!r}?) ({where})")
    if section in SECTIONS:
        names = [name for name in OPTIONS if name.startswith(section + ".")]
    elif not section or not difflib.get_close_matches(key, OPTIONS, n=1):
        names = [*SECTIONS, *(name for name in OPTIONS if "." not in name)]
    return UserError(f"unknown key {key!r}{did_you_mean(key, names or OPTIONS)} ({where})")


def _setting(key: str, value: Any, where: str) -> Scalar:
    if not isinstance(value, int | float | str | bool):
        raise UserError(
            f"{key}: expected a number, a string or true/false, got {value!r} ({where})"
        )
    return value


def _section(name: str, table: Any, where: str) -> Any:
    """A section's dataclass from its TOML table."""
    if not isinstance(table, Mapping):
        raise UserError(f"{name}: expected a table [{name}], got {table!r} ({where})")
    values: dict[str, Any] = {}
    settings: dict[str, Scalar] = {}
    for key, value in table.items():
        dotted = f"{name}.{key}"
        if dotted in OPTIONS:
            values[key] = _checked(dotted, value, where)
        elif name == "algorithm":
            settings[key] = _setting(dotted, value, where)
        elif dotted == CHAIN:
            values[key] = _links(value, where)
        else:
            raise _unknown(dotted, where)
    if name == "algorithm":
        values["settings"] = settings
    if name in ("data", "algorithm") and "name" not in values:
        raise UserError(f"{name}.name: missing; add it to the table [{name}] ({where})")
    return SECTIONS[name](**values)


def _links(tables: Any, where: str) -> tuple[Link, ...]:
    """The links of a chain from their TOML tables."""
    if not isinstance(tables, list) or not all(isinstance(each, Mapping) for each in tables):
        raise UserError(f"{CHAIN}: expected tables [[{CHAIN}]], got {tables!r} ({where})")
    links = []
    for number, table in enumerate(tables):
        name = table.get("name")
        if not isinstance(name, str):
            raise UserError(f"{CHAIN}.{number}.name: expected a transform's name ({where})")
        settings = {
            key: _setting(f"{CHAIN}.{number}.{key}", value, where)
            for key, value in table.items()
            if key != "name"
        }
        links.append(Link(name=name, settings=settings))
    return tuple(links)


def _plugins(tables: Any, where: str) -> tuple[PluginRecord, ...]:
    """The plug-ins that a configuration names; none of them is loaded."""
    try:
        return tuple(PluginRecord(**table) for table in tables)
    except TypeError:
        raise UserError(
            f"plugin: expected tables [[plugin]] with name and sha256, got {tables!r} ({where})"
        ) from None


def _given(table: Mapping[str, Any], where: str) -> frozenset[str]:
    """The keys that were asked for: those that a run has recorded as such, else all in it."""
    if "given" in table:
        keys = table["given"]
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise UserError(f"given: expected a list of keys, got {keys!r} ({where})")
        return frozenset(keys)
    found = set()
    for name, section in table.items():
        keys = section if isinstance(section, Mapping) else ()
        found |= {f"{name}.{key}" for key in keys} if keys else {name}
    return frozenset(found)


def _check_chain(config: RunConfig, where: str) -> None:
    """A chain says what happens to an update; so does its shorthand."""
    if not config.aggregate.chain:
        return
    for key in config.is_given("aggregate"):
        if key != CHAIN:
            raise UserError(
                f"{key}: [[{CHAIN}]] says it all; leave {key} out, or make it a link ({where})"
            )


OF_EVERY_TASK = tuple(
    f"evaluate.{name}"
    for name in ("every", "task", "history", "clients", "training_clients", "clients_seed")
)


def _check_together(config: RunConfig, where: str) -> None:
    """What no single option shows."""
    cohort, stop, data = config.cohort, config.stop, config.data
    is_switched = config.privacy.is_on and "cohort.sampler" not in config.given
    if cohort.sampler == "all" and cohort.size and not is_switched:
        raise UserError(f"cohort.size: set cohort.sampler to uniform or poisson too ({where})")
    if cohort.sampler in ("uniform", "rotating", "poisson") and not cohort.size:
        raise UserError(f"cohort.size: {cohort.sampler} needs at least 1 client ({where})")
    if data.name != "synthetic" and (data.num_items or data.mean_events):
        raise UserError(
            f"data: num_items and mean_events belong to synthetic, not {data.name!r} ({where})"
        )
    if data.name != "synthetic" and data.seed and not data.num_users:
        raise UserError(f"data.seed: chooses users; set data.num_users too ({where})")
    is_watched = stop.select == "validation" and (stop.patience or stop.target)
    if config.split.validation == "none" and is_watched:
        raise UserError(
            "stop: needs a validation item, but split.validation is none; set stop.patience and "
            f"stop.target to 0 ({where})"
        )
    if config.evaluate.task != "ranking":
        for key in config.is_given("evaluate"):
            if key not in OF_EVERY_TASK:
                raise UserError(
                    f"{key}: belongs to task ranking; leave it out, or set evaluate.task to "
                    f"ranking ({where})"
                )
    _check_privacy(config, where)


def _check_privacy(config: RunConfig, where: str) -> None:
    """What a promise needs, and what it makes itself."""
    if not config.privacy.is_on:
        if config.is_given("privacy"):
            raise UserError(
                "privacy: there is no noise; set privacy.epsilon or privacy.noise_multiplier "
                f"({where})"
            )
        return
    if config.privacy.bands and config.privacy.mechanism != "correlated":
        raise UserError(
            f"privacy.bands: set privacy.mechanism to correlated too, or leave bands out ({where})"
        )
    if config.aggregate.chain:
        raise UserError(
            f"{CHAIN}: privacy makes its own chain, which clips, divides by a public number and "
            f"adds noise; leave one of the two out ({where})"
        )


def _check_silos(config: RunConfig, where: str) -> None:
    """What goes with silos that hold records, and what with users."""
    silos = config.silos
    if silos.number and not config.split.holdout.endswith("_records"):
        raise UserError(
            "silos.number: silos hold records; set split.holdout to common_records or own_records "
            f"and split.validation to records or none ({where})"
        )
    if silos.number and config.evaluate.task != "label":
        raise UserError(f"silos.number: records have labels; set evaluate.task to label ({where})")
    if not silos.number and set(config.is_given("silos")) - {"silos.number"}:
        raise UserError(f"silos: there are none; set silos.number ({where})")


def _as_now(table: Mapping[str, Any]) -> dict[str, Any]:
    """What an older version has recorded, without keys that are gone and switched nothing on."""
    now = {"given": [], **table}
    if isinstance(section := now.get("aggregate"), Mapping):
        now["aggregate"] = {
            key: value for key, value in section.items() if f"aggregate.{key}" not in MOVED or value
        }
    return now


def _renamed(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """With keys under their names of today."""
    for old, new in RENAMED.items():
        (section, key), (target, name) = old.split("."), new.split(".")
        content = table.get(section)
        if not isinstance(content, Mapping) or key not in content:
            continue
        rest = {other: value for other, value in content.items() if other != key}
        table = {**table, section: rest}
        table[target] = {**table.get(target, {}), name: content[key]}
        if "given" in table:
            table["given"] = [new if one == old else one for one in table["given"]]
    return table


def from_dict(table: Mapping[str, Any], where: str, *, is_record: bool = False) -> RunConfig:
    """A validated configuration.

    Args:
      table: nested, as `tomllib` reads it.
      where: named in errors, such as `in configs/ml-100k/fedmf.toml`.
      is_record: a run has written it out: what equals its default was not asked for.

    Raises:
      UserError: an unknown key, a wrong type, choice or range, or options at odds.

    >>> config = from_dict({"data": {"name": "synthetic"}, "algorithm": {"name": "fedmf"}}, "here")
    >>> config.rounds, config.evaluate.at_k
    (100, (5, 10, 20))
    """
    table = _renamed(_as_now(table) if is_record else table)
    values: dict[str, Any] = {"given": _given(table, where)}
    for name in ("data", "algorithm"):
        if name not in table:
            raise UserError(f"{name}.name: missing; add a table [{name}] with a name ({where})")
    for key, value in table.items():
        if key in SECTIONS:
            values[key] = _section(key, value, where)
        elif key in OPTIONS:
            values[key] = _checked(key, value, where)
        elif key == "plugin":
            values["plugins"] = _plugins(value, where)
        elif key != "given":
            raise _unknown(key, where)
    config = RunConfig(**values)
    _check_chain(config, where)
    _check_together(config, where)
    _check_silos(config, where)
    return config


# --------------------------------------------------------------- command line


def _parsed(kind: Any, word: str) -> Any:
    """A word as a value of the type; the word itself where it is none, to be refused later."""
    try:
        if get_origin(kind) is tuple:
            return [int(each) for each in word.split(",")]
        if kind is bool:
            return {"true": True, "false": False}.get(word.lower(), word)
        return kind(word) if kind in (int, float) else word
    except ValueError:
        return word


def _parsed_setting(word: str) -> Scalar:
    for kind in (int, float):
        if not isinstance(value := _parsed(kind, word), str):
            return value  # type: ignore[no-any-return]
    return _parsed(bool, word)  # type: ignore[no-any-return]


def apply_overrides(table: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """`table` with what the command line says in its place.

    Args:
      table: nested, as `tomllib` reads it; not changed.
      words: `["--rounds", "3", "--split.ties", "file_order", "--evaluate.at_k", "5,10"]`.

    Raises:
      UserError: as `from_dict`, or a key without a value.

    >>> apply_overrides({"rounds": 9}, ["--rounds", "3", "--server.learning-rate=0.5"])
    {'rounds': 3, 'server': {'learning_rate': 0.5}}
    """
    where = "on the command line"
    result = {key: dict(val) if isinstance(val, Mapping) else val for key, val in table.items()}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"unexpected {word!r}: expected --key value ({where})")
        key, equals, value = word[2:].replace("-", "_").partition("=")
        if equals:
            value = word.partition("=")[2]
        elif not rest or rest[0].startswith("--"):
            known = key in OPTIONS or key.startswith(("algorithm.", f"{CHAIN}."))
            raise UserError(f"{key}: expected a value ({where})") if known else _unknown(key, where)
        else:
            value = rest.pop(0)
        _put(result, key, value, where)
    return _as_mine(result, words)


def _as_mine(table: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A file that is named without a name for its data is nobody's data set but `mine`."""
    keys = {word[2:].partition("=")[0].replace("-", "_") for word in words if word[:2] == "--"}
    if "data.path" in keys and "data.name" not in keys and table.get("data", {}).get("path"):
        table["data"]["name"] = "mine"
    for section, name in (("data", "path"), ("data", "other"), ("start", "run")):
        # From any folder the run, once written out, finds its data and its start again.
        paths = table.get(section)
        path = paths.get(name) if isinstance(paths, dict) else None
        if path and isinstance(path, str) and (place := Path(path).expanduser()).exists():
            table[section][name] = str(place.absolute())
    return table


def _put(table: dict[str, Any], key: str, word: str, where: str) -> None:
    key = RENAMED.get(key, key)
    section, _, name = key.rpartition(".")
    if "given" in table:
        asked = CHAIN if key.startswith(f"{CHAIN}.") else key
        table["given"] = [*table["given"], asked]
    if key.startswith(f"{CHAIN}."):
        if mistake := put_link(table, key, word if name == "name" else _parsed_setting(word)):
            raise UserError(f"{mistake} ({where})")
        return
    if key in OPTIONS:
        value = _checked(key, _parsed(OPTIONS[key][0], word), where)
    elif section == "algorithm" and name:
        value = _parsed_setting(word)
    else:
        raise _unknown(key, where)
    place = table.setdefault(section, {}) if section else table
    if not isinstance(place, dict):
        raise UserError(f"{section}: expected a table [{section}], got {place!r} (in the file)")
    place[name] = value
