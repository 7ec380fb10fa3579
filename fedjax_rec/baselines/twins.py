"""The local twin of a federated algorithm: the same training without federation."""

from dataclasses import replace

import jax

from fedjax_rec.base import FederatedAlgorithm, Message, PyTree, ServerUpdate, empty, parametric
from fedjax_rec.clients import own_copies
from fedjax_rec.transforms import total


@parametric
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
    >>> local_only(fedmf(5)).template(empty())
    Part(rows={}, dense=())
    """
    _refuse_what_needs_a_server(algorithm)

    def stay(state: PyTree, message: Message, cohort: PyTree) -> PyTree:
        return state

    return replace(
        own_copies(algorithm, lambda path: True, encodes_alone=True),
        aggregate=total(),
        server_update=ServerUpdate(lambda shared: (), stay),
        template=lambda shared: empty(),
    )


def _refuse_what_needs_a_server(algorithm: FederatedAlgorithm) -> None:
    if algorithm.broadcast is not None:
        raise ValueError("local_only: the server sends more than its table")
    if not algorithm.server_update.takes_changes:
        raise ValueError("local_only: clients send something else than changes of a table")
    shared, _ = jax.eval_shape(algorithm.model.init, jax.random.key(0))
    if jax.tree.leaves(jax.eval_shape(algorithm.init_memory, shared)):
        raise ValueError("local_only: clients remember what they need a server's table for")
