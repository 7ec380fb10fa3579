"""Events in memory: whatever they come as, the same data; mistakes in one line."""

import datetime as dt
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_rec
from fedjax_rec import popularity, simulate
from fedjax_rec.data import from_events, hold_out, load, load_events
from fedjax_rec.errors import UserError

EVENTS = [
    (f"person {u}", f"film {(7 * u + n * n) % 23}", 1.0 + n % 5, 10**9 + 86_400 * n)
    for u in range(6)
    for n in range(5)
]
COLUMNS = dict(zip(("u", "i", "r", "t"), map(list, zip(*EVENTS, strict=True)), strict=True))
SAID = {"user": "u", "item": "i", "rating": "r", "time": "t"}


class Frame:
    """What data frames have in common: names of columns, and a column by name."""

    def __init__(self, columns: dict[Any, Any]) -> None:
        self._columns = columns

    @property
    def columns(self) -> list[Any]:
        return list(self._columns)

    def __getitem__(self, name: Any) -> Any:
        return self._columns[name]


def structured() -> np.ndarray:
    return np.array(EVENTS, dtype=[("u", "U20"), ("i", "U20"), ("r", "f4"), ("t", "i8")])


def pandas_frame() -> Any:
    return pytest.importorskip("pandas").DataFrame(COLUMNS)


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame(COLUMNS)


def arrow_table() -> Any:
    return pytest.importorskip("pyarrow").table(COLUMNS)


def described(data: Any) -> list[tuple[Any, ...]]:
    """Everything that is in data, by raw ids."""
    train = data.split.train
    rows = zip(train.users, train.items, train.values, train.times, strict=True)
    found = [(train.user_labels[u], train.item_labels[i], float(r), int(t)) for u, i, r, t in rows]
    for held in (data.split.valid, data.split.test):
        labels = train.item_labels[held.items[:, 0]]
        found += list(zip(train.user_labels.tolist(), labels.tolist(), strict=True))
    return sorted(found, key=str)


EXPECTED = described(load_events(EVENTS))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Frame(COLUMNS),
        lambda: COLUMNS,
        lambda: [dict(zip("uirt", event, strict=True)) for event in EVENTS],
        structured,
        pandas_frame,
        polars_frame,
        arrow_table,
    ],
)
def test_whatever_they_come_as_they_are_the_same_events(make: Any) -> None:
    assert described(load_events(make(), **SAID)) == EXPECTED
    assert described(load_events(make())) == EXPECTED  # known by their names


def test_rows_without_names_are_taken_in_order() -> None:
    assert described(load_events(iter(EVENTS))) == EXPECTED
    assert described(load_events(np.array(EVENTS, object))) == EXPECTED
    assert described(load_events([list(event) for event in EVENTS])) == EXPECTED


def test_arrays_of_a_device_are_arrays() -> None:
    whole = np.array([(u, i, 1 + i % 3, 10 * u + i) for u in (7, 9) for i in (3, u - 6, 5, u)])
    assert described(load_events(jnp.asarray(whole))) == described(load_events(whole))
    by_column = from_events(jnp.asarray(whole[:, 0]), jnp.asarray(whole[:, 1]))
    assert by_column.user_labels.tolist() == ["7", "9"]
    assert by_column.item_labels[by_column.items].tolist() == list(map(str, whole[:, 1]))


@pytest.mark.parametrize("form", ["coo_matrix", "csr_matrix", "csc_array"])
def test_a_sparse_matrix_is_users_by_items(form: str) -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="needs SciPy")
    matrix = getattr(sparse, form)([[5.0, 0, 4, 1], [0, 2, 2, 3]])
    rows = [(0, 0, 5), (0, 2, 4), (0, 3, 1), (1, 1, 2), (1, 2, 2), (1, 3, 3)]
    assert described(load_events(matrix)) == described(load_events(rows))


def test_a_third_number_is_a_time_where_it_is_large() -> None:
    timed = load_events([(u, i, t) for u, i, _, t in EVENTS])
    assert timed.split.train.times.min() == 10**9
    assert set(timed.split.train.values.tolist()) == {1.0}
    rated = load_events([(u, i, r) for u, i, r, _ in EVENTS], notice=lambda line: None)
    assert rated.split.train.times.max() == 0
    assert rated.split.train.values.max() > 1


def test_an_array_of_floats_holds_whole_ids() -> None:
    data = load_events(np.array([[7, n, 3.5, 10**9 + n] for n in range(4)], float))
    assert data.split.train.user_labels.tolist() == ["7"]


