"""`config.toml` of a run: what was asked for, and what it was made of."""

import json
from collections.abc import Mapping
from typing import Any

from fedjax_rec.simulation.identity import Facts, digests

MADE_HERE = 'made_by = "fedjax_rec.simulate"'
"""The first line where Python called, and no configuration says all."""


def settings_text(config: str, identity: Facts, rounds: int) -> str:
    """The text of `config.toml`.

    Args:
      config: the configuration that the run was built from; "" where Python called.
      identity: what the run is; its data and digests stand in `[recorded]`.
      rounds: that were asked for.

    >>> facts = {"data": {"name": "mine", "num_items": 3}, "algorithm": {"name": "fedmf"}}
    >>> print(settings_text("", facts, 2).splitlines()[1])
    rounds = 2
    """
    return (config or _asked(identity, rounds)) + _recorded(identity)


def _asked(identity: Facts, rounds: int) -> str:
    algorithm = dict(identity["algorithm"]) or {"name": "of its own"}
    name = str(algorithm["name"]).rpartition(".")[2]
    return f"{MADE_HERE}\nrounds = {rounds}\n" + "".join(
        _table(section, values)
        for section, values in (
            ("algorithm", algorithm | {"name": name}),
            ("data", {"name": identity["data"]["name"]}),
            ("protocol", identity.get("protocol", {})),
            ("evaluate", identity.get("evaluation", {})),
            ("stop", identity.get("stop", {})),
            ("communication", identity.get("communication", {})),
        )
        if values
    )


def _recorded(identity: Facts) -> str:
    """What the run found, and no reader of a configuration reads as a setting."""
    plugins, start = identity.get("plugins"), identity.get("start")
    return (
        _table("recorded.data", identity["data"])
        + (_table("recorded.plugins", plugins) if plugins else "")
        + (_table("recorded.start", start) if start else "")
        + _table("recorded.sha256", digests(identity))
    )


def _table(name: str, values: Mapping[str, Any]) -> str:
    known = [(key, value) for key, value in values.items() if value is not None]
    lines = [f"{json.dumps(str(key))} = {_literal(value)}" for key, value in known]
    return "\n".join(["", f"[{name}]", *lines, ""])


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)
