"""Personalisation: two rounds from the formulas of the papers, and known limits."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import (
    ALGORITHMS,
    ditto,
    fedopt,
    fedper,
    fedprox,
    fedrep,
    finetuning,
    personalise,
    recommender,
    reptile,
    scaffold,
)
from fedjax_rec.base import Part
from fedjax_rec.evaluation.personal import scores_of, without_own
from fedjax_rec.testing import Subject, assert_same_movement


def catalogue_scores(problem, algorithm, state, clients, fixed):
    """`[N, I]` what every client would be recommended by."""
    ids = jnp.arange(problem.num_clients)
    scores = scores_of(algorithm, state, clients, fixed)
    return np.asarray(jax.jit(lambda: scores(problem.length, ids, ids))(), np.float64)


# ------------------------------------------------------------ two rounds, by hand


@pytest.mark.parametrize(("build", "rate"), [(finetuning, 1.0), (reptile, 0.25)])
def test_clients_adapt_what_they_receive(problem, build, rate):
    options = {} if build is finetuning else {"outer_learning_rate": rate}
    algorithm = build(*problem.recommender(), **options)
    before, (state, clients), _, fixed = problem.run(algorithm)
    start, end = problem.world(*before), problem.world(state, clients)
    w, users = start.w, start.users.copy()
    for t, cohort in problem.rounds():
        moved = []
        for k in cohort:
            w_k, users[k] = problem.train(w, users[k], problem.batches(t, k))
            moved.append(w_k - w)
        w = w + rate * np.mean(moved, axis=0)
    problem.assert_close(end.w, w, start.w)

    asked = len(problem.cohorts)  # the round to come
    expected = [
        problem.scores(*problem.train(w, users[k], problem.batches(asked, k)))
        for k in range(problem.num_clients)
    ]
    got = catalogue_scores(problem, algorithm, state, clients, fixed)
    plain = [problem.scores(w, users[k]) for k in range(problem.num_clients)]
    problem.assert_close(got, expected, plain)
    of_all = catalogue_scores(problem, without_own(algorithm), state, clients, fixed)
    np.testing.assert_allclose(of_all, plain, atol=1e-5)


@pytest.mark.parametrize("name", ["fedper", "fedrep"])
def test_heads_stay_at_home(problem, name):
    parts = problem.recommender()
    algorithm = {"fedper": fedper, "fedrep": fedrep}[name](*parts)
    before, (state, clients), _, fixed = problem.run(algorithm)
    table, (distances, users) = before[0].shared, before[1].private.dense
    assert table.dense == ()
    common, _ = fixed.frozen.dense
    rows, heads, users = (
        np.asarray(x, np.float64) for x in (table.rows["item"].ravel(), common + distances, users)
    )
    first_rows, first_heads, first_users = rows, heads.copy(), users.copy()
    is_head = np.arange(len(problem.rates)) >= problem.num_rows
    for t, cohort in problem.rounds():
        deltas = []
        for k in cohort:
            w, p = np.append(rows, heads[k]), users[k]
            batches = problem.batches(t, k)
            if name == "fedper":
                w, p = problem.train(w, p, batches)
            else:
                w, p = problem.train(w, p, batches, moves_w=is_head)
                once = batches[: len(batches) // problem.epochs]
                w, p = problem.train(w, p, once, moves_w=~is_head, moves_p=0)
            deltas.append(w[~is_head] - rows)
            heads[k], users[k] = w[is_head], p
        rows = rows + np.mean(deltas, axis=0)
    problem.assert_close(state.shared.rows["item"].ravel(), rows, first_rows)
    problem.assert_close(common + clients.private.dense[0], heads, first_heads)
    problem.assert_close(clients.private.dense[1], users, first_users)
    expected = [problem.scores(np.append(rows, h), p) for h, p in zip(heads, users, strict=True)]
    got = catalogue_scores(problem, algorithm, state, clients, fixed)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_ditto(problem):
    strength = 0.4
    algorithm = ditto(*problem.recommender(is_sliced=False), strength=strength)
    before, (state, clients), _, fixed = problem.run(algorithm)
    w, p = problem.vector(before[0].shared), np.asarray(before[1].private.dense[0], np.float64)
    v, q = np.tile(w, (problem.num_clients, 1)), p.copy()
    p, first_w, first_q, first_v = p.copy(), w, q.copy(), v.copy()
    for t, cohort in problem.rounds():
        deltas = []
        for k in cohort:
            batches = problem.batches(t, k)
            w_k, p[k] = problem.train(w, p[k], batches)
            v[k], q[k] = problem.train(v[k], q[k], batches, pull=lambda v: strength * (v - w))  # noqa: B023
            deltas.append(w_k - w)
        w = w + np.mean(deltas, axis=0)
    problem.assert_close(problem.vector(state.shared), w, first_w)
    problem.assert_close(clients.private.dense[0], p, first_q)
    problem.assert_close(clients.private.dense[1], q, first_q)
    rows = np.asarray(clients.memory.rows["item"]).reshape(problem.num_clients, -1)
    kept = np.concatenate([rows, clients.memory.dense], axis=1)
    problem.assert_close(kept, v, first_v)
    got = catalogue_scores(problem, algorithm, state, clients, fixed)
    own = [problem.scores(v[k], q[k]) for k in range(problem.num_clients)]
    np.testing.assert_allclose(got, own, atol=1e-5)
    of_all = catalogue_scores(problem, without_own(algorithm), state, clients, fixed)
    common = [problem.scores(w, p[k]) for k in range(problem.num_clients)]
    np.testing.assert_allclose(of_all, common, atol=1e-5)


# ------------------------------------------------------------------- known limits


def test_ditto_sends_what_federated_averaging_does_and_without_a_pull_trains_alone(problem):
    parts = problem.recommender(is_sliced=False)
    _, (state, clients), _, _ = problem.run(ditto(*parts, strength=0.0))
    before, (plain, _), _, _ = problem.run(fedopt(*parts))
    problem.assert_close(
        problem.vector(state.shared), problem.vector(plain.shared), problem.vector(before[0].shared)
    )
    # client 2 came in the first round alone, so its own model is where that round took it
    start = problem.world(*before)
    alone, user = problem.train(start.w, start.users[2], problem.batches(0, 2))
    own = Part({"item": clients.memory.rows["item"][2]}, clients.memory.dense[2])
    problem.assert_close(problem.vector(own), alone, start.w)
    problem.assert_close(clients.private.dense[1][2], user, start.users[2])
    # and client 0 came twice, and never saw w in between
    for t in (0, 1):
        w, p = (start.w, start.users[0]) if t == 0 else (w, p)  # noqa: F821
        w, p = problem.train(w, p, problem.batches(t, 0))
    own = Part({"item": clients.memory.rows["item"][0]}, clients.memory.dense[0])
    problem.assert_close(problem.vector(own), w, start.w)


def test_without_paths_nothing_is_personal():
    algorithm = fedopt(*recommender(20, dim=2))
    assert personalise(algorithm, "") is algorithm


@pytest.mark.parametrize(("paths", "model"), [("dense/output", "ncf"), ("rows/item/mlp", "neumf")])
def test_one_layer_or_one_table_may_be_personal(paths, model):
    """Every other parameter moves as if the part were shared, from the same start."""
    subject = Subject(ALGORITHMS["fedper"], {"model": model, "paths": paths, "dim": 16})
    state, clients, _ = subject.round()
    for before, after in zip(subject.start[:2], (state, clients), strict=True):
        assert jax.tree.structure(before) == jax.tree.structure(after)
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), subject.start[1].private, clients.private
    )
    assert all(jax.tree.leaves(moved))
    # who was not asked keeps what it had
    for before, after in zip(
        jax.tree.leaves(subject.start[1].private), jax.tree.leaves(clients.private), strict=True
    ):
        np.testing.assert_array_equal(before[0], after[0])


def test_personalised_slices_equal_whole_tables_where_a_table_is_private():
    options = {"model": "neumf", "paths": "rows/item/mlp"}
    subject = Subject(ALGORITHMS["fedper"], options)
    whole = Subject(ALGORITHMS["fedper"], options | {"is_sliced": False})
    start = tuple(subject.start[:2])
    assert_same_movement(start, subject.round()[:2], whole.round()[:2], "slices", 1e-6)


def test_fedrep_of_a_head_that_stands_still_is_federated_averaging_of_the_body():
    """In one epoch FedPer, where optimizers of heads have no rate, does the same."""
    options = {"model": "gmf", "local_epochs": 1}
    still = {"user_learning_rate": 1e-12, "dense_learning_rate": 1e-12}
    start, *moved = (
        subject[0].shared
        for subject in (
            Subject(ALGORITHMS["fedper"], options | still).start,
            *(Subject(ALGORITHMS[name], options | still).round() for name in ("fedper", "fedrep")),
        )
    )
    assert_same_movement(start, *moved, "the limit", 1e-6)


# ------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda parts: fedper(*parts, paths="dense/tower"), "no shared parameter lies under"),
        (lambda parts: fedper(*parts, paths="dense,rows/item"), "nothing that is shared"),
        (lambda parts: fedrep(*parts, body_epochs=2), "body_epochs must be in"),
        (lambda parts: ditto(*parts, strength=-1.0), "strength must be in"),
        (lambda parts: reptile(*parts, outer_learning_rate=0.0), "outer_learning_rate must be"),
        (
            lambda parts: personalise(scaffold(*parts, num_clients=3), "dense"),
            "sends or remembers more",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make(recommender(20, model="gmf", dim=2))


def test_fedrep_needs_epochs_to_count():
    model, objective, optimizer = recommender(20, dim=2)
    with pytest.raises(ValueError, match="sampled objective"):
        fedrep(model, replace(objective, sampler=None), optimizer)


def test_a_personalised_proximal_client_trains_as_it_did(problem):
    """What is private is pulled too: client update and optimizer see it where it was."""
    algorithm = personalise(fedprox(*problem.recommender(), mu=0.4), "dense")
    before, (state, clients), _, fixed = problem.run(algorithm, [[2]])
    common, _ = fixed.frozen.dense
    rows, head = (
        np.asarray(x, np.float64).ravel() for x in (before[0].shared.rows["item"], common)
    )
    user = np.asarray(before[1].private.dense[1][2], np.float64)
    start = np.append(rows, head)
    w, p = problem.train(start, user, problem.batches(0, 2), pull=lambda y: 0.4 * (y - start))
    own = common + clients.private.dense[0][2]
    end = np.append(np.asarray(state.shared.rows["item"]).ravel(), own)
    problem.assert_close(end, w, start)
    problem.assert_close(clients.private.dense[1][2], p, user)
