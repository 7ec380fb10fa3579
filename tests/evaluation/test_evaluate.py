"""The evaluator against a plain loop over clients and items, on a toy factor model.

Factors are small integers: scores are exact in float32, and full of ties.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import (
    AggregateTransform,
    ClientData,
    Clients,
    ClientUpdate,
    FederatedAlgorithm,
    Fixed,
    History,
    Inputs,
    LengthClass,
    Model,
    Objective,
    Part,
    Private,
    ServerState,
    ServerUpdate,
    View,
    empty,
    nothing_private,
)
from fedjax_rec.data import item_lists
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import (
    UNRANKED,
    HeldOutSet,
    Ranking,
    build_evaluator,
    metric_keys,
    top_k,
    worst_keys,
)
from fedjax_rec.evaluation.metrics import client_keys
from fedjax_rec.models import sasrec

NUM_CLIENTS, NUM_ITEMS, DIM = 23, 40, 3


def evaluator(algorithm, at_k=(5, 10, 20), ties="pessimistic", **options):
    """An evaluator of the ranking of one split."""
    evaluate = build_evaluator(algorithm, Ranking(at_k, ties), **options)
    return lambda *rest: evaluate(*rest[:3], {"test": rest[3]})["test"]


def untrained(*_):
    raise AssertionError("evaluation does not train")


def dot_product(view, inputs):
    return view.shared.rows["item"] @ view.private.dense


def toy_mf(score=dot_product, num_items=NUM_ITEMS, needs_history=False, **slots):
    return FederatedAlgorithm(
        model=Model({"item": num_items}, init=untrained, score=score, needs_history=needs_history),
        objective=Objective(prepare=untrained),
        client_update=ClientUpdate(run=untrained),
        aggregate=AggregateTransform(),
        server_update=ServerUpdate(init=untrained, apply=untrained),
        **slots,
    )


def client_data(users, items, num_clients, num_items):
    order = np.argsort(users, kind="stable")
    sizes = np.bincount(users, minlength=num_clients)
    offsets = jnp.array(np.append(0, np.cumsum(sizes)), jnp.int32)
    rank = np.argsort(np.argsort(-sizes, kind="stable"))
    half = num_clients // 2
    by_size = np.sort(sizes)[::-1]
    return ClientData(
        items=jnp.array(items[order], jnp.int32),
        values=jnp.ones(len(items)),
        times=jnp.arange(len(items), dtype=jnp.int32),
        offsets=offsets,
        excluded=jnp.array(items[order], jnp.int32),
        excluded_offsets=offsets,
        rank=jnp.array(rank, jnp.int32),
        is_distinct=jnp.zeros(num_clients, bool),
        first=jnp.int32(0),
        classes=(
            LengthClass(0, half, int(by_size[0]), int(by_size[0])),
            LengthClass(half, num_clients, int(by_size[half]), int(by_size[half])),
        ),
        num_items=num_items,
    )


class Problem:
    """A trained toy: integer factors, events, and three held-out items at most."""

    def __init__(self, num_clients=NUM_CLIENTS, num_items=NUM_ITEMS, dim=DIM, per_client=12):
        rng = np.random.default_rng(5)
        self.items = rng.integers(-2, 3, (num_items, dim)).astype(np.float32)
        self.users = rng.integers(-2, 3, (num_clients, dim)).astype(np.float32)
        sizes = rng.integers(1, per_client, num_clients)
        sizes[-1] = per_client
        self.event_users = np.repeat(np.arange(num_clients), sizes)
        self.event_items = rng.integers(0, num_items, sizes.sum())
        self.targets = np.full((num_clients, 3), num_items)
        for user, size in enumerate(rng.integers(1, 4, num_clients)):
            self.targets[user, :size] = rng.permutation(num_items)[:size]
        self.targets[[0, 11]] = num_items  # nothing held out
        self.targets[5, 0] = self.event_items[self.event_users == 5][0]  # a repeat
        self.targets[5, 1:] = num_items
        self.offsets, self.seen = item_lists(
            self.event_users, self.event_items, num_clients, num_items
        )

    def arguments(self, candidates=None):
        """What an evaluator takes."""
        num_clients, num_items = len(self.users), len(self.items)
        state = ServerState(
            jax.random.key(0),
            jnp.int32(0),
            Part({"item": jnp.array(self.items)}, ()),
            opt_state=(),
            aggregate_state=(),
            extra=empty(),
        )
        store = Clients(Private({}, jnp.array(self.users)), nothing_private(), ())
        data = client_data(self.event_users, self.event_items, num_clients, num_items)
        held_out = HeldOutSet(
            jnp.array(self.targets, jnp.int32),
            jnp.array(self.offsets),
            jnp.array(self.seen),
            None if candidates is None else jnp.array(candidates, jnp.int32),
        )
        return state, store, Fixed(empty(), data), held_out

    def seen_by(self, user):
        return set(self.seen[self.offsets[user] : self.offsets[user + 1]].tolist())


@pytest.fixture
def problem():
    return Problem()


def looped_ranks(problem, user, scores, ties="pessimistic", candidates=None):
    """One client's ranks, item by item."""
    num_items = len(scores)
    targets = [t for t in problem.targets[user].tolist() if t < num_items]
    among = set(range(num_items)) if candidates is None else set(candidates.tolist())
    competing = (among - problem.seen_by(user) - {num_items}) | set(targets)
    ranks = []
    for place, target in enumerate(targets):
        rank = 1
        for item in competing - {target}:
            is_tie_ahead = targets.index(item) < place if item in targets else ties == "pessimistic"
            is_tie = scores[item] == scores[target]
            rank += bool(scores[item] > scores[target] or (is_tie and is_tie_ahead))
        ranks.append(rank)
    return ranks


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic"])
@pytest.mark.parametrize("is_sampled", [False, True])
def test_the_evaluator_equals_a_plain_loop(problem, ties, is_sampled):
    candidates = None
    if is_sampled:  # repeats, padding, seen items and targets among them
        candidates = np.random.default_rng(0).integers(0, NUM_ITEMS + 1, (NUM_CLIENTS, 15))
    evaluate = evaluator(toy_mf(), at_k=(1, 5), ties=ties, chunk_size=6)
    found = evaluate(*problem.arguments(candidates))

    expected = []
    for user in range(NUM_CLIENTS):
        own = None if candidates is None else candidates[user]
        scores = problem.items @ problem.users[user]
        expected.append(looped_ranks(problem, user, scores, ties, own))
    padded = [row + [UNRANKED] * (3 - len(row)) for row in expected]
    assert found.ranks.tolist() == padded

    asked = [row for row in expected if row]
    assert found.num_clients == len(asked) == NUM_CLIENTS - 2
    assert found.num_non_finite == 0
    means = {
        "hit_rate@5": np.mean([min(row) <= 5 for row in asked]),
        "recall@5": np.mean([np.mean([rank <= 5 for rank in row]) for row in asked]),
        "mrr@5": np.mean([1 / min(row) if min(row) <= 5 else 0 for row in asked]),
        "precision@1": np.mean([1 in row for row in asked]),
    }
    for key, value in means.items():
        assert found.metrics[key] == pytest.approx(value, rel=1e-6), key
    for key, of in worst_keys(found.per_client).items():
        worst = sorted(value for value in found.per_client[of].tolist() if value == value)[:3]
        assert found.metrics[key] == pytest.approx(np.mean(worst)), key


