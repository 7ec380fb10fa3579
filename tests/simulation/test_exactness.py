"""A round of either executor is the round of dense tables, one for each client.

The oracle is NumPy in float64: plain loops over clients, steps and examples, on a copy of
the whole table for each client. Examples are those of the objective, which has tests of
its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from fedjax_rec.algorithms import fedavg, fedmf
from fedjax_rec.base import (
    PREPARE,
    ClientData,
    Clients,
    FederatedAlgorithm,
    Fixed,
    LengthClass,
    Sampler,
    ServerState,
    derive_key,
    empty,
)
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.data import load
from fedjax_rec.models import matrix_factorization
from fedjax_rec.objectives import binary_cross_entropy, bpr, sampled, squared_error
from fedjax_rec.objectives.permutation import least_num_places
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.simulation.compilation import compile_program
from fedjax_rec.transforms import mean

Float = NDArray[np.float64]
Slope = Callable[[Float, Float, NDArray[np.bool_]], Float]

BOUNDS = {"float64": 1e-12, "float32": 1e-6}
"""Relative L2 distance of each leaf, of what it moved by."""

ROUND = 3
NUM_NEGATIVES = 4

# ------------------------------------------------------------------------ the oracle


class Examples(NamedTuple):
    """One client's round, `[steps, B]`."""

    ids: NDArray[np.int32]  # of the catalogue
    label: Float
    is_valid: NDArray[np.bool_]


class Trained(NamedTuple):
    """What one client made."""

    change: Float  # [I, D]
    user: Float  # [D]
    num_examples: int


def cross_entropy_slope(score: Float, label: Float, is_valid: NDArray[np.bool_]) -> Float:
    """The mean loss of a batch by each score."""
    return np.where(is_valid, expit(score) - label, 0) / is_valid.sum()


def squared_slope(score: Float, label: Float, is_valid: NDArray[np.bool_]) -> Float:
    return np.where(is_valid, 2 * (score - label), 0) / is_valid.sum()


def bpr_slope(score: Float, label: Float, is_valid: NDArray[np.bool_]) -> Float:
    """Of `log(1 + exp(s_n - s_p))` for each negative n and the positive p before it."""
    slope, positive = np.zeros_like(score), 0
    for place in np.flatnonzero(is_valid):
        if label[place] == 1:
            positive = place
        else:
            slope[place] = expit(score[place] - score[positive])
            slope[positive] -= slope[place]
    return slope / (is_valid & (label == 0)).sum()


SLOPES: dict[Any, Slope] = {
    binary_cross_entropy: cross_entropy_slope,
    squared_error: squared_slope,
    bpr: bpr_slope,
}


class Descent(NamedTuple):
    """Rates of the item table and of the user vector, and heavy-ball momentum."""

    slope: Slope
    rates: tuple[float, float]
    momentum: float


def train(table: Float, user: Float, examples: Examples, descent: Descent) -> Trained:
    """`v <- momentum v + g`, `w <- w - rate v`, for every row of a table of one's own."""
    local, user = table.copy(), user.copy()
    speeds = np.zeros_like(local), np.zeros_like(user)
    for ids, label, is_valid in zip(*examples, strict=True):
        slope = descent.slope(local[ids] @ user, label, is_valid)
        table_gradient, user_gradient = np.zeros_like(local), np.zeros_like(user)
        for item, by_score, ok in zip(ids, slope, is_valid, strict=True):
            if ok:
                table_gradient[item] += by_score * user
                user_gradient += by_score * local[item]
        for parameter, speed, gradient, rate in zip(
            (local, user), speeds, (table_gradient, user_gradient), descent.rates, strict=True
        ):
            speed *= descent.momentum
            speed += gradient
            parameter -= rate * speed
    is_counted = examples.is_valid & ((examples.label == 0) | (descent.slope is not bpr_slope))
    return Trained(local - table, user, int(is_counted.sum()))


