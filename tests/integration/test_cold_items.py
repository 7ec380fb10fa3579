"""Items that are held out whole: nobody trains on them, and all of them are ranked alike."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import INIT, SERVER, Fixed, derive_key
from fedjax_rec.config import from_dict
from fedjax_rec.data import FederatedData, fingerprint, load, read
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import Experiment, build, resolve
from fedjax_rec.simulation import EvaluationPlan, Result, evaluate
from fedjax_rec.simulation import build as engine
from fedjax_rec.simulation.devices import Placement
from fedjax_rec.simulation.programs import Shared
from fedjax_rec.simulation.scoring import Scorer

NUM_USERS, NUM_ITEMS, SHARE = 19, 53, 0.2  # ten items for test, ten for validation
SPLIT = {"holdout": "items", "validation": "items", "share": SHARE, "seed": 3}
PATH: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A file of events, in an order that means nothing."""
    rng, folder = np.random.default_rng(4), tmp_path_factory.mktemp("events")
    pairs = [(u, i) for u in range(NUM_USERS) for i in range(NUM_ITEMS) if (7 * u + 3 * i) % 5 < 2]
    rows = [f"{u + 1}\t{i}\t4\t{rng.integers(1, 99)}" for u, i in rng.permutation(pairs)]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "mine.inter").write_text("\n".join([header, *rows]))
    PATH["path"] = str(folder)
    yield
    PATH.clear()


def built(algorithm: dict[str, Any], exclude: str = "train", **evaluate: Any) -> Experiment:
    table = {
        "rounds": 2,
        "data": {"name": "mine"} | PATH,
        "split": SPLIT,
        "negatives": {"exclude": exclude},
        "algorithm": algorithm,
        "evaluate": {"every": 1, "at_k": [4]} | evaluate,
    }
    return build(resolve(from_dict(table, "here")), lambda line: None)


MF = {"name": "fedmf", "dim": 3, "num_negatives": 8, "batch_size": 16}


def ran(experiment: Experiment, folder: Path) -> Result:
    quiet = {"report": lambda report: None, "notice": lambda line: None}
    return experiment.run(folder, resume=True, **quiet)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- the rule


