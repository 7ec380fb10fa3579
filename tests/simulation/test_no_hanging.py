"""No run waits for ever: whatever has a solver ends on tiny sets with two devices."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec import simulation
from fedjax_rec.baselines import ease, popularity
from fedjax_rec.data import load
from fedjax_rec.simulation import EvaluationPlan, Execution
from fedjax_rec.simulation.lapack import MayHangError, devices_of
from fedjax_rec.simulation.watchdog import Watchdog

LIMIT = 240
"""Seconds for a process that needs a few; one that hangs never ends."""

SOLVERS = ("ials", "ease", "fcf")
DATA = load("synthetic", num_users=7, num_items=12, mean_events=5, seed=1)
PROGRAM = """
import sys
from fedjax_rec.cli import main
codes = [
    main(["run", f"ml-100k/{name}", "--data.name", "mine", "--data.path", path, "--rounds", "1",
          "--output", f"{path}/../out-{name}-{number}", "--stop.patience", "0"])
    for name in sys.argv[1].split(",")
    for number, path in enumerate(sys.argv[2:])
]
sys.exit(max(codes))
"""


def small_set(folder, num_users, num_items, num_events):
    """Events of their own, each of another item of the user's."""
    folder.mkdir()
    rows = ["userId,movieId,rating,timestamp"]
    for user in range(num_users):
        chosen = np.random.default_rng(user).permutation(num_items)[:num_events]
        rows += [f"{user + 1},{item + 1},4,{1600000000 + n}" for n, item in enumerate(chosen)]
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")
    return str(folder)


@pytest.mark.parametrize("name", SOLVERS)
def test_whatever_has_a_solver_ends_on_tiny_sets_with_two_devices(name, tmp_path):
    sets = [
        small_set(tmp_path / f"set{number}", *sizes)
        for number, sizes in enumerate([(3, 5, 4), (4, 9, 3)][: 2 if name == "ials" else 1])
    ]
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, *sets],
        env=os.environ | {"XLA_FLAGS": flags, "NPROC": "1", "PJRT_NPROC": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "Traceback" not in process.stderr


def run(algorithm, said, **changes):
    return simulation.simulate(
        algorithm,
        DATA,
        key=jax.random.key(0),
        rounds=2,
        evaluation=EvaluationPlan(every=1, at_k=(5,)),
        notice=said.append,
        **{"execution": Execution(num_devices=2)} | changes,
    )


def on_the_server():
    return ease(DATA.num_items, data=DATA.clients)


def in_a_transform():
    plain = popularity(DATA.num_items)

    def decode(key, total, state, bound):
        scale = jnp.linalg.cholesky(jnp.eye(2))[0, 0]
        return total._replace(update=jax.tree.map(lambda x: x * scale, total.update)), state

    return replace(plain, aggregate=replace(plain.aggregate, decode=decode))


def in_scores():
    plain = popularity(DATA.num_items)

    def score(view, inputs):
        return plain.model.score(view, inputs) * jnp.linalg.cholesky(jnp.eye(2))[0, 0]

    return replace(plain, model=replace(plain.model, score=score))


def in_adaptation():
    plain = popularity(DATA.num_items)

    def adapt(key, view, task):
        scale = jnp.linalg.svd(jnp.eye(2))[1][0]
        return view._replace(shared=jax.tree.map(lambda x: x * scale, view.shared))

    return replace(plain, adapt=adapt)


def on_clients():
    plain = popularity(DATA.num_items)

    def count(key, view, task):
        output = plain.client_update.run(key, view, task)
        return output._replace(weight=output.weight * jnp.linalg.cholesky(jnp.eye(2))[0, 0])

    return replace(plain, client_update=replace(plain.client_update, run=count))


@pytest.mark.parametrize(
    "make", [on_the_server, in_a_transform, in_scores, in_adaptation, on_clients]
)
def test_a_program_with_lapack_runs_on_one_device_wherever_it_calls_it(make):
    said = []
    result = run(make(), said)
    assert sum(line.startswith("on one device: ") for line in said) == 1
    alone = run(make(), [], execution=Execution(num_devices=1))
    np.testing.assert_array_equal(
        result.summary["metrics"]["test/ndcg@5"], alone.summary["metrics"]["test/ndcg@5"]
    )
    assert result.summary["rounds"] == 2


def test_a_program_without_lapack_stays_on_all_devices():
    said = []
    run(popularity(DATA.num_items), said)
    assert not [line for line in said if "on one device" in line]


def test_the_memory_of_a_round_is_that_of_one_device_then():
    from fedjax_rec.sampling import AllClients
    from fedjax_rec.simulation.footprint import round_memory

    sampler = AllClients(DATA.num_clients)
    memory = round_memory(on_the_server(), DATA, sampler, Execution(num_devices=2))
    assert memory is None or memory.num_devices == 1


def test_it_is_a_mistake_of_the_request_to_those_who_build_programs_themselves():
    assert issubclass(MayHangError, simulation.loop.UserError)
    mesh = simulation.devices.Placement(2, DATA.num_clients)
    assert devices_of(mesh.everywhere(jnp.ones(3))) == 2


# ---------------------------------------------------------------------- watchdog


def test_a_long_wait_is_told_with_what_is_waited_for_and_where_and_rarely():
    said = []
    dog = Watchdog(said.append, jax.devices()[:2], patience=0.1)
    with dog.waiting_for("rounds up to 5"):
        time.sleep(0.75)
    assert 2 <= len(said) <= 3  # after 0.1, 0.2 and 0.4 seconds
    assert all("rounds up to 5" in line and "\n" not in line for line in said)
    assert all(str(device) in said[0] for device in jax.devices()[:2])
    assert "set execution.num_devices to 1" in said[0]


def test_nobody_is_told_to_use_one_device_who_does() -> None:
    said: list[str] = []
    with Watchdog(said.append, jax.devices()[:1], patience=0.1).waiting_for("rounds up to 5"):
        time.sleep(0.3)
    assert said[0].startswith(f"still waiting for rounds up to 5 on {jax.devices()[0]} after 0 s")
    assert "num_devices" not in said[0]


def test_a_short_wait_is_not_told():
    said = []
    with Watchdog(said.append, jax.devices()[:1], patience=30).waiting_for("a moment"):
        pass
    assert said == []