def test_columns_of_floats_hold_whole_ids_too() -> None:
    ids = [7.0] * 4
    data = load_events({"user": ids, "item": [0.0, 1.0, 2.0, 3.0], "time": [1, 2, 3, 4]})
    assert data.split.train.user_labels.tolist() == ["7"]


def test_frames_whose_columns_are_numbers_are_named_by_them() -> None:
    numbered = Frame(dict(enumerate(COLUMNS.values())))
    found = load_events(numbered, user=0, item=1, rating=2, time=3)
    assert described(found) == EXPECTED


def test_dates_are_times() -> None:
    days = [dt.datetime.fromtimestamp(t, dt.UTC) for *_, t in EVENTS]
    assert described(load_events(COLUMNS | {"t": days})) == EXPECTED
    numpy_days = np.array([day.replace(tzinfo=None) for day in days], "datetime64[ns]")
    assert described(load_events(COLUMNS | {"t": numpy_days})) == EXPECTED


def test_rules_and_filters_are_those_of_load() -> None:
    from fedjax_rec.data import Filters

    data = load_events(
        EVENTS, holdout="ratio", share=0.2, filters=Filters(min_rating=2), notice=lambda line: None
    )
    assert data.protocol["holdout"] == "ratio"
    assert data.split.train.values.min() >= 2


def test_interactions_are_taken_as_they_are() -> None:
    columns = zip(*EVENTS, strict=True)
    assert described(load_events(from_events(*columns))) == EXPECTED


def test_what_is_loaded_is_simulated_and_recommended_from() -> None:
    import jax

    data = load_events(Frame(COLUMNS))
    algorithm = popularity(data.num_items)
    result = simulate(algorithm, data, key=jax.random.key(0), rounds=1)
    found = fedjax_rec.recommend_all(algorithm, data, result, k=2).columns()
    assert list(found) == ["user", "item", "rank", "score"]
    assert sorted(set(found["user"].tolist())) == sorted({user for user, *_ in EVENTS})
    met = {(user, item) for user, item, *_ in EVENTS}
    assert met.isdisjoint(zip(found["user"].tolist(), found["item"].tolist(), strict=True))


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ("my.csv", {}, "a path is no event"),
    (None, {}, "expected a data frame of pandas or polars"),
    (7, {}, "got int"),
    ([], {}, "no events: the list is empty"),
    ([1, 2], {}, "event 1 is '1'"),
    ([("a", "b"), ("a", "b", 3)], {}, "event 2 is"),
    (np.zeros((3, 7)), {}, "an array of shape (3, 7)"),
    (EVENTS, {"user": "u"}, "the events have no named columns; leave user out"),
    (COLUMNS, {"user": "who"}, "no column 'who' for user"),
    ({"a": [1], "b": [2]}, {}, "which column is the user does not show"),
    (COLUMNS, {"ratings": "r"}, "'ratings' is no option (did you mean 'rating'?)"),
    (COLUMNS, {"holdout": "last"}, "holdout"),
    ({"user": [[1], [2]], "item": [1, 2]}, {}, "has 2 dimensions"),
    ({"user": [1, 2], "item": [1]}, {}, "unequal lengths"),
    ({"user": [1, None], "item": [1, 2]}, {}, "event 2: user id 'None' is a missing value"),
    ({"user": [1, 2], "item": [1.0, np.nan]}, {}, "event 2: item id is missing"),
    ({"user": [1, 2], "item": [1.0, 0.5]}, {}, "item id '1.0' is neither text nor a whole number"),
    ({"user": [1, 2], "item": [1, 2], "rating": ["good", "bad"]}, {}, "a value is no number"),
    ({"user": [1, 2], "item": [1, 2], "time": ["now", "then"]}, {}, "neither a number nor a date"),
    ([([1], "b"), ([2], "b")], {}, "user ids must be text or whole numbers"),
    (np.array(3), {}, "an array of shape ()"),
    ([{"user": 1, "item": 2}, {"user": 1}], {}, "event 2 has other keys than the first"),
]


@pytest.mark.parametrize(("events", "options", "complaint"), WRONG)
def test_a_mistake_is_one_line(events: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        load_events(events, **options)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--data" not in str(caught.value)


def test_other_ways_to_hand_events_over_say_which_is_right() -> None:
    import jax

    events = from_events(*zip(*EVENTS, strict=True))
    with pytest.raises(UserError, match="load_events takes events"):
        load(events)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="simulate: data are Split, not FederatedData"):
        simulate(popularity(23), hold_out(events), key=jax.random.key(0), rounds=1)  # type: ignore[arg-type]
