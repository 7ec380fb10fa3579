"""docs/algorithms-howto.md: its algorithm is built, and put to the conformance suite."""

import doctest
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.algorithms import fedmf
from fedjax_rec.config import from_dict
from fedjax_rec.experiment import build, resolve
from fedjax_rec.plugins import forget_plugin, load_plugin
from fedjax_rec.registry import SLOTS
from fedjax_rec.testing import CHECKS, Subject, check_transform

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "algorithms-howto.md").read_text(encoding="utf-8")
NAME = "fedprox_mf"
PULL = "mu * (w - w_t)"


def block(language: str) -> str:
    """The page's only block of code in a language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return code


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("howto") / f"{NAME}.py"
    path.write_text(block("python"), encoding="utf-8")
    yield load_plugin(path)
    forget_plugin(path.name)


@pytest.fixture(scope="module")
def skeleton(plugin):
    return plugin.module


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


# ------------------------------------------------------------------- as a plug-in


def test_the_page_lists_every_slot_that_can_be_registered():
    table = PAGE.split("What can be registered")[1].split("\nThe signature")[0]
    named = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(named))) == sorted(SLOTS)


def test_the_file_registers_all_that_the_page_says(plugin):
    assert plugin.registered() == [
        ("algorithm", NAME),
        ("model", "narrow_mf"),
        ("transform", "shrink"),
        ("metric", "top"),
        ("list_metric", "rarest"),
    ]


@pytest.mark.parametrize(
    "law",
    [pytest.param(law, marks=pytest.mark.slow if law == "equals_debug" else ()) for law in CHECKS],
)
def test_the_algorithm_keeps_the_law(law, skeleton):
    CHECKS[law](subject_of(skeleton.fedprox_mf))


@cache
def subject_of(factory):
    return Subject(factory)


def test_its_doctest_and_its_transform_hold(skeleton):
    assert doctest.testmod(skeleton).attempted > 0
    assert doctest.testmod(skeleton).failed == 0
    check_transform(skeleton.shrink())


def test_the_file_is_in_the_style_of_the_package(plugin):
    for command in (("check",), ("format", "--check")):
        options = ("--no-cache", "--config", str(ROOT / "pyproject.toml"))
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options, plugin.where],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_of_the_page_runs_with_all_its_parts(plugin, tmp_path):
    config = resolve(from_dict(tomllib.loads(block("toml")), "on the page"))
    assert [one.name for one in config.plugins] == [f"{NAME}.py"]
    experiment = build(config)
    result = experiment.run(
        tmp_path, resume=False, report=lambda report: None, notice=lambda line: None
    )
    assert {"test/top@10", "test/rarest@10"} <= set(result.summary["metrics"])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all("test/top@10" in line for line in lines if "test/ndcg@10" in line)


def test_the_model_is_chosen_by_name_with_what_suits_it(plugin):
    table = tomllib.loads(block("toml"))
    table["algorithm"] = {"name": "fedavg", "model": "narrow_mf", "spread": 0.3}
    settings = resolve(from_dict(table, "here")).algorithm.settings
    assert (settings["spread"], settings["item_learning_rate"]) == (0.3, 20.0)
    assert "init_stddev" not in settings  # which this model does not have


def test_the_laws_catch_the_mistake_that_the_page_warns_of(tmp_path):
    code = block("python")
    assert code.count(f"g + {PULL},") == 1
    code = code.replace(PULL, "mu * w").replace("@register", "# @register")
    module = ModuleType("decayed")
    exec(compile(code, "decayed.py", "exec"), module.__dict__)
    subject = Subject(module.fedprox_mf)
    CHECKS["keeps_its_trees"](subject)
    with pytest.raises(AssertionError, match="slices and the whole table"):
        CHECKS["equals_whole_table"](subject)
