"""Events dealt to silos: a partition, balanced, and as skewed as alpha says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_rec.data import dirichlet, from_events, silos, synthetic
from fedjax_rec.errors import UserError

EVENTS = synthetic(60, 200, 12)


@pytest.mark.parametrize("by", ["event", "user"])
@given(num_silos=st.integers(1, 60), seed=st.integers(0, 2**64 - 1))
def test_silos_part_the_events_evenly(by: Any, num_silos: int, seed: int) -> None:
    silo = silos(EVENTS, num_silos, seed, by=by)
    assert silo.shape == (EVENTS.num_events,)
    dealt = silo if by == "event" else silo[np.unique(EVENTS.users, return_index=True)[1]]
    sizes = np.bincount(dealt, minlength=num_silos)
    assert len(sizes) == num_silos
    assert sizes.max() - sizes.min() <= 1
    if by == "user":
        assert (silo == dealt[EVENTS.users]).all(), "a silo has all events of its users"


@pytest.mark.parametrize("by", ["event", "user"])
def test_the_order_of_lines_does_not_matter_and_the_seed_does(by: Any) -> None:
    order = np.random.default_rng(0).permutation(EVENTS.num_events)
    columns = ("users", "items", "values", "times")
    permuted = replace(EVENTS, **{name: getattr(EVENTS, name)[order] for name in columns})
    silo = silos(EVENTS, 7, by=by)
    np.testing.assert_array_equal(silos(permuted, 7, by=by), silo[order])
    assert 0.05 < np.mean(silos(EVENTS, 7, 1, by=by) == silo) < 0.3


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    data=st.data(),
    alpha=st.sampled_from([1e-300, 1e-8, 1e-3, 0.5, 100.0, 1e300]),
)
def test_a_dirichlet_partition_gives_each_event_to_one_silo_of_equal_size(
    labels: list[int], data: st.DataObject, alpha: float
) -> None:
    num_silos = data.draw(st.integers(1, len(labels)))
    silo = dirichlet(labels, num_silos, alpha, seed=data.draw(st.integers(0, 99)))
    sizes = np.bincount(silo, minlength=num_silos)
    assert silo.shape == (len(labels),)
    assert len(sizes) == num_silos
    assert sizes.max() - sizes.min() <= 1


def test_labels_may_be_text_and_the_seed_is_kept() -> None:
    labels = np.random.default_rng(0).choice(["drama", "comedy", "war"], 300)
    once, again, other = (dirichlet(labels, 5, 0.5, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


SHARES = np.array([0.4, 0.3, 0.2, 0.1])
LABELS = np.repeat(np.arange(4), (SHARES * 8000).astype(int))
NUM_SILOS = 80  # the 100 events of the first silo never use a label up


def squared_skew(silo: np.ndarray, k: int) -> float:
    """`sum_l (q_l - p_l)^2` of a silo."""
    mixture = np.bincount(LABELS[silo == k], minlength=4) / (silo == k).sum()
    return float(((mixture - SHARES) ** 2).sum())


def expected_skew(alpha: float, size: int = 100) -> float:
    """`(1 - sum p^2) / (alpha + 1)` of the draw, and what a sample of it adds."""
    spread = 1 - (SHARES**2).sum()
    return float(spread / (alpha + 1) + spread * alpha / (alpha + 1) / size)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0, 50.0])
def test_the_skew_is_that_of_the_dirichlet_law(alpha: float) -> None:
    skews = [squared_skew(dirichlet(LABELS, NUM_SILOS, alpha, seed), 0) for seed in range(300)]
    error = np.std(skews) / np.sqrt(len(skews))
    assert abs(np.mean(skews) - expected_skew(alpha)) < 4 * error
    # Negative controls: the test tells this law from others, and from an even deal.
    wrong = {0.05: 0.5, 0.5: 0.8, 5.0: 7.5, 50.0: 100.0}[alpha]
    assert abs(np.mean(skews) - expected_skew(wrong)) > 4 * error
    assert abs(np.mean(skews) - expected_skew(np.float64(1e12))) > 4 * error


def test_each_label_has_its_share_of_a_silo_on_average() -> None:
    counts = np.zeros(4)
    for seed in range(300):
        counts += np.bincount(LABELS[dirichlet(LABELS, NUM_SILOS, 0.5, seed) == 0], minlength=4)
    deviation = np.sqrt(SHARES * (1 - SHARES) / 1.5 / 300)
    assert (abs(counts / counts.sum() - SHARES) < 4 * deviation).all()


def test_over_all_silos_a_smaller_alpha_is_more_skewed_and_an_even_deal_least() -> None:
    means = [
        np.mean([squared_skew(dirichlet(LABELS, 10, alpha), k) for k in range(10)])
        for alpha in (0.1, 1.0, 10.0, 1000.0)
    ]
    assert means == sorted(means, reverse=True)
    users, items = np.divmod(np.arange(len(LABELS)), 400)
    even = silos(from_events(users, items), 10)
    assert np.mean([squared_skew(even, k) for k in range(10)]) < 0.005 < means[2]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: silos(EVENTS, 0), "0 silos for"),
        (lambda: silos(EVENTS, 61, by="user"), "61 silos for 60 users: choose from 1 to 60"),
        (lambda: silos(EVENTS, 2, -1), "seed -1 of the silos is out of range"),
        (lambda: silos(EVENTS, 2, by="items"), "silos by 'items' are not known"),  # type: ignore[arg-type]
        (lambda: dirichlet([1, 2], 3, 1.0), "3 silos for 2 events"),
        (lambda: dirichlet([1, 2], 2, 0.0), "alpha 0.0 is out of range"),
        (lambda: dirichlet([1, 2], 2, np.nan), "alpha nan is out of range"),
    ],
)
def test_what_cannot_be_dealt_is_refused(call: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        call()
