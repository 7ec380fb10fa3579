"""A small problem in float64 NumPy: what the formulas of papers are written out on.

The shared parameters of `gmf`, item table and weights, are one vector w; a user's are p.
"""

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from fedjax_rec.algorithms import Recommender, recommender
from fedjax_rec.base import PREPARE, ClientData, FederatedAlgorithm, Fixed, LengthClass, derive_key
from fedjax_rec.simulation import Execution, build, pad_cohort

Float = NDArray[np.float64]

NUM_ITEMS, DIM, BATCH, EPOCHS, NEGATIVES = 60, 3, 5, 2, 2
EVENTS = [
    [5, 17, 5, 5, 33, 2],  # item 5 recurs
    [17],
    [40, 41, 42, 43, 44, 45, 46, 17],
    [2, 2],
    [50, 5, 33],
]
NUM_CLIENTS = len(EVENTS)
LENGTH = LengthClass(0, NUM_CLIENTS, num_events=8, num_excluded=8)
COHORTS = [[3, 0, 4, 2], [0, 1, 4]]  # of two rounds: some come once, some twice
NUM_ROWS = NUM_ITEMS * DIM
USER_RATE, ITEM_RATE, DENSE_RATE = 0.6, 0.9, 0.3
RATES = np.append(np.full(NUM_ROWS, ITEM_RATE), np.full(DIM, DENSE_RATE))


class Batch(NamedTuple):
    ids: NDArray[np.int32]  # of the catalogue; real examples alone
    label: Float


class World(NamedTuple):
    """Shared parameters `[I D + D]` and users `[N, D]`."""

    w: Float
    users: Float


def clients_data() -> ClientData:
    def flat(lists: list[list[int]]) -> tuple[Any, Any]:
        offsets = np.append(0, np.cumsum([len(own) for own in lists]))
        return jnp.asarray(np.concatenate(lists)), jnp.asarray(offsets)

    items, offsets = flat(EVENTS)
    excluded, excluded_offsets = flat([sorted(set(own)) for own in EVENTS])
    return ClientData(
        items,
        jnp.ones(len(items)),
        jnp.zeros_like(items),
        offsets,
        excluded,
        excluded_offsets,
        rank=jnp.array([1, 4, 0, 3, 2]),
        is_distinct=jnp.array([len(set(own)) == len(own) for own in EVENTS]),
        first=jnp.int32(0),
        classes=(LENGTH,),
        num_items=NUM_ITEMS,
    )


def gradient(w: Float, p: Float, batch: Batch) -> tuple[Float, Float]:
    """Of the mean binary cross-entropy of a batch, one example at a time."""
    table, h = w[:NUM_ROWS].reshape(NUM_ITEMS, DIM), w[NUM_ROWS:]
    to_table, to_h, to_p = np.zeros_like(table), np.zeros(DIM), np.zeros(DIM)
    for item, label in zip(*batch, strict=True):
        error = 1 / (1 + np.exp(-np.sum(h * p * table[item]))) - label
        to_table[item] += error * h * p
        to_h += error * p * table[item]
        to_p += error * h * table[item]
    count = len(batch.ids)
    return np.append(to_table.ravel(), to_h) / count, to_p / count


def train(
    w: Float,
    p: Float,
    batches: list[Batch],
    pull: Callable[[Float], Any] = lambda w: 0,
    moves_w: Any = 1,
    moves_p: Any = 1,
) -> tuple[Float, Float]:
    """Local steps; what does not move has a factor of 0."""
    for batch in batches:
        to_w, to_p = gradient(w, p, batch)
        w, p = w - moves_w * RATES * (to_w + pull(w)), p - moves_p * USER_RATE * to_p
    return w, p


def scores(w: Float, p: Float) -> Float:
    table, h = w[:NUM_ROWS].reshape(NUM_ITEMS, DIM), w[NUM_ROWS:]
    return table @ (h * p)


class Problem:
    """The problem, and runs of it by the package."""

    num_clients = NUM_CLIENTS
    num_rows, rates = NUM_ROWS, RATES
    epochs = EPOCHS
    cohorts = COHORTS
    length = LENGTH
    gradient, train, scores = staticmethod(gradient), staticmethod(train), staticmethod(scores)
    Batch = Batch

    def __init__(self) -> None:
        self.data = clients_data()

    def recommender(self, is_sliced: bool = True) -> Recommender:
        return recommender(
            NUM_ITEMS,
            model="gmf",
            dim=DIM,
            init_stddev=0.7,
            num_negatives=NEGATIVES,
            batch_size=BATCH,
            local_epochs=EPOCHS,
            user_learning_rate=USER_RATE,
            item_learning_rate=ITEM_RATE,
            dense_learning_rate=DENSE_RATE,
            is_sliced=is_sliced,
        )

    @cache  # noqa: B019
    def batches(self, round: int, client: int) -> list[Batch]:
        """A client's batches of a round, by the objective alone."""
        num_steps, arrays = self._draw(round, client)
        steps = zip(*(np.asarray(array)[: int(num_steps)] for array in arrays), strict=True)
        return [Batch(ids[ok], label[ok].astype(np.float64)) for ids, label, ok in steps]

    @cached_property
    def _draw(self) -> Any:
        objective = self.recommender().objective

        @jax.jit
        def draw(round: Any, client: Any) -> Any:
            key = derive_key(jax.random.key(9), round, client, PREPARE)
            rows, plan = objective.prepare(key, self.data.history(client, LENGTH))
            assert objective.batch is not None
            most = EPOCHS * -(-LENGTH.num_events * (1 + NEGATIVES) // BATCH)
            batches = jax.vmap(objective.batch, (None, 0))(plan, jnp.arange(most))
            assert rows["item"] is not None
            ids = rows["item"][batches.inputs.ids]
            return objective.num_steps(plan), (ids, batches.label, batches.is_valid)

        return draw

    def run(self, algorithm: FederatedAlgorithm, cohorts: list[list[int]] = COHORTS) -> Any:
        """Start and end of a run of some rounds: `(state, clients, info)` and frozen."""
        engine = build(algorithm, Execution(chunk_size=3))
        state, clients, frozen = jax.jit(engine.init, static_argnums=1)(
            jax.random.key(9), NUM_CLIENTS
        )
        fixed, step = Fixed(frozen, self.data), jax.jit(engine.step)
        before, info = (state, clients), None
        for cohort in cohorts:
            state, clients, info = step(state, clients, pad_cohort(cohort, NUM_CLIENTS), fixed)
        return before, (state, clients), info, fixed

    def world(self, state: Any, clients: Any) -> World:
        """Parameters of a plain algorithm as vectors."""
        return World(self.vector(state.shared), np.asarray(clients.private.dense, np.float64))

    def vector(self, part: Any) -> Float:
        leaves = (np.asarray(part.rows["item"]).ravel(), np.asarray(part.dense).ravel())
        return np.concatenate(leaves).astype(np.float64)

    def rounds(self) -> Iterator[tuple[int, list[int]]]:
        return iter(enumerate(COHORTS))

    def assert_close(self, got: Any, expected: Any, start: Any) -> None:
        """To 1e-5 of what has moved, in float32."""
        got, expected, start = (np.asarray(x, np.float64) for x in (got, expected, start))
        moved, error = np.linalg.norm(expected - start), np.linalg.norm(got - expected)
        assert moved > 1e-3, "nothing moved"
        assert error <= 1e-5 * moved + 1e-7 * np.linalg.norm(start), f"{error:.2e} of {moved:.2e}"


@pytest.fixture(scope="session")
def problem() -> Problem:
    return Problem()
