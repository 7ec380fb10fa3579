"""Leaves of nested dicts by their path, as flax names parameters."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from fedjax_rec.base import PyTree

Name = tuple[str, ...]


def leaves_of(tree: PyTree) -> dict[Name, Any]:
    """Path -> leaf; a path joins the keys of dicts, and places in tuples as they are numbered.

    >>> leaves_of({"head": {"bias": 1}, "scale": 2})
    {('head', 'bias'): 1, ('scale',): 2}
    """
    named = jax.tree_util.tree_leaves_with_path(tree)
    simple = jax.tree_util.keystr
    return {
        tuple(simple((key,), simple=True, separator="/") for key in path): leaf
        for path, leaf in named
    }


def nested(leaves: Mapping[Name, Any]) -> PyTree:
    """The way back of `leaves_of`, for trees of dicts; `()` without leaves."""
    return with_leaves((), leaves)


def with_leaves(tree: PyTree, leaves: Mapping[Name, Any]) -> PyTree:
    """The tree of dicts with some leaves put in, in place of others or beside them.

    >>> with_leaves({"head": {"kernel": 1}}, {("head", "a"): 2})
    {'head': {'kernel': 1, 'a': 2}}
    """
    by_key: dict[str, dict[Name, Any]] = {}
    for name, leaf in leaves.items():
        if not name:
            return leaf
        by_key.setdefault(name[0], {})[name[1:]] = leaf
    if not by_key:
        return tree
    if not isinstance(tree, dict) and tree != ():
        raise ValueError(f"parameters must lie in dicts, and {type(tree).__name__} is none")
    own = tree or {}
    return own | {key: with_leaves(own.get(key, ()), some) for key, some in by_key.items()}


def leaf_at(tree: PyTree, name: Name) -> Any:
    """The leaf at a path."""
    for key in name:
        tree = tree[key]
    return tree


def named_by(paths: str, known: Iterable[Name], what: str) -> set[Name]:
    """Which of the known leaves some paths name.

    Args:
      paths: joined by commas; each is some keys in a row, joined by slashes, anywhere in a
        leaf's path.
      known: paths of leaves.
      what: for messages.

    Raises:
      ValueError: a path names none.

    >>> known = [("blocks", "query", "kernel"), ("blocks", "key", "kernel")]
    >>> named_by("query", known, "kernel")
    {('blocks', 'query', 'kernel')}
    """
    known, found = list(known), set()
    for path in filter(None, (one.strip() for one in paths.split(","))):
        row = tuple(path.split("/"))
        here = {
            name
            for name in known
            if any(name[at : at + len(row)] == row for at in range(len(name) - len(row) + 1))
        }
        if not here:
            listed = ", ".join("/".join(name) for name in known) or "none"
            raise ValueError(f"no {what} is named by {path!r}; there are: {listed}")
        found |= here
    return found
