"""Bytes that differ by client and by round, against a count by hand of every cohort's members."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.algorithms.fedopt import fedopt
from fedjax_rec.algorithms.personalise import personalise
from fedjax_rec.base import Entry, FederatedAlgorithm, Part, ServerState
from fedjax_rec.baselines import local_only
from fedjax_rec.cli.plan import make_plan
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import build, resolve
from fedjax_rec.recommenders import recommender
from fedjax_rec.reporting import open_console, print_plan
from fedjax_rec.sampling import Uniform
from fedjax_rec.simulation import EvaluationPlan, Execution, Result, simulate
from fedjax_rec.simulation.footprint import client_bytes

NUM_CLIENTS, SIZE, SEED = 21, 9, 5
DATA = load("synthetic", num_users=NUM_CLIENTS, num_items=70, mean_events=9, seed=2)
SAMPLER = Uniform(NUM_CLIENTS, SIZE)


def by_hand(client: int, round: int) -> tuple[int, int]:
    """Every third client has rank 4 and the others 1; one factor a round, of two sizes."""
    rank = 4 if client % 3 == 0 else 1
    return 4 * rank * (10 + 3), 4 * rank * (3 if round % 2 else 10)


def counted(algorithm: FederatedAlgorithm) -> FederatedAlgorithm:
    """The ranks lie in the server's state, as they would."""

    def init_extra(key: Any, shared: Part) -> Part:
        return Part({}, jnp.where(jnp.arange(NUM_CLIENTS) % 3 == 0, 4, 1))

    def sent(state: ServerState, entry: Entry) -> tuple[Any, Any]:
        rank = state.extra.dense[entry.client_id]
        return 4 * rank * 13, 4 * rank * jnp.where(state.round % 2 == 1, 3, 10)

    return replace(algorithm, init_extra=init_extra, sent=sent)


def light() -> FederatedAlgorithm:
    return counted(fedmf(DATA.num_items, dim=2, num_negatives=2, batch_size=16))


def ran(algorithm: FederatedAlgorithm, rounds: int = 5, **options: Any) -> Result:
    return simulate(
        algorithm,
        DATA,
        key=jax.random.key(SEED),
        rounds=rounds,
        sampler=SAMPLER,
        evaluation=EvaluationPlan(every=2, at_k=(5,)),
        notice=lambda line: None,
        **{"execution": Execution()} | options,
    )


def expected(first: int, end: int) -> list[list[int]]:
    """`[rounds, 2]` bytes down and up of each round's cohort."""
    return [
        np.sum([by_hand(int(client), round) for client in SAMPLER.draw(SEED, round)], 0).tolist()
        for round in range(first, end)
    ]


def logged(result: Result) -> list[list[float]]:
    """The same of the log, where means are."""
    names = "train/bytes_down", "train/bytes_up"
    return [[SIZE * line[name] for name in names] for line in result.metrics]


EXECUTIONS = {
    "general": Execution(executor="general", chunk_size=4),
    "streaming": Execution(executor="streaming", chunk_size=4),
    "two devices": Execution(executor="general", num_devices=2),
    "streaming on two devices": Execution(executor="streaming", num_devices=2),
    "debug": Execution(is_debug=True),
}


@pytest.mark.parametrize(
    "name", [*[*EXECUTIONS][:-1], pytest.param("debug", marks=pytest.mark.slow)]
)
def test_every_client_counts_in_every_round_as_what_it_is(name: str) -> None:
    rounds = 2 if name == "debug" else 5
    result = ran(light(), rounds, execution=EXECUTIONS[name])
    np.testing.assert_allclose(logged(result), expected(0, rounds), rtol=1e-6)
    sent, totals = result.summary["communication"], np.sum(expected(0, rounds), axis=0)
    assert [sent["total_down"], sent["total_up"]] == totals.tolist()
    assert sent["client_rounds"] == rounds * SIZE
    assert sent["bytes_up_per_client_round"] == pytest.approx(totals[1] / (rounds * SIZE))


def test_a_run_that_goes_on_counts_on(tmp_path: Path) -> None:
    ran(light(), 3, output=tmp_path)
    result = ran(light(), 5, output=tmp_path)
    assert result.first_round == 3
    sent, totals = result.summary["communication"], np.sum(expected(0, 5), axis=0)
    assert [sent["total_down"], sent["total_up"]] == totals.tolist()
    assert sent == ran(light(), 5).summary["communication"]


def test_a_client_that_diverges_counts_and_padding_does_not() -> None:
    plain = light()

    def run(key: Any, view: Any, task: Any) -> Any:
        output = plain.client_update.run(key, view, task)
        is_bad = task.entry.client_id % 2 == 0
        return output._replace(weight=jnp.where(is_bad, jnp.nan, output.weight))

    update = replace(plain.client_update, run=run, local=None)
    result = ran(replace(plain, client_update=update), 3, execution=Execution(chunk_size=4))
    assert result.summary["bad_updates"] > 0
    sent, totals = result.summary["communication"], np.sum(expected(0, 3), axis=0)
    assert [sent["total_down"], sent["total_up"]] == totals.tolist()


def test_without_a_count_of_its_own_an_algorithm_sends_its_trees() -> None:
    sent = ran(replace(light(), sent=None), 2).summary["communication"]
    assert sent["total_up"] == 2 * SIZE * DATA.num_items * 2 * 4


# ----------------------------------------------------------------------- beforehand


def test_a_plan_has_the_mean_of_a_first_cohort() -> None:
    sizes = {"num_users": NUM_CLIENTS, "num_items": 70, "mean_events": 9.0}
    table = {
        "rounds": 3,
        "data": {"name": "synthetic"} | sizes,
        "algorithm": {"name": "fedmf", "dim": 2},
        "cohort": {"sampler": "uniform", "size": SIZE},
    }
    experiment = build(resolve(from_dict(table, "here")))
    plan = make_plan(replace(experiment, algorithm=light()), None)
    cohort = [by_hand(int(client), 0) for client in SAMPLER.draw(0, 0)]
    down, up = np.mean(cohort, axis=0)
    assert plan["communication"]["down"] == pytest.approx(down)
    assert plan["communication"]["up"] == pytest.approx(up)
    assert client_bytes(light(), DATA, "table", SAMPLER) == pytest.approx((down, up))
    console = open_console()
    console.width = 200  # no line is broken, whatever the numbers
    with console.capture() as shown:
        print_plan(console, plan)
    assert "per client and round, in the mean of a first cohort" in shown.get()


# ------------------------------------------------------------------------ refusals


def test_rows_are_not_counted_beside_a_count_of_its_own() -> None:
    for ask in (
        lambda: ran(light(), payload="rows"),
        lambda: client_bytes(light(), DATA, "rows"),
    ):
        with pytest.raises(UserError, match=r"^communication.payload: 'rows' .* set it to table$"):
            ask()


def test_what_is_sent_is_not_carried_into_an_algorithm_that_sends_other_things() -> None:
    model, objective, optimizer = recommender(DATA.num_items, model="gmf", dim=2)
    algorithm = replace(fedopt(model, objective, optimizer), sent=lambda state, entry: (1, 1))
    with pytest.raises(ValueError, match="sends or remembers more than its model"):
        personalise(algorithm, "dense")
    assert local_only(algorithm).sent is None