@pytest.mark.parametrize("is_sampled", [False, True])
def test_auc_is_the_share_of_candidates_that_targets_are_ahead_of(problem, is_sampled):
    """Counted in pairs; among equal scores a target is ahead of nothing."""
    candidates = np.random.default_rng(0).integers(0, NUM_ITEMS + 1, (NUM_CLIENTS, 15))
    problem.targets[7] = [3, NUM_ITEMS, NUM_ITEMS]
    if is_sampled:
        candidates[7] = 3  # nothing to be ahead of
    else:
        candidates = None
    found = evaluator(toy_mf(), at_k=(5,))(*problem.arguments(candidates))
    expected = []
    for user in range(NUM_CLIENTS):
        scores = problem.items @ problem.users[user]
        targets = {t for t in problem.targets[user].tolist() if t < NUM_ITEMS}
        among = set(range(NUM_ITEMS) if candidates is None else candidates[user].tolist())
        others = among - problem.seen_by(user) - targets - {NUM_ITEMS}
        pairs = [scores[target] > scores[item] for target in targets for item in others]
        expected.append(np.mean(pairs) if pairs else np.nan)
    np.testing.assert_allclose(found.per_client["auc"], expected, rtol=1e-6)
    assert np.isnan(expected).sum() == 2 + is_sampled
    assert found.metrics["auc"] == pytest.approx(np.nanmean(expected))


