"""A folder never hands out, or goes on with, what was made of something else."""

import json
import multiprocessing
import tomllib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from fedjax_rec import simulation
from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import Part
from fedjax_rec.baselines import popularity
from fedjax_rec.data import fingerprint, load
from fedjax_rec.errors import UserError
from fedjax_rec.sampling import Uniform
from fedjax_rec.simulation import EarlyStop, EvaluationPlan, Execution
from fedjax_rec.simulation.checkpoint import Checkpointer
from fedjax_rec.simulation.identity import identity_of, rates_of
from fedjax_rec.simulation.locking import only_run_in

DATA = load("synthetic", num_users=20, num_items=30, mean_events=7, seed=5)
ALGORITHM = popularity(DATA.num_items)
PLAN = EvaluationPlan(every=1, at_k=(10,))


def run(output, algorithm=ALGORITHM, data=DATA, **changes):
    settings = {"key": jax.random.key(4), "rounds": 2, "evaluation": PLAN, "output": output}
    settings |= {"notice": lambda line: None, "execution": Execution()}
    return simulation.simulate(algorithm, data, **settings | changes)


SIDE = {"value": 1.0}


def frozen_model():
    """Popularity beside a frozen table that it never reads, and no function of it tells of."""

    def init(key):
        return ALGORITHM.model.init(key)[0], Part({"side": jnp.full((3, 2), SIDE["value"])}, ())

    return replace(ALGORITHM, model=replace(ALGORITHM.model, init=init))


def renamed(data, **changes):
    """The same events with other facts about them."""
    train = replace(data.split.train, **changes)
    return replace(data, split=replace(data.split, train=train))


def with_values(data):
    values = data.split.train.values.copy()
    values[0] += 1
    return renamed(data, values=values)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    run(folder)
    return folder


OTHERS = {
    "key": {"key": jax.random.key(5)},
    "slots": {"algorithm": fedmf(DATA.num_items, dim=2)},
    "data.sha256": {"data": with_values(DATA)},
    "data.": {"data": load("synthetic", num_users=21, num_items=30, mean_events=7, seed=5)},
    "protocol.seen_items": {"evaluation": replace(PLAN, seen_items="ranked")},
    "evaluation.at_k": {"evaluation": replace(PLAN, at_k=(5,))},
    "protocol.selection": {"stop": EarlyStop(patience=3)},
    "sampler": {"sampler": Uniform(DATA.num_clients, 6)},
    "communication.payload": {"payload": "rows"},
    "plugins.mine.py": {"plugins": {"mine.py": "ab"}},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_folder_of_another_run_is_refused_and_what_differs_is_named(made, what):
    before = {path: path.read_bytes() for path in made.iterdir() if path.is_file()}
    with pytest.raises(UserError) as told:
        run(made, **OTHERS[what])
    message = str(told.value)
    assert what in message or (what == "slots" and "algorithm.name" in message)
    assert "resume=False" in message
    assert "another folder" in message
    assert "\n" not in message
    assert before == {path: path.read_bytes() for path in made.iterdir() if path.is_file()}


def test_frozen_parameters_that_changed_are_refused(tmp_path, monkeypatch):
    run(tmp_path, frozen_model())
    run(tmp_path, frozen_model(), rounds=3)
    monkeypatch.setitem(SIDE, "value", 2.0)
    with pytest.raises(UserError, match="holds another run: frozen"):
        run(tmp_path, frozen_model(), rounds=4)


def test_titles_that_changed_are_refused(tmp_path):
    titles = tuple(f"film {n}" for n in range(DATA.num_items))
    run(tmp_path, data=renamed(DATA, item_titles=titles))
    run(tmp_path, data=renamed(DATA, item_titles=titles), rounds=3)
    with pytest.raises(UserError, match=r"data\.titles_sha256"):
        run(tmp_path, data=renamed(DATA, item_titles=(*titles[1:], "another")), rounds=3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"item_learning_rate": 2.0}, {"item_learning_rate": 3.0}),
        ({"num_negatives": 2}, {"num_negatives": 3}),
        ({"loss": "bce"}, {"loss": "bpr", "batch_size": 10}),
    ],
)
@pytest.mark.parametrize("is_own", [False, True], ids=["as made", "changed by hand"])
def test_a_setting_of_an_algorithm_is_a_part_of_it(one, other, is_own):
    def identity(settings):
        algorithm = fedmf(DATA.num_items, dim=2, **settings)
        if is_own:  # which leaves the recipe behind
            algorithm = replace(algorithm, adapt=None)
            assert algorithm.recipe is None
        return identity_of(algorithm, DATA, jax.random.key(0), (), Part({}, ()))

    assert identity(one) == identity(one)
    assert identity(one) != identity(other)


