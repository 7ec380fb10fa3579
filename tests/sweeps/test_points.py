"""Which settings a sweep tries, and where."""

from pathlib import Path

import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.sweeps import axes_of, cells_of, grid, parse_seeds, random_points


def test_every_combination_is_tried_once_the_last_key_fastest():
    words = ["--algorithm.dim", "4,8", "--server.learning-rate=0.5,1", "--rounds", "3"]
    axes, rest = axes_of(words)
    assert rest == ["--rounds", "3"]
    assert [dict(point) for point in grid(axes)] == [
        {"algorithm.dim": dim, "server.learning_rate": rate}
        for dim in ("4", "8")
        for rate in ("0.5", "1")
    ]
    assert grid([]) == [()]


def test_lists_of_integers_and_paths_are_values_and_no_axes():
    words = ["--evaluate.at_k", "5,10", "--data.path", "a,b.csv", "--data.since", "2001"]
    assert axes_of(words) == ([], words)


def test_a_range_of_whole_numbers_has_both_ends():
    axes, _ = axes_of(["--algorithm.dim", "2..4"])
    assert [dict(point)["algorithm.dim"] for point in grid(axes)] == ["2", "3", "4"]


def test_random_points_are_distinct_the_same_again_and_begin_as_fewer():
    axes, _ = axes_of(["--algorithm.dim", "4,8,16", "--algorithm.rate", "0.01..10.0"])
    points = random_points(axes, 200)
    assert len(set(points)) == 200
    assert random_points(axes, 20) == points[:20]
    rates = sorted(float(dict(point)["algorithm.rate"]) for point in points)
    assert 0.01 <= rates[0] < 0.03
    assert 3 < rates[-1] <= 10
    assert 0.1 < rates[100] < 1  # log-uniform: half below the geometric mean, about
    few, _ = axes_of(["--algorithm.dim", "1..3", "--algorithm.loss", "a,b"])
    assert sorted(random_points(few, 50)) == sorted(grid(few))


def test_seeds_and_folders_can_be_read():
    assert parse_seeds("0..4") == [0, 1, 2, 3, 4]
    assert parse_seeds("0..1,7") == [0, 1, 7]
    point = (
        ("server.learning_rate", "1"),
        ("algorithm.learning_rate", "2"),
        ("algorithm.x", "a/b"),
    )
    (cell,) = cells_of(["mine/own.toml"], [point], [2], Path("d"))
    name = "server.learning_rate=1,algorithm.learning_rate=2,x=a_b"
    assert cell.folder == Path("d/own") / name / "seed-2"
    assert cell.overrides[-2:] == ["--seed", "2"]
    (cell,) = cells_of(["ml-100k/fedmf"], [()], [0], Path("d"))
    assert cell.folder == Path("d/ml-100k/fedmf/seed-0")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--algorithm.dim", "4,"], "distinct values"),
        (["--algorithm.dim", "4,4"], "distinct values"),
        (["--algorithm.dim", "8..4"], "is no range"),
        (["--algorithm.rate", "0.0..1.0"], "is no range"),
        (["--algorithm.dim", "4,8", "--algorithm.dim", "2,3"], "given twice"),
        (["algorithm.dim"], "expected --key value"),
    ],
)
def test_values_that_cannot_be_are_told(words, told):
    with pytest.raises(UserError, match=told):
        axes_of(words)


def test_a_grid_of_a_range_of_rates_is_refused_with_the_way_out():
    axes, _ = axes_of(["--algorithm.rate", "0.1..1.0"])
    with pytest.raises(UserError, match="--search random"):
        grid(axes)


@pytest.mark.parametrize("text", ["", "4..0", "a", "0..2,1", "1,,2", "-1"])
def test_seeds_that_cannot_be_are_told(text):
    with pytest.raises(UserError, match="seeds"):
        parse_seeds(text)


def test_two_runs_in_one_folder_are_refused():
    with pytest.raises(UserError, match="two runs would lie in"):
        cells_of(["a/x.toml", "b/x.toml"], [()], [0], Path("d"))
