"""`audit evaluation` from end to end on a tiny generated data set."""

import json

import pytest

from fedjax_rec import audit
from fedjax_rec.cli import main

PRESET = """
rounds = 3

[data]
name = "synthetic"
num_users = 40
num_items = 150
mean_events = 9.0

[algorithm]
name = "{name}"

[evaluate]
at_k = [10]
"""


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """Popularity, which compiles quickly and cannot train alone; the slow test has every arm."""
    path = tmp_path_factory.mktemp("presets") / "tiny.toml"
    path.write_text(PRESET.format(name="popularity"))
    return path


@pytest.fixture(scope="module")
def folder(preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audits") / "tiny"
    assert main(["audit", "evaluation", str(preset), "--output", str(folder)]) == 0
    return folder


def test_every_arm_is_put_to_both_lists_of_candidates(folder):
    found = json.loads((folder / "audit.json").read_text())
    assert tuple(found) == tuple(arm for arm in audit.ARMS if arm != audit.LOCAL_ONLY)
    for scores in found.values():
        assert set(scores) == {"uni99", "full"}
        for values in scores.values():
            assert {key.partition("/")[0] for key in values} == {"own"}
            shares = [value for key, value in values.items() if "popularity_lift" not in key]
            assert all(0 <= value <= 1 for value in shares)
            assert "own/hit_rate@10" in values


@pytest.mark.slow
def test_the_leak_shows_and_needs_no_federation(tmp_path):
    """A client's own table finds the one item that training never pushed down; alone too."""
    preset, folder = tmp_path / "personal.toml", tmp_path / "audit"
    preset.write_text(PRESET.format(name="pfedrec"))
    words = ["--rounds", "60", "--evaluate.every", "60", "--algorithm.dim", "8"]
    words += ["--algorithm.variant", "as_released", "--aggregate.mean", "client"]
    assert main(["audit", "evaluation", str(preset), "--output", str(folder), *words]) == 0
    scores = json.loads((folder / "audit.json").read_text())
    for arm in audit.ARMS:
        owners = {key.partition("/")[0] for key in scores[arm]["uni99"]}
        assert owners == ({"own"} if arm == audit.LOCAL_ONLY else {"own", "global"})
    own = {arm: scores[arm]["uni99"]["own/hit_rate@10"] for arm in audit.ARMS}
    assert own["heldout"] > own["train"] + 0.1
    assert own["local_only"] > own["train"] + 0.1
    share = audit.share_explained(scores, "own/hit_rate@10")
    assert share == pytest.approx((own["heldout"] - own["train"]) / own["heldout"])


def test_a_second_call_goes_on_and_finds_the_same(folder, preset, capsys):
    before = (folder / "audit.json").read_text()
    assert main(["audit", "evaluation", str(preset), "--output", str(folder)]) == 0
    assert (folder / "audit.json").read_text() == before
    said = capsys.readouterr()
    assert "round 3 of 3" not in said.out
    assert "no arm without federation: popularity: local_only: clients send" in said.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--rounds", "2"], "audit of 3 rounds"),
        (["--seed", "7"], "another configuration"),
    ],
)
def test_a_folder_of_another_audit_is_refused(folder, preset, capsys, words, complaint):
    assert main(["audit", "evaluation", str(preset), "--output", str(folder), *words]) == 2
    assert complaint in capsys.readouterr().err


def test_a_round_chosen_on_test_is_refused(tmp_path, preset, capsys):
    words = ["--stop.select", "test_as_released", "--stop.metric", "test/ndcg@10"]
    folder = tmp_path / "audit"
    assert main(["audit", "evaluation", str(preset), "--output", str(folder), *words]) == 2
    assert "no round on test items" in capsys.readouterr().err


def test_an_unknown_action_is_refused(capsys):
    assert main(["audit", "evalution", "ml-100k/pfedrec"]) == 2
    assert "evaluation" in capsys.readouterr().err
