"""Positives with sampled negatives: properties of every draw, over small histories."""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedjax_rec.base import History
from fedjax_rec.objectives import Sampler, binary_cross_entropy, sampled


class Shape(NamedTuple):
    """Static facts of a problem: one compiled program each."""

    num_items: int
    num_events: int  # L
    num_excluded: int  # X
    num_negatives: int = 1
    local_epochs: int = 1
    batch_size: int = 4
    permutation: Literal["affine", "feistel"] = "affine"

    @property
    def num_slots(self) -> int:
        places = self.num_events * self.num_negatives * self.local_epochs
        return self.num_excluded + min(places, self.num_items)

    @property
    def max_steps(self) -> int:
        return self.local_epochs * self.steps(self.num_events)

    def steps(self, num_positives: int) -> int:
        return -(-num_positives * (1 + self.num_negatives) // self.batch_size)


SHAPES = [
    Shape(1, 2, 1, batch_size=3),
    Shape(7, 4, 7, num_negatives=3, local_epochs=2, batch_size=5),
    Shape(16, 2, 4, num_negatives=2, local_epochs=3),  # as many slots as items
    Shape(30, 3, 6, num_negatives=2, local_epochs=2, batch_size=5, permutation="feistel"),
    Shape(11, 5, 7, num_negatives=3, local_epochs=2, batch_size=8, permutation="feistel"),
    Shape(60, 6, 60, batch_size=8),
    Shape(60, 5, 8, num_negatives=4, local_epochs=2, batch_size=16),
    Shape(60, 6, 20, num_negatives=4, batch_size=7),
]


class Client(NamedTuple):
    """A history before padding."""

    items: list[int]
    excluded: list[int]


class Draw(NamedTuple):
    """A client's whole round, as NumPy arrays; examples are `[steps, B]`."""

    rows: NDArray[np.integer] | None
    ids: NDArray[np.integer]
    label: NDArray[np.floating]
    is_valid: NDArray[np.bool_]
    weight: NDArray[np.floating]  # of the loss
    num_steps: int

    @property
    def global_ids(self) -> NDArray[np.integer]:
        return self.ids if self.rows is None else self.rows[self.ids]


def history(shape: Shape, client: Client) -> Any:
    def padded(values: list[int], size: int) -> NDArray[np.int32]:
        return np.array(values + [shape.num_items] * (size - len(values)), np.int32)

    items = padded(client.items, shape.num_events)
    return History(
        items,
        np.ones(items.shape, np.float32),
        np.zeros_like(items),
        np.int32(len(client.items)),
        padded(sorted(client.excluded), shape.num_excluded),
        np.int32(len(client.excluded)),
    )


@cache
def program(shape: Shape) -> Callable[[Any, History], Any]:
    """Both forms of the objective, every step, in one program."""

    def whole_round(key: Any, history: History) -> Any:
        results = []
        for is_sliced in (True, False):
            sampler = Sampler(
                shape.num_items,
                shape.num_negatives,
                shape.local_epochs,
                shape.batch_size,
                is_sliced=is_sliced,
                permutation=shape.permutation,
            )
            objective = sampled(sampler, binary_cross_entropy)
            rows, plan = objective.prepare(key, history)
            assert objective.batch is not None
            steps = jnp.arange(max(shape.max_steps, 1))
            examples = jax.vmap(objective.batch, (None, 0))(plan, steps)
            assert objective.loss is not None
            _, weight = objective.loss(jnp.zeros(examples.label.shape), examples)
            results.append((rows, examples, weight, objective.num_steps(plan)))
        return results

    return jax.jit(whole_round)


def draw(shape: Shape, client: Client, seed: int = 0) -> tuple[Draw, Draw]:
    """The sliced and the whole form of one client's round, cut to its own steps."""
    results = program(shape)(jax.random.key(seed), history(shape, client))
    forms = []
    for rows, examples, weight, num_steps in results:
        own = slice(int(num_steps))
        forms.append(
            Draw(
                None if rows["item"] is None else np.asarray(rows["item"]),
                np.asarray(examples.inputs.ids)[own],
                np.asarray(examples.label)[own],
                np.asarray(examples.is_valid)[own],
                np.asarray(weight)[own],
                int(num_steps),
            )
        )
    return forms[0], forms[1]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Shape, Client, int]:
    shape = draw(st.sampled_from(SHAPES))
    item = st.integers(0, shape.num_items - 1)
    items = draw(st.lists(item, max_size=shape.num_events))
    more = draw(st.lists(item, max_size=shape.num_excluded))
    if shape.num_excluded == shape.num_items and draw(st.booleans()):
        more = list(range(shape.num_items))  # a client that has seen everything
    excluded = list(dict.fromkeys([*items, *more]))[: max(shape.num_excluded, len(set(items)))]
    return shape, Client(items, excluded), draw(st.integers(0, 2**31 - 1))


