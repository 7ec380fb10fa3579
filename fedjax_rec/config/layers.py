"""One table over another: a file over its preset, the command line over both."""

from collections.abc import Mapping
from typing import Any

CHAIN = "aggregate.chain"


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with what `above` says in its place, key by key; a chain is replaced as a whole.

    >>> over({"rounds": 9, "data": {"name": "a", "seed": 1}}, {"data": {"seed": 2}})
    {'rounds': 9, 'data': {'name': 'a', 'seed': 2}}
    """
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        if isinstance(value, Mapping) and isinstance(lower, Mapping):
            replaces = key == "aggregate" and "chain" in value
            result[key] = dict(value) if replaces else {**lower, **value}
        else:
            result[key] = value
    return result


def put_link(table: dict[str, Any], key: str, value: Any) -> str:
    """Puts `aggregate.chain.N.KEY` of the command line into a table.

    Link N is changed, or added behind the last one. A first link replaces the shorthand of
    whatever lies below.

    Returns:
      What is wrong with the key; empty where nothing is.

    >>> table = {"aggregate": {"mean": "client"}}
    >>> put_link(table, "aggregate.chain.0.name", "total"), table
    ('', {'aggregate': {'chain': [{'name': 'total'}]}})
    """
    number, _, name = key.removeprefix(f"{CHAIN}.").partition(".")
    if not number.isdecimal() or not name:
        return f"{key}: expected {CHAIN}.N.KEY, such as {CHAIN}.0.name"
    section = table.setdefault("aggregate", {})
    if not isinstance(section, dict) or not isinstance(section.get("chain", []), list):
        return f"{CHAIN}: expected tables [[{CHAIN}]]"
    if "chain" not in section:
        section.clear()
    links: list[Any] = [*section.get("chain", [])]
    place = int(number)
    if place > len(links):
        return f"{key}: there is no link {place - 1} before it; links count from 0"
    link = dict(links[place]) if place < len(links) else {}
    links[place : place + 1] = [{"name": value} if name == "name" else link | {name: value}]
    section["chain"] = links
    return ""
