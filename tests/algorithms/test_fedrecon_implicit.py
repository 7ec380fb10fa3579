"""FedRecon: two rounds from the formulas of the paper, and what clients forget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedrecon, recommender
from fedjax_rec.base import TRAIN, derive_key
from fedjax_rec.evaluation.personal import scores_of
from fedjax_rec.transforms import mean

RECON_EPOCHS = 3


def fresh(algorithm, round, client):
    """The private vector that a client draws in a round."""
    key = derive_key(jax.random.key(9), round, client, TRAIN)
    return np.asarray(algorithm.model.init_private(key).dense, np.float64)


def reconstruct(problem, w, p, support):
    """Local parameters on the support set, with global ones frozen."""
    for _ in range(RECON_EPOCHS):
        _, p = problem.train(w, p, support, moves_w=0)
    return p


@pytest.mark.parametrize("by", ["example", "client"])
def test_two_rounds_equal_the_formulas(problem, by):
    options = {} if by == "example" else {"aggregate": mean(by)}  # by example by default
    algorithm = fedrecon(*problem.recommender(), recon_epochs=RECON_EPOCHS, **options)
    before, (state, clients), info, _ = problem.run(algorithm)
    w = start = problem.vector(before[0].shared)
    for t, cohort in problem.rounds():
        deltas, sizes = [], []
        for k in cohort:
            batches = problem.batches(t, k)
            support, query = batches[0::2], batches[1::2]
            p = reconstruct(problem, w, fresh(algorithm, t, k), support)
            trained, _ = problem.train(w, p, query, moves_p=0)
            deltas.append(trained - w)
            sizes.append(sum(len(batch.ids) for batch in query))
        w = w + np.average(deltas, axis=0, weights=sizes if by == "example" else None)
    problem.assert_close(problem.vector(state.shared), w, start)
    assert float(info["loss"].weight) == sum(sizes)
    np.testing.assert_array_equal(clients.private.dense, before[1].private.dense)


def test_who_is_asked_reconstructs_from_all_of_its_examples(problem):
    algorithm = fedrecon(*problem.recommender(), recon_epochs=RECON_EPOCHS)
    _, (state, clients), _, fixed = problem.run(algorithm)
    w, asked = problem.vector(state.shared), len(problem.cohorts)
    ids = jnp.arange(problem.num_clients)
    scores = scores_of(algorithm, state, clients, fixed)
    found = jax.jit(lambda: scores(problem.length, ids, ids))()
    drawn = [fresh(algorithm, asked, k) for k in range(problem.num_clients)]
    rebuilt = [reconstruct(problem, w, p, problem.batches(asked, k)) for k, p in enumerate(drawn)]
    expected, unlearned = (
        np.stack([problem.scores(w, p) for p in users]) for users in (rebuilt, drawn)
    )
    problem.assert_close(found, expected, unlearned)


def test_a_client_with_a_single_batch_has_no_query_set_and_sends_nothing(problem):
    """A round of such a client alone leaves every parameter as it was."""
    whole = recommender(60, model="gmf", dim=3, batch_size=1000)
    before, (state, _), info, _ = problem.run(fedrecon(*whole), [[0]])
    np.testing.assert_array_equal(problem.vector(state.shared), problem.vector(before[0].shared))
    assert float(info["clients"].total) == 1
    assert float(info["rows_touched/item"].total) == 0


def test_no_reconstruction_is_refused():
    with pytest.raises(ValueError, match="recon_epochs must be in"):
        fedrecon(*recommender(20, dim=2), recon_epochs=0)