def period(shape: Shape, pool: int) -> int:
    """M: how many negatives come before one repeats."""
    if shape.permutation == "feistel":
        height = int(np.sqrt(pool))
        return height * (pool // height) if pool else 0
    primes = [n for n in range(2, pool + 1) if all(n % factor for factor in range(2, n))]
    return primes[-1] if primes else pool


def by_epoch(shape: Shape, values: NDArray[Any]) -> NDArray[Any]:
    """`[steps, B]` as one stream for each epoch."""
    return values.reshape(shape.local_epochs, -1)


@settings(max_examples=150)
@given(problem=problems())
def test_a_round_has_every_positive_once_an_epoch_and_only_allowed_negatives(
    problem: tuple[Shape, Client, int],
) -> None:
    shape, client, seed = problem
    pool = shape.num_items - len(client.excluded)
    sliced, whole = draw(shape, client, seed)
    assert (
        sliced.num_steps == whole.num_steps == shape.local_epochs * shape.steps(len(client.items))
    )

    # the same examples, whichever rows the client gets
    ids, label, is_valid = sliced.global_ids, sliced.label, sliced.is_valid
    np.testing.assert_array_equal(is_valid, whole.is_valid)
    np.testing.assert_array_equal(label, whole.label)
    np.testing.assert_array_equal(ids[is_valid], whole.ids[is_valid])
    assert whole.rows is None
    assert (sliced.rows is None) == (shape.num_slots >= shape.num_items)

    # rows: in range or padding, none twice
    if sliced.rows is not None:
        real = sliced.rows[sliced.rows < shape.num_items]
        assert len(np.unique(real)) == len(real)
        assert (sliced.rows >= 0).all()
        assert set(client.excluded) <= set(real.tolist())
    assert ((ids[is_valid] >= 0) & (ids[is_valid] < shape.num_items)).all()

    # padding says so
    assert (label[~is_valid] == 0).all()
    np.testing.assert_array_equal(sliced.weight, is_valid.astype(np.float32))

    # positives: each event once an epoch; negatives: as many as asked for
    num_negatives = shape.num_negatives if pool else 0
    for epoch in range(shape.local_epochs) if client.items else ():
        of_epoch = tuple(by_epoch(shape, values)[epoch] for values in (ids, label, is_valid))
        positives = of_epoch[0][(of_epoch[1] == 1) & of_epoch[2]]
        assert sorted(positives.tolist()) == sorted(client.items)
        assert of_epoch[2].sum() == len(client.items) * (1 + num_negatives)

    # negatives: never excluded, distinct until the pool is used up
    negatives = ids[is_valid & (label == 0)]
    assert not set(negatives.tolist()) & set(client.excluded)
    first = negatives[: period(shape, pool)]
    assert len(np.unique(first)) == len(first)
    if len(negatives) > len(first):
        np.testing.assert_array_equal(negatives[len(first) :], negatives[: -len(first)])


LIGHT = Shape(60, 5, 8, num_negatives=4, local_epochs=2, batch_size=16)
REPEATS = Client([9, 3, 9, 41], [3, 9, 41, 50])


def test_each_positive_is_followed_by_its_negatives_across_step_borders() -> None:
    shape = Shape(60, 6, 20, num_negatives=4, batch_size=7)  # 7 is no multiple of a group of 5
    sliced, _ = draw(shape, REPEATS)
    stream = sliced.label.ravel()[sliced.is_valid.ravel()]
    assert stream.tolist() == [1.0, 0, 0, 0, 0] * 4
    assert sliced.num_steps == 3
    assert sliced.is_valid.sum(1).tolist() == [7, 7, 6]


def test_an_epoch_ends_with_padding_and_the_next_begins_with_a_positive() -> None:
    sliced, _ = draw(LIGHT, REPEATS)
    assert sliced.is_valid.sum(1).tolist() == [16, 4, 16, 4]
    assert (sliced.label[:, 0] == [1, 0, 1, 0]).all()


def test_epochs_are_shuffled_anew_with_new_negatives() -> None:
    positives = {epoch: set() for epoch in range(2)}  # orders seen
    is_reshuffled = False
    for seed in range(10):
        sliced, _ = draw(LIGHT, REPEATS, seed)
        ids, is_positive = by_epoch(LIGHT, sliced.global_ids), by_epoch(LIGHT, sliced.label) == 1
        is_valid = by_epoch(LIGHT, sliced.is_valid)
        epochs = [tuple(ids[epoch][is_positive[epoch]].tolist()) for epoch in range(2)]
        is_reshuffled |= epochs[0] != epochs[1]
        for epoch in range(2):
            positives[epoch].add(epochs[epoch])
        negatives = [set(ids[e][is_valid[e] & ~is_positive[e]].tolist()) for e in range(2)]
        assert not negatives[0] & negatives[1]
    assert is_reshuffled
    assert all(len(seen) > 2 for seen in positives.values())  # of the few of 4 events


def test_two_keys_draw_differently_and_one_key_the_same() -> None:
    one, again, other = (draw(LIGHT, REPEATS, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.global_ids, again.global_ids)
    assert (one.global_ids != other.global_ids).any()


def test_a_client_that_has_seen_everything_learns_from_positives_alone() -> None:
    shape = SHAPES[1]
    sliced, _ = draw(shape, Client([6, 0], list(range(7))))
    assert sliced.num_steps == 2 * shape.steps(2)
    assert sliced.is_valid.sum() == 4
    assert (sliced.label[sliced.is_valid] == 1).all()
    assert sorted(sliced.global_ids[sliced.is_valid].tolist()) == [0, 0, 6, 6]


def test_a_client_without_events_has_no_steps() -> None:
    assert draw(LIGHT, Client([], []))[0].num_steps == 0


def test_a_slice_never_uses_its_pool_up() -> None:
    for shape in SHAPES:
        if shape.num_slots < shape.num_items:
            places = shape.num_events * shape.num_negatives * shape.local_epochs
            assert places < shape.num_items - shape.num_excluded


def test_negatives_are_uniform_over_what_is_not_excluded() -> None:
    objective = sampled(Sampler(60, num_negatives=4), binary_cross_entropy)
    client = jax.tree.map(jnp.asarray, history(LIGHT, REPEATS))
    keys = jax.random.split(jax.random.key(5), 5000)
    rows = np.asarray(
        jax.jit(jax.vmap(lambda key: objective.prepare(key, client)[0]["item"]))(keys)
    )
    negatives = rows[:, LIGHT.num_excluded :]
    allowed = np.setdiff1d(np.arange(60), REPEATS.excluded)
    for place in (0, 7, 15):
        counts = np.bincount(negatives[:, place], minlength=60)
        assert counts[REPEATS.excluded].sum() == 0
        assert stats.chisquare(counts[allowed]).pvalue > 1e-3

    # the control: an excluded item replaced by the next that is allowed
    drawn = np.random.default_rng(0).integers(0, 60, 5000)
    replaced = allowed[np.searchsorted(allowed, drawn) % len(allowed)]
    assert stats.chisquare(np.bincount(replaced, minlength=60)[allowed]).pvalue < 1e-9


@pytest.mark.parametrize("table", ["item", "song"])
def test_examples_and_rows_name_the_samplers_table(table: str) -> None:
    objective = sampled(Sampler(60, num_negatives=4, table=table), binary_cross_entropy)
    assert objective.batch is not None
    rows, plan = jax.eval_shape(objective.prepare, jax.random.key(0), history(LIGHT, REPEATS))
    assert list(rows) == [table]
    examples = jax.eval_shape(objective.batch, plan, jnp.int32(0))
    assert examples.inputs.table == table


@pytest.mark.parametrize("field", ["num_items", "num_negatives", "local_epochs", "batch_size"])
@pytest.mark.parametrize("number", [0, -1])
def test_a_sampler_of_nothing_is_refused(field: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be at least 1, got {number}$"):
        Sampler(**{"num_items": 5, field: number})


def test_an_unknown_permutation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^permutation must be affine or feistel, got 'sorted'$"):
        Sampler(5, permutation="sorted")  # type: ignore[arg-type]


def test_a_batch_that_cuts_groups_is_refused_where_a_loss_needs_them_whole() -> None:
    sampler = Sampler(60, num_negatives=4, batch_size=16)
    assert sampled(sampler, binary_cross_entropy).is_pointwise
    with pytest.raises(ValueError, match=r"a multiple of 1 \+ num_negatives = 5 .*, got 16$"):
        sampled(sampler, binary_cross_entropy, is_pointwise=False)