def listed(state, store, fixed, held_out, nobody=()):
    """The arguments, with lists of all clients that hold out an item, but for some."""
    is_listed = (held_out.targets < NUM_ITEMS).any(axis=1).at[jnp.array(nobody, int)].set(False)
    return state, store, fixed, held_out._replace(is_listed=is_listed)


@pytest.mark.parametrize("is_sampled", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 6, None])
def test_lists_are_the_best_unseen_items_of_the_catalogue(problem, chunk_size, is_sampled):
    """Sorted item by item; who is asked about few items is listed the whole catalogue too."""
    problem.items[4] = np.nan
    candidates = np.random.default_rng(0).integers(0, NUM_ITEMS + 1, (NUM_CLIENTS, 15))
    arguments = problem.arguments(candidates if is_sampled else None)
    evaluate = evaluator(toy_mf(), at_k=(5, 39), chunk_size=chunk_size)
    found = evaluate(*listed(*arguments, [2])).lists
    assert found[[0, 2, 11]].tolist() == [[NUM_ITEMS] * 39] * 3  # not asked for
    for user in set(range(NUM_CLIENTS)) - {0, 2, 11}:
        scores = problem.items @ problem.users[user]
        targets = set(problem.targets[user].tolist())
        unseen = set(range(NUM_ITEMS)) - problem.seen_by(user) | targets - {NUM_ITEMS}
        best = sorted(unseen - {4}, key=lambda item: (-scores[item], item))
        assert found[user].tolist() == (best + [NUM_ITEMS] * NUM_ITEMS)[:39]


def test_lists_are_made_where_they_are_asked_for_and_no_longer_than_the_catalogue(problem):
    evaluate = evaluator(toy_mf(), at_k=(5, 1000))
    assert evaluate(*problem.arguments()).lists is None
    assert evaluate(*listed(*problem.arguments())).lists.shape == (NUM_CLIENTS, NUM_ITEMS)


def test_clients_without_held_out_items_are_left_out_of_the_means(problem):
    found = evaluator(toy_mf(), at_k=(5, 10))(*problem.arguments())
    assert tuple(found.metrics) == metric_keys((5, 10))
    assert tuple(found.per_client) == client_keys((5, 10))
    for key, values in found.per_client.items():
        assert values.shape == (NUM_CLIENTS,)
        assert np.flatnonzero(np.isnan(values)).tolist() == [0, 11]
        assert found.metrics[key] == pytest.approx(np.nanmean(values, dtype=float), rel=1e-6)
        assert 0 <= found.metrics[key] <= 1


def test_the_size_of_a_chunk_changes_nothing(problem):
    candidates = np.random.default_rng(0).integers(0, NUM_ITEMS + 1, (NUM_CLIENTS, 15))
    arguments = problem.arguments(candidates)
    expected = evaluator(toy_mf(), at_k=(5,), chunk_size=7)(*arguments)
    for chunk_size in (1, 22, 1000, None):
        found = evaluator(toy_mf(), at_k=(5,), chunk_size=chunk_size)(*arguments)
        np.testing.assert_array_equal(found.ranks, expected.ranks)
        assert found.metrics == expected.metrics


