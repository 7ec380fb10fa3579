"""What a verb that computes sets before jax is imported, seen from fresh processes."""

import json
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

from fedjax_rec import cpu, program_cache
from fedjax_rec.cli import process

CHOICES = (
    cpu.SWITCH,
    *cpu.THREADS,
    "XLA_FLAGS",
    cpu.DEVICES_VARIABLE,
    program_cache.CACHE_VARIABLE,
)
PRESET = """
[data]
name = "synthetic"
num_users = 12
num_items = 20
mean_events = 6.0

[algorithm]
name = "popularity"
"""


def in_fresh_process(*words, **variables):
    """A command of a person who has chosen nothing; standard output and error."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    command = [sys.executable, "-m", "fedjax_rec", *words]
    return subprocess.run(
        command, env=kept | variables, capture_output=True, text=True, check=False
    )


def programs(cache):
    return sorted(path.name for path in (cache / "xla").glob("*/*-cache"))


def test_a_verb_that_computes_sets_devices_and_keeps_programs(tmp_path):
    preset = tmp_path / "counting.toml"
    preset.write_text(PRESET)
    words = ["plan", str(preset), "--json"]
    keep = {program_cache.LEAST_SECONDS_VARIABLE: "0", "FEDJAX_REC_CACHE": str(tmp_path)}
    first = in_fresh_process(*words, **keep)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["devices"]["count"] == cpu.usable_cores()
    if cpu.usable_cores() > 1:
        assert first.stderr.startswith("cpu: set NPROC=1 XLA_FLAGS=--xla_force_host")
        assert first.stderr.count("\n") == 1
    kept = programs(tmp_path)
    assert kept

    damaged = max((tmp_path / "xla").glob("*/*-cache"), key=lambda path: path.stat().st_size)
    whole = damaged.stat().st_size
    os.truncate(damaged, whole // 2)  # as a kill would leave it
    second = in_fresh_process(*words, **keep)
    assert (second.returncode, second.stderr) == (0, first.stderr)
    assert programs(tmp_path) == kept
    assert damaged.stat().st_size > 0.8 * whole


def test_a_mistake_is_still_one_line():
    done = in_fresh_process("plan", "synthetic/fedmf", "--algorithm.name", "fedfm")
    assert done.returncode == 2
    assert done.stderr == (
        "fedjax-rec: error: unknown algorithm 'fedfm' (did you mean 'fedmf'?); one of a plug-in "
        "needs --plugin FILE.py\n"
    )


@pytest.fixture
def unchosen(monkeypatch, tmp_path):
    """No jax, an empty cache folder, and changes that are undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in (program_cache.CACHE_VARIABLE, program_cache.LEAST_SECONDS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    return monkeypatch


def test_programs_are_kept_by_kind_of_processor(unchosen, tmp_path):
    process.prepare_process()
    folder = tmp_path / "cache" / "xla" / program_cache.processor_tag()
    assert os.environ[program_cache.CACHE_VARIABLE] == str(folder)
    assert os.environ[program_cache.LEAST_SECONDS_VARIABLE] == "0.5"
    assert folder.is_dir()


@pytest.mark.parametrize("chosen", ["elsewhere", ""])
def test_a_cache_that_was_chosen_is_left_alone(unchosen, tmp_path, chosen):
    unchosen.setenv(program_cache.CACHE_VARIABLE, chosen)
    process.prepare_process()
    assert os.environ[program_cache.CACHE_VARIABLE] == chosen
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_jax_was_told_of_is_left_alone(unchosen, tmp_path):
    told = SimpleNamespace(config=SimpleNamespace(jax_compilation_cache_dir="elsewhere"))
    unchosen.setitem(sys.modules, "jax", told)
    process.prepare_process()
    assert program_cache.CACHE_VARIABLE not in os.environ
    assert told.config.jax_compilation_cache_dir == "elsewhere"


def test_a_cache_that_cannot_be_written_is_no_matter(unchosen, tmp_path):
    (tmp_path / "cache").write_text("a file")
    process.prepare_process()
    assert program_cache.CACHE_VARIABLE not in os.environ


def test_only_what_cannot_be_read_is_dropped_and_other_warnings_are_shown(unchosen, tmp_path):
    shown = []
    unchosen.setattr(warnings, "showwarning", lambda message, *where: shown.append(str(message)))
    process.prepare_process()
    folder = tmp_path / "cache" / "xla" / program_cache.processor_tag()
    for name in ("jit_a-1-cache", "jit_ab-2-cache"):
        (folder / name).touch()
    said = "Error reading persistent compilation cache entry for 'jit_a': error: Error -5"
    warnings.showwarning(UserWarning(said), UserWarning, "file", 1)
    assert [path.name for path in folder.iterdir()] == ["jit_ab-2-cache"]
    assert shown == []
    warnings.showwarning(UserWarning("something else"), UserWarning, "file", 1)
    assert shown == ["something else"]


def test_settings_are_told_when_they_are_asked_for_and_once(monkeypatch, capsys):
    monkeypatch.setattr(process, "configure_cpu", lambda notice: notice("set A=1"))
    tell = process.prepare_process()
    assert capsys.readouterr().err == ""
    tell()
    assert capsys.readouterr().err == "cpu: set A=1\n"
    tell()
    assert capsys.readouterr().err == ""
