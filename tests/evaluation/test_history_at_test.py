"""What models that read a history know of a client at test: validation events too, if asked for.

The oracle is SASRec in NumPy on each person's raw events, ranked in a loop over items.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms.finetuning import finetuning
from fedjax_rec.base import Fixed, LengthClass
from fedjax_rec.cli import main
from fedjax_rec.config import from_dict
from fedjax_rec.data import FederatedData, load, read
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.later import later_events
from fedjax_rec.evaluation.personal import each_scores_of
from fedjax_rec.experiment import Experiment, build, resolve
from fedjax_rec.recommenders import recommender
from fedjax_rec.simulation import EvaluationPlan, Result, evaluate, simulate
from fedjax_rec.simulation import build as engine

DIM, MAX_LENGTH, NUM_ITEMS = 4, 7, 60
SPLITS: dict[str, dict[str, Any]] = {
    "one each": {"holdout": "leave_one_out", "validation": "second_latest"},
    "several each": {"holdout": "ratio", "validation": "ratio", "share": 0.25},
    "some without": {"holdout": "temporal", "validation": "temporal", "share": 0.2},
}
NUM_USERS = 17
MF = {"name": "fedmf", "dim": 3}


@pytest.fixture(scope="module", autouse=True)
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Events of everybody at all times; some people have few, in the `temporal` split too."""
    rng, order = np.random.default_rng(4), []
    folder = tmp_path_factory.mktemp("events")
    for user in range(NUM_USERS):
        items = set(rng.permutation(NUM_ITEMS)[: 4 + user]) | set(range(user, NUM_ITEMS, 17))
        times = 1 + rng.choice(1000, len(items), replace=False)
        order += list(zip([user + 1] * len(items), items, times, strict=True))
    rows = [f"{u}\t{i}\t{rng.integers(1, 6)}\t{t}" for u, i, t in order]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "mine.inter").write_text("\n".join([header, *rng.permutation(rows)]))
    DATA["path"] = str(folder)
    yield
    DATA.clear()


DATA: dict[str, str] = {}


def built(split: str, **evaluate: Any) -> Experiment:
    model = {"model": "sasrec", "dim": DIM, "max_length": MAX_LENGTH, "num_blocks": 1}
    table = {
        "rounds": 2,
        "data": {"name": "mine"} | DATA,
        "split": SPLITS[split],
        "algorithm": {"name": "fedavg", "objective": "next_item", "init_stddev": 1.0} | model,
        "evaluate": {"every": 1, "at_k": [50]} | evaluate,
    }
    return build(resolve(from_dict(table, "here")), lambda line: None)


def ran(experiment: Experiment, folder: Any, rounds: int = 2) -> Result:
    asked = replace(experiment, config=replace(experiment.config, rounds=rounds))
    quiet = {"report": lambda report: None, "notice": lambda line: None}
    return asked.run(folder, resume=True, **quiet)  # type: ignore[arg-type]


# ------------------------------------------------------------------------ oracle


def norm(x: Any, parameters: Any) -> Any:
    spread = np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-6)
    return (x - x.mean(axis=-1, keepdims=True)) / spread * parameters["scale"] + parameters["bias"]


def forward(shared: Any, items: list[int]) -> Any:
    """`[I]` scores after the last of some events, of one block and one head."""
    table, dense = jax.tree.map(np.asarray, (shared.rows["item"], shared.dense))
    items = items[-MAX_LENGTH:]
    x = np.sqrt(DIM) * table[items] + dense["positions"][MAX_LENGTH - len(items) :]
    block = jax.tree.map(lambda leaf: leaf[0], dense["blocks"])
    asked, heads = norm(x[-1], block["LayerNorm_0"]), block["attention"]
    key, value = (x @ heads[name]["kernel"] for name in ("key", "value"))
    weights = np.exp(asked @ heads["query"]["kernel"] @ key.T / np.sqrt(DIM))
    z = norm(asked + weights / weights.sum() @ value, block["LayerNorm_1"])
    first, second = block["inner"], block["outer"]
    hidden = z @ first["kernel"] + first["bias"]
    x = z + np.maximum(hidden, 0) @ second["kernel"] + second["bias"]
    return norm(x, dense["LayerNorm_0"]) @ table.T