def test_what_changes_no_result_may_differ(made, tmp_path):
    run(tmp_path, rounds=1, execution=Execution(num_devices=2))
    result = run(tmp_path, rounds=2, checkpoint=simulation.CheckpointPlan(keep=1))
    assert result.first_round == 1


def test_starting_over_makes_another_run_of_the_folder(tmp_path):
    run(tmp_path)
    again = run(tmp_path, key=jax.random.key(9), resume=False, rounds=1)
    assert again.first_round == 0
    assert run(tmp_path, key=jax.random.key(9), rounds=1).first_round == 1


def test_python_writes_the_settings_and_the_summary(made):
    table = tomllib.loads((made / "config.toml").read_text())
    assert table["made_by"] == "fedjax_rec.simulate"
    assert table["rounds"] == 2
    facts = fingerprint(DATA)
    assert table["recorded"]["data"] == facts
    summary = json.loads((made / "summary.json").read_text())
    assert summary["data"] == facts
    assert summary["identity"] == table["recorded"]["sha256"]
    assert summary["metrics"] == run(made).summary["metrics"]


def test_a_checkpoint_carries_what_the_run_is(made):
    saver = Checkpointer(made / "checkpoints")
    identity = saver.record(2)["identity"]
    saver.close()
    assert identity["data"] == fingerprint(DATA)
    assert set(identity) >= {"key", "algorithm", "frozen", "protocol", "sampler", "plugins"}


def test_parameters_are_not_loaded_as_those_of_something_else(made):
    key = jax.random.key(4)
    simulation.load_run(made, ALGORITHM, DATA, key=key)
    with pytest.raises(UserError, match=r"data\.sha256"):
        simulation.load_run(made, ALGORITHM, with_values(DATA), key=key)
    with pytest.raises(UserError, match=r"key\.words"):
        simulation.load_run(made, ALGORITHM, DATA, key=jax.random.key(0))


def test_a_checkpoint_that_says_nothing_of_itself_is_told_of(tmp_path, monkeypatch):
    original = Checkpointer.save

    def save(self, step, tree, record):
        original(self, step, tree, {k: v for k, v in record.items() if k != "identity"})

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", save)
        run(tmp_path, rounds=1)
    said = []
    assert run(tmp_path, notice=said.append).first_round == 1
    assert [line for line in said if "does not say of what" in line] == said[:1]


def test_the_digest_does_not_depend_on_when_data_were_read():
    again = load("synthetic", num_users=20, num_items=30, mean_events=7, seed=5)
    assert fingerprint(again) == fingerprint(DATA)


def test_learning_rates_are_found_by_name():
    facts = identity_of(
        fedmf(9, item_learning_rate=1600.0, user_learning_rate=7.0),
        DATA,
        jax.random.key(0),
        (),
        Part({}, ()),
    )
    assert rates_of(facts) == ["item_learning_rate (1600)", "user_learning_rate (7)"]


# ------------------------------------------------------------------ one at a time


def hold(folder, is_held, may_end):
    with only_run_in(Path(folder)):
        is_held.set()
        may_end.wait(60)


def test_two_runs_into_one_folder_at_once_are_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    is_held, may_end = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path / "run"), is_held, may_end))
    other.start()
    try:
        assert is_held.wait(60)
        with pytest.raises(UserError, match="another run is at work there") as told:
            run(tmp_path / "run")
        assert "\n" not in str(told.value)
    finally:
        other.kill()  # whoever dies lets go
        other.join()
    assert run(tmp_path / "run").first_round == 0
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_thread_may_ask_for_its_own_folder_again(tmp_path):
    with only_run_in(tmp_path), only_run_in(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()
