"""Numbers that others published or that dp-accounting gives, through our layer.

The tables are (sampling probability, noise multiplier, rounds, delta) -> epsilon.
"""

import numpy as np
import pytest

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.privacy import add_rounds, epsilon_of, noise_multiplier_for
from fedjax_rec.privacy.library import gaussian_epsilon, library, pld_epsilon, quiet, rdp_epsilon

POISSON = {
    "moments accountant": (10_000, 100, 4.0, 10_000, 1e-5, 1.0355, 0.9470, 1.9932),
    "tutorial": (60_000, 256, 1.1, 14_062, 1e-5, 2.5966, 2.3817, 4.2214),
    "mnist 1.3": (60_000, 250, 1.3, 3_600, 1e-5, 0.9422, 0.8530, 1.5351),
    "mnist 1.1": (60_000, 250, 1.1, 14_400, 1e-5, 2.5617, 2.3496, 4.1644),
    "mnist 0.7": (60_000, 250, 0.7, 10_800, 1e-5, 6.2343, 5.5622, 7.9394),
    "jax-privacy": (1_000, 100, 3.0, 512, 1e-6, 4.0510, 3.7697, 7.8246),
    "Opacus": (10_000, 400, 1.5, 2_250, 1e-5, 7.3293, 6.7688, None),
    "short": (10_000, 100, 1.0, 1_000, 1e-5, 2.1014, 1.8282, 2.8434),
    "one Gaussian": (1_000, 1_000, 1.0, 1, 1e-5, 4.7285, 4.3772, 9.9973),
    "a broad Gaussian": (1_000, 1_000, 4.0, 1, 1e-5, 1.0126, 0.9263, 1.9931),
}


def poisson(num_clients, size):
    """A Poisson cohort that is never cut."""
    return SamplingEvent("poisson", num_clients, float(size), num_clients)


def ledger_of(event, multiplier, rounds):
    return add_rounds((), event, [Mechanism("gaussian", multiplier)], rounds)


@pytest.mark.parametrize("name", POISSON)
def test_poisson_cohorts_have_the_epsilon_of_the_literature(name):
    num_clients, size, sigma, rounds, delta, rdp, pld, _ = POISSON[name]
    ledger = ledger_of(poisson(num_clients, size), sigma, rounds)
    # four printed digits, and a sensitivity of 1 + 1e-5
    assert epsilon_of(ledger, delta, accountant="rdp") == pytest.approx(rdp, rel=1e-4)
    assert epsilon_of(ledger, delta) == pytest.approx(pld, rel=1e-4)


@pytest.mark.parametrize("name", [name for name, row in POISSON.items() if row[-1]])
def test_the_relation_that_is_not_claimed_is_another_number(name):
    num_clients, size, sigma, rounds, delta, _, pld, replaced = POISSON[name]
    dp = library()
    event = dp.PoissonSampledDpEvent(size / num_clients, dp.GaussianDpEvent(sigma))
    found = pld_epsilon([(event, rounds)], delta, relation="REPLACE_ONE")
    assert found == pytest.approx(replaced, rel=1e-4)
    assert found > 1.4 * pld


def test_opacus_and_jax_privacy_agree():
    opacus = ledger_of(poisson(10_000, 400), 1.5, 2_250)
    assert epsilon_of(opacus, 1e-5, accountant="rdp") == pytest.approx(7.32911117143, rel=1e-4)
    prv = ledger_of(poisson(10_000, 400), 1.5, 2_249)
    assert epsilon_of(prv, 1e-5) == pytest.approx(6.777395712, rel=2e-3)  # an estimate, theirs
    google = ledger_of(poisson(1_000, 100), 3.0, 512)
    assert epsilon_of(google, 1e-6) == pytest.approx(3.77, abs=0.005)