def hashed(label: str, seed: int) -> int:
    """The hash of an item's raw id, in Python's own integers."""
    mask = 2**64 - 1

    def mix(state: int) -> int:
        state = (state + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        return state ^ (state >> 31)

    text = 0xCBF29CE484222325
    for byte in label.encode():
        text = ((text ^ byte) * 0x100000001B3) & mask
    return mix(mix(seed) ^ text)


def cold() -> tuple[set[str], set[str]]:
    """Raw ids of the items for test and for validation."""
    labels = sorted((str(item) for item in range(NUM_ITEMS)), key=lambda name: -hashed(name, 3))
    return set(labels[:10]), set(labels[10:20])


def events(data: FederatedData, name: str) -> set[tuple[str, str]]:
    train = data.split.train
    if name == "train":
        pairs = zip(train.users, train.items, strict=True)
    else:
        table = getattr(data.split, name).items
        rows, places = np.nonzero(table < NUM_ITEMS)
        pairs = zip(rows, table[rows, places], strict=True)
    return {(str(train.user_labels[u]), str(train.item_labels[i])) for u, i in pairs}


def test_all_events_of_an_item_are_in_one_part():
    raw, data = read("mine", **PATH), built(MF).data  # type: ignore[arg-type]
    test, valid = cold()
    labels = zip(raw.user_labels[raw.users], raw.item_labels[raw.items], strict=True)
    every = {(str(user), str(item)) for user, item in labels}
    assert events(data, "test") == {pair for pair in every if pair[1] in test}
    assert events(data, "valid") == {pair for pair in every if pair[1] in valid}
    assert events(data, "train") == {pair for pair in every if pair[1] not in test | valid}
    marked = data.split.held_items
    assert marked is not None
    for name, expected in (("test", test), ("valid", valid)):
        assert set(data.split.train.item_labels[marked[name]].tolist()) == expected
    assert data.num_items == NUM_ITEMS  # they are in the catalogue all the same
    assert data.protocol["holdout_share"] == SHARE
    assert (data.protocol["holdout"], data.protocol["validation"]) == ("items", "items")


def test_another_seed_chooses_other_items_and_the_fingerprint_tells():
    options = {"holdout": "items", "validation": "none", "share": SHARE} | PATH
    one, other = (load("mine", split_seed=seed, **options) for seed in (3, 4))  # type: ignore[arg-type]
    assert {item for _, item in events(one, "test")} == cold()[0]
    assert events(one, "test") != events(other, "test")
    assert fingerprint(one)["sha256"] != fingerprint(other)["sha256"]


def test_whoever_has_met_cold_items_alone_is_not_asked(tmp_path):
    test, _ = cold()
    name, other = sorted(test)[0], next(str(i) for i in range(NUM_ITEMS) if str(i) not in test)
    lines = [f"1\t{i}\t4\t5" for i in range(NUM_ITEMS)] + [f"2\t{name}\t4\t6"]
    assert other
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (tmp_path / "mine.inter").write_text("\n".join([header, *lines]))
    data = load(
        "mine", path=str(tmp_path), holdout="items", validation="items", share=SHARE, split_seed=3
    )
    assert (data.split.test.items[1] == NUM_ITEMS).all()
    assert set(data.split.train.users.tolist()) == {0}


# ------------------------------------------------------------------------- training


def start_and_end(exclude: str, folder: Path) -> tuple[Any, Any, Any]:
    """The table as drawn and as trained, and which of its items are held out."""
    experiment = built(MF, exclude)
    result = ran(experiment, folder)
    key = derive_key(experiment.key, 0, SERVER, INIT)
    start, _ = experiment.algorithm.model.init(key)
    marked = experiment.data.split.held_items
    assert marked is not None
    table = [np.asarray(jax.tree.leaves(one.rows)[0]) for one in (start, result.state.shared)]
    return *table, marked["test"] | marked["valid"]


def test_negatives_are_held_out_items_like_others_or_none_of_them(tmp_path):
    """Never a client's own ones less than others', but where `heldout` asks for the leak."""
    before, after, is_cold = start_and_end("heldout_and_candidates", tmp_path / "none")
    np.testing.assert_allclose(before[is_cold], after[is_cold], rtol=1e-6)
    assert (np.abs(before - after)[~is_cold].max(axis=1) > 1e-4).all()
    before, after, is_cold = start_and_end("train", tmp_path / "any")
    assert (np.abs(before - after)[is_cold].max(axis=1) > 1e-4).all()
    data = {name: built(MF, name).data for name in ("train", "heldout", "heldout_and_candidates")}
    trained = data["train"].clients.offsets
    assert (data["train"].clients.excluded_offsets == trained).all()
    num_own = len(events(data["train"], "valid")) + len(events(data["train"], "test"))
    assert data["heldout"].clients.excluded.size == trained[-1] + num_own
    assert data["heldout_and_candidates"].clients.excluded.size == trained[-1] + 20 * NUM_USERS


def test_popularity_counts_none_of_them_and_ranks_them_last(tmp_path):
    experiment = built({"name": "popularity"})
    result = ran(experiment, tmp_path)
    marked = experiment.data.split.held_items
    assert marked is not None
    counts = np.asarray(jax.tree.leaves(result.state.shared.rows)[0])
    assert not counts[marked["test"] | marked["valid"]].any()
    assert counts[~(marked["test"] | marked["valid"])].all()
    assert result.summary["metrics"]["test/hit_rate@4"] == 0
    assert result.summary["popularity"]["test/hit_rate@4"] == 0


# ------------------------------------------------------------------------- questions


def oracle(data: FederatedData, scores: Any, name: str, among: Any) -> list[float]:
    """Each person's best rank of its held-out items, in a loop; NaN without one."""
    ranks, train = [], data.split.train
    for user in range(data.num_clients):
        own = {int(item) for item in getattr(data.split, name).items[user] if item < NUM_ITEMS}
        seen = set(train.items[train.users == user].tolist())
        if name == "test":
            seen |= set(data.split.valid.items[user].tolist())
        if not own:
            ranks.append(np.nan)
            continue
        best = max(scores[item] for item in own)
        others = [item for item in range(NUM_ITEMS) if among[item] and item not in seen | own]
        ranks.append(1 + sum(scores[item] >= best for item in others))
    return ranks


def scored(data: FederatedData, plan: EvaluationPlan) -> tuple[Any, dict[str, Any]]:
    """One order of the items for everybody, and what is found with it."""
    plain = built({"name": "popularity"}).algorithm
    scores = np.random.default_rng(1).normal(size=NUM_ITEMS).astype(np.float32)
    model = replace(plain.model, score=lambda view, inputs: jnp.asarray(scores))
    state, clients, frozen = engine(plain).init(jax.random.key(0), data.num_clients)
    result = Result([], {}, {}, state, clients, frozen, False, 0)
    return scores, evaluate(replace(plain, model=model), data, result, plan)


@pytest.mark.parametrize("candidates", ["full", "held_out"])
def test_held_out_items_are_ranked_among_all_items_or_among_their_like(candidates):
    data = built(MF).data
    scores, found = scored(data, EvaluationPlan(at_k=(4,), candidates=candidates))
    marked = data.split.held_items
    assert marked is not None
    for name in ("valid", "test"):
        among = marked[name] if candidates == "held_out" else np.ones(NUM_ITEMS, bool)
        expected = oracle(data, scores, name, among)
        np.testing.assert_array_equal(found[name].ranks.min(axis=1), expected)
        assert len(set(expected)) > 2


def test_a_run_names_what_it_ranks_among(tmp_path):
    experiment = built(MF, candidates="held_out")
    result = ran(experiment, tmp_path)
    assert result.summary["protocol"]["candidates"] == "held_out"
    again = evaluate(experiment.algorithm, experiment.data, result, experiment.evaluation)
    assert result.summary["metrics"]["test/ndcg@4"] == again["test"].metrics["ndcg@4"]
    full = evaluate(
        experiment.algorithm, experiment.data, result, EvaluationPlan(at_k=(4,), candidates="full")
    )
    assert full["test"].metrics["ndcg@4"] < again["test"].metrics["ndcg@4"]


def test_there_is_nothing_held_out_whole_under_another_rule():
    data = load("mine", **PATH)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"set split.holdout to items, or choose full or uni99$"):
        scored(data, EvaluationPlan(candidates="held_out"))


def ranks_on(num_devices: int) -> Any:
    experiment = built(MF, candidates="held_out")
    data, algorithm = experiment.data, experiment.algorithm
    state, clients, frozen = engine(algorithm).init(jax.random.key(0), data.num_clients)
    placement = Placement(num_devices, data.num_clients)
    scorer = Scorer(Shared(algorithm), data, experiment.evaluation, lambda line: None, placement)
    found = scorer.evaluations(
        placement.everywhere(state),
        placement.spread(clients),
        placement.spread_fixed(Fixed(frozen, data.clients)),
    )
    return found["test"].ranks


def test_two_devices_rank_among_the_same():
    np.testing.assert_array_equal(ranks_on(1), ranks_on(2))