def histories(data: FederatedData) -> dict[str, list[list[int]]]:
    """Each person's events by time, of those that train, and of those that validate."""
    raw, train = read("mine", **DATA), data.split.train
    number = {label: item for item, label in enumerate(train.item_labels.tolist())}
    trained = set(zip(train.users.tolist(), train.items.tolist(), strict=True))
    found: dict[str, list[list[int]]] = {"train": [], "valid": []}
    assert raw.user_labels.tolist() == train.user_labels.tolist()
    for user in range(raw.num_users):
        events = np.flatnonzero(raw.users == user)
        assert len({int(raw.times[event]) for event in events}) == len(events)  # no ties
        events = events[np.argsort(raw.times[events])]
        items = [number[raw.item_labels[raw.items[event]]] for event in events]
        valid = set(data.split.valid.items[user].tolist())
        found["train"].append([item for item in items if (user, item) in trained])
        found["valid"].append([item for item in items if item in valid])
    return found


def first_ranks(data: FederatedData, shared: Any, name: str, *, reads_valid: bool) -> list[float]:
    """Each person's best rank of a held-out item; NaN without one."""
    ranks, read = [], histories(data)
    for user, trained in enumerate(read["train"]):
        held = getattr(data.split, name).items[user]
        held = {int(item) for item in held if item < NUM_ITEMS}
        if not held:
            ranks.append(np.nan)
            continue
        valid = read["valid"][user]
        scores = forward(shared, trained + (valid if reads_valid else []))
        seen = set(trained) | (set(valid) if name == "test" else set())
        best = max(scores[item] for item in held)
        others = [item for item in range(NUM_ITEMS) if item not in seen and item not in held]
        ranks.append(1 + sum(scores[item] >= best for item in others))
    return ranks


@pytest.mark.parametrize("split", SPLITS)
def test_at_test_a_model_reads_the_validation_items_in_their_order_too(split, tmp_path):
    experiment = built(split, history="train_and_valid")
    result = ran(experiment, tmp_path)
    data, shared = experiment.data, result.state.shared
    with_valid, without = (
        first_ranks(data, shared, "test", reads_valid=reads) for reads in (True, False)
    )
    found = evaluate(experiment.algorithm, data, result, experiment.evaluation)
    np.testing.assert_array_equal(_best(found["test"].ranks), with_valid)
    assert sum(np.not_equal(with_valid, without) & ~np.isnan(without)) > 5
    in_validation = first_ranks(data, shared, "valid", reads_valid=False)
    np.testing.assert_array_equal(_best(found["valid"].ranks), in_validation)
    mrr = [1 / rank if rank <= 50 else 0.0 for rank in with_valid if rank == rank]
    assert result.summary["metrics"]["test/mrr@50"] == pytest.approx(np.mean(mrr), rel=1e-5)
    assert result.summary["protocol"]["history"] == "train_and_valid"
    plain = evaluate(
        experiment.algorithm, data, result, replace(experiment.evaluation, history="train")
    )
    np.testing.assert_array_equal(_best(plain["test"].ranks), without)
    np.testing.assert_array_equal(plain["valid"].ranks, found["valid"].ranks)


def _best(ranks: Any) -> Any:
    best = ranks.min(axis=1).astype(float)
    return np.where(best > NUM_ITEMS, np.nan, best)


def test_several_validation_items_and_none_are_among_the_cases():
    counts = {split: _num_valid(built(split).data) for split in SPLITS}
    assert max(counts["several each"]) > 2
    data = built("some without").data
    is_tested = (data.split.test.items < NUM_ITEMS).any(axis=1)
    assert (np.array(counts["some without"])[is_tested] == 0).any()
    assert any(len(items) > MAX_LENGTH for items in histories(data)["train"])


