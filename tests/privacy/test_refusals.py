"""Every unsound pair, asked for as a user would: refused, switched, or without a claim.

The pairs are those of `docs/privacy.md`, "When nothing is claimed"; each of its rows has a case.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.base import AggregateTransform
from fedjax_rec.config import from_dict
from fedjax_rec.data import load
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import build
from fedjax_rec.sampling import (
    Availability,
    MinSeparation,
    Rotating,
    TruncatedPoisson,
    Uniform,
)
from fedjax_rec.simulation import EarlyStop, EvaluationPlan, Execution, PrivacyPlan, simulate
from fedjax_rec.transforms import (
    chain,
    clip_by_norm,
    clip_by_quantile,
    correlated_noise,
    gaussian_noise,
    local_noise,
    mean,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")
NUM_CLIENTS = 30
SYNTHETIC = {"name": "synthetic", "num_users": NUM_CLIENTS, "num_items": 40, "mean_events": 5}
DATA = load(**SYNTHETIC)
ON = {"noise_multiplier": 1.0}
CLIP, DIVIDE = clip_by_norm(0.5), mean(divisor=6)
CORRELATED = {"rounds": 9, "min_separation": 10, "participations": 1}

# ------------------------------------------------------------------- two ways to ask


def asked(**sections):
    """A configuration, up to a run."""
    table = {"data": SYNTHETIC, "algorithm": {"name": "fedmf", "dim": 2}, "rounds": 9} | sections
    told = []
    return build(from_dict(table, "here"), told.append), told


def linked(*links):
    """A configuration with a chain of its own."""
    named = [{"name": name} | settings for name, settings in links]
    return lambda: asked(aggregate={"chain": named})


def private(**sections):
    """A configuration with noise."""
    return lambda: asked(**{"privacy": ON} | sections)


def ran(*links, **changes):
    """A run in Python, of one link or of a chain."""

    def run():
        aggregate = links[0] if len(links) == 1 else chain(*links)
        settings = {
            "key": jax.random.key(1),
            "rounds": 2,
            "sampler": TruncatedPoisson(NUM_CLIENTS, 6),
            "evaluation": EvaluationPlan(every=9),
            "execution": Execution(),
            "notice": lambda line: None,
        }
        algorithm = fedmf(DATA.num_items, aggregate=aggregate, dim=2, batch_size=32)
        return simulate(algorithm, DATA, **settings | changes)

    return run


CLIPPED = ("clip_by_norm", {"clip_norm": 0.5})
DIVIDED = ("mean", {"by": "client", "divisor": 6})
NOISE = ("gaussian_noise", {"noise_multiplier": 1.0})
ROWS = ("row_sparse_noise", {"noise_multiplier": 1.0, "count_multiplier": 1.0, "threshold": 2.0})
FOLLOWS = ("clip_by_quantile", {"cohort_size": 6, "largest": 1.0})
NEEDS_CLIP = ("noise needs a bounded update", "clip_by_norm")
LAST = ("a link behind noise rescales it", "put the noise last")
COUNTS = ("depends on private data leaks it", "divisor=expected cohort size")
ONE_BOUND = ("needs one bound for the whole run", "put clip_by_norm before it")
STACK = AggregateTransform(is_stacked=True)

REFUSED = {
    # (a row of the page, what is special): how it is asked for, the reason, the way out
    ("noise without a clip", "none"): (linked(DIVIDED, NOISE), *NEEDS_CLIP),
    ("noise without a clip", "behind"): (linked(NOISE, CLIPPED), *NEEDS_CLIP),
    ("noise without a clip", "of rows"): (linked(DIVIDED, ROWS), *NEEDS_CLIP),
    ("noise without a clip", "no chain"): (ran(gaussian_noise(1.0)), *NEEDS_CLIP),
    ("noise without a clip", "local"): (ran(local_noise(1.0)), *NEEDS_CLIP),
    ("noise without a clip", "correlated"): (
        linked(DIVIDED, ("correlated_noise", {"noise_multiplier": 1.0} | CORRELATED)),
        *NEEDS_CLIP,
    ),
    ("noise without a clip", "weights of data sizes"): (
        linked(CLIPPED, ("mean", {"by": "example"}), NOISE),
        *NEEDS_CLIP,
    ),
    ("noise without a clip", "a clip at infinity"): (
        linked(("clip_by_norm", {"clip_norm": float("inf")}), DIVIDED, NOISE),
        "clip_norm must be positive and finite",
        "",
    ),
    ("noise without a clip", "of a wish"): (
        private(privacy=ON | {"clip_norm": float("inf")}),
        "clip_norm",
        "",
    ),
    ("a link behind the noise", "a mean"): (linked(CLIPPED, NOISE, DIVIDED), *LAST),
    ("a link behind the noise", "more noise"): (linked(CLIPPED, NOISE, NOISE), *LAST),
    ("a link behind the noise", "a clip"): (linked(CLIPPED, ROWS, CLIPPED), *LAST),
    ("a mean that divides by counts", "of clients"): (
        linked(CLIPPED, ("mean", {"by": "client"}), NOISE),
        *COUNTS,
    ),
    ("a mean that divides by counts", "of rows"): (
        linked(CLIPPED, ("mean", {"by": "row"}), NOISE),
        *COUNTS,
    ),
    ("a mean that divides by counts", "in front of the clip"): (
        linked(("mean", {"by": "example"}), CLIPPED, NOISE),
        *COUNTS,
    ),
    ("a mean that divides by counts", "of rows with noise"): (
        linked(CLIPPED, ("mean", {"by": "row"}), ROWS),
        *COUNTS,
    ),
    ("an exact count of norms", "beside noise"): (linked(FOLLOWS, DIVIDED, NOISE), *COUNTS),
    ("correlated noise behind `clip_by_quantile`", ""): (
        linked(
            (FOLLOWS[0], FOLLOWS[1] | {"count_stddev": 1.0}),
            DIVIDED,
            ("correlated_noise", {"noise_multiplier": 1.0} | CORRELATED),
        ),
        *ONE_BOUND,
    ),
    ("more bands than rounds between participations", ""): (
        linked(
            CLIPPED,
            DIVIDED,
            (
                "correlated_noise",
                {"noise_multiplier": 1.0, "strategy": "banded", "bands": 11} | CORRELATED,
            ),
        ),
        "would overlap",
        "at most min_separation, 10",
    ),
    ("noise beside messages that are taken one by one", "behind"): (
        ran(CLIP, STACK, gaussian_noise(1.0)),
        "noise is scaled to one client's part in a sum",
        "leave it out",
    ),
    ("noise beside messages that are taken one by one", "in front"): (
        ran(clip_by_quantile(0.5, cohort_size=6, largest=1.0, count_stddev=1.0), STACK),
        "noise is scaled to one client's part in a sum",
        "leave it out",
    ),
    ("an algorithm that takes no `[aggregate]`", "item_knn"): (
        private(algorithm={"name": "item_knn"}),
        "does not clip what its clients send",
        "choose an algorithm",
    ),
    ("an algorithm that takes no `[aggregate]`", "scaffold"): (
        private(algorithm={"name": "scaffold"}),
        "does not clip what its clients send",
        "choose an algorithm",
    ),
    ("an algorithm that takes no `[aggregate]`", "gpfedrec"): (
        private(algorithm={"name": "gpfedrec"}),
        "does not clip what its clients send",
        "choose an algorithm",
    ),
    ("reads `data` in the server", "features"): (
        private(algorithm={"name": "fedavg_records"}),
        "reads its clients' features outside of their updates",
        "choose another algorithm",
    ),
    ("one owner of all records", ""): (
        private(
            silos={"exchange": "records", "number": 3},
            split={"holdout": "common_records", "validation": "none"},
            evaluate={"task": "label"},
        ),
        "one owner gets them all",
        "set it to updates",
    ),
    ("local noise on slices", ""): (
        ran(CLIP, DIVIDE, local_noise(1.0), execution=Execution("general")),
        "needs",
        "is_sliced",
    ),
    ("delta of 1/N and more", "of a wish"): (
        private(privacy=ON | {"delta": 1 / NUM_CLIENTS}),
        r"below 1/30, one over the number of clients",
        "set it to 1e-05",
    ),
    ("delta of 1/N and more", "in Python"): (
        ran(CLIP, DIVIDE, gaussian_noise(1.0), privacy=PrivacyPlan(delta=0.2)),
        r"below 1/30, one over the number of clients",
        "set it to 1e-05",
    ),
    ("below 1e-8", "of a wish"): (
        private(privacy=ON | {"delta": 1e-9}),
        "noise in float32 does not reach that far",
        "set it to 1e-08 or more",
    ),
    ("below 1e-8", "in Python"): (
        ran(CLIP, DIVIDE, gaussian_noise(1.0), privacy=PrivacyPlan(delta=1e-12)),
        "noise in float32 does not reach that far",
        "set it to 1e-08 or more",
    ),
    ("an epsilon that promises nothing", ""): (
        private(privacy={"epsilon": 1001.0}),
        "promises next to nothing",
        "leave it out",
    ),
    ("an epsilon below the cost of one round", ""): (
        ran(CLIP, DIVIDE, gaussian_noise(1.0), privacy=PrivacyPlan(epsilon=1e-3)),
        "one round costs more than 0.001",
        "raise privacy.noise_multiplier",
    ),
    ("a chain beside a wish", ""): (
        private(aggregate={"chain": [{"name": "total"}]}),
        "privacy makes its own chain",
        "leave one of the two out",
    ),
    ("a delta without noise", ""): (
        lambda: asked(privacy={"delta": 1e-6}),
        "there is no noise",
        "set privacy.epsilon or privacy.noise_multiplier",
    ),
    ("a sampler of another population", ""): (
        ran(CLIP, DIVIDE, gaussian_noise(1.0), sampler=TruncatedPoisson(1_000, 6)),
        "draws from 1000 clients, and 30 may train",
        "make a sampler of as many",
    ),
    ("cohorts that rest longer than there are clients", ""): (
        private(cohort={"sampler": "cyclic_poisson", "size": 6, "separation": 6}),
        "with cohorts of 6 among 30 clients",
        "the separation is at most 5",
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=" ".join)
def test_it_is_refused_with_the_reason_and_the_way_out(case):
    ask, reason, way_out = REFUSED[case]
    with pytest.raises((UserError, ValueError)) as refusal:
        ask()
    told = str(refusal.value)
    assert reason in told
    assert way_out in told
    assert "\n" not in told


SWITCHED = {
    ("a mean that divides by counts", "by row"): (
        {"aggregate": {"mean": "row"}},
        "aggregate.mean is client in place of row",
    ),
    ("a mean that divides by counts", "by example"): (
        {"aggregate": {"mean": "example"}},
        "aggregate.mean is client in place of example",
    ),
    ("early stopping", "by patience"): (
        {"stop": {"patience": 3}},
        "stop.patience is 0 in place of 3",
    ),
    ("early stopping", "at a target"): (
        {"stop": {"target": 0.5}},
        "stop.target is 0 in place of 0.5",
    ),
    ("cohorts of a fixed size", "of a wish"): (
        {"cohort": {"sampler": "uniform", "size": 6}},
        "cohort.sampler is poisson in place of uniform",
    ),
    ("rotating cohorts", "of a wish"): (
        {"cohort": {"sampler": "rotating", "size": 6}},
        "cohort.sampler is poisson in place of rotating",
    ),
    ("rotating cohorts", "correlated"): (
        {
            "cohort": {"sampler": "poisson", "size": 3},
            "privacy": ON | {"mechanism": "correlated"},
        },
        "cohort.sampler is rotating in place of poisson",
    ),
}


@pytest.mark.parametrize("case", SWITCHED, ids=" ".join)
def test_a_wish_switches_it_and_says_why(case):
    sections, words = SWITCHED[case]
    experiment, told = asked(**{"privacy": ON} | sections)
    (line,) = [line for line in told if words in line]
    assert re.search(r": \w.* \w", line.partition(words)[2]), "no reason is told"
    assert experiment.algorithm.aggregate.is_noise
    assert experiment.stop is None
    assert not experiment.algorithm.aggregate.releases_counts


MADE_FOR_ONE = correlated_noise(3.0, rounds=1, min_separation=1, participations=1)
NOT_CLAIMED = {
    ("more rounds than correlated noise was made for", ""): (
        ran(CLIP, DIVIDE, MADE_FOR_ONE, sampler=Rotating(NUM_CLIENTS, 3)),
        "made for 1 round, and 2 were executed",
    ),
    ("early stopping", "in Python"): (
        ran(CLIP, DIVIDE, gaussian_noise(1.0), stop=EarlyStop("valid/ndcg@10", patience=3)),
        "set stop.patience and stop.target to 0",
    ),
    ("a noise multiplier of 0", ""): (
        ran(CLIP, DIVIDE, gaussian_noise(0.0)),
        "a noise multiplier of 0",
    ),
    ("noise of next to nothing", ""): (
        ran(CLIP, DIVIDE, gaussian_noise(1e-4)),
        "the noise is too weak",
    ),
    ("noise on a count alone", ""): (
        ran(
            clip_by_quantile(0.5, cohort_size=6, largest=1.0, count_stddev=1.0),
            DIVIDE,
        ),
        "released updates without noise",
    ),
    ("no noise", ""): (ran(CLIP, DIVIDE), "no noise is added"),
}


@pytest.mark.parametrize("case", NOT_CLAIMED, ids=" ".join)
def test_nothing_is_claimed_and_the_report_says_why(case):
    run, reason = NOT_CLAIMED[case]
    said = run().summary["privacy"]
    assert (said["claims"], said["epsilon"]) == ("none", None)
    assert reason in " ".join(said["reasons"])


class Cut(TruncatedPoisson):
    """A Poisson sampler whose capacity is its mean."""

    @property
    def event(self):
        event = super().event
        return type(event)("poisson", event.num_clients, event.expected_size, 6)


NOT_AMPLIFIED = {
    # a run of two rounds: how often one client is counted, without amplification at least
    ("rotating cohorts", ""): (Rotating(NUM_CLIENTS, 6), 1),
    ("rotating cohorts", "that come soon"): (Rotating(NUM_CLIENTS, 20), 2),
    ("cohorts of whoever has rested", ""): (MinSeparation(NUM_CLIENTS, 6, 5), 1),
    ("cohorts of whoever is available", ""): (Availability(NUM_CLIENTS, 6), 2),
}


@pytest.mark.parametrize("case", NOT_AMPLIFIED, ids=" ".join)
def test_no_amplification_is_claimed(case):
    """The noise of a round in which one surely takes part, as often as one may."""
    from dp_accounting import get_epsilon_gaussian

    sampler, times = NOT_AMPLIFIED[case]
    said = ran(CLIP, DIVIDE, gaussian_noise(4.0), sampler=sampler)().summary["privacy"]
    sure = get_epsilon_gaussian(4.0 / times**0.5, said["delta"])
    assert said["claims"] == "valid"
    assert said["epsilon"] == pytest.approx(sure, rel=1e-3)


def test_only_poisson_cohorts_get_the_number_of_poisson_cohorts():
    """Not those that are cut at their mean, nor those of a fixed size."""

    def epsilon(sampler):
        said = ran(CLIP, DIVIDE, gaussian_noise(2.0), sampler=sampler)().summary["privacy"]
        assert said["claims"] == "valid"
        return said["epsilon"]

    whole = epsilon(TruncatedPoisson(NUM_CLIENTS, 6))
    assert epsilon(Cut(NUM_CLIENTS, 6)) > 1.1 * whole
    assert epsilon(Uniform(NUM_CLIENTS, 6)) > 1.1 * whole


def test_whole_numbers_take_no_noise():
    update = chain(CLIP, DIVIDE, gaussian_noise(1.0))
    from fedjax_rec.base import Message, Part

    message = Message(Part({}, jnp.arange(3)), jnp.float32(1), {}, {})
    with pytest.raises(TypeError, match="send floats"):
        update.encode(jax.random.key(0), message, ((), (), ()), ((), (), ()), jnp.float32(1))


def test_every_row_of_the_page_has_a_case():
    table = PAGE.split("## When nothing is claimed")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:]
    cases = [
        *(row for row, _ in (*REFUSED, *SWITCHED, *NOT_CLAIMED, *NOT_AMPLIFIED)),
        "a truncated Poisson draw",
    ]
    assert len(rows) > 10
    for row in rows:
        assert any(case in row for case in cases), row
    assert set(cases) == {case for case in cases if any(case in row for row in rows)}
