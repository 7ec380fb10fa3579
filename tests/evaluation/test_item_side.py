"""Items are encoded once in an evaluation, by contract; never by what is a client's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from fedjax_rec.algorithms.fedopt import fedopt
from fedjax_rec.algorithms.fedper import fedper
from fedjax_rec.algorithms.finetuning import finetuning
from fedjax_rec.algorithms.personalise import personalise
from fedjax_rec.base import Fixed, Inputs, ItemSide, Key, Model, Part, Private, View
from fedjax_rec.baselines import local_only
from fedjax_rec.cli.plan import make_plan
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.evaluation import Ranking
from fedjax_rec.evaluation.evaluate import asker
from fedjax_rec.evaluation.personal import encodes_once
from fedjax_rec.experiment import build as build_experiment
from fedjax_rec.experiment import resolve
from fedjax_rec.recommenders import recommender
from fedjax_rec.reporting import format_bytes, open_console, print_plan
from fedjax_rec.simulation import EvaluationPlan, Execution, Result, build, evaluate, simulate
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.evaluation_memory import evaluation_memory
from fedjax_rec.simulation.programs import Shared, clear_programs
from fedjax_rec.simulation.scoring import Scorer, held_out_sets

NUM_CLIENTS, NUM_ITEMS, NUM_WORDS, DIM = 13, 40, 6, 3
DATA = load("synthetic", num_users=NUM_CLIENTS, num_items=NUM_ITEMS, mean_events=9, seed=4)
_, OBJECTIVE, OPTIMIZER = recommender(NUM_ITEMS, num_negatives=2, batch_size=16)
ENCODED: list[Any] = []


def encode(shared: Part, frozen: Part, extra: Part) -> Any:
    """Sines are taken nowhere else, so that they can be found in a program."""
    ENCODED.append(shared)
    return jnp.sin(0.3 * frozen.rows["item"] @ shared.dense["tower"])


def from_encoded(view: View, inputs: Inputs, encoded: Any) -> Any:
    rows = encoded if inputs.ids is None else encoded[inputs.ids]
    return rows @ (view.private.dense * view.shared.dense["head"])


def score(view: View, inputs: Inputs) -> Any:
    return from_encoded(view, inputs, encode(view.shared, view.frozen, view.extra))


def init(key: Key) -> tuple[Part, Part]:
    key_words, key_tower = jax.random.split(key)
    words = jax.random.normal(key_words, (NUM_ITEMS, NUM_WORDS))
    tower = jax.random.normal(key_tower, (NUM_WORDS, DIM))
    return Part({}, {"head": jnp.ones(DIM), "tower": tower}), Part({"item": words}, ())


def init_private(key: Key) -> Private:
    return Private({}, jax.random.normal(key, (DIM,)))


PLAIN = Model({"item": NUM_ITEMS}, init, score, init_private)
MODEL = replace(PLAIN, item_side=ItemSide(encode, from_encoded))


def averaging(model: Model, paths: str = "") -> Any:
    return fedper(model, OBJECTIVE, OPTIMIZER, paths=paths)


def ran(algorithm: Any, rounds: int = 2, **options: Any) -> Result:
    return simulate(
        algorithm,
        DATA,
        key=jax.random.key(3),
        rounds=rounds,
        evaluation=EvaluationPlan(every=1, at_k=(4,)),
        notice=lambda line: None,
        **{"execution": Execution()} | options,
    )


def assert_same(one: Result, other: Result) -> None:
    assert one.summary["metrics"] == pytest.approx(other.summary["metrics"], rel=1e-6)
    assert len(set(one.per_client["auc"].tolist())) > NUM_CLIENTS // 2


# ----------------------------------------------------------------------- once for all


@pytest.mark.parametrize("paths", ["", "dense/head"])
def test_what_is_found_is_what_each_client_would_find_by_itself(paths: str, tmp_path: Path) -> None:
    expected = ran(averaging(PLAIN, paths))
    ran(averaging(MODEL, paths), 1, output=tmp_path)
    resumed = ran(averaging(MODEL, paths), output=tmp_path)
    assert resumed.first_round == 1
    assert_same(resumed, expected)
    assert_same(ran(averaging(MODEL, paths), execution=Execution(num_devices=2)), expected)


def counts(jaxpr: Any, is_inside: bool = False) -> dict[bool, list[tuple[int, ...]]]:
    """Shapes of the sines that a program takes outside (False) and inside (True) of loops."""
    found: dict[bool, list[tuple[int, ...]]] = {False: [], True: []}
    for equation in jaxpr.eqns:
        if equation.primitive.name == "sin":
            found[is_inside].append(equation.outvars[0].aval.shape)
        for inner in jaxprs_in_params(equation.params):
            is_loop = is_inside or equation.primitive.name in ("while", "scan")
            for side, shapes in counts(inner, is_loop).items():
                found[side] += shapes
    return found


@pytest.mark.parametrize("paths", ["", "dense/head"])
@pytest.mark.parametrize("chunk_size", [1, 4, 13])
def test_items_are_encoded_before_the_loop_over_clients(paths: str, chunk_size: int) -> None:
    def traced(model: Model) -> dict[bool, list[tuple[int, ...]]]:
        algorithm = averaging(model, paths)
        ask = asker(algorithm, Ranking(), chunk_size)
        state, clients, frozen = build(algorithm).init(jax.random.key(0), NUM_CLIENTS)
        splits = held_out_sets(DATA, EvaluationPlan())
        return counts(jax.make_jaxpr(ask)(state, clients, Fixed(frozen, DATA.clients), splits))

    assert traced(MODEL) == {False: [(NUM_ITEMS, DIM)], True: []}
    [inside] = traced(PLAIN)[True]
    assert inside in ((NUM_ITEMS, DIM), (chunk_size, NUM_ITEMS, DIM))


def test_an_evaluation_on_devices_encodes_once_on_one_of_them() -> None:
    algorithm = averaging(MODEL)
    state, clients, frozen = build(algorithm).init(jax.random.key(0), NUM_CLIENTS)
    placement = Placement(2, NUM_CLIENTS)
    shared = Shared(algorithm)
    called, original = [], shared.call

    def call(name: Any, *rest: Any) -> Any:
        called.append(name[0])
        return original(name, *rest)

    shared.call = call  # type: ignore[method-assign]
    scorer = Scorer(shared, DATA, EvaluationPlan(), lambda line: None, placement)
    state, clients = placement.everywhere(state), placement.spread(clients)
    ENCODED.clear()
    clear_programs()
    scorer.evaluations(state, clients, placement.spread_fixed(Fixed(frozen, DATA.clients)))
    assert called == ["encode", "ask"]
    assert len(ENCODED) == 1


@pytest.mark.parametrize("num_devices", [1, 2])
def test_a_plan_counts_what_is_encoded(num_devices: int) -> None:
    execution = Execution(num_devices=num_devices)
    ask = EvaluationPlan(at_k=(4,))
    found = evaluation_memory(averaging(MODEL), DATA, ask, execution)
    plain = evaluation_memory(averaging(PLAIN), DATA, ask, execution)
    assert found is not None
    assert plain is not None
    assert found.encoded == 4 * NUM_ITEMS * DIM
    assert found.encoding >= found.encoded
    assert (plain.encoding, plain.encoded) == (0, 0)
    assert found.working == found.questions + max(found.encoding, found.encoded + found.asking)
    assert plain.asking > found.asking - 4 * NUM_ITEMS * DIM
    assert evaluation_memory(averaging(MODEL), DATA, ask, Execution(is_debug=True)) is None


def test_the_tables_of_a_plan_show_it() -> None:
    sizes = {"num_users": NUM_CLIENTS, "num_items": NUM_ITEMS, "mean_events": 9.0}
    table: dict[str, Any] = {"data": {"name": "synthetic"} | sizes}
    table |= {"algorithm": {"name": "fedmf", "dim": 2}, "execution": {"num_devices": 1}}
    experiment = build_experiment(resolve(from_dict(table | {"rounds": 2}, "here")))
    plan = make_plan(replace(experiment, algorithm=averaging(MODEL)), None)
    assert plan["evaluation"]["encoded"] == 4 * NUM_ITEMS * DIM
    console = open_console()
    console.width = 200  # no cell is broken, whatever the numbers
    with console.capture() as shown:
        print_plan(console, plan)
    words = format_bytes(plan["evaluation"]["encoding"])
    assert f"in place of a round's, {words} to encode items first" in " ".join(shown.get().split())


# ------------------------------------------------------------------- a client's own


def test_a_private_part_inside_the_item_side_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"^dense/tower would be private, and it encodes items: "):
        averaging(MODEL, "dense/tower")
    plain = averaging(PLAIN, "dense/tower")  # declares nothing, promises nothing
    assert encodes_once(plain) is None


def test_by_name_each_client_encodes_the_catalogue_for_itself() -> None:
    own = fedper(MODEL, OBJECTIVE, OPTIMIZER, paths="dense/tower", encodes_alone=True)
    assert encodes_once(own) is None
    assert_same(ran(own), ran(averaging(PLAIN, "dense/tower")))
    assert encodes_once(personalise(averaging(MODEL), "dense/head", encodes_alone=True))


def test_who_trains_alone_encodes_alone() -> None:
    plain, own = (local_only(fedopt(model, OBJECTIVE, OPTIMIZER)) for model in (PLAIN, MODEL))
    assert encodes_once(own) is None
    assert_same(ran(own), ran(plain))


def test_who_adapts_encodes_by_what_it_has_adapted() -> None:
    tuned = finetuning(MODEL, OBJECTIVE, OPTIMIZER)
    assert encodes_once(tuned) is None
    assert_same(ran(tuned), ran(finetuning(PLAIN, OBJECTIVE, OPTIMIZER)))


def test_who_receives_something_of_its_own_encodes_that() -> None:
    def own(state: Any, entry: Any, row_ids: Any) -> Any:
        scale = jnp.where(entry.client_id % 2 == 0, 1.0, -0.5)
        shared = jax.tree.map(lambda leaf: scale * leaf, state.shared)
        return shared, state.extra

    def found(model: Model) -> Any:
        algorithm = replace(averaging(model), broadcast=own)
        state, clients, frozen = build(algorithm).init(jax.random.key(0), NUM_CLIENTS)
        result = Result([], {}, {}, state, clients, frozen, False, 0)
        return evaluate(algorithm, DATA, result)["test"].ranks

    np.testing.assert_array_equal(found(MODEL), found(PLAIN))


def test_another_score_leaves_every_promise_behind() -> None:
    promising = replace(MODEL, is_row_wise=True, factors=lambda view, inputs: (view, inputs))
    other = promising.with_score(lambda view, inputs: -score(view, inputs), needs_history=True)
    assert (other.item_side, other.factors, other.score_vjp) == (None, None, None)
    assert not other.is_row_wise
    assert other.needs_history
