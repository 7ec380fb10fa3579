"""The privacy loss integrated numerically, in NumPy and SciPy alone, against our numbers."""

import pytest
from scipy import stats

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.privacy import add_rounds, epsilon_of
from fedjax_rec.privacy.releases import Sampled, truncation
from tests.privacy.oracle import by_convolution, by_quadrature, mixture

DELTA = 1e-5


def epsilon(kind, num_clients, size, sigma, rounds, capacity=None):
    event = SamplingEvent(kind, num_clients, float(size), capacity or num_clients)
    return epsilon_of(add_rounds((), event, [Mechanism("gaussian", sigma)], rounds), DELTA)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 4.0])
def test_one_gaussian(sigma):
    p, q = mixture([1.0], sigma, [1.0]), mixture([1.0], sigma, [0.0])
    oracle = by_quadrature(p, q, -12 * sigma, 1 + 12 * sigma)
    assert epsilon("all", 1_000, 1_000, sigma, 1) == pytest.approx(oracle, rel=1e-4)


def test_composed_gaussians():
    # twenty-five of sigma 5 are one of sigma 1
    p, q = mixture([1.0], 1.0, [1.0]), mixture([1.0], 1.0, [0.0])
    oracle = by_quadrature(p, q, -12, 13)
    assert epsilon("all", 1_000, 1_000, 5.0, 25) == pytest.approx(oracle, rel=1e-4)
    assert epsilon("all", 1_000, 1_000, 5.0, 24) < oracle * 0.99


def test_one_poisson_round():
    p, q = mixture([0.9, 0.1], 1.0, [0.0, 1.0]), mixture([1.0], 1.0, [0.0])
    oracle = by_quadrature(p, q, -12, 13)
    assert epsilon("poisson", 1_000, 100, 1.0, 1) == pytest.approx(oracle, rel=5e-4)


@pytest.mark.parametrize(
    ("size", "sigma", "rounds"), [(100, 1.0, 1), (100, 1.0, 4), (10, 0.8, 8), (500, 2.0, 16)]
)
def test_composed_poisson_rounds(size, sigma, rounds):
    oracle = by_convolution(size / 1_000, sigma, rounds)
    assert epsilon("poisson", 1_000, size, sigma, rounds) == pytest.approx(oracle, rel=1e-3)


def test_the_oracles_see_a_slip():
    right = by_convolution(0.1, 1.0, 4)
    assert abs(by_convolution(0.1, 1.02, 4) / right - 1) > 5e-3
    assert abs(by_convolution(0.1, 1.0, 5) / right - 1) > 5e-3


def test_poissons_number_would_be_a_lie_for_a_fixed_size():
    # One round of 100 among 1000. All others send -1; one sends 1, or zero. Who takes its
    # place when it is not drawn sends -1 as well, hence a step of 2.
    share, sigma = [0.9, 0.1], 1.0
    p, q = mixture(share, sigma, [0.0, 2.0]), mixture(share, sigma, [0.0, 1.0])
    truth = by_quadrature(p, q, -12, 14)
    assert truth > 1.2 * epsilon("poisson", 1_000, 100, sigma, 1)
    assert truth <= epsilon("uniform", 1_000, 100, sigma, 1, capacity=100)


@pytest.mark.parametrize(
    ("num_clients", "size", "capacity"),
    [(943, 94.0, 159), (6_040, 604.0, 650), (1_000, 1.0, 8), (100_000, 20_000.0, 20_886)],
)
def test_the_chance_of_a_cut_is_bounded_closely(num_clients, size, capacity):
    event = SamplingEvent("poisson", num_clients, size, capacity)
    exact = stats.binom.sf(capacity - 1, num_clients - 1, size / num_clients)
    assert exact <= truncation(Sampled(event, 1.0, 1)) <= 1.35 * exact
