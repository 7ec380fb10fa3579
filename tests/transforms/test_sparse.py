"""Noise on the rows that enough clients changed: what is counted, what is kept, what it costs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fedjax_rec import base
from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import Mechanism, Message, Part
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import build as build_experiment
from fedjax_rec.privacy import Executed, epsilon_of
from fedjax_rec.sampling import TruncatedPoisson
from fedjax_rec.simulation import Execution, PrivacyPlan, build, pad_cohort, simulate
from fedjax_rec.testing import check_transform
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean, row_sparse_noise, total

KEY, BOUND = jax.random.key(4), 0.5
SETTINGS = {"count_multiplier": 2.0, "threshold": 3.0, "count_norm": 1.5}
NOISE = row_sparse_noise(1.2, **SETTINGS)
DATA = load("synthetic", num_users=40, num_items=90, mean_events=8, size_sigma=0.5, seed=3)


def sent(update: Part, weigh: Any = NOISE) -> Message:
    message = Message(update, jnp.float32(1), {}, {})
    found: Message = weigh.encode(KEY, message, (), (), jnp.float32(BOUND))[0]
    return found


def rows(flags: list[int], width: int = 3) -> Any:
    return 0.7 * jnp.asarray(flags, jnp.float32)[:, None] * jnp.ones((1, width))


# -------------------------------------------------------------------- what is counted


@pytest.mark.parametrize("num_changed", [0, 1, 2, 3, 9, 40])
def test_a_client_moves_all_counts_together_by_the_norm_at_most(num_changed: int) -> None:
    flags = [1] * num_changed + [0] * (50 - num_changed)
    message = sent(Part({"a": rows(flags[::2]), "b": {"x": rows(flags[1::2])}}, jnp.ones(4)))
    counts = np.concatenate([message.row_weight["a"], message.row_weight["b"]])
    assert np.count_nonzero(counts) == num_changed
    norm = np.linalg.norm(counts.astype(np.float64))
    assert norm == pytest.approx(min(math.sqrt(num_changed), 1.5), rel=1e-6)
    assert len(set(counts[counts > 0].tolist())) <= 1, "each row counts alike"


def test_who_changes_a_row_counts_whatever_the_change() -> None:
    tiny = Part({"item": jnp.asarray([[1e-30, 0.0], [0.0, 0.0], [-5.0, 1.0]])}, ())
    assert sent(tiny).row_weight["item"].tolist() == [1.0, 0.0, 1.0]


def test_a_row_that_two_links_weigh_is_refused() -> None:
    weighed = Message(Part({"item": rows([1])}, ()), jnp.float32(1), {"item": jnp.ones(1)}, {})
    with pytest.raises(ValueError, match="another link weighs"):
        NOISE.encode(KEY, weighed, (), (), jnp.float32(1))


# ---------------------------------------------------------------------- what is kept

NUM_ROWS, WIDTH = 4_000, 5


def decoded(counts: Any, update: float = 0.0, noise: Any = NOISE, seed: int = 0) -> Message:
    table = jnp.full((NUM_ROWS, WIDTH), update)
    summed = Message(
        Part({"item": table}, {"head": jnp.full(3_000, update)}),
        jnp.float32(7),
        {"item": jnp.asarray(counts, jnp.float32) * jnp.ones(NUM_ROWS)},
        {},
    )
    found: Message = noise.decode(jax.random.key(seed), summed, (), jnp.float32(BOUND))[0]
    return found


@pytest.mark.parametrize("count", [0.0, 2.0, 3.0, 7.0])
def test_a_row_is_kept_with_the_probability_of_its_noisy_count(count: float) -> None:
    found = np.asarray(decoded(count).update.rows["item"])
    kept = (found != 0).any(axis=1)
    share = stats.norm.sf((3.0 - count) / (2.0 * 1.5))
    assert kept.mean() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / NUM_ROWS))
    assert (found[kept] != 0).all()
    assert (found[~kept] == 0).all()


def test_kept_rows_and_dense_leaves_have_noise_of_their_multiplier() -> None:
    message = decoded(1e6, update=4.0)
    for leaf in jax.tree.leaves(message.update):
        noise = (np.asarray(leaf, np.float64).ravel() - 4.0) / (1.2 * BOUND)
        assert stats.kstest(noise, stats.norm(0, 1).cdf).pvalue > 1e-3
    assert message.row_weight == {}, "a mean behind it would divide by private counts"


def test_which_rows_are_kept_says_nothing_of_their_noise() -> None:
    """The two draws are independent: the noise of kept rows is not that of all, cut."""
    found = np.asarray(decoded(3.0).update.rows["item"], np.float64)
    kept = found[(found != 0).any(axis=1)] / (1.2 * BOUND)
    assert abs(kept.mean()) < 5 / math.sqrt(kept.size)
    assert kept.std() == pytest.approx(1, abs=5 / math.sqrt(2 * kept.size))
    other = np.asarray(decoded(3.0, seed=1).update.rows["item"])
    assert ((found != 0) != (other != 0)).any()


def test_it_keeps_the_contract() -> None:
    check_transform(chain(clip_by_norm(1.0), mean(divisor=3), NOISE))


# ------------------------------------------------------------------- what it is beside

NOISY = chain(
    clip_by_norm(0.3),
    mean(divisor=10),
    row_sparse_noise(1.1, count_multiplier=2.0, threshold=2.0),
)


def algorithm(aggregate: Any) -> Any:
    return fedmf(
        DATA.num_items, aggregate=aggregate, dim=4, item_learning_rate=300.0, batch_size=32
    )


def one_round(aggregate: Any, cohort: list[int]) -> Any:
    """What a round adds to the table."""
    engine = build(algorithm(aggregate), Execution())
    state, clients, frozen = jax.jit(engine.init, static_argnums=1)(jax.random.key(2), 40)
    before = np.asarray(state.shared.rows["item"], np.float64)
    fixed = base.Fixed(frozen, DATA.clients)
    state, _, _ = jax.jit(engine.step)(state, clients, pad_cohort(cohort, 40), fixed)
    return np.asarray(state.shared.rows["item"], np.float64) - before


def test_a_round_counts_the_clients_that_changed_a_row() -> None:
    """By a threshold between what two and three clients add, with next to no noise."""
    big = 100.0  # no client's counts are scaled down
    quiet = {"count_multiplier": 1e-7, "count_norm": big}
    cohort = list(range(12))
    each = [one_round(chain(clip_by_norm(0.3), total()), [client]) for client in cohort]
    contributors = sum((np.abs(one) > 0).any(axis=1).astype(int) for one in each)
    assert len(set(contributors.tolist())) > 3
    for tau in (1.5, 2.5):
        aggregate = chain(
            clip_by_norm(0.3), total(), row_sparse_noise(1e-6, threshold=tau, **quiet)
        )
        moved = one_round(aggregate, cohort)
        np.testing.assert_array_equal((moved != 0).any(axis=1), contributors > tau)
        kept = contributors > tau
        np.testing.assert_allclose(moved[kept], sum(each)[kept], atol=1e-5)


def run(num_devices: int) -> Any:
    return simulate(
        algorithm(NOISY),
        DATA,
        key=jax.random.key(5),
        rounds=3,
        sampler=TruncatedPoisson(40, 10),
        execution=Execution(num_devices=num_devices),
        privacy=PrivacyPlan(delta=1e-5),
        notice=lambda line: None,
    )


def test_both_releases_are_accounted_on_any_devices() -> None:
    event, one, two = TruncatedPoisson(40, 10).event, run(1), run(2)
    said = one.summary["privacy"]
    joint = Mechanism("gaussian", (1.1**-2 + 2.0**-2) ** -0.5)
    assert said["claims"] == "valid"
    assert said["epsilon"] == pytest.approx(epsilon_of((Executed(event, (joint,), 3),), 1e-5))
    plain = epsilon_of((Executed(event, (Mechanism("gaussian", 1.1),), 3),), 1e-5)
    assert said["epsilon"] > 1.1 * plain
    tables = [np.asarray(result.state.shared.rows["item"]) for result in (one, two)]
    np.testing.assert_allclose(*tables, atol=1e-5)


def test_a_configuration_names_it() -> None:
    chained = [
        {"name": "clip_by_norm", "clip_norm": 0.3},
        {"name": "mean", "by": "client", "divisor": 5},
        {"name": "row_sparse_noise", "noise_multiplier": 1, "count_multiplier": 2, "threshold": 4},
    ]

    def made(links: list[dict[str, Any]]) -> Any:
        table = {
            "data": {"name": "synthetic", "num_users": 30, "num_items": 50, "mean_events": 5},
            "algorithm": {"name": "fedmf", "dim": 2},
            "aggregate": {"chain": links},
        }
        return build_experiment(from_dict(table, "here")).algorithm.aggregate

    assert made(chained).mechanisms == (
        Mechanism("gaussian", 1.0),
        Mechanism("gaussian", 2.0, "count"),
    )
    with pytest.raises(UserError, match="noise needs a bounded update"):
        made(chained[1:])
    with pytest.raises(UserError, match="put the noise last"):
        made([chained[0], chained[2], chained[1]])
    with pytest.raises(UserError, match="divisor that depends on private data"):
        made([chained[0], {"name": "mean", "by": "row"}, chained[2]])


def test_beside_other_noise_it_is_refused() -> None:
    with pytest.raises(ValueError, match="put the noise last"):
        chain(clip_by_norm(1.0), gaussian_noise(1.0), NOISE)


@pytest.mark.parametrize("name", ["noise_multiplier", "count_multiplier", "count_norm"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_number_that_is_out_of_its_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        row_sparse_noise(**{"noise_multiplier": 1.2} | SETTINGS | {name: value})


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_threshold_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="threshold must be finite"):
        row_sparse_noise(**{"noise_multiplier": 1.2} | SETTINGS | {"threshold": value})
