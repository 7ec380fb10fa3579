"""Every setting of a configuration, set to what is not its default, changes what it says."""

import json
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pytest

from fedjax_rec.base import INIT, SERVER, ClientUpdate, derive_key
from fedjax_rec.cli.run import prepare_folder
from fedjax_rec.config import from_dict
from fedjax_rec.config.schema import OPTIONS
from fedjax_rec.experiment import build, resolve
from fedjax_rec.simulation.records import write_json

PLAIN = {
    "rounds": 2,
    "data.name": "synthetic",
    "data.num_users": 12,
    "data.num_items": 160,
    "data.mean_events": 8.0,
    "algorithm.name": "popularity",
    "evaluate.every": 1,
    "evaluate.at_k": [5, 10],
    "stop.metric": "valid/ndcg@10",
    "execution.num_devices": 1,
}
QUICK = {"algorithm.name": "fedmf_explicit", "algorithm.dim": 2}  # compiles fastest
FEDMF = {"algorithm.name": "fedmf", "algorithm.dim": 2, "algorithm.batch_size": 32}
TOWER = FEDMF | {"algorithm.name": "fedavg", "algorithm.model": "gmf"}
SILOS = {
    "split.holdout": "common_records",
    "split.validation": "none",
    "silos.number": 2,
    "silos.size": 60,
    "silos.test": 100,
    "algorithm.name": "majority",
    "evaluate.task": "label",
    "evaluate.at_k": None,
}
OWN = {"data.name": "mine", "data.num_users": None, "data.num_items": None}
OWN |= {"data.mean_events": None}
TABLE = OWN | {"data.path": "TABLE", "data.user": "1", "data.item": "2", "data.time": "5"}


def nested(flat):
    table: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        if value is not None:
            (table.setdefault(section, {}) if section else table)[name] = value
    return table


class Ran:
    """A run of a configuration in a folder, and what may be observed of it."""

    def __init__(self, flat, folder):
        self.config = resolve(from_dict(nested(flat), "here"))
        self.experiment = build(self.config, lambda line: None)
        self.folder = folder
        prepare_folder(folder, self.config, ["run"], is_going_on=False)
        self.result = self.experiment.run(
            folder, resume=False, report=lambda report: None, notice=lambda line: None
        )
        write_json(folder / "summary.json", self.result.summary)

    @property
    def summary(self):
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def lines(self):
        log = (self.folder / "metrics.jsonl").read_text()
        return [json.loads(line) for line in log.splitlines()]

    @property
    def split(self):
        return self.experiment.data.split


def parameters(ran):
    leaves = jax.tree.leaves(ran.result.state.shared)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    return [np.asarray(leaf).tolist() for leaf in leaves]


def metrics(ran):
    return ran.summary["metrics"]


def keeps_per_client(ran):
    return (ran.folder / "per_client.npz").exists()


def rounds(ran):
    return ran.summary["rounds"]


def asked_for(ran):
    return ran.split.test.items.tolist()


def validated(ran):
    return ran.split.valid.items.tolist()


def trained_on(ran):
    return [ran.split.train.users.tolist(), ran.split.train.items.tolist()]


def values(ran):
    return ran.split.train.values.tolist()


def num_clients(ran):
    return ran.summary["num_clients"]


def num_items(ran):
    return ran.summary["num_items"]


def padding(ran):
    return ran.summary["execution"]["padding"]


def examples(ran):
    return [line["train/examples"] for line in ran.lines]


def who_takes_part(ran):
    return [line["train/clients"] for line in ran.lines]


def evaluated(ran):
    return [line["round"] for line in ran.lines if any(key.startswith("test/") for key in line)]


def people(ran):
    return ran.summary["evaluation"]


def logged(ran):
    return ran.lines[-1]["test/auc"]


def checkpoints(ran):
    steps = (path for path in (ran.folder / "checkpoints").iterdir() if path.is_dir())
    return sorted(int(path.name) for path in steps if path.name.isdigit())


def sent(ran):
    return ran.summary["communication"]["total_up"]


def promised(*keys):
    def privacy(ran):
        return {key: ran.summary["privacy"][key] for key in keys}

    return privacy


def stated(*keys):
    def protocol(ran):
        return {key: ran.summary["protocol"].get(key) for key in keys}

    return protocol


def written_config(ran):
    return (ran.folder / "config.toml").read_text()