def test_a_range_of_the_clients_is_ranked_as_among_all(problem):
    """As on a device that holds the clients from 9 on: places are its own, ids are not."""

    def broadcast(state, entry, row_ids):
        return jax.tree.map(lambda leaf: leaf * entry.client_id, state.shared), state.extra

    def score(view, inputs):
        return dot_product(view, inputs).at[inputs.history.items].add(7.0, mode="drop")

    algorithm = toy_mf(score=score, needs_history=True, broadcast=broadcast)
    candidates = np.random.default_rng(0).integers(0, NUM_ITEMS + 1, (NUM_CLIENTS, 15))
    state, store, fixed, held_out = problem.arguments(candidates)
    expected = evaluator(algorithm, at_k=(5,))(state, store, fixed, held_out)

    first, is_own = 9, problem.event_users >= 9
    users, items = problem.event_users[is_own] - first, problem.event_items[is_own]
    data = client_data(users, items, NUM_CLIENTS - first, NUM_ITEMS)
    data = dataclasses.replace(data, first=jnp.int32(first), classes=fixed.data.classes)
    begin = held_out.seen_offsets[first]
    own = HeldOutSet(
        held_out.targets[first:],
        held_out.seen_offsets[first:] - begin,
        held_out.seen_items[begin:],
        held_out.candidates[first:],
    )
    store = Clients(Private({}, store.private.dense[first:]), nothing_private(), ())
    arguments = state, store, Fixed(fixed.frozen, data), own
    found = evaluator(algorithm, at_k=(5,), chunk_size=5)(*arguments)
    np.testing.assert_array_equal(found.ranks, expected.ranks[first:])


def test_long_lists_of_seen_items_are_struck_out_whole(problem, monkeypatch):
    expected = evaluator(toy_mf(), at_k=(5,))(*problem.arguments())
    monkeypatch.setattr("fedjax_rec.evaluation.seen.MOST_PER_STEP", 4)
    found = evaluator(toy_mf(), at_k=(5,))(*problem.arguments())
    np.testing.assert_array_equal(found.ranks, expected.ranks)


def test_seen_items_are_never_ranked_but_a_seen_target_is(problem):
    """A model that loves what was seen: the first target comes right behind nothing."""
    loved = np.zeros((NUM_CLIENTS, NUM_ITEMS), np.float32)
    for user in range(NUM_CLIENTS):
        loved[user, list(problem.seen_by(user))] = 9
        targets = problem.targets[user]
        loved[user, targets[targets < NUM_ITEMS]] = 1
    state, _, fixed, held_out = problem.arguments()
    store = Clients(Private({}, jnp.array(loved)), nothing_private(), ())
    algorithm = toy_mf(score=lambda view, inputs: view.private.dense)
    found = evaluator(algorithm, at_k=(5,))(state, store, fixed, held_out)
    assert found.metrics["hit_rate@5"] == 1
    assert found.metrics["mrr@5"] == 1
    assert found.ranks[5, 0] == 1


def test_nothing_seen_leaves_everything_in_the_ranking(problem):
    state, store, fixed, held_out = problem.arguments()
    unseen = held_out._replace(
        seen_offsets=jnp.zeros(NUM_CLIENTS + 1, jnp.int32), seen_items=jnp.zeros(0, jnp.int32)
    )
    problem.seen_by = lambda user: set()
    found = evaluator(toy_mf(), at_k=(5,))(state, store, fixed, unseen)
    for user in range(NUM_CLIENTS):
        expected = looped_ranks(problem, user, problem.items @ problem.users[user])
        assert found.ranks[user, : len(expected)].tolist() == expected


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic"])
def test_a_model_of_nans_has_zero_everywhere_and_is_counted(problem, ties):
    problem.users[:] = np.nan
    evaluate = evaluator(toy_mf(), at_k=(1, 10, 1000), ties=ties)
    found = evaluate(*listed(*problem.arguments()))
    assert set(found.metrics.values()) == {0.0}
    assert set(found.lists.ravel()) == {NUM_ITEMS}
    assert found.num_non_finite == found.num_clients == NUM_CLIENTS - 2