def _num_valid(data: FederatedData) -> list[int]:
    return (data.split.valid.items < NUM_ITEMS).sum(axis=1).tolist()


def test_a_run_goes_on_with_the_same_history_and_with_no_other(tmp_path):
    experiment = built("several each", history="train_and_valid")
    whole = ran(experiment, tmp_path / "whole")
    ran(experiment, tmp_path / "resumed", rounds=1)
    resumed = ran(experiment, tmp_path / "resumed")
    assert resumed.first_round == 1
    assert resumed.summary["metrics"] == whole.summary["metrics"]
    with pytest.raises(UserError, match="history"):
        ran(built("several each"), tmp_path / "resumed")


# ------------------------------------------------------------------ what is scored


def scored(history: str, **options: Any) -> list[int]:
    """How long a history each scoring of an evaluation reads; -1 for none."""
    experiment, lengths = built("several each"), []
    algorithm = experiment.algorithm

    def score(view: Any, inputs: Any) -> Any:
        if inputs.ids is None:
            read = inputs.history
            lengths.append(-1 if read is None else read.items.shape[0])
        return algorithm.model.score(view, inputs)

    watched = replace(algorithm, model=replace(algorithm.model, score=score, **options))
    plan = replace(experiment.evaluation, history=history)  # type: ignore[arg-type]
    state, clients, frozen = engine(algorithm).init(jax.random.key(0), NUM_USERS)
    result = Result([], {}, {}, state, clients, frozen, False, 0)
    evaluate(watched, experiment.data, result, plan)
    return lengths


def test_a_split_is_scored_by_itself_only_where_more_is_read():
    data = built("several each").data
    longest = max(length.num_events for length in data.clients.classes)
    assert scored("train") == [longest]
    assert scored("train_and_valid") == [longest, longest + max(_num_valid(data))]


def test_who_reads_no_history_scores_once_for_both_splits():
    """As Popularity beside such a run."""
    data, calls = load("mine", **DATA), []  # type: ignore[arg-type]
    plain = build(
        resolve(from_dict({"data": {"name": "mine"} | DATA, "algorithm": MF}, "here")),
        lambda line: None,
    ).algorithm

    def score(view: Any, inputs: Any) -> Any:
        calls.append(inputs.history)
        return plain.model.score(view, inputs)

    watched = replace(plain, model=replace(plain.model, score=score))
    state, clients, frozen = engine(plain).init(jax.random.key(0), data.num_clients)
    result = Result([], {}, {}, state, clients, frozen, False, 0)
    for history in ("train", "train_and_valid"):
        calls.clear()
        evaluate(watched, data, result, EvaluationPlan(history=history))  # type: ignore[arg-type]
        assert calls == [None]


def test_a_client_adapts_once_and_on_its_training_events_alone():
    data = built("several each").data
    parts = recommender(
        NUM_ITEMS, model="sasrec", dim=DIM, max_length=MAX_LENGTH, num_blocks=1, local_epochs=2
    )
    plain, calls = finetuning(*parts), []

    def adapt(key: Any, view: Any, task: Any) -> Any:
        calls.append(task)
        return plain.adapt(key, view, task)

    algorithm = replace(plain, adapt=adapt)
    state, clients, frozen = engine(plain).init(jax.random.key(2), data.num_clients)
    fixed = Fixed(frozen, data.clients)
    later = later_events(data, [data.split.valid])
    length, ids = LengthClass.covering(data.clients.classes), jnp.arange(data.num_clients)
    each = each_scores_of(algorithm, state, clients, fixed)
    before, after = each(length, ids, ids, [None, later])
    assert len(calls) == 1
    again = each_scores_of(plain, state, clients, fixed)(length, ids, ids, [None])[0]
    np.testing.assert_allclose(before, again, rtol=1e-5, atol=1e-6)
    is_same = np.isclose(before, after, rtol=1e-5).all(axis=1)
    np.testing.assert_array_equal(is_same, np.array(_num_valid(data)) == 0)


