"""Shared parameters become each client's own: leaves move between roles, by path."""

from typing import Any

import jax

from fedjax_rec.base import FederatedAlgorithm, Model, Part, PyTree
from fedjax_rec.clients import own_copies, shapes_of_parameters
from fedjax_rec.clients.own_copies import IsOwn


def matches(model: Model, paths: str) -> IsOwn:
    """Which leaves of the shared part some paths name.

    Args:
      model: whose shared part it is.
      paths: beginnings of paths, joined by commas; empty for none. A path joins the names of
        fields, keys and places by slashes: `dense`, `dense/output`, `rows/item`.

    Returns:
      Whether the path of a leaf, as jax gives it, lies under one of them.

    Raises:
      ValueError: one of them names no leaf, or all leaves are named.

    >>> from fedjax_rec.models import gmf
    >>> path = (jax.tree_util.GetAttrKey("dense"),)
    >>> matches(gmf(5), "dense")(path), matches(gmf(5), "rows/item")(path)
    (True, False)
    """
    wanted = [path.strip() for path in paths.split(",") if path.strip()]
    shared = jax.tree_util.tree_leaves_with_path(shapes_of_parameters(model)[0])
    known = [_name(path) for path, _ in shared]

    def lies_under(name: str, path: str) -> bool:
        return name == path or name.startswith(f"{path}/")

    for path in wanted:
        if not any(lies_under(name, path) for name in known):
            raise ValueError(f"no shared parameter lies under {path!r}; there are {known}")
    if wanted and all(any(lies_under(name, path) for path in wanted) for name in known):
        raise ValueError(f"paths {paths!r} leave nothing that is shared")
    return lambda path: any(lies_under(_name(path), one) for one in wanted)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def personalise(
    algorithm: FederatedAlgorithm, paths: str, *, encodes_alone: bool = False
) -> FederatedAlgorithm:
    """The algorithm with some of its shared parameters private (`clients.own_copies`).

    Clients train as they did, and all from the same start. Only the change of what is still
    shared is sent, and each client keeps its own copy of the rest.

    Args:
      algorithm: whose server sends its table, whose clients send a change of it and neither
        of which remembers more; nor does it count its bytes itself.
      paths: which leaves of the shared part, see `matches`. Tables too may become private: the
        store then holds one for each client.
      encodes_alone: each client may encode the catalogue for itself, see `own_copies`.

    Returns:
      The algorithm; without paths as it was.

    Raises:
      ValueError: a path names nothing, nothing is left to share, or the algorithm sends or
        remembers more than its model; or a path names what encodes items, and `encodes_alone`
        is not set.

    >>> from fedjax_rec.algorithms.fedopt import fedopt
    >>> from fedjax_rec.recommenders import recommender
    >>> algorithm = personalise(fedopt(*recommender(100, model="gmf", dim=2)), "dense")
    >>> shared, private = shapes_of_parameters(algorithm.model)
    >>> shared.dense, [leaf.shape for leaf in private.dense]
    ((), [(2,), (2,)])
    """
    is_own = matches(algorithm.model, paths)
    if not paths.strip():
        return algorithm
    shared = shapes_of_parameters(algorithm.model)[0]
    sent, memory = jax.eval_shape(lambda: _sends(algorithm))
    is_same = str(jax.tree.structure(sent)) == str(jax.tree.structure(shared))
    if algorithm.broadcast or algorithm.sent or not is_same or memory:
        raise ValueError("personalise: the algorithm sends or remembers more than its model")
    return own_copies(algorithm, is_own, encodes_alone=encodes_alone)


def _sends(algorithm: FederatedAlgorithm) -> tuple[Part, list[PyTree]]:
    """The tree of an update, and what client and server remember besides."""
    key = jax.random.key(0)
    shared, _ = algorithm.model.init(key)
    memory = algorithm.init_memory(shared), algorithm.init_extra(key, shared)
    return algorithm.template(shared), jax.tree.leaves(memory)