def test_one_broken_client_is_counted_and_harms_no_other(problem):
    expected = evaluator(toy_mf(), at_k=(5,))(*problem.arguments())
    problem.users[[0, 3]] = np.inf  # client 0 has nothing held out
    found = evaluator(toy_mf(), at_k=(5,))(*problem.arguments())
    assert found.num_non_finite == 1
    assert (found.ranks[3] == UNRANKED).all()
    others = np.arange(NUM_CLIENTS) != 3
    np.testing.assert_array_equal(found.ranks[others], expected.ranks[others])


def test_a_target_without_a_finite_score_is_counted_even_when_no_candidate_is(problem):
    problem.items[problem.targets[5, 0]] = np.nan  # client 5 has seen it
    problem.targets[np.arange(NUM_CLIENTS) != 5] = NUM_ITEMS
    candidates = np.full((NUM_CLIENTS, 1), (problem.targets[5, 0] + 1) % NUM_ITEMS)
    found = evaluator(toy_mf(), at_k=(5,))(*problem.arguments(candidates))
    assert (found.num_clients, found.num_non_finite) == (1, 1)
    assert found.metrics["hit_rate@5"] == 0


def test_each_client_is_scored_on_what_the_server_sends_it(problem):
    def broadcast(state, entry, row_ids):
        shift = jnp.where(entry.client_id % 2 == 0, -1.0, 1.0)
        return jax.tree.map(lambda leaf: leaf * shift, state.shared), state.extra

    found = evaluator(toy_mf(broadcast=broadcast), at_k=(5,))(*problem.arguments())
    problem.users[::2] *= -1
    expected = evaluator(toy_mf(), at_k=(5,))(*problem.arguments())
    np.testing.assert_array_equal(found.ranks, expected.ranks)


def test_a_model_that_reads_history_gets_the_clients_own(problem):
    def counts(view, inputs):
        return jnp.zeros(NUM_ITEMS).at[inputs.history.items].add(1.0, mode="drop")

    algorithm = toy_mf(score=counts, needs_history=True)
    state, store, fixed, _ = problem.arguments()
    for client_id in (0, 4, NUM_CLIENTS - 1):
        own = problem.event_items[problem.event_users == client_id]
        ids, scores = top_k(algorithm, state, store, fixed, client_id, NUM_ITEMS)
        found = np.zeros(NUM_ITEMS)
        found[ids] = scores
        assert found.tolist() == np.bincount(own, minlength=NUM_ITEMS).tolist()
    found = evaluator(algorithm, at_k=(5,), chunk_size=5)(*problem.arguments())
    assert found.ranks[5, 0] == 1  # the one target that occurs in its client's history


def test_a_model_that_reads_no_history_gets_none(problem):
    def score(view, inputs):
        assert inputs.history is None
        return dot_product(view, inputs)

    evaluator(toy_mf(score=score), at_k=(5,))(*problem.arguments())