def test_later_events_have_their_values_and_their_times():
    data = built("several each").data
    raw, train = read("mine", **DATA), data.split.train  # type: ignore[arg-type]
    later = jax.tree.map(np.asarray, later_events(data, [data.split.valid, data.split.test]))
    first = train.times.min()
    for user in range(data.num_clients):
        num = int(later.num_events[user])
        expected = []
        for held in (data.split.valid, data.split.test):
            labels = {train.item_labels[i] for i in held.items[user] if i < NUM_ITEMS}
            own = list(np.flatnonzero(raw.users == user))
            own = [e for e in own if raw.item_labels[raw.items[e]] in labels]
            own.sort(key=lambda event: raw.times[event])
            expected += [(raw.values[e], raw.times[e] - first) for e in own]
        values, times = later.values[user, :num], later.times[user, :num]
        assert list(zip(values, times, strict=True)) == expected
        assert set(later.items[user, num:]) <= {NUM_ITEMS}


# ------------------------------------------------------------------------- refusals


def test_what_nobody_would_read_is_refused():
    config = {"data": {"name": "mine"} | DATA, "evaluate": {"history": "train_and_valid"}}
    with pytest.raises(UserError, match=r"^evaluate.history: .* reads none; set it to train$"):
        build(resolve(from_dict(config | {"algorithm": MF}, "here")), lambda line: None)
    knn = {"algorithm": {"name": "item_knn"}, "split": {"validation": "none"}}
    knn |= {"stop": {"patience": 0}}
    with pytest.raises(UserError, match=r"^evaluate.history: .* choose another split.validation$"):
        build(resolve(from_dict(config | knn, "here")), lambda line: None)
    experiment = built("one each")
    plain = build(
        resolve(from_dict({"data": {"name": "mine"} | DATA, "algorithm": MF}, "here")),
        lambda line: None,
    )
    with pytest.raises(UserError, match="reads none"):
        simulate(
            plain.algorithm,
            experiment.data,
            key=jax.random.key(0),
            rounds=1,
            evaluation=EvaluationPlan(history="train_and_valid"),
        )


# ------------------------------------------------------------------ recommendations


def test_recommendations_read_and_leave_out_all_that_a_person_has_met(
    tmp_path, capsys, monkeypatch
):
    """`rating_means` adds a person's mean error to an item's mean: of all its ratings."""
    monkeypatch.setenv("COLUMNS", "200")
    preset = tmp_path / "means.toml"
    preset.write_text(
        f'rounds = 1\n[data]\nname = "mine"\npath = "{DATA["path"]}"\n'
        '[algorithm]\nname = "rating_means"\nitem_damping = 0.5\nuser_damping = 0.5\n'
        '[split]\nholdout = "ratio"\nvalidation = "ratio"\nshare = 0.25\n'
        '[evaluate]\ntask = "rating"\n'
    )
    folder = tmp_path / "run"
    assert main(["run", str(preset), "--output", str(folder)]) == 0
    capsys.readouterr()
    assert main(["recommend", str(folder), "--client", "5", "--k", str(NUM_ITEMS)]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    shown = {row[3].strip(): float(row[4]) for row in rows}

    raw, train = read("mine", **DATA), built("several each").data.split.train  # type: ignore[arg-type]
    mean, names = train.values.mean(), train.item_labels
    sums = np.bincount(train.items, train.values - mean, NUM_ITEMS)
    offsets = sums / (0.5 + np.bincount(train.items, minlength=NUM_ITEMS))
    by_item = dict(zip(names.tolist(), mean + offsets, strict=True))
    own = np.flatnonzero(raw.user_labels[raw.users] == "5")
    labels = raw.item_labels[raw.items[own]].tolist()
    errors = [value - by_item[label] for label, value in zip(labels, raw.values[own], strict=True)]
    error = sum(errors) / (0.5 + len(errors))
    assert set(shown) == set(by_item) - set(labels)
    for label, score in shown.items():
        assert score == pytest.approx(by_item[label] + error, abs=1e-3)
