"""Single uploads are those of the engine: added up they are its total."""

import jax
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.baselines import popularity
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.simulation.uploads import client_losses, rows_sent, training_items, uploads
from fedjax_rec.testing.subject import COHORT, Subject
from fedjax_rec.transforms import chain, clip_by_norm, total

CLIP = 0.5


@pytest.fixture(scope="module", params=[True, False], ids=["slices", "tables"])
def subject(request):
    """A server that adds up what clients send, in slices or in whole tables."""
    aggregate = chain(clip_by_norm(CLIP), total())
    data = load("synthetic", num_users=20, num_items=2000, mean_events=25, size_sigma=0.8, seed=3)
    return Subject(fedmf, {"aggregate": aggregate, "is_sliced": request.param}, data)


def test_uploads_add_up_to_the_movement_of_the_round(subject):
    state, clients, fixed = subject.start
    seen = jax.jit(lambda *now: uploads(subject.algorithm, *now))(state, clients, fixed, COHORT)
    is_sliced = subject.algorithm.objective.sampler.is_sliced
    assert (seen.row_ids["item"] is not None) == is_sliced
    before = np.asarray(state.shared.rows["item"], np.float64)
    expected = before.copy()
    for place in range(len(COHORT)):
        rows, change = rows_sent(seen, place, "item", subject.data.num_items)
        assert np.linalg.norm(change) <= CLIP * (1 + 1e-5)
        np.add.at(expected, rows, change)
    after = np.asarray(subject.round()[0].shared.rows["item"], np.float64)
    moved = np.linalg.norm(after - before)
    assert moved > 0
    assert np.linalg.norm(after - expected) <= 1e-5 * moved


def test_a_clients_items_are_those_of_its_history(subject):
    data = subject.data
    for client, items in zip((3, 7), training_items(data.clients, [3, 7]), strict=True):
        of_client = data.split.train.items[data.split.train.users == client]
        assert set(items) == set(of_client)


def test_clients_that_observe_no_loss_cannot_be_attacked_by_it():
    subject = Subject(popularity)
    state, _, fixed = subject.start
    with pytest.raises(UserError, match="observe no loss"):
        client_losses(subject.algorithm, state, fixed, COHORT, jax.random.key(0))
