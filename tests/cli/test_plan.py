"""`plan`: what it tells, and what does not fit, told in one line with what would."""

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest

from fedjax_rec.cli import main, run
from fedjax_rec.cli.arguments import parse, take_overrides
from fedjax_rec.cli.memory import (
    free_memory,
    needed_memory,
    parse_bytes,
    refuse_impossible,
)
from fedjax_rec.config import OPTIONS, load_preset
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import build, resolve
from fedjax_rec.simulation import evaluation_memory, footprint, progress

TINY = """
rounds = 7

[data]
name = "synthetic"
num_users = 12
num_items = 20
mean_events = 6.0

[algorithm]
name = "{name}"
"""
GB = 10**9
PROCESS = 300 * 10**6


@pytest.fixture(autouse=True)
def _process(monkeypatch):
    """The process takes the same whatever other tests did in it."""
    monkeypatch.setattr(progress, "peak_megabytes", lambda: PROCESS / 10**6)


@pytest.fixture
def preset(tmp_path):
    """Writes a tiny preset of an algorithm; its path."""

    def write(name):
        path = tmp_path / f"{name}.toml"
        path.write_text(TINY.format(name=name))
        return str(path)

    return write


@pytest.fixture
def rounds(monkeypatch):
    """Rounds that take so many bytes for a client of a chunk, or a number of it; not compiled."""

    def take(per_client, num_devices=1, per_number=0):
        def round_memory(algorithm, data, sampler, execution, num_rounds):
            sizes = footprint.at_rest(algorithm, data)
            temporary = per_client * (execution.chunk_size or 16)
            temporary += per_number * sizes.client["private"] // 4
            store = sizes.store // num_devices
            arguments = sizes.server + sizes.frozen + store + sizes.data
            return footprint.RoundMemory(
                arguments,
                sizes.to_allocate,
                sizes.to_allocate,
                temporary,
                0,
                num_devices,
                num_rounds,
                0.5,
            )

        monkeypatch.setattr(footprint, "round_memory", round_memory)
        monkeypatch.setattr(evaluation_memory, "evaluation_memory", lambda *args: None)

    return take


