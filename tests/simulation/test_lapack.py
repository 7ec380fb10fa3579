"""Clients that call LAPACK are refused where devices would wait for each other."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import Fixed
from fedjax_rec.clients import solve_positive_definite
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.simulation import Execution, build, pad_cohort
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.lapack import refuse_lapack

DATA = load("synthetic", num_users=6, num_items=20, mean_events=5, seed=1)


def in_a_loop(matrix):
    return jax.lax.fori_loop(0, 2, lambda _, x: jnp.linalg.solve(matrix, x), matrix[0])


def in_a_branch(matrix):
    return jax.lax.cond(matrix[0, 0] > 0, jnp.linalg.inv, lambda same: same, matrix)


def in_a_gradient(matrix):
    return jax.grad(lambda m: jnp.linalg.slogdet(m)[1])(matrix)


def in_a_program_of_many(matrix):
    return jax.jit(jax.vmap(jnp.linalg.cholesky))(jnp.stack([matrix, matrix]))


def without(matrix):
    return solve_positive_definite(matrix, matrix[0])


CALLS = {
    jnp.linalg.cholesky: "cholesky",
    jnp.linalg.eigvalsh: "eigh",
    jnp.linalg.qr: "qr",
    jnp.linalg.pinv: "svd",
    in_a_loop: "lu, triangular_solve",
    in_a_branch: "lu, triangular_solve",
    in_a_gradient: "lu, triangular_solve",
    in_a_program_of_many: "cholesky",
}


def traced(call):
    return jax.make_jaxpr(call)(jnp.eye(3)).jaxpr


@pytest.mark.parametrize("call", CALLS, ids=CALLS.values())
def test_a_call_is_found_wherever_it_hides(call):
    with pytest.raises(UserError) as told:
        refuse_lapack(traced(call), num_devices=2)
    assert f"({CALLS[call]})" in str(told.value)
    assert "\n" not in str(told.value)
    refuse_lapack(traced(call), num_devices=1)


def test_what_needs_no_lapack_is_allowed():
    refuse_lapack(traced(without), num_devices=8)


def factorising():
    """FedMF whose clients also factorise a matrix."""
    plain = fedmf(DATA.num_items, dim=3)

    def run(key, view, task):
        output = plain.client_update.run(key, view, task)
        whitened = jnp.linalg.cholesky(jnp.eye(3)) @ output.private.dense
        return output._replace(private=output.private._replace(dense=whitened))

    return replace(plain, client_update=replace(plain.client_update, run=run, local=None))


def lowered_round(num_devices):
    algorithm = factorising()
    placement = Placement(num_devices, DATA.num_clients)
    state, clients, frozen = jax.jit(build(algorithm).init, static_argnums=1)(
        jax.random.key(0), DATA.num_clients
    )
    cohort = pad_cohort(np.arange(DATA.num_clients), DATA.num_clients)
    step = jax.jit(build(algorithm, Execution(num_devices=num_devices)).step)
    return step.lower(
        placement.everywhere(state),
        placement.spread(clients),
        placement.everywhere(cohort),
        placement.spread_fixed(Fixed(frozen, DATA.clients)),
    )


def test_the_engine_refuses_when_it_traces_a_round_over_devices():
    assert "cholesky" in lowered_round(1).as_text()
    with pytest.raises(UserError, match=r"clients call LAPACK \(cholesky\)"):
        lowered_round(2)
