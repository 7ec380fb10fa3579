"""docs/algorithms-howto.md: its algorithm is built, and put to the conformance suite."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.testing import CHECKS, Subject

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "algorithms-howto.md").read_text(encoding="utf-8")
NAME = "fedprox_mf"
PULL = "mu * (w - w_t)"


def block(language: str) -> str:
    """The page's only block of code in a language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return code


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory):
    path = tmp_path_factory.mktemp("howto") / f"{NAME}.py"
    path.write_text(block("python"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pulled(skeleton):
    return Subject(skeleton.fedprox_mf)


@pytest.fixture(scope="module")
def not_pulled(skeleton):
    return Subject(skeleton.fedprox_mf, {"mu": 0.0})


def test_without_a_pull_it_is_fedmf_to_the_bit(not_pulled):
    ours, theirs = not_pulled.round()[0], Subject(fedmf).round()[0]
    np.testing.assert_array_equal(ours.shared.rows["item"], theirs.shared.rows["item"])


def test_a_step_equals_the_gradient_of_the_proximal_objective(skeleton):
    mu, start = 0.3, {"item": jnp.array([[1.0, -2.0], [0.5, 0.0]])}
    params = {"item": jnp.array([[1.5, -1.0], [0.5, 4.0]])}

    def loss(params):
        return jnp.sum(jnp.sin(params["item"]))

    def proximal(params):
        return loss(params) + mu / 2 * jnp.sum((params["item"] - start["item"]) ** 2)

    pull = skeleton.pull_to_start(mu)
    pulled, state = pull.update(jax.grad(loss)(params), pull.init(start), params)
    np.testing.assert_allclose(pulled["item"], jax.grad(proximal)(params)["item"], rtol=1e-6)
    np.testing.assert_array_equal(state["item"], start["item"])


def test_the_pull_shortens_the_way_that_clients_go(pulled, not_pulled):
    def distance(subject):
        before, after = subject.start[0].shared, subject.round()[0].shared
        return float(jnp.linalg.norm(after.rows["item"] - before.rows["item"]))

    assert distance(pulled) < 0.9 * distance(not_pulled)


def test_a_negative_pull_is_refused(skeleton):
    with pytest.raises(ValueError, match="mu must be at least 0, got -1"):
        skeleton.fedprox_mf(10, mu=-1.0)


def test_the_page_names_every_check():
    table = PAGE.split("## What the suite checks")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(CHECKS)


# ----------------------------------------------------------- in a copy of the package


def package_with(folder: Path, code: str) -> Path:
    """A copy of the package with the algorithm and the registry lines of the page."""
    shutil.copytree(
        ROOT / "fedjax_rec", folder / "fedjax_rec", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(
        ROOT / "tests" / "conformance",
        folder / "tests" / "conformance",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)
    algorithms = folder / "fedjax_rec" / "algorithms"
    (algorithms / f"{NAME}.py").write_text(code, encoding="utf-8")
    registry = algorithms / "registry.py"
    registry.write_text(patched(registry.read_text(encoding="utf-8"), block("diff")), "utf-8")
    return folder


def patched(text: str, diff: str) -> str:
    """The text with the added lines of a diff, each behind the line that precedes it there."""
    previous = None
    for line in diff.splitlines():
        if line.startswith("+"):
            assert text.count(f"{previous}\n") == 1, f"the registry has no single line {previous!r}"
            text = text.replace(f"{previous}\n", f"{previous}\n{line[1:]}\n")
        previous = line[1:]
    return text


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What a Python tool says in the copy."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def conformance(folder: Path, chosen: str) -> subprocess.CompletedProcess[str]:
    """What the suite of the copy, and the doctests of the new file, say."""
    places = ("tests/conformance/test_algorithms.py", f"fedjax_rec/algorithms/{NAME}.py")
    return run(folder, "pytest", "-q", "-rA", "-p", "no:cacheprovider", *places, "-k", chosen)


def test_the_suite_finds_the_new_algorithm_and_passes_it(tmp_path):
    done = conformance(package_with(tmp_path, block("python")), NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(rf"^PASSED .*\[{NAME}-(\w+)\]$", done.stdout, re.MULTILINE)
    assert sorted(passed) == sorted(CHECKS)
    assert f"{NAME}.pull_to_start" in done.stdout  # its doctest


def test_the_new_file_is_in_the_style_of_the_package(tmp_path):
    folder = package_with(tmp_path, block("python"))
    for command in (("check",), ("format", "--check")):
        done = run(folder, "ruff", *command, "--no-cache", "fedjax_rec/algorithms")
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_suite_fails_the_mistake_that_the_page_warns_of(tmp_path):
    code = block("python")
    assert code.count(f"g + {PULL},") == 1
    decayed = code.replace(PULL, "mu * w")
    chosen = f"{NAME}- and (equals_whole_table or keeps_its_trees)"
    done = conformance(package_with(tmp_path, decayed), chosen)
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = re.findall(rf"^(PASSED|FAILED) .*\[{NAME}-(\w+)\]", done.stdout, re.MULTILINE)
    expected = {"keeps_its_trees": "PASSED", "equals_whole_table": "FAILED"}
    assert {check: outcome for outcome, check in outcomes} == expected
    assert "slices and the whole table" in done.stdout