def planned(capsys, *words):
    """The object that `plan --json` prints."""
    assert main(["plan", *words, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def refused(capsys, *words):
    """The one line of a plan that does not fit; the plan itself comes before it."""
    assert main(["plan", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out != ""
    line, end = captured.err.split("\n")
    assert end == ""
    return line.removeprefix("fedjax-rec: error: ")


def test_a_plan_is_one_object(preset, capsys):
    plan = planned(capsys, preset("popularity"), "--checkpoint.every", "3")
    assert (plan["algorithm"], plan["num_clients"], plan["num_items"]) == ("popularity", 12, 20)
    assert plan["parameters"] == [{"role": "shared", "shape": "rows", "numbers": 20, "bytes": 80}]
    assert plan["client"] == {"private": 0, "memory": 0, "residual": 0}
    assert (plan["at_rest"]["server"], plan["at_rest"]["store"]) == (92, 0)
    sent = {"payload": "table", "down": 80, "up": 80, "is_bound": False, "is_mean": False}
    assert plan["communication"] == sent
    assert plan["cohort"] == {"sampler": "all", "expected": 12.0, "capacity": 12}
    assert plan["round"]["num_rounds"] == 3
    assert plan["round"]["temporary"] > 0
    assert plan["round"]["compile_seconds"] > 0
    assert plan["execution"]["is_debug"] is False
    assert plan["devices"]["count"] >= 1
    memory, working = plan["memory"], plan["round"]
    asking = plan["evaluation"]
    assert asking["working"] > asking["questions"] > 0
    assert asking["encoding"] == 0
    per_device = working["arguments"] + max(working["working"], asking["working"])
    assert memory["needed"] == (
        memory["process"]
        + working["num_devices"] * per_device
        - plan["at_rest"]["data"]  # in the process already
        + memory["checkpoint"]
        + memory["gathered"]
    )
    assert memory["checkpoint"] == 92
    assert memory["needed"] < memory["available"]


def test_a_plan_is_printed_in_tables(preset, rounds, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rounds(1000, num_devices=2)
    words = ["--communication.payload", "rows", "--cohort.sampler", "uniform", "--cohort.size", "5"]
    assert main(["plan", preset("fedmf"), "--algorithm.dim", "4", *words]) == 0
    text = capsys.readouterr().out
    assert "│ shared            │ rows  │      80 │ 320 B │" in text
    assert "│ private, a client │ dense │       4 │  16 B │" in text
    assert "12 clients, each private 16 B" in text
    assert "in 1 rounds at a time, on each of 2 devices" in text
    assert "16.0 kB" in text
    assert "communication (rows): at most 400 B up and at most 320 B down" in text
    assert "cohort: 5 of 12 clients a round (uniform), 20 items" in text
    assert "compile: 0.5 s" in text


def test_without_a_compiled_program_the_rest_is_told(preset, capsys):
    plan = planned(capsys, preset("popularity"), "--execution.debug", "true")
    assert plan["round"] is None
    assert plan["memory"]["needed"] == plan["memory"]["process"] + 2 * 92


def test_nothing_is_trained_or_written(preset, rounds, tmp_path, monkeypatch, capsys):
    rounds(0)
    monkeypatch.chdir(tmp_path)
    path = preset("popularity")
    before = sorted(tmp_path.iterdir())
    planned(capsys, path)
    assert sorted(tmp_path.iterdir()) == before


def test_the_memory_of_another_machine_can_be_planned_for(preset, rounds, capsys):
    rounds(0)
    assert (
        planned(capsys, preset("popularity"), "--memory", "3GiB")["memory"]["available"]
        == 3 * 2**30
    )


# ---------------------------------------------------------------- what does not fit


def test_a_chunk_that_does_not_fit_is_halved_until_it_does(preset, rounds, capsys):
    rounds(GB)
    words = [preset("popularity"), "--execution.chunk_size", "16", "--memory"]
    line = refused(capsys, *words, "8GB")
    assert line.startswith("does not fit: needs 16.")
    assert line.endswith(
        "GB of memory, 8.0 GB are available; it fits with --execution.chunk_size 4"
    )
    assert planned(capsys, *words[:2], "4", "--memory", "8GB")


def test_a_table_that_does_not_fit_is_narrowed_until_it_does(preset, rounds, capsys):
    rounds(0)
    words = [preset("fedmf"), "--memory", "3GB"]
    line = refused(capsys, *words, "--algorithm.dim", "100000000")
    dim = int(line.rpartition("it should fit with --algorithm.dim ")[2])
    per_column = 2 * 4 * (20 + 12)  # once in use, once saved
    assert (3 * GB - PROCESS) / per_column - 2 < dim <= (3 * GB - PROCESS) / per_column
    assert planned(capsys, *words, "--algorithm.dim", str(dim))
    assert refused(capsys, *words, "--algorithm.dim", str(dim + 2))


def test_each_device_holds_its_own_and_works_with_more(preset, rounds, capsys):
    rounds(0, num_devices=2, per_number=1000)
    words = [preset("fedmf"), "--memory", "1GB"]
    line = refused(capsys, *words, "--algorithm.dim", "1000000")
    dim = int(line.rpartition("it should fit with --algorithm.dim ")[2])
    table, store = 4 * 20, 4 * 12
    per_column = 2 * table + store  # on the devices
    per_column += store + (table + store)  # gathered, and saved
    per_column += 2 * 1000
    assert dim == pytest.approx((GB - PROCESS) / per_column, abs=2)
    assert planned(capsys, *words, "--algorithm.dim", str(dim))


def test_where_the_process_alone_is_too_big_this_is_said(preset, rounds, capsys):
    rounds(0)
    line = refused(capsys, preset("popularity"), "--memory", "1MB")
    assert "1.0 MB are available; Python, jax and its compiler alone take" in line


def test_where_nothing_helps_this_is_said(preset, rounds, capsys):
    rounds(100 * GB)
    line = refused(capsys, preset("popularity"), "--memory", "5GB")
    assert line.endswith("5.0 GB are available; nothing smaller was found that fits")


def test_a_run_that_cannot_fit_is_refused_before_it_begins(preset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "available_memory", lambda: 1000)
    output = tmp_path / "run"
    assert main(["run", preset("popularity"), "--output", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("fedjax-rec: error: does not fit: parameters, client store")
    assert "fedjax-rec plan with the same words says what would fit" in captured.err
    assert captured.err.count("\n") == 1
    assert not output.exists()


def test_a_run_that_may_fit_is_not_refused(preset):
    experiment = build(resolve(load_preset(preset("popularity"))))
    sizes = footprint.at_rest(experiment.algorithm, experiment.data)
    refuse_impossible(experiment, sizes.to_allocate + sizes.data)
    refuse_impossible(experiment, None)
    with pytest.raises(UserError, match="does not fit"):
        refuse_impossible(experiment, sizes.to_allocate + sizes.data - 1)


def test_what_the_server_solves_counts_too(preset):
    experiment = build(resolve(load_preset(preset("popularity"), ["--algorithm.name", "ease"])))
    sizes = footprint.at_rest(experiment.algorithm, experiment.data)
    resting = sizes.to_allocate + sizes.data
    inverted = 4 * min(experiment.data.num_items, experiment.data.num_clients) ** 2
    with pytest.raises(UserError, match=r"data and the server's work need .* are available"):
        refuse_impossible(experiment, resting + inverted)
    refuse_impossible(experiment, resting + experiment.algorithm.server_update.working_bytes)


def test_an_accelerators_own_memory_counts(preset, monkeypatch):
    experiment = build(resolve(load_preset(preset("popularity"))))
    sizes = footprint.at_rest(experiment.algorithm, experiment.data)
    working = footprint.RoundMemory(1000, 90, 60, 500, 7, 4, 1, 0.5)
    stats = {"bytes_limit": 2000, "bytes_in_use": 5}
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert free_memory(10**12) == 2000
    needed = {"needed": 1000 + 30 + 500 + 7, "process": 0, "checkpoint": 0, "gathered": 0}
    assert needed_memory(sizes, working) == needed
    stored = replace(sizes, store=10**6)
    assert needed_memory(stored, working)["needed"] == needed["needed"] + 10**6
    assert needed_memory(sizes, None)["needed"] == 92 + sizes.data
    refuse_impossible(experiment, 0)
    device.memory_stats = lambda: None
    assert free_memory(10**12) is None


# ------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("900", 900),
        ("4GB", 4 * GB),
        ("1.5 gb", 1.5 * GB),
        ("2MiB", 2**21),
        ("7B", 7),
        ("1TB", 1e12),
    ],
)
def test_a_size_is_a_number_and_a_unit(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4 gigs", "-1GB", "4GBB", "1,5GB"])
def test_what_is_no_size_is_told(text):
    with pytest.raises(UserError, match="memory: expected a size such as 4GB"):
        parse_bytes(text)


def test_own_words_are_parted_from_keys():
    words = ["plan", "--rounds=3", "--memory", "4GB", "--json", "x", "--a.b", "c"]
    own, overrides = take_overrides(words)
    assert own == ["plan", "--memory", "4GB", "--json", "x"]
    assert overrides == ["--rounds=3", "--a.b", "c"]
    request = parse(own, overrides)
    assert (request.preset, request.memory, request.json) == ("x", "4GB", True)
    assert request.overrides == ("--rounds=3", "--a.b", "c")


def test_help_names_every_key(capsys):
    assert main(["plan", "--help", "all"]) == 0
    flat = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(f"--{key} " in flat for key in OPTIONS if key != "preset")
    assert "--memory SIZE" in flat
    assert "--json" in flat
    assert "--output" not in flat


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("plan", "Required options: Missing from fedjax-rec plan: PRESET|FILE.toml"),
        ("plan synthetic/fedfm", "no preset 'synthetic/fedfm' (did you mean 'synthetic/fedmf'?)"),
        ("plan synthetic/fedmf --memory much", "memory: expected a size such as 4GB"),
        ("plan synthetic/fedmf --ruonds 3", "unknown key 'ruonds' (did you mean 'rounds'?)"),
    ],
)
def test_a_mistake_is_one_line(capsys, words, start):
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"fedjax-rec: error: {start}")
    assert captured.err.count("\n") == 1