@dataclass(frozen=True)
class Case:
    """Two runs that differ in one setting, and what differs between what they leave.

    Attributes:
      value: what the setting is set to; it stands at its default, or at `base`, otherwise.
      observe: each of these differs between the two.
      base: what both are set to, over `PLAIN`.
      also: what has to be set with it.
      same: none of these differs.
    """

    value: Any
    observe: tuple = ()
    base: dict = field(default_factory=dict)
    also: dict = field(default_factory=dict)
    same: tuple = ()


NOISE = QUICK | {
    "cohort.sampler": "all",
    "aggregate.mean": "client",
    "privacy.clip_norm": 0.5,
    "privacy.noise_multiplier": 0.5,
}
BUDGET = QUICK | {"aggregate.mean": "client", "privacy.epsilon": 8.0}
CASES = {
    "preset": Case("synthetic/fedmf", (written_config,)),
    "seed": Case(1, (parameters,), QUICK, same=(asked_for, trained_on)),
    "rounds": Case(3, (rounds,)),
    "data.name": Case("mine", (num_clients, num_items, metrics), also=OWN | {"data.path": "OWN"}),
    "data.path": Case("OTHER", (num_clients, metrics), OWN | {"data.path": "OWN"}),
    "data.layout": Case("lightgcn", (trained_on,), OWN | {"data.path": "LISTS"}),
    "data.user": Case("3", (num_clients,), TABLE),
    "data.item": Case("3", (num_items,), TABLE),
    "data.rating": Case("4", (values,), TABLE),
    "data.time": Case("6", (asked_for,), TABLE),
    "data.separator": Case(
        "blank",
        (lambda ran: ran.split.train.user_labels.tolist(),),
        TABLE | {"data.path": "COMMAS", "data.time": None},
    ),
    "data.other": Case(
        "OWN",
        (lambda ran: ran.experiment.data.clients.num_other,),
        OWN | {"data.path": "OTHER"},
    ),
    "data.min_rating": Case(4.0, (trained_on, metrics), OWN | {"data.path": "OWN"}),
    "data.since": Case("1600000050", (trained_on,), TABLE),
    "data.until": Case("2020-09-13T12:27:30", (trained_on,), TABLE),
    "data.core": Case(2, (num_items,), OWN | {"data.path": "OWN"}),
    "data.num_users": Case(14, (num_clients,)),
    "data.num_items": Case(170, (num_items,)),
    "data.mean_events": Case(12.0, (trained_on, metrics)),
    "data.seed": Case(1, (trained_on, metrics)),
    "split.holdout": Case(
        "leave_one_out_hash", (asked_for, metrics, stated("holdout")), {"split.validation": "hash"}
    ),
    "split.validation": Case("hash", (validated, metrics, stated("validation"))),
    "split.ties": Case("item_id", (asked_for, stated("time_ties")), OWN | {"data.path": "OWN"}),
    "split.seed": Case(
        1,
        (asked_for, metrics, stated("split_seed")),
        {"split.holdout": "leave_one_out_hash", "split.validation": "hash"},
    ),
    "split.share": Case(
        0.3,
        (asked_for, metrics, stated("holdout_share")),
        {"split.holdout": "ratio", "split.validation": "ratio"},
    ),
    "data.repeats": Case(
        "keep", (trained_on, metrics, stated("repeats")), OWN | {"data.path": "AGAIN"}
    ),
    "split.max_events": Case(5, (trained_on, metrics, stated("max_events"))),
    "silos.number": Case(3, (num_clients,), SILOS),
    "silos.size": Case(50, (examples, metrics), SILOS),
    "silos.test": Case(80, (lambda ran: ran.split.test.items.shape, metrics), SILOS),
    "silos.positive_from": Case(2.0, (parameters, metrics), SILOS),
    "silos.alpha": Case(0.1, (trained_on,), SILOS),
    "silos.exchange": Case("records", (num_clients, sent), SILOS),
    "negatives.exclude": Case("heldout", (parameters, stated("negatives_exclude")), FEDMF),
    "algorithm.name": Case("item_knn", (parameters, metrics)),
    "cohort.sampler": Case(
        "rotating", (parameters,), QUICK | {"cohort.sampler": "uniform", "cohort.size": 5}
    ),
    "cohort.size": Case(4, (who_takes_part,), {"cohort.sampler": "uniform", "cohort.size": 5}),
    "cohort.separation": Case(
        3,
        (parameters,),
        QUICK | {"cohort.sampler": "min_separation", "cohort.size": 3, "rounds": 3},
    ),
    "aggregate.mean": Case("client", (parameters,), QUICK),
    "privacy.epsilon": Case(3.0, (parameters, promised("epsilon")), BUDGET),
    "privacy.delta": Case(1e-6, (promised("delta"), promised("epsilon")), NOISE),
    "privacy.clip_norm": Case(0.01, (parameters, promised("clip_norm")), NOISE),
    "privacy.noise_multiplier": Case(
        2.0, (parameters, promised("noise_multiplier"), promised("epsilon")), NOISE
    ),
    "privacy.keep_per_client": Case(True, (keeps_per_client,), NOISE, same=(parameters,)),
    "privacy.mechanism": Case(
        "correlated", (parameters, who_takes_part, promised("noise_multiplier")), BUDGET
    ),
    "privacy.bands": Case(
        1, (parameters, promised("noise_multiplier")), BUDGET | {"privacy.mechanism": "correlated"}
    ),
    "server.optimizer": Case("adam", (parameters,), QUICK),
    "server.learning_rate": Case(0.5, (parameters,), QUICK),
    "server.momentum": Case(0.5, (parameters,), QUICK),
    "evaluate.every": Case(2, (evaluated,)),
    "evaluate.task": Case("rating", (metrics, stated("task")), {"evaluate.at_k": None}),
    "evaluate.at_k": Case([3, 10], (metrics,)),
    "evaluate.candidates": Case("uni99", (metrics, stated("candidates"))),
    "evaluate.candidates_seed": Case(
        1, (metrics, stated("candidates_seed")), {"evaluate.candidates": "uni99"}
    ),
    "evaluate.seen_items": Case("ranked", (metrics, stated("seen_items"))),
    "evaluate.history": Case(
        "train_and_valid", (metrics, stated("history")), {"algorithm.name": "item_knn"}
    ),
    "evaluate.clients": Case(4, (metrics, stated("clients"), people)),
    "evaluate.training_clients": Case(4, (logged, stated("training_clients"), people)),
    "evaluate.clients_seed": Case(
        1, (metrics, stated("clients_seed")), {"evaluate.clients": 4, "evaluate.clients_seed": 0}
    ),
    "evaluate.score_ties": Case("optimistic", (metrics, stated("score_ties"))),
    "start.run": Case("EARLIER", (parameters,), TOWER, same=(asked_for, trained_on)),
    "stop.metric": Case(
        "valid/auc", (rounds,), {"stop.target": 0.3, "stop.metric": "valid/precision@10"}
    ),
    "stop.select": Case(
        "test_as_released",
        (stated("selection"),),
        {"stop.patience": 9},
        {"stop.metric": "test/ndcg@10"},
    ),
    "stop.patience": Case(1, (rounds,), {"rounds": 4, "stop.waits_for": "nothing"}),
    "stop.min_rounds": Case(
        4, (rounds,), {"rounds": 4, "stop.patience": 1, "stop.waits_for": "nothing"}
    ),
    "stop.waits_for": Case("nothing", (rounds,), {"rounds": 4, "stop.patience": 1}),
    "stop.target": Case(0.001, (rounds,), {"stop.metric": "valid/auc"}),
    "checkpoint.every": Case(3, (checkpoints,), {"rounds": 4}),
    "checkpoint.seconds": Case(1e6, (checkpoints,)),
    "checkpoint.keep": Case(1, (checkpoints,)),
    "execution.executor": Case("general", (padding,), FEDMF, same=(asked_for, examples)),
    "execution.chunk_size": Case(5, (padding,), FEDMF, same=(asked_for, examples)),
    "communication.payload": Case("rows", (sent,), QUICK, same=(parameters,)),
}
BY_THEMSELVES = {
    "execution.debug": "test_debug_runs_client_by_client_without_jit",
    "execution.num_devices": "test_clients_are_spread_over_the_devices_that_are_asked_for",
}


