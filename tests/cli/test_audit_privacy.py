"""`audit privacy` from end to end on a tiny generated data set."""

import json

import pytest

from fedjax_rec.audit.privacy import MembersOnly
from fedjax_rec.cli import main
from fedjax_rec.sampling import TruncatedPoisson

PRESET = """
rounds = 2

[data]
name = "synthetic"
num_users = 40
num_items = 300
mean_events = 9.0

[algorithm]
name = "{name}"

[evaluate]
at_k = [10]
"""


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    path = tmp_path_factory.mktemp("presets") / "tiny.toml"
    path.write_text(PRESET.format(name="fedmf"))
    return path


@pytest.fixture(scope="module")
def folder(preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audits") / "tiny"
    assert main(["audit", "privacy", str(preset), "--output", str(folder), "--clients", "8"]) == 0
    return folder


def test_every_attack_says_what_it_found_and_what_it_saw(folder):
    found = json.loads((folder / "privacy_audit.json").read_text())
    assert found["claim"]["claims"] == "none"
    attacks = found["attacks"]
    assert set(attacks) == {
        f"{name}/{moment}"
        for name, moments in {
            "row_support": ("first", "last"),
            "svd_sign": ("first", "last"),
            "interaction_membership": ("first", "last"),
            "membership": ("loss", "calibrated"),
        }.items()
        for moment in moments
    }
    for each in attacks.values():
        assert 0 <= each["auc"] <= 1
        assert each["n"] >= 8
        assert each["sees"]
    for moment in ("first", "last"):
        assert attacks[f"row_support/{moment}"]["auc"] > 0.8
        assert attacks[f"svd_sign/{moment}"]["auc"] >= 0.99
        assert attacks[f"interaction_membership/{moment}"]["n"] == 8
    assert any("canaries" in note for note in found["notes"])


def test_a_second_call_goes_on_and_finds_the_same(folder, preset, capsys):
    before = (folder / "privacy_audit.json").read_text()
    assert main(["audit", "privacy", str(preset), "--output", str(folder), "--clients", "8"]) == 0
    assert (folder / "privacy_audit.json").read_text() == before
    said = capsys.readouterr().out
    assert "round 2 of 2" not in said
    assert "svd_sign/first" in said


def test_half_of_the_clients_stay_out_of_every_cohort():
    sampler = MembersOnly(TruncatedPoisson(100, 40.0), tuple(range(0, 100, 2)))
    assert sampler.event == TruncatedPoisson(100, 40.0).event
    drawn = {client for round in range(20) for client in sampler.draw(0, round).tolist()}
    assert drawn == set(range(0, 100, 2))


@pytest.mark.slow
def test_what_sends_no_rows_and_has_no_loss_says_so(tmp_path):
    preset, folder = tmp_path / "popularity.toml", tmp_path / "audit"
    preset.write_text(PRESET.format(name="popularity"))
    words = ["--rounds", "1"]
    assert main(["audit", "privacy", str(preset), "--output", str(folder), *words]) == 0
    found = json.loads((folder / "privacy_audit.json").read_text())
    assert any("observe no loss" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["privacy", "--clients", "1"], "at least 2 clients"),
        (["privacy", "--data.num_users", "3"], "too few"),
        (["privacy", "--rounds", "0"], "rounds"),
        (["evaluation", "--clients", "5"], "belongs to audit privacy"),
        (["privasy"], "privacy"),
    ],
)
def test_bad_input_is_one_line(tmp_path, preset, capsys, words, complaint):
    action, *rest = words
    folder = tmp_path / "audit"
    assert main(["audit", action, str(preset), "--output", str(folder), *rest]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert complaint in said[-1]


def test_a_folder_of_another_audit_is_refused(folder, preset, capsys):
    words = ["--output", str(folder), "--seed", "7"]
    assert main(["audit", "privacy", str(preset), *words]) == 2
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.slow
def test_canaries_take_part_where_updates_are_bounded(preset, tmp_path):
    words = ["--privacy.noise_multiplier", "1e-6", "--cohort.sampler", "all"]
    assert main(["audit", "privacy", str(preset), "--output", str(tmp_path), *words]) == 0
    found = json.loads((tmp_path / "privacy_audit.json").read_text())["attacks"]["canaries"]
    assert found["n"] == 2000
    assert found["epsilon_lower_bound"] > 1  # there is hardly any noise
