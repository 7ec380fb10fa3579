"""XLA's settings for CPUs: what is set, what is left alone, and what the system allows."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import fedjax_rec
from fedjax_rec import cpu

SETTINGS = {"NPROC": "1", "XLA_FLAGS": f"{cpu.DEVICES_FLAG}=4"}


@pytest.fixture
def fresh(monkeypatch):
    """A process of four cores in which jax has not started, nor anything been chosen."""
    for name in (cpu.SWITCH, *cpu.THREADS, "XLA_FLAGS", cpu.DEVICES_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("JAX_PLATFORM_NAME", raising=False)
    monkeypatch.setattr(cpu, "_is_applied", False)
    monkeypatch.setattr(cpu, "is_started", lambda: False)
    monkeypatch.setattr(cpu, "usable_cores", lambda: 4)
    monkeypatch.setattr(cpu, "_plugins", set)
    monkeypatch.setattr(cpu, "_config", lambda name, default: default)
    monkeypatch.setenv("JAX_PLATFORMS", "")
    # What is set in place of these is undone with them.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return monkeypatch


def configured():
    """The settings and the lines that were told."""
    lines = []
    return cpu.configure_cpu(lines.append), lines


def test_threads_and_devices_are_set_and_told_in_one_line(fresh):
    settings, lines = configured()
    assert settings.variables == SETTINGS
    assert settings.reason == ""
    assert {name: os.environ[name] for name in SETTINGS} == SETTINGS
    assert lines == [
        "set NPROC=1 XLA_FLAGS=--xla_force_host_platform_device_count=4 "
        "(FEDJAX_REC_CPU=off leaves XLA alone)"
    ]


def test_the_line_goes_to_standard_error(fresh, capsys):
    cpu.configure_cpu()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("set NPROC=1")
    assert captured.err.count("\n") == 1


def test_other_flags_of_the_user_are_kept(fresh):
    fresh.setenv("XLA_FLAGS", "--xla_dump_to=x")
    settings, _ = configured()
    assert settings.variables["XLA_FLAGS"] == f"--xla_dump_to=x {cpu.DEVICES_FLAG}=4"


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({"NPROC": "3"}, {"XLA_FLAGS"}),
        ({"PJRT_NPROC": "3"}, {"XLA_FLAGS"}),
        ({"XLA_FLAGS": f"--a {cpu.DEVICES_FLAG}=2"}, {"NPROC"}),
        ({"JAX_NUM_CPU_DEVICES": "2"}, {"NPROC"}),
        ({"NPROC": "3", "JAX_NUM_CPU_DEVICES": "2"}, set()),
    ],
)
def test_what_the_user_chose_is_left_alone(fresh, chosen, left):
    for name, value in chosen.items():
        fresh.setenv(name, value)
    before = dict(os.environ)
    settings, lines = configured()
    assert set(settings.variables) == left
    assert bool(lines) == bool(left)
    assert bool(settings.reason) == (not left)
    assert dict(os.environ) == before | settings.variables


def test_devices_chosen_in_jaxs_configuration_are_left_alone(fresh):
    fresh.setattr(cpu, "_config", lambda name, default: 2 if "num_cpu" in name else default)
    assert set(configured()[0].variables) == {"NPROC"}


def test_one_core_needs_nothing(fresh):
    fresh.setattr(cpu, "usable_cores", lambda: 1)
    settings, lines = configured()
    assert (dict(settings.variables), lines) == ({}, [])
    assert cpu.missing_settings() == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda patch: patch.setenv(cpu.SWITCH, "off"), "FEDJAX_REC_CPU=off"),
        (lambda patch: patch.setattr(cpu, "is_started", lambda: True), "jax has started"),
        (lambda patch: patch.setenv("JAX_PLATFORMS", "cuda,cpu"), "jax is to use cuda,cpu"),
        (lambda patch: patch.setenv("JAX_PLATFORM_NAME", "tpu"), "jax is to use tpu"),
        (lambda patch: patch.setattr(cpu, "_plugins", lambda: {"xla_cuda13"}), "(xla_cuda13)"),
    ],
)
def test_nothing_is_set_where_it_would_be_wrong(fresh, change, reason):
    change(fresh)
    before = dict(os.environ)
    settings, lines = configured()
    assert (dict(settings.variables), lines) == ({}, [])
    assert reason in settings.reason
    assert reason in str(settings)
    assert dict(os.environ) == before
    assert cpu.pin_threads() == 0


def test_a_plugin_is_no_matter_where_jax_is_told_to_use_the_cpu(fresh):
    fresh.setattr(cpu, "_plugins", lambda: {"xla_cuda13"})
    fresh.setenv("JAX_PLATFORMS", "cpu")
    assert configured()[0].variables == SETTINGS


def test_plugins_are_found_as_jax_finds_them(tmp_path, monkeypatch):
    assert cpu._plugins() == set()
    (tmp_path / "jax_plugins" / "xla_new").mkdir(parents=True)
    (tmp_path / "jax_plugins" / "xla_new" / "__init__.py").touch()
    (tmp_path / "libtpu.py").touch()
    entry = tmp_path / "one-1.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Name: one\nVersion: 1\n")
    (entry / "entry_points.txt").write_text("[jax_plugins]\nxla_other = one\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert cpu._plugins() == {"xla_new", "xla_other", "libtpu"}


def test_what_is_missing_is_told_with_the_way_out(fresh):
    assert cpu.missing_settings() == SETTINGS
    line = cpu.missing_settings_line()
    assert line.count("\n") == 0
    assert "fedjax_rec.configure_cpu()" in line
    assert "NPROC='1' XLA_FLAGS='--xla_force_host_platform_device_count=4'" in line
    cpu.configure_cpu(lambda line: None)
    assert cpu.missing_settings() == {}
    assert cpu.missing_settings_line() == ""


def start(fresh, devices, backend="cpu"):
    """Makes jax seem to have started."""
    jax = SimpleNamespace(default_backend=lambda: backend, local_device_count=lambda: devices)
    fresh.setitem(sys.modules, "jax", jax)
    fresh.setattr(cpu, "is_started", lambda: True)


def test_after_the_start_the_devices_tell_what_is_missing(fresh):
    start(fresh, devices=1)
    assert cpu.missing_settings() == SETTINGS
    start(fresh, devices=4)
    assert cpu.missing_settings() == {}
    start(fresh, devices=1, backend="gpu")
    assert cpu.missing_settings() == {}


def test_a_choice_is_not_missing(fresh):
    start(fresh, devices=1)
    fresh.setenv("XLA_FLAGS", f"{cpu.DEVICES_FLAG}=1")
    assert cpu.missing_settings() == {"NPROC": "1"}
    fresh.setenv(cpu.SWITCH, "off")
    assert cpu.missing_settings() == {}


def test_the_public_name_is_this_one():
    assert fedjax_rec.configure_cpu is cpu.configure_cpu


# ------------------------------------------------------------- in a fresh process

REPORT = """
import json, os, sys
from pathlib import Path
from fedjax_rec import cpu
jax_before = "jax" in sys.modules
settings = cpu.configure_cpu(lambda line: None)
early = cpu.pin_threads()
cpu._num_busy_others = lambda: 0
import jax
jax.jit(lambda x: x @ x)(jax.numpy.ones((9, 9))).block_until_ready()
pinned = cpu.pin_threads()
tasks = Path("/proc/self/task").iterdir()
workers = [int(task.name) for task in tasks if (task / "comm").read_text().strip() == cpu.WORKER]
homes = lambda: sorted(sorted(os.sched_getaffinity(worker)) for worker in workers)
pinned_homes = homes()
cpu._num_busy_others = lambda: os.cpu_count()
let_go = cpu.pin_threads()
print(json.dumps({
    "jax_before": jax_before, "set": dict(settings.variables), "early": early,
    "devices": jax.local_device_count(), "pinned": pinned,
    "homes": pinned_homes, "let_go": let_go, "homes_then": homes(),
    "again": cpu.configure_cpu().reason, "missing": cpu.missing_settings(),
}))
"""


def reported(**variables):
    """What a fresh interpreter finds under these variables."""
    chosen = (cpu.SWITCH, *cpu.THREADS, "XLA_FLAGS", cpu.DEVICES_VARIABLE)
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        env=kept | {"JAX_PLATFORMS": "cpu"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


needs_cores = pytest.mark.skipif(
    not sys.platform.startswith("linux") or cpu.usable_cores() < 2,
    reason="needs Linux and two cores",
)


@needs_cores
def test_jax_starts_with_a_device_and_a_pinned_thread_a_core():
    cores = sorted(os.sched_getaffinity(0))
    seen = reported()
    assert not seen["jax_before"]
    assert seen["set"] == {"NPROC": "1", "XLA_FLAGS": f"{cpu.DEVICES_FLAG}={cpu.usable_cores()}"}
    assert seen["devices"] == cpu.usable_cores()
    assert seen["early"] == 0
    if cpu.usable_cores() == len(cores):  # no quota
        assert seen["homes"] == [[core] for core in cores]
        assert seen["pinned"] == len(cores)
    assert seen["let_go"] == 0
    assert all(home == cores for home in seen["homes_then"])
    assert "started" in seen["again"]
    assert seen["missing"] == {}


@needs_cores
def test_one_thread_is_left_where_the_user_wants_one_device():
    seen = reported(XLA_FLAGS=f"{cpu.DEVICES_FLAG}=1")
    assert seen["set"] == {"NPROC": "1"}
    assert seen["devices"] == 1
    assert seen["pinned"] == 0
    assert len(seen["homes"]) == 1
    assert seen["homes"][0] == sorted(os.sched_getaffinity(0))


def test_others_are_all_that_run_but_the_one_that_asks(system):
    assert cpu._num_busy_others() == 0
    system({"proc/loadavg": "5.40 5.17 4.55 4/512 9\n"})
    assert cpu._num_busy_others() == 3


# --------------------------------------------------------------- what is allowed


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes files of a system: path below its root -> text."""
    monkeypatch.setattr(cpu, "PROC", tmp_path / "proc")
    monkeypatch.setattr(cpu, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 2000 kB\n"}
VERSION_2 = {"proc/self/cgroup": "0::/a/b\n"}
VERSION_1 = {"proc/self/cgroup": "9:memory:/a\n4:cpu,cpuacct:/a\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        (VERSION_2 | {"cgroup/a/b/cpu.max": "max 100000\n"}, 8),
        (VERSION_2 | {"cgroup/a/b/cpu.max": "350000 100000\n"}, 3),
        (VERSION_2 | {"cgroup/a/cpu.max": "200000 100000\n"}, 2),
        (VERSION_2 | {"cgroup/a/b/cpu.max": "10000 100000\n"}, 1),
        (VERSION_1 | {"cgroup/cpu/a/cpu.cfs_quota_us": "-1\n"}, 8),
        (
            VERSION_1
            | {
                "cgroup/cpu/a/cpu.cfs_quota_us": "200000",
                "cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            2,
        ),
    ],
)
def test_cores_are_those_that_may_be_used(system, files, cores):
    system(files)
    assert cpu.usable_cores() == cores


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        ({}, None),
        (MEMINFO, 2_048_000),
        (MEMINFO | VERSION_2 | {"cgroup/a/b/memory.max": "max\n"}, 2_048_000),
        (MEMINFO | VERSION_2 | {"cgroup/a/memory.max": "1000000\n"}, 1_000_000),
        (MEMINFO | VERSION_1 | {"cgroup/memory/a/memory.limit_in_bytes": "500000"}, 500_000),
        (MEMINFO | VERSION_1 | {"cgroup/memory/a/memory.limit_in_bytes": "9" * 19}, 2_048_000),
    ],
)
def test_memory_is_what_is_left_or_the_groups_limit(system, files, memory):
    system(files)
    assert cpu.available_memory() == memory
