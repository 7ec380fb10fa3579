"""Federated optimisation: two rounds from the formulas of the papers, and known limits."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import optax
import pytest

from fedjax_rec.algorithms import (
    ALGORITHMS,
    fedadagrad,
    fedadam,
    fedavgm,
    feddyn,
    fedopt,
    fedprox,
    fedsgd,
    fedyogi,
    recommender,
    scaffold,
)
from fedjax_rec.simulation import pad_cohort
from fedjax_rec.testing import Subject, assert_same_movement
from fedjax_rec.transforms import mean

# ------------------------------------------------------------ two rounds, by hand


def check(problem, algorithm, client, server) -> Any:
    """Two rounds of an algorithm whose clients send a change of w, and of these formulas.

    Args:
      client: `(round, number, w, p) -> (w_k, p_k)`.
      server: `(w, deltas) -> w`.
    """
    before, after, _, _ = problem.run(algorithm)
    w, users = problem.world(*before)
    users = users.copy()
    for round, cohort in problem.rounds():
        deltas = []
        for k in cohort:
            w_k, users[k] = client(round, k, w, users[k])
            deltas.append(w_k - w)
        w = server(w, deltas)
    start, end = problem.world(*before), problem.world(*after)
    problem.assert_close(end.w, w, start.w)
    problem.assert_close(end.users, users, start.users)
    return after, w


def plain(problem):
    return lambda t, k, w, p: problem.train(w, p, problem.batches(t, k))


def average(w, deltas):
    return w + np.mean(deltas, axis=0)


def test_fedavg_with_another_server(problem):
    algorithm = fedopt(*problem.recommender(), server_optimizer=optax.sgd(0.5))
    check(problem, algorithm, plain(problem), lambda w, d: w + 0.5 * np.mean(d, axis=0))


def test_fedprox(problem):
    mu = 0.4

    def client(t, k, w, p):
        return problem.train(w, p, problem.batches(t, k), pull=lambda y: mu * (y - w))

    check(problem, fedprox(*problem.recommender(), mu=mu), client, average)


@pytest.mark.parametrize("by", ["client", "example"])
def test_fedsgd(problem, by):
    def client(t, k, w, p):
        everything = problem.Batch(*map(np.concatenate, zip(*problem.batches(t, k), strict=True)))
        sizes.append(len(everything.ids))
        return problem.train(w, p, [everything])

    def server(w, deltas):
        moved = np.average(deltas, axis=0, weights=sizes if by == "example" else None)
        sizes.clear()
        return w + moved

    sizes: list[int] = []
    check(problem, fedsgd(*problem.recommender(), aggregate=mean(by)), client, server)


def test_fedavgm(problem):
    eta, beta, v = 0.7, 0.6, 0.0

    def server(w, deltas):
        nonlocal v
        v = beta * v + np.mean(deltas, axis=0)
        return w + eta * v

    algorithm = fedavgm(*problem.recommender(), server_learning_rate=eta, server_momentum=beta)
    check(problem, algorithm, plain(problem), server)


SECOND_MOMENTS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "adagrad": (fedadagrad, lambda v, d, beta2: v + d**2),
    "adam": (fedadam, lambda v, d, beta2: beta2 * v + (1 - beta2) * d**2),
    "yogi": (fedyogi, lambda v, d, beta2: v - (1 - beta2) * d**2 * np.sign(v - d**2)),
}


@pytest.mark.parametrize("name", SECOND_MOMENTS)
def test_adaptive_servers(problem, name):
    build, second_moment = SECOND_MOMENTS[name]
    eta, beta1, beta2, tau = 0.1, 0.7, 0.8, 0.05
    m, v = 0.0, tau**2

    def server(w, deltas):
        nonlocal m, v
        delta = np.mean(deltas, axis=0)
        m = beta1 * m + (1 - beta1) * delta
        v = second_moment(v, delta, beta2)
        return w + eta * m / (np.sqrt(v) + tau)

    options = {"server_learning_rate": eta, "beta1": beta1, "tau": tau}
    options |= {} if name == "adagrad" else {"beta2": beta2}
    check(problem, build(*problem.recommender(), **options), plain(problem), server)


def test_scaffold(problem):
    own = np.zeros((problem.num_clients, len(problem.rates)))
    c, changes = np.zeros(len(problem.rates)), []

    def client(t, k, x, p):
        batches = problem.batches(t, k)
        y, p = problem.train(x, p, batches, pull=lambda y: c - own[k])
        new = own[k] - c + (x - y) / (len(batches) * problem.rates)
        changes.append(new - own[k])
        own[k] = new
        return y, p

    def server(x, deltas):
        nonlocal c
        c = c + len(changes) / problem.num_clients * np.mean(changes, axis=0)
        changes.clear()
        return x + 0.8 * np.mean(deltas, axis=0)

    parts = problem.recommender(is_sliced=False)
    algorithm = scaffold(*parts, num_clients=problem.num_clients, server_optimizer=optax.sgd(0.8))
    (state, clients), _ = check(problem, algorithm, client, server)
    problem.assert_close(problem.vector(state.extra), c, 0 * c)
    np.testing.assert_allclose(c, own.mean(axis=0), rtol=1e-12, atol=1e-15)
    kept = np.concatenate(
        [clients.memory.rows["item"].reshape(problem.num_clients, -1), clients.memory.dense], axis=1
    )
    problem.assert_close(kept, own, 0 * own)


def test_feddyn(problem):
    alpha = 0.3
    own = np.zeros((problem.num_clients, len(problem.rates)))
    h = np.zeros(len(problem.rates))

    def client(t, k, w, p):
        def pull(y):
            return alpha * (y - w) - own[k]

        w_k, p = problem.train(w, p, problem.batches(t, k), pull=pull)
        own[k] = own[k] - alpha * (w_k - w)
        return w_k, p

    def server(w, deltas):
        nonlocal h
        h = h - alpha / problem.num_clients * np.sum(deltas, axis=0)
        return w + np.mean(deltas, axis=0) - h / alpha

    parts = problem.recommender(is_sliced=False)
    algorithm = feddyn(*parts, num_clients=problem.num_clients, alpha=alpha)
    (state, _), _ = check(problem, algorithm, client, server)
    problem.assert_close(problem.vector(state.extra), h, 0 * h)


# ------------------------------------------------------------------- known limits


def same_round(one: Subject, other: Subject, tolerance: float = 1e-6) -> None:
    """A round of both leaves the same shared and private parameters."""
    start = one.start
    rounds = [subject.round() for subject in (one, other)]
    before, *after = ((r[0].shared, r[1].private) for r in (start, *rounds))
    assert_same_movement(before, *after, "the limit", tolerance)


@cache
def named(name: str, **options: Any) -> Subject:
    return Subject(ALGORITHMS[name], {"model": "gmf"} | options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fedprox", {"mu": 0.0}),
        ("fedavgm", {"server_momentum": 0.0}),
        # beside a huge tau the moments vanish: eta / (sqrt(v) + tau) is 1
        ("fedadagrad", {"tau": 1e3, "server_learning_rate": 2e3}),
        ("fedadam", {"beta1": 0.0, "beta2": 0.0, "tau": 1e5, "server_learning_rate": 1e5}),
        ("fedyogi", {"beta1": 0.0, "tau": 1e3, "server_learning_rate": 2e3}),
        ("scaffold", {}),  # controls are zero in the first round
        ("reptile", {"outer_learning_rate": 1.0}),
        ("finetuning", {}),
        ("fedper", {"paths": ""}),
    ],
)
def test_a_limit_is_federated_averaging(name, options):
    same_round(named(name, **options), named("fedavg"))


def test_feddyn_of_a_small_alpha_goes_further_the_more_take_part():
    # h / alpha does not vanish with alpha: w + mean(delta) + |P| / m mean(delta)
    share = 7 / 20
    further = named("fedavg", server_optimizer=optax.sgd(1 + share))
    same_round(named("feddyn", alpha=1e-9), further, tolerance=1e-5)


def test_fedsgd_is_federated_averaging_with_one_full_batch_step():
    rates = {"user_learning_rate": 10.0, "item_learning_rate": 200.0}
    whole = named("fedavg", local_epochs=1, batch_size=10_000, **rates)
    same_round(named("fedsgd", **rates), whole)


def test_a_pull_shortens_the_way():
    def way(name, **options):
        subject = named(name, **options)
        moved = subject.round()[0].shared.rows["item"] - subject.start[0].shared.rows["item"]
        return float(np.linalg.norm(moved))

    assert way("fedprox", mu=0.01) < 0.9 * way("fedavg")


def test_a_round_without_answers_moves_nothing_of_feddyn():
    subject = named("feddyn")
    state, clients, fixed = subject.start
    state, clients, _ = subject.round()
    nobody = pad_cohort(np.array([], int), 20)
    after, _, _ = subject.step(state, clients, nobody, fixed)
    np.testing.assert_array_equal(after.shared.rows["item"], state.shared.rows["item"])


# ------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda parts: fedprox(*parts, mu=-1.0), "mu must be in"),
        (lambda parts: fedavgm(*parts, server_momentum=1.0), "server_momentum must be in"),
        (lambda parts: fedadam(*parts, tau=0.0), "tau must be in"),
        (lambda parts: fedadam(*parts, beta2=1.0), "beta2 must be in"),
        (lambda parts: fedyogi(*parts, server_learning_rate=float("nan")), "server_learning_rate"),
        (lambda parts: feddyn(*parts, num_clients=5, alpha=0.0), "alpha must be in"),
        (lambda parts: scaffold(*parts, num_clients=0), "num_clients must be in"),
    ],
)
def test_numbers_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make(recommender(20, dim=2))


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optax.sgd(0.1, momentum=0.9)])
def test_scaffold_refuses_clients_without_a_plain_rate(optimizer):
    model, objective, _ = recommender(20, dim=2, is_sliced=False)
    with pytest.raises(ValueError, match="plain SGD"):
        scaffold(model, objective, optimizer, num_clients=5)
