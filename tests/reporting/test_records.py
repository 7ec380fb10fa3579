"""Reading the folder of a run."""

import json

import pytest

from fedjax_rec.errors import UserError
from fedjax_rec.reporting import finished_run, last_round, read_summary


def test_a_finished_run_has_configuration_and_summary(tmp_path):
    (tmp_path / "config.toml").write_text('[algorithm]\nname = "fedmf"\n')
    (tmp_path / "summary.json").write_text(json.dumps({"metrics": {"test/ndcg@10": 0.5}}))
    record = finished_run(tmp_path)
    assert record.config["algorithm"]["name"] == "fedmf"
    assert record.summary["metrics"]["test/ndcg@10"] == 0.5


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        finished_run(tmp_path / "none")


def test_a_folder_that_is_no_runs_is_told(tmp_path):
    with pytest.raises(UserError, match=r"not the folder of a run \(it has no config.toml\)"):
        finished_run(tmp_path)


def test_a_broken_configuration_is_told(tmp_path):
    (tmp_path / "config.toml").write_text("rounds =\n")
    with pytest.raises(UserError, match=r"config.toml: cannot be read"):
        finished_run(tmp_path)


def test_an_unfinished_run_says_how_far_it_came(tmp_path):
    (tmp_path / "config.toml").write_text("rounds = 9\n")
    (tmp_path / "metrics.jsonl").write_text('{"round": 1}\n{"round": 2}\n')
    with pytest.raises(UserError, match="not finished \\(stopped after round 2\\)"):
        finished_run(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"metrics": 3}', "\xff"])
def test_a_broken_summary_is_told(tmp_path, text):
    (tmp_path / "summary.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"summary.json: .*run it again to write it"):
        read_summary(tmp_path)


def test_without_a_summary_there_is_none(tmp_path):
    assert read_summary(tmp_path) is None


def test_a_line_that_was_cut_off_does_not_count(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"round": 1}\n{"round": 2}\n{"roun')
    assert last_round(tmp_path) == 2


def test_no_metrics_are_round_zero(tmp_path):
    assert last_round(tmp_path) == 0
    (tmp_path / "metrics.jsonl").write_text('nonsense\n[]\n{"seconds": 1}\n')
    assert last_round(tmp_path) == 0
