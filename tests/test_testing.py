"""The exported checks: each catches what it is there for, and says so."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec import testing
from fedjax_rec.algorithms import fedavg, fedcmf, fedmf
from fedjax_rec.base import (
    AggregateTransform,
    ClientOutput,
    ClientUpdate,
    Cohort,
    FederatedAlgorithm,
    History,
    Message,
    Objective,
    Part,
    Private,
    ServerState,
    Stat,
)
from fedjax_rec.clients import local_training
from fedjax_rec.data import FederatedData, load
from fedjax_rec.errors import MethodError
from fedjax_rec.models import matrix_factorization
from fedjax_rec.testing import (
    CHECKS,
    NotApplicable,
    Outcome,
    Subject,
    check_algorithm,
    check_transform,
    put_to_laws,
    suite,
    toy_data,
    toy_data_for,
)
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean, total

Apply = Callable[[ServerState, Message, Cohort], ServerState]


@pytest.fixture(scope="module")
def small() -> FederatedData:
    """Twenty clients of one length class, for quick programs; slices are below the table."""
    data = load("synthetic", num_users=20, num_items=120, mean_events=12, size_sigma=0.3, seed=3)
    assert len(data.clients.classes) == 1
    return data


def simple(
    num_items: int, aggregate: AggregateTransform | None = None, *, is_sliced: bool = False
) -> FederatedAlgorithm:
    """Quick to compile: every client moves each of its items by its own vector."""
    model = matrix_factorization(num_items, dim=2)

    def prepare(key: Any, history: History) -> Any:
        return {"item": history.excluded if is_sliced else None}, history

    def run(key: Any, view: Any, task: Any) -> ClientOutput:
        items, table = task.plan.excluded, view.shared.rows["item"]
        rows = jnp.where(items < num_items, jnp.arange(len(items)), len(table))
        rows = rows if is_sliced else items
        moved = jnp.zeros_like(table).at[rows].set(view.private.dense, mode="drop")
        weight = task.plan.num_events.astype(jnp.float32)
        loss = {"loss": Stat(weight * 0.7, weight)}  # it never learns
        return ClientOutput(Part({"item": moved}, ()), view.private, view.memory, weight, loss)

    return fedavg(model, Objective(prepare), ClientUpdate(run), aggregate)


def with_server(algorithm: FederatedAlgorithm, apply: Apply) -> FederatedAlgorithm:
    return replace(algorithm, server_update=replace(algorithm.server_update, apply=apply))


# ------------------------------------------------------------- algorithms with a fault


def sends_its_private_part(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items)

    def run(*args: Any) -> ClientOutput:
        output = algorithm.client_update.run(*args)
        return output._replace(update=output.private)

    return replace(algorithm, client_update=replace(algorithm.client_update, run=run))


def keeps_a_private_part_on_the_server(num_items: int) -> FederatedAlgorithm:
    return replace(
        simple(num_items), init_extra=lambda key, shared: Part({}, Private({}, jnp.zeros(2)))
    )


def trains_to_the_longest_clients_end(num_items: int) -> FederatedAlgorithm:
    algorithm = fedmf(num_items, dim=2, num_negatives=1, batch_size=4)
    honest = local_training(algorithm.model, algorithm.objective, optax.sgd(0.5, momentum=0.9))

    def run(key: Any, view: Any, task: Any) -> ClientOutput:
        return honest.run(key, view, task._replace(num_steps=task.max_steps))

    return replace(algorithm, client_update=replace(honest, run=run, local=None))


def listens_to_the_first_client(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items)

    def apply(state: ServerState, summed: Message, cohort: Cohort) -> ServerState:
        louder = jax.tree.map(lambda leaf: leaf * cohort.client_id[0], summed.update)
        return algorithm.server_update.apply(state, summed._replace(update=louder), cohort)

    return with_server(algorithm, apply)


def divides_by_the_capacity(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items, aggregate=total())

    def apply(state: ServerState, summed: Message, cohort: Cohort) -> ServerState:
        capacity = cohort.is_valid.shape[0]
        smaller = jax.tree.map(lambda leaf: leaf / capacity, summed.update)
        return algorithm.server_update.apply(state, summed._replace(update=smaller), cohort)

    return with_server(algorithm, apply)


def changes_a_dtype(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items)

    def apply(state: ServerState, summed: Message, cohort: Cohort) -> ServerState:
        state = algorithm.server_update.apply(state, summed, cohort)
        halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state.shared)
        return state._replace(shared=halved)

    return with_server(algorithm, apply)


def leaves_a_weak_type(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items)

    def apply(state: ServerState, summed: Message, cohort: Cohort) -> ServerState:
        state = algorithm.server_update.apply(state, summed, cohort)
        return state._replace(extra=Part({}, jnp.asarray(0.5)))  # a Python number's dtype is weak

    counted = replace(algorithm, init_extra=lambda key, shared: Part({}, jnp.float32(0)))
    return with_server(counted, apply)


def keeps_count_outside_its_state() -> Callable[[int], FederatedAlgorithm]:
    counter = itertools.count(1)

    def factory(num_items: int) -> FederatedAlgorithm:
        algorithm = simple(num_items)

        def apply(state: ServerState, summed: Message, cohort: Cohort) -> ServerState:
            number = next(counter)
            fading = jax.tree.map(lambda leaf: leaf / number, summed.update)
            return algorithm.server_update.apply(state, summed._replace(update=fading), cohort)

        return with_server(algorithm, apply)

    return factory


def divides_by_nothing(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items, aggregate=total())

    def apply(state: ServerState, summed: Message, cohort: Cohort) -> ServerState:
        mean_update = jax.tree.map(lambda leaf: leaf / summed.weight, summed.update)
        return algorithm.server_update.apply(state, summed._replace(update=mean_update), cohort)

    return with_server(algorithm, apply)


def numbers_rows_from_one(num_items: int, is_sliced: bool = True) -> FederatedAlgorithm:
    algorithm = simple(num_items, is_sliced=is_sliced)

    def prepare(key: Any, history: Any) -> Any:
        row_ids, plan = algorithm.objective.prepare(key, history)
        if row_ids["item"] is not None:  # the last item's row lies past the catalogue
            row_ids = {"item": row_ids["item"] + 1}
        return row_ids, plan

    return replace(algorithm, objective=replace(algorithm.objective, prepare=prepare))


def tells_clients_by_their_slot(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items)

    def run(key: Any, view: Any, task: Any) -> ClientOutput:
        output = algorithm.client_update.run(key, view, task)
        return output._replace(
            update=jax.tree.map(lambda leaf: leaf * task.entry.slot, output.update)
        )

    return replace(algorithm, client_update=replace(algorithm.client_update, run=run))


def promises_steps_that_it_does_not_make(num_items: int) -> FederatedAlgorithm:
    algorithm = fedmf(num_items, dim=2, num_negatives=1, batch_size=8)
    honest = algorithm.client_update

    def run(*args: Any) -> ClientOutput:
        output = honest.run(*args)
        return output._replace(update=jax.tree.map(lambda leaf: 1.01 * leaf, output.update))

    return replace(algorithm, client_update=replace(honest, run=run))


def depends_on_vmap(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items)

    def run(*args: Any) -> ClientOutput:
        output = algorithm.client_update.run(*args)
        is_traced = isinstance(output.weight, jax.core.Tracer)
        return output._replace(update=jax.tree.map(lambda x: x * (1 + is_traced), output.update))

    return replace(algorithm, client_update=replace(algorithm.client_update, run=run))


FAULTS: list[tuple[Any, str, type[Exception], str]] = [
    (sends_its_private_part, "keeps_private_at_home", TypeError, "never leave the client"),
    (
        keeps_a_private_part_on_the_server,
        "keeps_private_at_home",
        AssertionError,
        "the server's state holds private parameters",
    ),
    (
        trains_to_the_longest_clients_end,
        "ignores_chunks",
        AssertionError,
        "the chunk size matters: ",
    ),
    (
        listens_to_the_first_client,
        "ignores_order",
        AssertionError,
        "the order of the cohort matters: ",
    ),
    (divides_by_the_capacity, "ignores_padding", AssertionError, "padding clients matter: "),
    (changes_a_dtype, "keeps_its_trees", MethodError, "was float32 and is bfloat16: return it"),
    (
        leaves_a_weak_type,
        "is_traced_once_and_resumes_exactly",
        AssertionError,
        "a round is traced again",
    ),
    (
        keeps_count_outside_its_state(),
        "is_traced_once_and_resumes_exactly",
        AssertionError,
        "something is kept outside the state",
    ),
    (
        divides_by_nothing,
        "survives_an_empty_cohort",
        AssertionError,
        "a round without clients gives NaN",
    ),
    (
        numbers_rows_from_one,
        "equals_whole_table",
        AssertionError,
        "slices and the whole table differ: ",
    ),
    (
        tells_clients_by_their_slot,
        "ignores_devices",
        AssertionError,
        "the number of devices matters: ",
    ),
    (
        promises_steps_that_it_does_not_make,
        "ignores_the_executor",
        AssertionError,
        "the executor matters: ",
    ),
    (
        depends_on_vmap,
        "equals_debug",
        AssertionError,
        "the round differs without jit and vmap: ",
    ),
    (simple, "learns", AssertionError, "the loss does not fall"),
]


@pytest.mark.parametrize(
    ("factory", "check", "error", "says"),
    [pytest.param(*fault, id=getattr(fault[0], "__name__", "")) for fault in FAULTS],
)
def test_a_fault_is_caught_by_its_check(
    small: FederatedData, factory: Any, check: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        CHECKS[check](Subject(factory, data=small))


def test_a_difference_names_the_leaf_and_its_size() -> None:
    before = {"table": np.zeros(4, np.float32), "user": np.zeros(2, np.float32)}
    one = {"table": np.array([1, 0, 0, 0], np.float32), "user": np.zeros(2, np.float32)}
    testing.assert_same_movement(before, one, one, "nothing")
    near = {**one, "table": one["table"] * np.float32(1 + 5e-6)}
    testing.assert_same_movement(before, one, near, "rounding")
    far = {**one, "table": one["table"] * np.float32(1 + 5e-5)}
    with pytest.raises(AssertionError, match=r"^rounds: \['table'\] differs by 4\.99e-05 of 1"):
        testing.assert_same_movement(before, one, far, "rounds")
    broken = {**one, "user": np.array([0, np.nan], np.float32)}
    with pytest.raises(AssertionError, match="'user'"):
        testing.assert_same_movement(before, one, broken, "a number against NaN")


def test_the_toy_problem_has_two_classes_and_slices_below_the_table() -> None:
    data = toy_data()
    assert len(data.clients.classes) == 2
    ranks = np.asarray(data.clients.rank)[testing.COHORT]
    assert 0 < (ranks < data.clients.classes[0].stop).sum() < len(ranks)
    assert len(set(testing.COHORT.tolist())) == len(testing.COHORT)
    assert testing.COHORT.max() < data.num_clients
    for length in data.clients.classes:
        history = data.clients.history(0, length)
        rows, _ = jax.eval_shape(
            fedmf(data.num_items).objective.prepare, jax.random.key(0), history
        )
        assert rows["item"].shape[0] < data.num_items


def test_who_takes_another_domain_gets_one() -> None:
    assert toy_data_for(fedmf).clients.num_other == 0
    data = toy_data_for(fedcmf)
    assert (data.num_items, data.clients.num_other) == (600, 400)
    assert Subject(fedcmf, data=data).algorithm.model.num_rows == {"item": 1000}
    assert len(data.clients.classes) == 2


def test_an_algorithm_is_put_to_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Subject]] = []
    for name in CHECKS:
        monkeypatch.setitem(CHECKS, name, lambda subject, name=name: seen.append((name, subject)))
    check_algorithm(fedmf, dim=3)
    assert [name for name, _ in seen] == list(CHECKS)
    subjects = {id(subject): subject for _, subject in seen}
    (subject,) = subjects.values()
    assert subject.options == {"dim": 3}
    assert subject.algorithm.model.num_rows == {"item": subject.data.num_items}


def observes_nothing(num_items: int) -> FederatedAlgorithm:
    algorithm = simple(num_items)

    def run(*args: Any) -> ClientOutput:
        return algorithm.client_update.run(*args)._replace(info={})

    return replace(algorithm, client_update=ClientUpdate(run))


@pytest.mark.parametrize(
    ("factory", "check", "says"),
    [
        (lambda num_items: simple(num_items), "ignores_the_executor", "clients are not streamed: "),
        (lambda num_items: simple(num_items), "equals_whole_table", "takes no is_sliced"),
        (observes_nothing, "learns", "no client observes a loss"),
    ],
)
def test_a_law_that_has_nothing_to_look_at_does_not_apply(
    small: FederatedData, factory: Any, check: str, says: str
) -> None:
    with pytest.raises(NotApplicable, match=says):
        CHECKS[check](Subject(factory, data=small))


def test_one_device_tells_nothing_of_devices(
    small: FederatedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    with pytest.raises(NotApplicable, match="there is one device"):
        CHECKS["ignores_devices"](Subject(simple, data=small))


def counts_its_rounds(num_items: int) -> FederatedAlgorithm:
    """Its clients remember a whole number."""
    algorithm = simple(num_items)

    def run(*args: Any) -> ClientOutput:
        output = algorithm.client_update.run(*args)
        return output._replace(memory=Private({}, args[1].memory.dense + 1))

    return replace(
        algorithm,
        client_update=ClientUpdate(run),
        init_memory=lambda key: Private({}, jnp.int32(0)),
    )


def test_a_bad_client_may_remember_whole_numbers(small: FederatedData) -> None:
    CHECKS["survives_a_bad_client"](Subject(counts_its_rounds, data=small))


def test_every_law_has_an_outcome_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_applicable(subject: Subject) -> None:
        raise NotApplicable("nothing here")

    def broken(subject: Subject) -> None:
        raise AssertionError("it differs")

    def mistaken(subject: Subject) -> None:
        raise ValueError("no such thing\nand more")

    checks = {"a": not_applicable, "b": broken, "c": mistaken, "d": lambda subject: None}
    monkeypatch.setattr(suite, "CHECKS", checks)
    assert list(put_to_laws(fedmf)) == [
        Outcome("a", "not applicable", "nothing here"),
        Outcome("b", "failed", "it differs"),
        Outcome("c", "failed", "ValueError: no such thing"),
        Outcome("d", "passed"),
    ]
    told: list[Outcome] = []
    with pytest.raises(AssertionError, match="it differs"):
        check_algorithm(fedmf, told.append)
    assert told == [Outcome("a", "not applicable", "nothing here")]


# ------------------------------------------------------------------------- transforms


@pytest.mark.parametrize(
    "transform",
    [
        total(),
        mean(),
        mean("example"),
        mean("row"),
        mean(divisor=7),
        clip_by_norm(0.5),
        gaussian_noise(1.0),
        chain(),
        chain(clip_by_norm(0.5), mean(divisor=7), gaussian_noise(1.0)),
        chain(mean("example"), clip_by_norm(2.0)),
    ],
    ids=[
        "total",
        "mean by client",
        "mean by example",
        "mean by row",
        "divisor",
        "clip",
        "noise",
        "empty chain",
        "private chain",
        "weigh, clip",
    ],
)
def test_a_shipped_transform_keeps_the_contract(transform: AggregateTransform) -> None:
    check_transform(transform)


def scaled(message: Message, factor: Any) -> Message:
    return message._replace(update=jax.tree.map(lambda leaf: leaf * factor, message.update))


def shifted(message: Message) -> Message:
    return message._replace(update=jax.tree.map(lambda leaf: leaf + 1e-3, message.update))


BROKEN_TRANSFORMS = {
    "a client without an update sends something": AggregateTransform(
        encode=lambda key, message, state, residual, bound: (shifted(message), residual)
    ),
    "norm .* is above the bound 1$": replace(
        clip_by_norm(1.0),
        encode=lambda key, message, state, residual, bound: (scaled(message, 0.5), residual),
    ),
    r"norm .* is above the bound 0\.5$": replace(clip_by_norm(1.0), bound=lambda bound, state: 0.5),
    "encode changes the residual's tree": AggregateTransform(
        encode=lambda key, message, state, residual, bound: (message, message.update)
    ),
    "decode changes the state's tree": AggregateTransform(
        init=lambda key, template: jnp.int32(0),
        decode=lambda key, summed, state, bound: (summed, state + 0.5),
    ),
    "decode gives NaN": AggregateTransform(
        decode=lambda key, summed, state, bound: (scaled(summed, 1 / summed.weight), state)
    ),
}


@pytest.mark.parametrize("says", BROKEN_TRANSFORMS)
def test_a_broken_transform_is_caught(says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_transform(BROKEN_TRANSFORMS[says])
