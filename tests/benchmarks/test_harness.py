"""The harness: peers that work, peers that fail, and the command line."""

import json
import shutil
import sys

import numpy as np
import pytest

from benchmarks import harness, registry, workloads
from benchmarks.__main__ import main
from benchmarks.environments import Environment, EnvironmentFailedError
from benchmarks.harness import KEYS, Plan, measure
from benchmarks.problem import Problem, Settings
from fedjax_rec.data import leave_one_out, read

PEER = """
import numpy as np
from benchmarks.peers.serve import CannotError, serve

class Peer:
    def __init__(self, problem):
        if {cannot}:
            raise CannotError("not this one")
        self.problem, self.rounds = problem, []

    def compile(self, num_rounds):
        pass

    def run(self, first_round, num_rounds):
        print("noise on standard output")
        if {fails}:
            raise RuntimeError("broken on purpose")
        assert first_round == sum(self.rounds)
        self.rounds.append(num_rounds)
        return 0.25 * num_rounds

    def parameters(self):
        return {{"users": self.problem.users_start, "items": self.problem.items_start}}

serve(Peer, "numpy")
"""


@pytest.fixture
def problem():
    """One client whose held-out item has the best score of 150."""
    items = np.zeros((150, 1), np.float32)
    items[7] = 1
    return Problem(
        Settings("W1", "made by hand", clients=1, dim=1),
        np.array([0, 1]),
        np.array([3]),
        np.array([7]),
        np.ones((1, 1), np.float32),
        items,
    )


@pytest.fixture
def peers(monkeypatch, tmp_path):
    """Peers `good`, `cannot`, `fails`, and `homeless`, whose environment cannot be made."""
    package = tmp_path / "benchmarks" / "peers"
    package.mkdir(parents=True)
    entries = {}
    for name in ("good", "cannot", "fails"):
        source = PEER.format(cannot=name == "cannot", fails=name == "fails")
        (package / f"fake_{name}.py").write_text(source)
        entries[name] = registry.PeerEntry(f"fake_{name}", registry.OURS, "")
    entries["homeless"] = registry.PeerEntry("x", Environment("x", ("nothing==0",)), "")

    def python_of(environment):
        if environment.packages:
            raise EnvironmentFailedError("the environment x could not be made: no such package")
        return sys.executable

    monkeypatch.setattr(harness, "PEERS", entries)
    monkeypatch.setattr(harness, "python_of", python_of)
    monkeypatch.setattr(harness, "module_of", lambda entry: str(package / f"{entry.module}.py"))
    return list(entries)


def test_every_peer_has_a_row_and_a_failed_one_says_why(problem, peers, capsys):
    rows = {row["peer"]: row for row in measure(problem, peers, Plan(2, 4, 3, 1.0, 60))}

    assert [tuple(row) for row in rows.values()] == [KEYS] * 4
    good = rows["good"]
    assert good["seconds_per_round"] == good["seconds_min"] == 0.25
    assert good["clients_per_second"] == 4
    assert good["examples_per_second"] == 20
    assert (good["hit_rate@10"], good["ndcg@10"], good["rounds"]) == (1, 1, 4)
    assert good["peak_mb"] > 10
    assert good["versions"]["numpy"] == np.__version__
    assert good["note"] == ""
    assert rows["cannot"]["note"] == "not this one"
    assert rows["fails"]["note"].endswith("RuntimeError: broken on purpose")
    assert rows["homeless"]["note"].endswith("no such package")
    for name in ("cannot", "fails", "homeless"):
        assert rows[name]["seconds_per_round"] is None


@pytest.fixture
def small(monkeypatch):
    """A quick W1, from the package's generator."""

    def events():
        made = read("synthetic", num_users=120, num_items=200, mean_events=20.0)
        split = leave_one_out(made, validation="none")
        users, items = split.train.users.astype(np.int64), split.train.items.astype(np.int64)
        return workloads.distinct("small", users, items, split.test.items[:, 0], 200)

    made = {"W1": workloads.Workload("small", events, 8, 0, rounds=8, item_rate=200.0)}
    monkeypatch.setattr(workloads, "WORKLOADS", made)
    monkeypatch.setattr("benchmarks.__main__.WORKLOADS", made)


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_ours_and_the_c_loop_do_equal_work(small, tmp_path):
    path = tmp_path / "rows.json"

    words = ["--peers", "ours,c-loop", "--repeats", "1", "--seconds", "0", "--json", str(path)]
    assert main(words) == 0

    ours, c_loop = json.loads(path.read_text())
    assert (ours["note"], c_loop["note"]) == ("", "")
    error = (0.25 / 120) ** 0.5
    assert ours["hit_rate@10"] > 0.2
    assert abs(ours["hit_rate@10"] - c_loop["hit_rate@10"]) < 3 * error


def test_the_list_names_every_workload_and_peer(capsys):
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in registry.PEERS)
    assert "W1" in listed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--peers", "ours,torch"], "'torch' is not known; choose from ours,"),
        (["--workload", "W9"], "--workload 'W9' is not known; choose from W1"),
        (["--clients", "5000"], "--clients must be 1 .. 120 for W1, got 5000"),
        (["--items", "100"], "--items pads the catalogue of 200; got fewer, 100"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(words, message, small, capsys):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
