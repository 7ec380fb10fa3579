"""Ranks among the whole catalogue, counted in one pass, against the rank of each client alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.evaluation.catalogue import place
from fedjax_rec.evaluation.ranking import count_non_finite, ranks
from fedjax_rec.evaluation.seen import Seen

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize("num_items", [5, 31, 32, 33, 100, 257])
@pytest.mark.parametrize("ties", ["pessimistic", "optimistic"])
@pytest.mark.parametrize("alphabet", [(0.0, 1.0, 2.0), (0.5, NAN, INF, -INF), ()])
def test_ranks_equal_those_among_masked_candidates(num_items, ties, alphabet):
    rng = np.random.default_rng(num_items)
    num_clients = 9
    scores = rng.normal(size=(num_clients, num_items)).astype(np.float32)
    if alphabet:
        scores = rng.choice(np.array(alphabet, np.float32), scores.shape)
    targets = np.full((num_clients, 3), num_items)
    is_unseen = rng.random((num_clients, num_items)) < 0.7
    for client in range(1, num_clients):
        count = rng.integers(1, 4)
        targets[client, :count] = rng.permutation(num_items)[:count]
    lists = [np.flatnonzero(~row) for row in is_unseen]
    offsets = np.append(0, np.cumsum([len(one) for one in lists]))
    seen = Seen(jnp.array(offsets), jnp.array(np.concatenate(lists)))
    slots = rng.permutation(num_clients)[:7]
    found = place(jnp.array(scores[slots]), jnp.array(targets[slots]), seen, jnp.array(slots), ties)
    for row, client in enumerate(slots):
        real = targets[client][targets[client] < num_items]
        is_candidate = is_unseen[client].copy()
        is_candidate[real] = True
        expected = ranks(scores[client], targets[client], is_candidate, ties)
        assert found.ranks[row].tolist() == expected.tolist()
        assert found.num_candidates[row] == is_candidate.sum()
        num_bad = count_non_finite(jnp.array(scores[client]), jnp.array(is_candidate))
        assert found.is_bad[row] == (num_bad > 0)


def test_long_and_empty_lists_are_read_to_their_ends():
    lists = [list(range(20_000)), [], [3], list(range(5, 400))]
    offsets = np.append(0, np.cumsum([len(one) for one in lists]))
    seen = Seen(jnp.array(offsets), jnp.array(np.concatenate(lists).astype(int)))
    slots, start = jnp.array([3, 1, 0]), jnp.zeros(3, jnp.int32)
    counts = seen.fold(slots, lambda total, row, _: total.at[row].add(1, mode="drop"), start)
    sums = seen.fold(slots, lambda total, row, item: total.at[row].add(item, mode="drop"), start)
    assert counts.tolist() == [395, 0, 20_000]
    assert sums.tolist() == [sum(range(5, 400)), 0, sum(range(20_000))]
