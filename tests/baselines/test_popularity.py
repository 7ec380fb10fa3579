"""Popularity is counting."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import Fixed, Inputs, Part, View, empty, nothing_private
from fedjax_rec.baselines import BASELINES, popularity
from fedjax_rec.data import client_data, from_events, leave_one_out
from fedjax_rec.simulation import Execution, build, pad_cohort

NUM_USERS, NUM_ITEMS = 9, 12
RNG = np.random.default_rng(0)
USERS = np.append(np.arange(NUM_USERS), RNG.integers(0, NUM_USERS, 80))
ITEMS = np.append(np.arange(NUM_USERS), RNG.integers(0, NUM_ITEMS, 80))  # with repeats


@pytest.fixture(scope="module")
def trained() -> Any:
    """Training events, and one round of a cohort as a function."""
    events = from_events(USERS, ITEMS, times=RNG.permutation(len(USERS)))
    split = leave_one_out(events, repeats="keep")
    engine = build(popularity(events.num_items), Execution(chunk_size=4))
    state, clients, frozen = engine.init(jax.random.key(0), NUM_USERS)
    fixed, step = Fixed(frozen, client_data(split)), jax.jit(engine.step)

    def rounds(*cohorts: Any) -> np.ndarray:
        now, store = state, clients
        for cohort in cohorts:
            now, store, _ = step(now, store, pad_cohort(cohort, NUM_USERS), fixed)
        return np.asarray(now.shared.rows["item"])

    return split.train, rounds


def counted(train: Any, cohort: Any) -> np.ndarray:
    counts = np.zeros(train.num_items)
    for client in cohort:
        for item in set(train.items[train.users == client].tolist()):
            counts[item] += 1
    return counts


@pytest.mark.parametrize("cohort", [range(NUM_USERS), [3, 0, 7], [5], []], ids=str)
def test_one_round_counts_each_item_once_a_client(trained: Any, cohort: Any) -> None:
    train, rounds = trained
    ids = np.array(cohort, np.int32)
    np.testing.assert_array_equal(rounds(ids), counted(train, ids))


def test_events_recur_so_that_counting_events_would_differ(trained: Any) -> None:
    train, rounds = trained
    by_event = np.bincount(train.items, minlength=train.num_items)
    assert (rounds(np.arange(NUM_USERS)) != by_event).any()


def test_the_last_cohort_replaces_the_counts_of_the_one_before(trained: Any) -> None:
    train, rounds = trained
    np.testing.assert_array_equal(rounds(np.arange(9), np.array([2, 4])), counted(train, [2, 4]))


def test_everyone_is_scored_alike_by_the_counts() -> None:
    counts = jnp.array([3.0, 0.0, 7.0])
    view = View(Part({"item": counts}, ()), nothing_private(), empty(), nothing_private(), empty())
    score = popularity(3).model.score
    assert score(view, Inputs(None)).tolist() == [3, 0, 7]
    assert score(view, Inputs(jnp.array([2, 0]))).tolist() == [7, 3]


def test_popularity_is_registered() -> None:
    assert BASELINES["popularity"] is popularity