def average(trained: list[Trained], by: str) -> Float:
    if by == "client":
        return sum(one.change for one in trained) / len(trained)
    if by == "example":
        weighted = sum(one.num_examples * one.change for one in trained)
        return weighted / sum(one.num_examples for one in trained)
    num_senders = sum(one.change.any(1).astype(int) for one in trained)
    return sum(one.change for one in trained) / np.maximum(num_senders, 1)[:, None]


# ----------------------------------------------------------------------- the problem


@dataclass(frozen=True, eq=False)
class Problem:
    """A round of one algorithm, and what the oracle has to know of it."""

    algorithm: FederatedAlgorithm
    data: ClientData
    cohort: list[int]
    descent: Descent
    by: str
    server_rate: float = 1.0

    @cached_property
    def start(self) -> tuple[ServerState, Clients]:
        init = jax.jit(build(self.algorithm).init, static_argnums=1)
        state, clients, _ = init(jax.random.key(9), self.data.num_clients)
        return state._replace(round=jnp.int32(ROUND)), clients

    @cached_property
    def examples(self) -> dict[int, Examples]:
        """Of each client, by the objective alone."""
        objective, state = self.algorithm.objective, self.start[0]
        assert objective.batch is not None
        assert objective.sampler is not None
        longest = [max(size) for size in zip(*(c[2:4] for c in self.data.classes), strict=True)]
        length = LengthClass(0, self.data.num_clients, *longest)
        size = objective.sampler.batch_size
        per_epoch = -(-length.num_events * (1 + NUM_NEGATIVES) // size)

        def draw(client: Any) -> Any:
            key = derive_key(state.key, ROUND, client, PREPARE)
            rows, plan = objective.prepare(key, self.data.history(client, length))
            steps = jnp.arange(objective.sampler.local_epochs * per_epoch)
            batches = jax.vmap(objective.batch, (None, 0))(plan, steps)
            ids = batches.inputs.ids if rows["item"] is None else rows["item"][batches.inputs.ids]
            return objective.num_steps(plan), ids, batches.label, batches.is_valid

        drawn = jax.jit(partial(jax.lax.map, draw))(jnp.asarray(self.cohort))
        num_steps, *arrays = map(np.asarray, drawn)
        return {
            client: Examples(*(array[place, : num_steps[place]] for array in arrays))
            for place, client in enumerate(self.cohort)
        }

    @cached_property
    def expected(self) -> tuple[Float, Float, list[Trained]]:
        """The oracle's table, its user vectors, and what each client made."""
        table = np.asarray(self.start[0].shared.rows["item"], np.float64)
        users = np.asarray(self.start[1].private.dense, np.float64)
        trained = [train(table, users[c], self.examples[c], self.descent) for c in self.cohort]
        for client, one in zip(self.cohort, trained, strict=True):
            users[client] = one.user
        return table + self.server_rate * average(trained, self.by), users, trained

    def run(self, executor: Any, dtype: str) -> tuple[Float, Float, dict[str, float]]:
        """The engine's table, its user vectors, and its observations."""
        with jax.enable_x64(dtype == "float64"):
            state, clients = jax.tree.map(
                lambda leaf: leaf.astype(dtype) if leaf.dtype == jnp.float32 else leaf, self.start
            )
            cohort = pad_cohort(self.cohort, len(self.cohort) + 1)
            arguments = (state, clients, cohort, Fixed(empty(), self.data))
            step = jax.jit(build(self.algorithm, Execution(executor)).step)
            state, clients, info = compile_program(step.lower(*arguments))(*arguments)
            table, users = state.shared.rows["item"], clients.private.dense
            assert {table.dtype, users.dtype} == {np.dtype(dtype)}
        seen = {name: float(stat.total) for name, stat in info.items()}
        return np.asarray(table, np.float64), np.asarray(users, np.float64), seen

    def assert_exact(self, executor: Any, dtype: str) -> None:
        """Each leaf is where the oracle has it, and what was observed is right."""
        table, users, trained = self.expected
        got_table, got_users, seen = self.run(executor, dtype)
        state, clients = self.start
        leaves = {
            "items": (state.shared.rows["item"], got_table, table),
            "users": (clients.private.dense, got_users, users),
        }
        for name, (before, got, expected) in leaves.items():
            before = np.asarray(before, np.float64)
            error = np.linalg.norm(got - expected) / np.linalg.norm(expected - before)
            assert error < BOUNDS[dtype], f"{name} of {executor} in {dtype}"
            is_still = (expected == before).all(1)
            np.testing.assert_array_equal(got[is_still], before[is_still])
        assert seen["clients"] == len(self.cohort)
        assert seen["examples"] == sum(one.num_examples for one in trained)
        assert seen["bad_clients"] == 0
        num_touched = sum(int(one.change.any(1).sum()) for one in trained)
        assert seen["rows_touched/item"] == num_touched


# --------------------------------------------------------------- a small catalogue

NUM_ITEMS, DIM = 90, 3
SIZES = [30, 24, 18, 17, 16, 15, 9, 9, 5, 3, 1, 1, 0]
REPEATING = (4, 7)  # clients that meet an item twice
USER_RATE, ITEM_RATE, SERVER_RATE = 1.125, 12.0, 1.0


def small_data() -> ClientData:
    """Clients 0 to 2 use their pool up, 4 and 7 meet an item twice, the last has no event."""
    rng = np.random.default_rng(5)
    order = rng.permutation(len(SIZES))
    events = [rng.permutation(NUM_ITEMS)[:size] for size in SIZES]
    for client in REPEATING:
        events[client][2] = events[client][0]

    def flat(lists: list[Any]) -> tuple[Any, Any]:
        offsets = np.append(0, np.cumsum([len(own) for own in lists]))
        return jnp.asarray(np.concatenate(lists), jnp.int32), jnp.asarray(offsets, jnp.int32)

    events = [events[client] for client in order]
    (items, offsets), (excluded, excluded_offsets) = (
        flat(events),
        flat(list(map(np.unique, events))),
    )
    return ClientData(
        items,
        jnp.ones(items.size),
        jnp.zeros_like(items),
        offsets,
        excluded,
        excluded_offsets,
        rank=jnp.asarray(order, jnp.int32),
        is_distinct=jnp.asarray([len(set(own)) == len(own) for own in events]),
        first=jnp.int32(0),
        classes=(LengthClass(0, len(SIZES), max(SIZES), max(SIZES)),),
        num_items=NUM_ITEMS,
    )


SMALL = small_data()


class Case(NamedTuple):
    """One algorithm."""

    local_epochs: int = 1
    momentum: float = 0.0
    batch_size: int = 48
    by: Any = "client"
    loss: Any = binary_cross_entropy
    permutation: Any = "affine"


def small_problem(case: Case) -> Problem:
    model = matrix_factorization(NUM_ITEMS, DIM, init_stddev=0.7)
    sampler = Sampler(
        NUM_ITEMS,
        NUM_NEGATIVES,
        case.local_epochs,
        case.batch_size,
        permutation=case.permutation,
    )
    is_pointwise = case.loss is not bpr
    loss = case.loss if is_pointwise else bpr(NUM_NEGATIVES)
    objective = sampled(sampler, loss, is_pointwise=is_pointwise)
    momentum = case.momentum or None
    optimizer = by_role(optax.sgd(ITEM_RATE, momentum), optax.sgd(USER_RATE, momentum))
    update = local_training(model, objective, optimizer)
    algorithm = fedavg(model, objective, update, mean(case.by), optax.sgd(SERVER_RATE))
    everyone_but_one = [client for client in range(len(SIZES)) if client != 6]
    descent = Descent(SLOPES[case.loss], (ITEM_RATE, USER_RATE), case.momentum)
    return Problem(algorithm, SMALL, everyone_but_one, descent, case.by, SERVER_RATE)


# Every value of every field is here, and every pair of those that meet in the code.
CASES = {
    "plain": (Case(), ["general 64", "streaming 64", "streaming 32"]),
    "momentum": (Case(momentum=0.9, batch_size=47, by="example"), ["streaming 64"]),
    "two epochs": (Case(2, batch_size=47, permutation="feistel"), ["general 64"]),
    "two epochs, momentum": (Case(2, 0.9, by="row"), ["general 64"]),
    "five epochs": (Case(5, batch_size=256, by="row"), ["general 64"]),
    "five epochs, momentum": (Case(5, 0.9), ["general 64", "general 32"]),
    "groups": (Case(momentum=0.9, batch_size=50, by="row", loss=bpr), ["streaming 64"]),
    "squared": (
        Case(batch_size=256, loss=squared_error, permutation="feistel"),
        ["streaming 64"],
    ),
}


@pytest.mark.parametrize(
    ("name", "how"),
    [(name, how) for name, (_, ways) in CASES.items() for how in ways],
)
def test_a_round_equals_dense_tables(name: str, how: str) -> None:
    executor, bits = how.split()
    small_problem(CASES[name][0]).assert_exact(executor, f"float{bits}")


def test_the_small_catalogue_has_clients_of_every_kind() -> None:
    problem = small_problem(Case())
    num_negatives = NUM_NEGATIVES * np.diff(SMALL.offsets)
    pools = NUM_ITEMS - np.diff(SMALL.excluded_offsets)
    num_places = np.array([least_num_places("affine", int(pool)) for pool in pools])
    assert (num_negatives > num_places).sum() == 3, "some use their pool up"
    for client, one in problem.examples.items():
        negatives = one.ids[one.is_valid & (one.label == 0)]
        assert (len(set(negatives.tolist())) < len(negatives)) == (
            num_negatives[client] > num_places[client]
        )
    assert (~np.asarray(SMALL.is_distinct)).sum() == len(REPEATING)
    assert {len(one.ids) for one in problem.examples.values()} == {0, 1, 2, 3, 4}, "of all lengths"


# ----------------------------------------------------------------------- MovieLens-100K


@pytest.fixture(scope="module")
def ml_100k(ml_100k_folder: Path) -> ClientData:
    data = load("ml-100k", path=str(ml_100k_folder), validation="none", notice=lambda line: None)
    assert (data.num_clients, data.num_items) == (943, 1682)
    return data.clients


def movielens(data: ClientData, local_epochs: int, cohort: list[int]) -> Problem:
    rates = (1600.0, 2.0)
    algorithm = fedmf(
        data.num_items,
        dim=32,
        local_epochs=local_epochs,
        item_learning_rate=rates[0],
        user_learning_rate=rates[1],
        aggregate=mean("client"),
    )
    return Problem(algorithm, data, cohort, Descent(cross_entropy_slope, rates, 0.0), "client")


@pytest.fixture(scope="module")
def everyone(ml_100k: ClientData) -> Problem:
    return movielens(ml_100k, 1, list(range(943)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "dtype"),
    [
        ("general", "float64"),
        ("general", "float32"),
        ("streaming", "float64"),
        ("streaming", "float32"),
    ],
)
def test_a_round_of_all_of_movielens_equals_dense_tables(
    everyone: Problem, executor: str, dtype: str
) -> None:
    everyone.assert_exact(executor, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("local_epochs", [2, 5])
def test_several_epochs_of_the_largest_and_of_others_equal_dense_tables(
    ml_100k: ClientData, local_epochs: int
) -> None:
    by_rank = np.argsort(ml_100k.rank)
    cohort = [*by_rank[:50], *by_rank[50::18][:50]]
    problem = movielens(ml_100k, local_epochs, [int(client) for client in cohort])
    for dtype in BOUNDS:
        problem.assert_exact("general", dtype)
