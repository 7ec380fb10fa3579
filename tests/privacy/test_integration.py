"""The privacy loss integrated numerically, in NumPy and SciPy alone, against our numbers."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.privacy import add_rounds, epsilon_of
from fedjax_rec.privacy.releases import Sampled, truncation

DELTA = 1e-5


def epsilon(kind, num_clients, size, sigma, rounds, capacity=None):
    event = SamplingEvent(kind, num_clients, float(size), capacity or num_clients)
    return epsilon_of(add_rounds((), event, [Mechanism("gaussian", sigma)], rounds), DELTA)


def hockey_stick(p, q, epsilon, low, high):
    """`integral of max(0, p - e^epsilon q)` over the real line, split where it bends."""
    grid = np.linspace(low, high, 4_001)
    height = np.maximum(0.0, p(grid) - math.exp(epsilon) * q(grid))
    return integrate.simpson(height, x=grid)


def mixture(share, sigma, shifts):
    """The density of `sum of share_i N(shift_i, sigma^2)`."""
    return lambda x: sum(
        part * stats.norm.pdf(x, shift, sigma) for part, shift in zip(share, shifts, strict=True)
    )


def solve(delta_at):
    """The epsilon at which delta falls to DELTA."""
    return optimize.brentq(lambda e: math.log(max(delta_at(e), 1e-300) / DELTA), 0.0, 60.0)


def by_quadrature(p, q, low, high):
    """One round, both directions."""

    def one_way(one, other):
        return solve(lambda e: hockey_stick(one, other, e, low, high))

    return max(one_way(p, q), one_way(q, p))


def by_convolution(share, sigma, rounds, step=2e-4):
    """Several rounds: the distribution of the loss on a grid, convolved; both directions."""
    x = np.linspace(-12 * sigma, 1 + 12 * sigma, 400_001)
    loss = np.logaddexp(math.log1p(-share), math.log(share) + (2 * x - 1) / (2 * sigma**2))
    middle = (x[1:] + x[:-1]) / 2
    with_one = np.diff(
        (1 - share) * stats.norm.cdf(x, 0, sigma) + share * stats.norm.cdf(x, 1, sigma)
    )
    without = np.diff(stats.norm.cdf(x, 0, sigma))
    at = np.interp(middle, x, loss)

    def worst(losses, masses):
        places = np.rint(losses / step).astype(int)
        first = places.min()
        one = np.bincount(places - first, masses)
        size = rounds * (len(one) - 1) + 1
        length = 1 << (size - 1).bit_length()
        total = np.fft.irfft(np.fft.rfft(one, length) ** rounds, length)[:size]
        values = (np.arange(size) + first * rounds) * step

        def delta_at(e):
            above = values > e
            return float(np.sum(np.maximum(total[above], 0) * -np.expm1(e - values[above])))

        return solve(delta_at)

    return max(worst(at, with_one), worst(-at, without))


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