def test_the_gaussian_is_exact():
    everybody = SamplingEvent("all", 1_000, 1_000.0, 1_000)
    assert epsilon_of(ledger_of(everybody, 1.0, 1), 1e-5) == pytest.approx(4.377178, rel=3e-5)
    assert gaussian_epsilon(3.730632, 1e-5) == pytest.approx(1.0, rel=1e-6)
    wished = noise_multiplier_for(everybody, 1, 1.0, 1e-5)
    assert wished == pytest.approx(3.730632, rel=5e-4)


def test_local_noise_is_for_another_message_in_place_of_ones_own():
    everybody = SamplingEvent("all", 1_000, 1_000.0, 1_000)
    wished = noise_multiplier_for(everybody, 1, 1.0, 1e-5, make=lambda z: (Mechanism("local", z),))
    assert wished == pytest.approx(7.461263, rel=5e-4)


@pytest.mark.parametrize(("sigma", "epsilon"), [(1.13, 18.710), (8.83, 1.7732)])
def test_tree_aggregation(sigma, epsilon):
    event = library().SingleEpochTreeAggregationDpEvent(sigma, 1_600)
    found = rdp_epsilon([(event, 1)], 1e-6, relation="REPLACE_SPECIAL")
    assert found == pytest.approx(epsilon, rel=1e-4)


def test_divergences_by_order():
    dp = library()
    with quiet():
        accountant = dp.rdp.RdpAccountant(orders=[1.5, 2.5, 5, 50, 100])
        accountant.compose(dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(2.5)), 50)
    known = [6.70579741e-4, 1.08548710e-3, 2.18075656e-3, 2.38460375e-2, 1.67416308e2]
    np.testing.assert_allclose(accountant.rdp, known, rtol=1e-4)


def test_cohorts_of_a_fixed_size_are_accounted_for_replacement():
    dp = library()
    one = dp.SampledWithoutReplacementDpEvent(60_000, 256, dp.GaussianDpEvent(1.1))
    assert rdp_epsilon([], 1e-5, replaced=[(one, 14_062)]) == pytest.approx(5.2433, rel=1e-4)
    # the noise over a clip is half of it over what a replacement changes
    uniform = ledger_of(SamplingEvent("uniform", 60_000, 256.0, 256), 1.1, 14_062)
    assert epsilon_of(uniform, 1e-5, accountant="rdp") == pytest.approx(24.081, rel=1e-4)
    assert epsilon_of(uniform, 1e-5) == pytest.approx(24.081, rel=1e-4)


@pytest.mark.parametrize(
    ("rho", "epsilon"), [(0.2, 3.984), (0.5, 6.548), (1.0, 9.618), (2.0, 14.274)]
)
def test_zero_concentrated_privacy_of_keyboards(rho, epsilon):
    assert gaussian_epsilon((2 * rho) ** -0.5, 1e-10) == pytest.approx(epsilon, rel=2e-4)


def test_calibration_finds_the_multiplier_of_opacus():
    found = noise_multiplier_for(poisson(10_000, 400), 2_250, 8.0, 1e-5)
    assert found == pytest.approx(1.3477, rel=0.01)


@pytest.mark.parametrize(
    ("capacity", "epsilon"),
    [(6_040, 2.999), (760, 2.999), (700, 3.002), (650, 4.20), (604, 9.71)],
)
def test_cutting_a_cohort_costs(capacity, epsilon):
    event = SamplingEvent("poisson", 6_040, 604.0, capacity)
    assert epsilon_of(ledger_of(event, 1.675, 100), 1e-5) == pytest.approx(epsilon, rel=1e-3)


def test_a_fixed_size_never_gets_the_number_of_poisson():
    def cost(kind, capacity, accountant="pld"):
        event = SamplingEvent(kind, 6_040, 604.0, capacity)
        return epsilon_of(ledger_of(event, 1.0, 100), 1e-5, accountant=accountant)

    assert cost("poisson", 6_040) == pytest.approx(7.05, abs=0.01)
    assert cost("uniform", 604) == pytest.approx(83.9, abs=0.1)
    for kind in ("rotating", "availability"):
        for accountant in ("pld", "rdp"):
            assert cost(kind, 604, accountant) > 2 * cost("poisson", 6_040, accountant)
