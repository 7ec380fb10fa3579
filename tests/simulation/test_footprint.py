"""What a run takes, beside a count by hand and beside the arrays of a real one."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import Fixed, Part, Private
from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.sampling import Uniform
from fedjax_rec.simulation import Execution, build
from fedjax_rec.simulation.footprint import (
    Size,
    at_rest,
    client_bytes,
    initial_shapes,
    round_memory,
    size_of,
)
from fedjax_rec.simulation.rounds import draw_cohorts

NUM_CLIENTS, NUM_ITEMS, DIM = 20, 30, 4


@pytest.fixture(scope="module")
def data():
    return load("synthetic", num_users=NUM_CLIENTS, num_items=NUM_ITEMS, mean_events=6)


def nbytes(tree):
    """Bytes of real arrays; a key is the words it is made of."""

    def plain(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return sum(plain(leaf).nbytes for leaf in jax.tree.leaves(tree))


def with_everything(algorithm):
    """The algorithm with parameters of every role and shape, a memory and residuals."""
    model = replace(
        algorithm.model,
        init=lambda key: (
            Part({"item": jnp.zeros((NUM_ITEMS, DIM))}, jnp.zeros(7)),
            Part({"item": jnp.zeros((NUM_ITEMS, 3), jnp.bfloat16)}, jnp.zeros(5)),
        ),
        init_private=lambda key: Private({"item": jnp.zeros((NUM_ITEMS, 2))}, jnp.zeros(9)),
    )
    aggregate = replace(
        algorithm.aggregate, init_residual=lambda template: Private(template.rows, ())
    )
    memory = lambda shared: Private({}, jnp.zeros(11, jnp.int8))  # noqa: E731
    return replace(algorithm, model=model, aggregate=aggregate, init_memory=memory)


def test_parameters_are_counted_by_role_and_shape(data):
    algorithm = with_everything(fedmf(NUM_ITEMS, dim=DIM))
    sizes = at_rest(algorithm, data)
    assert sizes.parameters == {
        ("shared", "rows"): Size(120, 480),
        ("shared", "dense"): Size(7, 28),
        ("private", "rows"): Size(60, 240),
        ("private", "dense"): Size(9, 36),
        ("frozen", "rows"): Size(90, 180),
        ("frozen", "dense"): Size(5, 20),
    }
    assert sizes.client == {"private": 276, "memory": 11, "residual": 480}
    assert sizes.store == NUM_CLIENTS * (276 + 11 + 480)
    assert sizes.frozen == 200
    assert sizes.server == 480 + 28 + 8 + 4  # the key and the round
    assert sizes.to_allocate == sizes.store + sizes.frozen + sizes.server


def test_what_is_not_there_has_no_row(data):
    sizes = at_rest(popularity(NUM_ITEMS), data)
    assert set(sizes.parameters) == {("shared", "rows")}
    assert (sizes.store, set(sizes.client.values())) == (0, {0})


def test_an_optimizers_state_is_counted(data):
    plain = at_rest(fedmf(NUM_ITEMS, dim=DIM), data)
    adam = at_rest(fedmf(NUM_ITEMS, dim=DIM, server_optimizer=optax.adam(0.1)), data)
    assert adam.server == plain.server + 2 * 480 + 4


def test_sizes_are_those_of_real_arrays(data):
    algorithm = fedmf(NUM_ITEMS, dim=DIM)
    state, clients, frozen = build(algorithm).init(jax.random.key(3), NUM_CLIENTS)
    sizes = at_rest(algorithm, data)
    assert (sizes.server, sizes.store) == (nbytes(state), nbytes(clients))
    assert (sizes.frozen, sizes.data) == (nbytes(frozen), nbytes(data.clients))


def test_nothing_is_allocated(data):
    shapes = initial_shapes(fedmf(10**9, dim=2**10), 10**9)
    assert size_of(shapes.clients).bytes == 2**12 * 10**9
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(shapes))


def test_a_round_takes_its_arguments_and_what_it_works_with(data):
    algorithm, execution = popularity(NUM_ITEMS), Execution(chunk_size=4)
    sampler = Uniform(NUM_CLIENTS, 5)
    state, clients, frozen = build(algorithm, execution).init(jax.random.key(0), NUM_CLIENTS)
    before = len(jax.live_arrays())
    memory = round_memory(algorithm, data, sampler, execution, num_rounds=3)
    assert len(jax.live_arrays()) == before
    cohorts = draw_cohorts(sampler, 0, 0, 3, data.training_clients)
    whole = nbytes((state, clients, cohorts, Fixed(frozen, data.clients)))
    held = data.clients
    # popularity reads no more of the data; how much of the rest is dropped is jax's choice
    read = nbytes((state, cohorts, held.items, held.offsets, held.rank, held.first))
    assert read <= memory.arguments <= whole
    assert memory.aliased <= nbytes((state, clients)) <= memory.outputs
    assert memory.temporary > 0
    assert memory.total == memory.arguments + memory.working
    assert (memory.num_devices, memory.num_rounds) == (1, 3)
    assert memory.compile_seconds > 0


ON_ALL_DEVICES = """
import dataclasses, json, pathlib, sys
import fedjax_rec
fedjax_rec.configure_cpu(lambda line: None)
import jax, jax.numpy as jnp
from fedjax_rec.base import Private
from fedjax_rec.data import load
from fedjax_rec.sampling import AllClients
from fedjax_rec.simulation.footprint import round_memory
data = load("synthetic", num_users=21, num_items=30, mean_events=6)
algorithm = fedjax_rec.popularity(30)
model = dataclasses.replace(
    algorithm.model, init_private=lambda key: Private({}, jnp.zeros(1000))
)
algorithm = dataclasses.replace(algorithm, model=model)
execution = fedjax_rec.Execution(num_devices=0)
memory = round_memory(algorithm, data, AllClients(21), execution, num_rounds=2)
cache = pathlib.Path(sys.argv[1])
newest = max(cache.glob("*-cache"), key=lambda path: path.stat().st_mtime_ns)
name = newest.name.rsplit("-", 2)[0]
plan = fedjax_rec.EvaluationPlan(every=2)
fedjax_rec.simulate(
    algorithm, data, key=jax.random.key(0), rounds=2, evaluation=plan, execution=execution
)
seen = {"there": jax.local_device_count(), "programs": len(list(cache.glob(f"{name}-*")))}
print(json.dumps(dataclasses.asdict(memory) | seen))
"""


def test_on_several_devices_the_store_is_shared_out_and_the_program_is_that_of_a_run(tmp_path):
    chosen = {"FEDJAX_REC_CPU", "NPROC", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES"}
    env = {name: value for name, value in os.environ.items() if name not in chosen}
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_ALL_DEVICES, str(tmp_path)],
        env=env | {"JAX_PLATFORMS": "cpu"} | cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    memory = json.loads(done.stdout)
    num_devices = memory["num_devices"]
    assert num_devices == memory["there"]
    slots = -(-21 // num_devices)
    rest = 20_000  # far less than a client's 4 kB times the clients of another device
    assert 4000 * slots <= memory["arguments"] < 4000 * slots + rest
    assert memory["programs"] == 1  # what the plan compiled, the run took from the cache


def test_nothing_is_compiled_for_a_debugger(data):
    execution = Execution(is_debug=True)
    assert round_memory(popularity(NUM_ITEMS), data, Uniform(NUM_CLIENTS, 5), execution) is None


def test_bytes_of_a_table_are_exact_and_those_of_rows_a_bound(data):
    algorithm = fedmf(NUM_ITEMS, dim=DIM)
    assert client_bytes(algorithm, data, "table") == (480, 480)
    down, up = client_bytes(algorithm, data, "rows")
    most = NUM_ITEMS  # a small catalogue: its length classes have places for all of it
    assert (down, up) == (most * DIM * 4, most * DIM * 4 + most * 4)


def test_rows_are_bounded_by_the_places_of_a_clients_class():
    data = load("synthetic", num_users=NUM_CLIENTS, num_items=2000, mean_events=6)
    down, _ = client_bytes(fedmf(2000, dim=DIM, num_negatives=1), data, "rows")
    rows = down / (DIM * 4)
    places = [
        (each.num_excluded + each.num_events) * (each.stop - each.start)
        for each in data.clients.classes
    ]
    assert rows == pytest.approx(sum(places) / NUM_CLIENTS)
    num_events = np.diff(np.asarray(data.clients.offsets))
    assert 2 * num_events.mean() <= rows < 2000
