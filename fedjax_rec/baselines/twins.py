"""What a federated algorithm is measured against: itself without federation."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    ClientOutput,
    FederatedAlgorithm,
    Inputs,
    Key,
    Message,
    Part,
    Private,
    PyTree,
    ServerUpdate,
    Task,
    View,
    empty,
)
from fedjax_rec.transforms import total


def local_only(algorithm: FederatedAlgorithm) -> FederatedAlgorithm:
    """The same clients, models and local training, and nothing is ever sent.

    Every client starts from the common initial parameters, keeps its own copy of what was
    shared and trains it on. Its score is what federation adds nothing to.

    Args:
      algorithm: whose server sends its table and whose clients send changes of it, and remember
        nothing as large.

    Returns:
      An algorithm whose shared part is empty. Each client stores whole tables.

    Raises:
      ValueError: the algorithm is another kind.

    >>> from fedjax_rec.algorithms import fedmf
    >>> local_only(fedmf(5)).template(Part({}, ()))
    Part(rows={}, dense=())
    """
    _refuse_what_needs_a_server(algorithm)
    model, adapt = algorithm.model, algorithm.adapt

    def init(key: Key) -> tuple[Part, Part]:
        return empty(), _joined(*model.init(key))

    def init_private(key: Key) -> Private:
        # what is private is the distance from the common start, which is frozen
        shared, _ = jax.eval_shape(model.init, key)
        moved = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shared)
        return Private(*_joined(moved, model.init_private(key)))

    def inside(view: View) -> View:
        """What the algorithm's own functions see."""
        (start, frozen), (moved, private) = _parted(view.frozen), _parted(view.private)
        shared = jax.tree.map(jnp.add, start, moved)
        return View(shared, Private(*private), frozen, view.memory, empty())

    def outside(view: View, shared: Part, private: Private) -> Private:
        """What the client keeps."""
        start, _ = _parted(view.frozen)
        moved = jax.tree.map(jnp.subtract, shared, start)
        return Private(*_joined(moved, private))

    def score(view: View, inputs: Inputs) -> Array:
        return model.score(inside(view), inputs)

    def run(key: Key, view: View, task: Task) -> ClientOutput:
        own = inside(view)
        output = algorithm.client_update.run(key, own, task)
        shared = jax.tree.map(jnp.add, own.shared, output.update)
        return output._replace(update=empty(), private=outside(view, shared, output.private))

    def adapt_inside(key: Key, view: View, task: Task) -> View:
        assert adapt is not None
        own = adapt(key, inside(view), task)
        return view._replace(private=outside(view, own.shared, own.private))

    def stay(state: PyTree, message: Message, cohort: PyTree) -> PyTree:
        return state

    return replace(
        algorithm,
        model=replace(model, init=init, init_private=init_private, score=score, score_vjp=None),
        client_update=replace(algorithm.client_update, run=run, local=None),
        aggregate=total(),
        server_update=ServerUpdate(lambda shared: (), stay),
        template=lambda shared: empty(),
        adapt=adapt and adapt_inside,
        without_own=None,
    )


def _refuse_what_needs_a_server(algorithm: FederatedAlgorithm) -> None:
    if algorithm.broadcast is not None:
        raise ValueError("local_only: the server sends more than its table")
    if not algorithm.server_update.takes_changes:
        raise ValueError("local_only: clients send something else than changes of a table")
    shared, _ = jax.eval_shape(algorithm.model.init, jax.random.key(0))
    if jax.tree.leaves(jax.eval_shape(algorithm.init_memory, shared)):
        raise ValueError("local_only: clients remember what they need a server's table for")


def _joined(left: Part, right: Part) -> Part:
    """Two parts as one: tables and dense leaves in pairs."""
    tables = left.rows.keys() | right.rows.keys()
    rows = {table: (left.rows.get(table, ()), right.rows.get(table, ())) for table in tables}
    return Part(rows, (left.dense, right.dense))


def _parted(part: Part) -> tuple[Part, Part]:
    """The way back of `_joined`."""
    left, right = (
        Part({table: pair[side] for table, pair in part.rows.items()}, part.dense[side])
        for side in (0, 1)
    )
    return _without_empty(left), _without_empty(right)


def _is_empty(leaves: PyTree) -> bool:
    return isinstance(leaves, tuple) and not leaves


def _without_empty(part: Part) -> Part:
    return Part({t: leaves for t, leaves in part.rows.items() if not _is_empty(leaves)}, part.dense)
