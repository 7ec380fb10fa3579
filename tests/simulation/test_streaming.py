"""The streaming executor: the general one's rounds, and who may have them."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fedavg
from fedjax_rec.base import (
    AggregateTransform,
    Clients,
    FederatedAlgorithm,
    Fixed,
    Inputs,
    LocalSGD,
    Model,
    Part,
    Private,
    Sampler,
    ServerState,
    View,
    empty,
)
from fedjax_rec.clients import by_role, local_training
from fedjax_rec.data import FederatedData, load
from fedjax_rec.models import gmf, matrix_factorization
from fedjax_rec.objectives import binary_cross_entropy, bpr, sampled, squared_error
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.simulation.context import Round
from fedjax_rec.simulation.members import encode_by_weight
from fedjax_rec.simulation.streamable import is_streamed, may_recur, refusal
from fedjax_rec.simulation.streaming import buffer_for
from fedjax_rec.testing import assert_same_movement
from fedjax_rec.transforms import (
    chain,
    clip_by_norm,
    clip_by_quantile,
    gaussian_noise,
    mean,
)

Trained = tuple[ServerState, Clients, dict[str, Any]]

NUM_NEGATIVES = 4


@cache
def data(name: str) -> FederatedData:
    """Small: some clients use their pool up. Large: cohorts touch a part of the table."""
    if name == "small":
        return load(
            "synthetic", num_users=34, num_items=110, mean_events=14, size_sigma=0.6, seed=2
        )
    return load("synthetic", num_users=34, num_items=30_000, mean_events=9, size_sigma=0.6, seed=2)


def build_algorithm(
    num_items: int,
    *,
    model: Model | None = None,
    loss: Any = binary_cross_entropy,
    optimizer: optax.GradientTransformation | None = None,
    momentum: float | None = None,
    aggregate: Any = None,
    server: Any = None,
    **sampling: Any,
) -> FederatedAlgorithm:
    sampler = Sampler(num_items, NUM_NEGATIVES, **{"batch_size": 48} | sampling)
    is_pointwise = loss is not bpr
    objective = sampled(
        sampler, loss if is_pointwise else bpr(NUM_NEGATIVES), is_pointwise=is_pointwise
    )
    model = model or matrix_factorization(num_items, 4)
    optimizer = optimizer or by_role(optax.sgd(40.0, momentum), optax.sgd(3.0, momentum))
    update = local_training(model, objective, optimizer)
    return fedavg(model, objective, update, aggregate, server)


def own_model(num_items: int) -> Model:
    """Two leaves a row, frozen rows and two private leaves; by autodiff."""

    def init(key: Any) -> tuple[Part, Part]:
        keys = jax.random.split(key, 3)
        vector, bias, frozen = (
            0.2 * jax.random.normal(key, shape)
            for key, shape in zip(keys, ((num_items, 4), (num_items,), (num_items, 4)), strict=True)
        )
        return Part({"item": {"vector": vector, "bias": bias}}, ()), Part({"item": frozen}, ())

    def init_private(key: Any) -> Private:
        return Private({}, {"vector": 0.2 * jax.random.normal(key, (4,)), "bias": jnp.float32(0)})

    def score(view: View, inputs: Inputs) -> Any:
        rows, frozen, user = view.shared.rows["item"], view.frozen.rows["item"], view.private.dense
        scores = (rows["vector"] + frozen) @ user["vector"] + rows["bias"] + user["bias"]
        return scores if inputs.ids is None else scores[inputs.ids]

    return Model({"item": num_items}, init, score, init_private, is_row_wise=True)


FOLLOWS = clip_by_quantile(3.0, cohort_size=23, largest=90.0, quantile=0.3)

SETTINGS: dict[str, tuple[str, Callable[[int], FederatedAlgorithm]]] = {
    "row": ("small", lambda n: build_algorithm(n, aggregate=mean("row"))),
    "autodiff": (
        "small",
        lambda n: build_algorithm(
            n, model=replace(matrix_factorization(n, 4), score_vjp=None), aggregate=mean("row")
        ),
    ),
    "momentum": (
        "small",
        lambda n: build_algorithm(
            n, momentum=0.9, batch_size=47, server=optax.sgd(0.5, 0.9), permutation="feistel"
        ),
    ),
    "example": (
        "small",
        lambda n: build_algorithm(n, loss=squared_error, batch_size=128, aggregate=mean("example")),
    ),
    "groups": (
        "small",
        lambda n: build_algorithm(
            n, loss=bpr, momentum=0.5, batch_size=60, aggregate=chain(mean("row"))
        ),
    ),
    "own model": ("small", lambda n: build_algorithm(n, model=own_model(n))),
    "halfway": (  # who makes many steps diverges
        "small",
        lambda n: build_algorithm(
            n, loss=squared_error, batch_size=16, optimizer=by_role(optax.sgd(1.0), optax.sgd(1e8))
        ),
    ),
    "clipped": (
        "small",
        lambda n: build_algorithm(
            n, momentum=0.9, batch_size=47, aggregate=chain(clip_by_norm(0.5), mean("row"))
        ),
    ),
    "weighed and clipped": (
        "small",
        lambda n: build_algorithm(
            n, loss=bpr, batch_size=60, aggregate=chain(mean("example"), clip_by_norm(20.0))
        ),
    ),
    "clipped by a quantile": (
        "small",
        lambda n: build_algorithm(n, model=own_model(n), aggregate=chain(FOLLOWS, mean())),
    ),
    "clipped halfway": (
        "small",
        lambda n: build_algorithm(
            n,
            loss=squared_error,
            batch_size=16,
            optimizer=by_role(optax.sgd(1.0), optax.sgd(1e8)),
            aggregate=chain(clip_by_norm(1.0), mean(divisor=23)),
        ),
    ),
    "noisy": (
        "large",
        lambda n: build_algorithm(
            n, aggregate=chain(clip_by_norm(0.5), mean(divisor=20), gaussian_noise(0.3))
        ),
    ),
    "listed": ("large", lambda n: build_algorithm(n, server=optax.sgd(0.5))),
}
HALFWAY = ("halfway", "clipped halfway")


@cache
def setting(name: str) -> tuple[FederatedData, FederatedAlgorithm, ServerState, Clients, Fixed]:
    of_data, factory = SETTINGS[name]
    algorithm = factory(data(of_data).num_items)
    init = jax.jit(build(algorithm).init, static_argnums=1)
    state, clients, frozen = init(jax.random.key(6), data(of_data).num_clients)
    return data(of_data), algorithm, state, clients, Fixed(frozen, data(of_data).clients)


@cache
def program(name: str, executor: Any, chunk_size: int) -> Callable[..., Trained]:
    step: Callable[..., Trained] = jax.jit(
        build(setting(name)[1], Execution(executor, chunk_size)).step
    )
    return step


COHORT = tuple(np.random.default_rng(1).permutation(34)[:23].tolist())


def one_round(
    name: str,
    executor: Any,
    cohort: tuple[int, ...] = COHORT,
    private: Private | None = None,
    chunk_size: int = 4,
) -> Trained:
    _, _, state, clients, fixed = setting(name)
    clients = clients if private is None else clients._replace(private=private)
    # a capacity of its own keeps the program of a cohort
    entries = pad_cohort(cohort, 26)
    return program(name, executor, chunk_size)(state, clients, entries, fixed)


def assert_same(name: str, one: Trained, other: Trained, tolerance: float = 1e-6) -> None:
    """Parameters and, but for how much padding there was, observations."""
    assert_same_movement(setting(name)[2:4], one[:2], other[:2], name, tolerance)
    for stat in one[2].keys() - {"padding"}:
        got, expected = np.asarray(one[2][stat]), np.asarray(other[2][stat])
        np.testing.assert_allclose(got, expected, rtol=1e-5, err_msg=stat)


# ------------------------------------------------------------- equal to the general one


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in HALFWAY])
def test_a_streamed_round_is_the_general_one(name: str) -> None:
    streamed, general = one_round(name, "streaming"), one_round(name, "general")
    assert_same(name, streamed, general)
    assert float(streamed[2]["clients"].total) == len(COHORT)
    moved = np.asarray(jax.tree.leaves(streamed[0].shared)[0])
    assert (moved != np.asarray(jax.tree.leaves(setting(name)[2].shared)[0])).any()


def test_the_settings_are_of_all_kinds() -> None:
    """Clients whose rows recur beside others; a list of changes where it is shorter."""
    for name in SETTINGS:
        held, algorithm, state, clients, fixed = setting(name)
        this = Round(algorithm, Execution(), state, fixed)
        assert is_streamed(this, clients), name
        assert not is_streamed(replace(this, execution=Execution("general")), clients)
        assert not is_streamed(replace(this, execution=Execution(is_debug=True)), clients)
        is_listed = buffer_for(this, clients, 26) is not None
        assert is_listed == (name == "listed")
        recurs = any(may_recur(this, length) for length in held.clients.classes)
        assert recurs == (SETTINGS[name][0] == "small")
    num_negatives = NUM_NEGATIVES * np.diff(data("small").clients.offsets)[list(COHORT)]
    assert 0 < (num_negatives > 90).sum() < (num_negatives < 60).sum()


def test_the_analytic_gradient_gives_the_round_of_autodiff() -> None:
    assert setting("row")[1].model.score_vjp is not None
    for executor in ("streaming", "general"):
        assert_same("row", one_round("row", executor), one_round("autodiff", executor))


@pytest.mark.parametrize("chunk_size", [1, 3, 32])
def test_the_chunk_size_does_not_matter(chunk_size: int) -> None:
    one, other = one_round("row", "streaming"), one_round("row", "streaming", chunk_size=chunk_size)
    assert_same("row", one, other)


@pytest.mark.parametrize("name", ["row", "listed"])
def test_the_order_of_the_cohort_does_not_matter(name: str) -> None:
    one = one_round(name, "streaming")
    assert_same(name, one, one_round(name, "streaming", tuple(sorted(COHORT))))


@pytest.mark.parametrize("name", ["row", "listed"])
def test_a_cohort_of_nobody_changes_nothing(name: str) -> None:
    state, clients, info = one_round(name, "streaming", ())
    before = setting(name)[2]._replace(round=jnp.int32(1)), setting(name)[3]
    for old, new in zip(*map(jax.tree.leaves, (before, (state, clients))), strict=True):
        assert jnp.array_equal(old, new)
    assert all(float(stat.total) == 0 for stat in info.values())


def test_a_stretch_of_listed_rounds_is_one_after_the_other() -> None:
    """The list is made once for the stretch, and filled anew in each round."""
    _, algorithm, state, clients, fixed = setting("listed")
    cohorts = [pad_cohort(COHORT[place : place + 9], 26) for place in (0, 8, 14)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cohorts)
    together = jax.jit(build(algorithm, Execution(chunk_size=4)).rounds)(
        state, clients, stacked, fixed
    )
    one: Any = state, clients
    for cohort in cohorts:
        one = program("listed", "streaming", 4)(*one[:2], cohort, fixed)
    assert_same_movement((state, clients), together[:2], one[:2], "rounds in one stretch")


def test_what_does_not_depend_on_the_client_is_not_made_for_each() -> None:
    """A row of zeros for every client would be a constant of the program, folded by XLA."""
    name = next(name for name in SETTINGS if encoding_of(name, 3)[0].row_weight)
    largest = [
        max(var.aval.size for line in encoding_of(name, size)[1].eqns for var in line.outvars)
        for size in (1000, 2000)
    ]
    assert largest == [1000, 2000]


def encoding_of(name: str, num_clients: int) -> tuple[Any, Any]:
    """What the aggregate makes of messages by their weight, and the program of that."""
    _, algorithm, state, clients, fixed = setting(name)
    this, sizes = Round(algorithm, Execution(), state, fixed), jnp.ones(num_clients, jnp.int32)

    def encode(sizes: jax.Array) -> Any:
        return encode_by_weight(this, sizes, clients)

    return encode(sizes), jax.make_jaxpr(encode)(sizes).jaxpr


def told(executor: str, cohort: tuple[int, ...]) -> float:
    """The sum of what clients tell of their norms, 1/2 or -1/2 each, by where the clip moved."""
    name = "clipped by a quantile"
    start, state = setting(name)[2], one_round(name, executor, cohort)[0]
    first, now = (float(jax.tree.leaves(one.aggregate_state)[0]) for one in (start, state))
    return 23 * (0.3 - 0.5 - np.log(now / first) / 0.2)


def test_stats_are_summed_over_clients() -> None:
    alone = [told("general", (client,)) for client in COHORT]
    np.testing.assert_allclose(np.abs(alone), 0.5, atol=1e-3)
    assert -11 < sum(alone) < 11
    for executor in ("general", "streaming"):
        assert told(executor, COHORT) == pytest.approx(sum(alone), abs=1e-2), executor


# ------------------------------------------------------------------ clients that diverge

BAD = {"NaN": jnp.nan, "infinite": jnp.inf, "too large a change": 3e38}
"""What the private vector of a bad client holds. The last stays finite itself."""


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["row", "listed", "clipped"])
def test_a_round_with_bad_clients_is_the_round_without_them(name: str, bad: str) -> None:
    held, _, _, clients, _ = setting(name)
    by_rank = sorted(COHORT, key=lambda client: int(held.clients.rank[client]))
    victims = np.array(
        [by_rank[8], by_rank[9], by_rank[-2]]
    )  # none of those that use their pool up
    harmed = np.array(clients.private.dense)
    harmed[victims] = BAD[bad] * np.array([1, -1, 1, -1])
    private = Private({}, jnp.asarray(harmed))
    without = tuple(client for client in COHORT if client not in victims)

    expected = one_round(name, "streaming", without, private)
    got = one_round(name, "streaming", COHORT, private)
    assert float(got[2]["bad_clients"].total) == len(victims)
    assert float(got[2]["clients"].total) == len(without)
    for leaf in jax.tree.leaves(got[0].shared):
        assert np.isfinite(leaf).all()
    np.testing.assert_array_equal(got[1].private.dense[victims], harmed[victims])
    others = np.setdiff1d(np.arange(held.num_clients), victims)
    before, *after = (
        (state, clients.private.dense[others])
        for state, clients in (setting(name)[2:4], expected[:2], got[:2])
    )
    assert_same_movement(before, *after, bad)
    assert float(one_round(name, "general", COHORT, private)[2]["bad_clients"].total) == 3


@pytest.mark.parametrize("name", HALFWAY)
@pytest.mark.parametrize("chunk_size", [1, 4])
def test_a_client_that_diverges_halfway_is_left_out(chunk_size: int, name: str) -> None:
    streamed = one_round(name, "streaming")
    general = one_round(name, "general", chunk_size=chunk_size)
    assert 0 < float(general[2]["bad_clients"].total) < len(COHORT)
    assert float(general[2]["clients"].total) > 0
    assert_same(name, streamed, general, tolerance=1e-5)


# ------------------------------------------------------------------------- who may not

NUM_ITEMS = 60
REFUSED: dict[str, Callable[[], FederatedAlgorithm]] = {
    "its objective is not `sampled`": lambda: altered("objective", sampler=None),
    "its clients do not train by plain SGD": lambda: build_algorithm(
        NUM_ITEMS, optimizer=optax.adam(0.1)
    ),
    "it makes more than one local epoch": lambda: build_algorithm(NUM_ITEMS, local_epochs=2),
    "its model is not row-wise": lambda: altered("model", is_row_wise=False),
    "its aggregate does more than scale updates": lambda: build_algorithm(
        NUM_ITEMS, aggregate=AggregateTransform()
    ),
    "its server sends more than the table": lambda: replace(
        build_algorithm(NUM_ITEMS), broadcast=lambda state, entry, ids: (state.shared, empty())
    ),
    "its shared parameters are not one table of rows": lambda: build_algorithm(
        NUM_ITEMS, model=gmf(NUM_ITEMS, 4)
    ),
    "its private parameters have rows": lambda: altered(
        "model", init_private=lambda key: Private({"item": jnp.zeros((NUM_ITEMS, 4))}, jnp.ones(4))
    ),
    "its clients do not send the table's rows": lambda: replace(
        build_algorithm(NUM_ITEMS),
        template=lambda shared: shared._replace(rows={"item": shared.rows["item"][:, :1]}),
    ),
    "its clients get whole tables": lambda: build_algorithm(NUM_ITEMS, is_sliced=False),
}


def altered(slot: str, **changes: Any) -> FederatedAlgorithm:
    algorithm = build_algorithm(NUM_ITEMS)
    return replace(algorithm, **{slot: replace(getattr(algorithm, slot), **changes)})


@pytest.mark.parametrize("reason", REFUSED)
def test_who_may_not_be_streamed_is_told_why(reason: str) -> None:
    algorithm = REFUSED[reason]()
    state, clients, frozen = jax.eval_shape(
        lambda key: build(algorithm).init(key, 34), jax.random.key(0)
    )
    assert refusal(algorithm, state.shared, clients.private) == reason
    this = Round(algorithm, Execution(), state, Fixed(frozen, data("small").clients))
    assert not is_streamed(this, clients)

    step = build(algorithm, Execution("streaming")).step
    cohort = pad_cohort([1], 1)
    with pytest.raises(ValueError, match=f"^the algorithm cannot be streamed: {reason}; use exec"):
        jax.eval_shape(step, state, clients, cohort, this.fixed)


def test_a_client_update_that_promises_no_steps_is_never_replaced_by_them() -> None:
    algorithm = build_algorithm(NUM_ITEMS)
    assert algorithm.client_update.local == LocalSGD(40.0, 3.0, 0.0)
    own = replace(algorithm, client_update=replace(algorithm.client_update, local=None))
    state, clients, _ = jax.eval_shape(
        lambda key: build(algorithm).init(key, 34), jax.random.key(0)
    )
    assert not refusal(algorithm, state.shared, clients.private)
    assert refusal(own, state.shared, clients.private) == "its clients do not train by plain SGD"
