"""Epsilon by numerical integration, in NumPy and SciPy alone; as a script, of a log of cohorts.

    python tests/privacy/oracle.py LOG.json

The log holds `num_clients`, `probability` and `noise_multiplier` as they are claimed, and
`cohorts`, the clients of every round. What is printed follows from the cohorts: how many
rounds there were, once their sizes and members are such as the claimed coins would make them.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from scipy import integrate, optimize, stats

DELTA = 1e-5


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


def why_not_poisson(cohorts, num_clients, probability):
    """Why such cohorts are not made by coins of that probability; empty where they may be."""
    is_in = np.zeros((len(cohorts), num_clients))
    for row, cohort in zip(is_in, cohorts, strict=True):
        if len(set(cohort)) < len(cohort):
            return "a client takes part twice in a round"
        row[list(cohort)] = 1
    spread = probability * (1 - probability)
    for what, counts, trials in (
        ("sizes of cohorts", is_in.sum(axis=1), num_clients),
        ("participations of clients", is_in.sum(axis=0), len(cohorts)),
    ):
        z = (counts - trials * probability) / math.sqrt(trials * spread)
        tails = [stats.chi2.cdf, stats.chi2.sf]
        if min(tail((z**2).sum(), len(z)) for tail in tails) < 1e-4:
            return f"{what} are not binomial"
    total = (is_in.sum() - is_in.size * probability) / math.sqrt(is_in.size * spread)
    return "" if abs(total) < 4 else "the rate is another"


def recomputed(log):
    """Epsilon of a log of cohorts."""
    why = why_not_poisson(log["cohorts"], log["num_clients"], log["probability"])
    if why:
        raise SystemExit(f"no Poisson cohorts: {why}")
    return by_convolution(log["probability"], log["noise_multiplier"], len(log["cohorts"]))


if __name__ == "__main__":
    found = recomputed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    assert not any(name.startswith(("fedjax_rec", "dp_accounting")) for name in sys.modules)
    print(found)
