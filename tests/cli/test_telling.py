"""How much `run` says: as JSON, hardly anything, and one line where nothing can be written."""

import errno
import json
import os
import signal
import threading

import pytest

from fedjax_rec.cli import main
from fedjax_rec.simulation.interrupts import interruptible


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "counting.toml"
    path.write_text(
        'rounds = 1\n[data]\nname = "synthetic"\nnum_users = 20\nnum_items = 30\n'
        'mean_events = 6.0\n[algorithm]\nname = "popularity"\n'
    )
    return ["run", str(path), "--output", str(tmp_path / "run")]


def test_json_is_the_summary_and_nothing_else(words, tmp_path, capsys):
    assert main([*words, "--json"]) == 0
    first = capsys.readouterr()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert json.loads(first.out) == summary
    assert first.out.count("\n") == 1
    assert main([*words, "--json"]) == 0  # finished earlier
    assert json.loads(capsys.readouterr().out) == summary


def test_quiet_says_nothing_and_tells_mistakes(words, capsys):
    assert main([*words, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert main([*words, "--quiet", "--seed", "1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_quiet_and_json_leave_the_summary(words, capsys):
    assert main([*words, "--quiet", "--json"]) == 0
    captured = capsys.readouterr()
    assert "metrics" in json.loads(captured.out)
    assert captured.err == ""


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_full_disk_is_one_line_and_exit_code_1(words, capsys, monkeypatch, is_wrapped):
    from fedjax_rec.simulation import records

    def append(self, line):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.jsonl")
        if not is_wrapped:
            raise full
        raise ValueError("write failed") from full

    monkeypatch.setattr(records.MetricsLog, "append", append)
    capsys.readouterr()
    assert main([*words, "--quiet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "fedjax-rec: error: no space left on the disk (metrics.jsonl): make room, and start it "
        "again to go on"
    )


def test_a_save_that_takes_too_long_is_one_line_and_the_run_goes_on(words, capsys, monkeypatch):
    from fedjax_rec.simulation import checkpoint

    def seal(self):
        raise RuntimeError("not saved") from TimeoutError("completed 2/4 futures")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpointer, "_seal", seal)
        assert main([*words, "--quiet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "fedjax-rec: error: a checkpoint took too long to write (did the computer sleep?): start "
        "it again"
    )
    assert main([*words, "--quiet"]) == 0


def test_other_failures_stay_what_they_are(words, monkeypatch):
    from fedjax_rec.simulation import records

    def append(self, line):
        raise ValueError("something else")

    monkeypatch.setattr(records.MetricsLog, "append", append)
    with pytest.raises(ValueError, match="something else"):
        main([*words, "--quiet"])


def test_ctrl_c_is_heard_at_once(capfd):
    assert threading.current_thread() is threading.main_thread()
    with interruptible(is_on=True) as event:
        signal.raise_signal(signal.SIGINT)
        assert event.is_set()
    assert capfd.readouterr().err == (
        "interrupted: ends after the rounds under way and saves; Ctrl-C again ends at once\n"
    )
