"""Records of silos: who holds which, what is held out, and what is refused."""

from typing import Any

import numpy as np
import pytest

from fedjax_rec.data import FederatedData, Silos, load_records, read
from fedjax_rec.errors import UserError

GENRES = ("Action", "Comedy", "Drama", "War")


def records(folder: str, **rules: Any) -> FederatedData:
    rules = {"number": 3, "size": 50, "num_test": 60} | rules
    return load_records("small", Silos(**rules), path=folder)


def held(data: FederatedData, name: str) -> list[np.ndarray]:
    return [own[own < data.num_items] for own in getattr(data.split, name).items]


def trained(data: FederatedData) -> list[np.ndarray]:
    train = data.split.train
    return [train.items[train.users == silo] for silo in range(data.num_clients)]


@pytest.mark.parametrize("holdout", ["common_records", "own_records"])
@pytest.mark.parametrize("validation", ["records", "none"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("is_pooled", [True, False])
def test_each_record_is_in_one_silo_or_asked_of_one(
    rated_folder: str, holdout: Any, validation: Any, alpha: float, is_pooled: bool
) -> None:
    rules = {"holdout": holdout, "validation": validation, "alpha": alpha, "is_pooled": is_pooled}
    data = records(rated_folder, **rules)
    assert [len(own) for own in trained(data)] == ([150] if is_pooled else [50, 50, 50])
    tests, valids = (np.concatenate(held(data, name)) for name in ("test", "valid"))
    assert (len(tests), len(valids)) == (60, 60 if validation == "records" else 0)
    everything = np.concatenate([*trained(data), tests, valids])
    assert sorted(everything) == list(range(data.num_items)), "each record is used once"
    asked = [len(own) for own in held(data, "test")]
    assert max(asked) - min(asked) <= 1
    assert data.protocol["holdout"] == holdout
    assert data.protocol["validation"] == validation


def test_labels_and_features_are_those_of_the_rating_the_person_and_the_film(
    rated_folder: str,
) -> None:
    data, events = records(rated_folder, seed=5), read("small", path=rated_folder)
    ratings = {
        (events.user_labels[u], events.item_labels[i]): value
        for u, i, value in zip(events.users, events.items, events.values, strict=True)
    }
    train, test = data.split.train, data.split.test
    labels = dict(zip(train.items.tolist(), train.values.tolist(), strict=True))
    labels |= dict(zip(test.items.ravel().tolist(), test.values.ravel().tolist(), strict=True))
    assert data.features is not None
    assert data.features.shape == (210, 2 + len(GENRES))
    for number, raw in enumerate(train.item_labels):
        person, title = raw.split("/")
        assert labels[number] == (ratings[person, title] >= 4)
        age, is_male, *flags = data.features[number]
        assert age == pytest.approx(int(person) / 100)
        assert is_male == int(person) % 2
        assert [g for g, flag in zip(GENRES, flags, strict=True) if flag] == [
            GENRES[int(title) % 4]
        ]
    by_three = load_records(
        "small", Silos(size=100, num_test=9), positive_from=3, path=rated_folder
    )
    assert by_three.split.train.values.mean() > train.values.mean()


def test_the_seed_draws_the_records_and_pooling_does_not_change_them(rated_folder: str) -> None:
    def drawn(**rules: Any) -> set[str]:
        data = records(rated_folder, **rules)
        return set(data.split.train.item_labels[data.split.train.items])

    assert drawn() == drawn() == drawn(is_pooled=True)
    assert len(drawn() & drawn(seed=1)) < 100
    other = [
        np.concatenate(held(records(rated_folder, **r), "test")) for r in ({}, {"is_pooled": True})
    ]
    assert set(other[0]) == set(other[1]), "the pooled owner is asked the same"


@pytest.mark.parametrize("holdout", ["common_records", "own_records"])
def test_a_small_alpha_skews_the_labels_of_silos_and_of_what_they_are_asked(
    rated_folder: str, holdout: Any
) -> None:
    def shares(data: FederatedData) -> tuple[list[float], list[float]]:
        train, test = data.split.train, data.split.test
        return (
            [float(train.values[train.users == silo].mean()) for silo in range(4)],
            [float(v[i < data.num_items].mean()) for v, i in zip(test.values, test.items)],  # noqa: B905
        )

    own, asked = shares(records(rated_folder, number=4, alpha=0.01, seed=1, holdout=holdout))
    assert np.ptp(own) > 0.9, "silos have one label"
    if holdout == "own_records":
        assert np.corrcoef(own, asked)[0, 1] > 0.9
    else:
        assert np.ptp(asked) < 0.6, "what it is asked is like everybody's"
    even, _ = shares(records(rated_folder, number=4, alpha=0.0, holdout=holdout))
    assert np.ptp(even) < 0.35


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"number": 0}, "silos: number must be at least 1, got 0"),
        ({"size": 0}, "silos: size must be at least 1"),
        ({"num_test": -1}, "silos: num_test must be at least 1"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"alpha": float("nan")}, "alpha nan is out of range"),
        ({"alpha": -1.0}, "alpha -1.0 is out of range"),
        ({"holdout": "ratio"}, "'ratio' is not of records; choose from: common_records"),
        ({"holdout": "commonrecords"}, "did you mean 'common_records'"),
        ({"validation": "hash"}, "choose from: records, none"),
        ({"size": 200}, "600 records of silos and 60 held-out ones are more than its 400 ratings"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(
    rated_folder: str, rules: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        records(rated_folder, **rules)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
