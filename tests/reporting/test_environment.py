"""What a run ran on."""

import json
import subprocess
from pathlib import Path

import jax
import pytest

import fedjax_rec
from fedjax_rec.reporting import environment
from fedjax_rec.reporting.environment import git_state


def test_it_names_versions_devices_and_command():
    facts = environment(["fedjax-rec", "run", "x"], seed=3)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["versions"]["jax"] == jax.__version__
    assert {"python", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "chex"} <= set(
        facts["versions"]
    )
    assert facts["num_devices"] == len(facts["devices"]) == jax.device_count()
    assert (facts["seed"], facts["command"]) == (3, ["fedjax-rec", "run", "x"])


def git(folder, *words):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("changed", "is_dirty"),
    [("package/__init__.py", True), ("configs/a.toml", True), ("results.json", False)],
)
def test_a_checkout_has_a_commit_and_knows_of_changes(tmp_path, changed, is_dirty):
    package = tmp_path / "package"
    assert git_state(tmp_path) is None
    for name in ("package/__init__.py", "configs/a.toml", "results.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    git(tmp_path, "init")
    assert git_state(package) is None  # below a checkout, but no part of it
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = git_state(package)
    assert len(clean["commit"]) == 40
    assert clean["is_dirty"] is False
    (tmp_path / changed).write_text("changed")
    assert git_state(package) == clean | {"is_dirty": is_dirty}


def test_the_packages_own_state_is_found_or_none():
    state = git_state(Path(fedjax_rec.__file__).parent)
    assert state is None or len(state["commit"]) == 40