def test_held_out_items_are_predicted_from_training_events_alone(problem):
    """SASRec in the evaluator, against one forward pass a client and a loop over items."""
    model = sasrec(NUM_ITEMS, DIM, max_length=6, num_blocks=1, init_stddev=1.0)
    shared, _ = model.init(jax.random.key(0))
    state, store, fixed, held_out = problem.arguments()
    state, store = state._replace(shared=shared), store._replace(private=nothing_private())
    algorithm = dataclasses.replace(toy_mf(), model=model)
    found = evaluator(algorithm, at_k=(5,), chunk_size=5)(state, store, fixed, held_out)

    @jax.jit
    def score(items, num_events):
        view = View(shared, nothing_private(), empty(), nothing_private(), empty())
        history = History(items, items, items, num_events, items, num_events)
        return model.score(view, Inputs(None, history))

    is_changed = []
    for user in range(NUM_CLIENTS):
        own = problem.event_items[problem.event_users == user]
        padded = np.append(own, np.full(12 - len(own), NUM_ITEMS))
        scores = np.asarray(score(jnp.array(padded), len(own)))
        expected = looped_ranks(problem, user, scores)
        assert found.ranks[user].tolist() == expected + [UNRANKED] * (3 - len(expected))

        padded[len(own) :][:1] = 3
        other = np.asarray(score(jnp.array(padded), min(len(own) + 1, 12)))
        is_changed.append(looped_ranks(problem, user, other) != expected)
    assert sum(is_changed) > NUM_CLIENTS // 2  # a leaked event would have been noticed


def test_the_evaluator_compiles_once_and_shares_one_table(problem):
    traced = []

    def score(view, inputs):
        kinds = view.shared.rows["item"], view.private.dense
        traced.append([type(leaf).__name__ == "BatchTracer" for leaf in kinds])
        return dot_product(view, inputs)

    evaluate = evaluator(toy_mf(score=score), at_k=(5,))
    evaluate(*problem.arguments())
    num_traced = len(traced)
    problem.users += 1
    evaluate(*problem.arguments())
    assert len(traced) == num_traced
    assert all(is_batched == [False, True] for is_batched in traced)


def test_ten_times_as_many_clients_take_hardly_more_calls(count_calls):
    calls = []
    for num_clients in (604, 6040):
        problem = Problem(num_clients=num_clients, num_items=3706, dim=64, per_client=330)
        evaluate, arguments = evaluator(toy_mf(num_items=3706)), problem.arguments()
        evaluate(*arguments)
        calls.append(count_calls(lambda run=evaluate, given=arguments: run(*given)))
    few, many = calls
    assert many < 2 * few


def test_nothing_held_out_is_refused(problem):
    problem.targets[:] = NUM_ITEMS
    with pytest.raises(UserError, match="no client has a held-out item"):
        evaluator(toy_mf(), at_k=(5,))(*problem.arguments())


def test_a_wrong_cutoff_is_refused_when_built():
    with pytest.raises(UserError, match="positive integer"):
        evaluator(toy_mf(), at_k=(0,))


def test_scores_of_a_wrong_shape_are_refused(problem):
    algorithm = toy_mf(score=lambda view, inputs: view.shared.rows["item"])
    with pytest.raises(ValueError, match="one number for each item"):
        evaluator(algorithm, at_k=(5,))(*problem.arguments())


@pytest.mark.parametrize("k", [1, 10, 1000])
def test_top_k_equals_sorting_the_unseen_items(problem, k):
    state, store, fixed, _ = problem.arguments()
    for user in (0, 5, NUM_CLIENTS - 1):
        seen = problem.seen_by(user)
        scores = problem.items @ problem.users[user]
        unseen = [item for item in range(NUM_ITEMS) if item not in seen]
        expected = sorted(unseen, key=lambda item: (-scores[item], item))[:k]
        ids, found = top_k(toy_mf(), state, store, fixed, user, k, list(seen))
        assert ids.tolist() == expected
        assert found.tolist() == scores[expected].tolist()


def test_top_k_leaves_out_items_without_a_finite_score(problem):
    problem.items[1], problem.items[2] = np.nan, np.inf
    ids, _ = top_k(toy_mf(), *problem.arguments()[:3], 3, NUM_ITEMS)
    assert sorted(ids.tolist()) == [0, *range(3, NUM_ITEMS)]


@pytest.mark.parametrize(("client_id", "k"), [(-1, 5), (NUM_CLIENTS, 5), (0, 0)])
def test_top_k_refuses_unknown_clients_and_empty_wishes(problem, client_id, k):
    with pytest.raises(UserError):
        top_k(toy_mf(), *problem.arguments()[:3], client_id, k)