def test_every_setting_is_in_the_table():
    assert sorted(OPTIONS) == sorted([*CASES, *BY_THEMSELVES])
    assert all(name in globals() for name in BY_THEMSELVES.values())


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """Two data sets; all events of a user have one time, so that ties decide."""
    folders = {}
    for number, name in enumerate(("OWN", "OTHER", "AGAIN")):
        folder = tmp_path_factory.mktemp(name.lower())
        rng = np.random.default_rng(number)
        rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
        rows += [
            f"{user}\t{item}\t{rng.integers(1, 6)}\t7"
            for user in range(10 + number)
            for item in rng.permutation(30)[:8]
        ]
        if name == "AGAIN":  # every second person ends with three items met before
            rows += [
                f"{row.rsplit(maxsplit=1)[0]}\t{8 + number % 3}"
                for number, row in enumerate(rows[1:])
                if number % 16 < 3
            ]
        (folder / "mine.inter").write_text("\n".join(rows))
        folders[name] = str(folder)
    rng = np.random.default_rng(0)
    lines = [
        [user, item, item // 4, 1 + item % 5, 1_600_000_000 + time, 1_600_000_999 - time]
        for user in range(9)
        for time, item in enumerate(rng.permutation(30)[:8].tolist(), 9 * user)
    ]
    for name, separator, width in (("TABLE", " ", 6), ("COMMAS", ", ", 6), ("LISTS", " ", 4)):
        file = tmp_path_factory.mktemp(name.lower()) / "mine.txt"
        rows = [separator.join(map(str, line[:width])) for line in lines]
        file.write_text("\n".join(rows))
        folders[name] = str(file)
    return folders


@pytest.fixture(scope="module")
def ran(own_data, rated_folder, tmp_path_factory):
    """Runs a configuration, once for all that ask for the same."""
    runs = {}

    def of(flat):
        flat = PLAIN | flat
        for key in ("data.path", "data.other"):
            if flat.get(key) in own_data:
                flat[key] = own_data[flat[key]]
        if flat.get("start.run") == "EARLIER":
            flat["start.run"] = str(of(TOWER | {"seed": 5}).folder)
        if flat.get("silos.number"):
            flat |= OWN | {"data.name": "small", "data.path": rated_folder, "stop.metric": None}
        if flat.get("evaluate.task", "ranking") != "ranking":
            flat["stop.metric"] = None
        name = repr(sorted(flat.items()))
        if name not in runs:
            runs[name] = Ran(flat, tmp_path_factory.mktemp("run"))
        return runs[name]

    return of


@pytest.mark.parametrize("key", CASES)
def test_a_setting_changes_what_it_says(key, ran):
    case = CASES[key]
    without = case.base
    assert case.value != without.get(key, OPTIONS[key][1].default)
    one, other = ran(without), ran(without | {key: case.value} | case.also)
    for observe in case.observe:
        assert observe(one) != observe(other), observe.__name__
    for observe in case.same:
        assert observe(one) == observe(other), observe.__name__


def test_score_ties_that_are_optimistic_are_never_worse(ran):
    strict, kind = metrics(ran({})), metrics(ran({"evaluate.score_ties": "optimistic"}))
    assert kind["test/auc"] > strict["test/auc"]


def test_noise_is_in_proportion_to_its_multiplier(ran):
    moved = [
        np.asarray(parameters(ran(NOISE | {"rounds": 1, "privacy.noise_multiplier": z}))[0])
        for z in (20.0, 40.0, 80.0)
    ]
    np.testing.assert_allclose(moved[2] - moved[1], 2 * (moved[1] - moved[0]), rtol=1e-3, atol=1e-4)


def test_a_client_is_clipped_before_it_is_divided(ran):
    """All clients move the table by the bound at most: each by the bound over the divisor."""
    left = ran(NOISE | {"rounds": 1, "privacy.clip_norm": 0.01, "privacy.noise_multiplier": 1e-6})
    key = derive_key(left.experiment.key, 0, SERVER, INIT)
    start, _ = left.experiment.algorithm.model.init(key)
    moved = jax.tree.map(lambda one, other: one - other, left.result.state.shared, start)
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(moved)))
    assert examples(left)[0] > 1
    assert 0.002 < norm <= 0.01 * (1 + 1e-3)


def test_debug_runs_client_by_client_without_jit(tmp_path, monkeypatch):
    traced = []
    original = ClientUpdate.__init__

    def watched(self, run, *args, **kwargs):
        def watch(key, view, task):
            traced.append(isinstance(task.num_steps, jax.core.Tracer))
            return run(key, view, task)

        original(self, watch, *args, **kwargs)

    monkeypatch.setattr(ClientUpdate, "__init__", watched)
    small = PLAIN | {"rounds": 1, "data.num_users": 4}
    for is_debug in (False, True):
        traced.clear()
        (tmp_path / str(is_debug)).mkdir()
        Ran(small | {"execution.debug": is_debug}, tmp_path / str(is_debug))
        assert traced
        assert all(traced) != is_debug


def test_clients_are_spread_over_the_devices_that_are_asked_for(ran):
    one, two = ran(FEDMF), ran(FEDMF | {"execution.num_devices": 2})
    assert two.experiment.execution.num_devices == 2
    np.testing.assert_allclose(parameters(one)[0], parameters(two)[0], rtol=1e-4, atol=1e-6)
    assert padding(one) != padding(two)  # each device fills up chunks of its own
