"""Who imports what: a light package, one door to each library, no hidden requirement."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PACKAGE = Path(__file__).resolve().parents[1] / "fedjax_rec"

CORE = ("jax", "flax", "optax", "numpy", "chex", "orbax-checkpoint")

HEAVY = {
    "cryptography",
    "dp_accounting",
    "flax",
    "jax_privacy",
    "matplotlib",
    "orbax",
    "rich",
    "tyro",
}

DOORS = {
    "flax": ("models",),
    "orbax": ("simulation.checkpoint",),
    "tyro": ("cli",),
    "rich": ("cli", "reporting"),
    "dp_accounting": ("privacy",),
    "jax_privacy": ("privacy", "attacks.canaries"),
}
"""Which parts of the package may import a library; nothing else may."""

STANDARD_LIBRARY_ONLY = ("config", "errors")


def modules() -> dict[str, Path]:
    """Module name, relative to the package, -> file."""
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        named[".".join(part for part in parts if part != "__init__")] = path
    return named


def imported(path: Path) -> Iterator[str]:
    """Full names that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_inside(module: str, parts: tuple[str, ...]) -> bool:
    """Whether a module is one of these parts of the package, or below one."""
    return any(module == part or module.startswith(part + ".") for part in parts)


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------- by reading


@pytest.mark.parametrize("library", sorted(DOORS))
def test_a_library_has_one_door(library):
    visitors = [
        module
        for module, path in modules().items()
        if any(name.split(".")[0] == library for name in imported(path))
        and not is_inside(module, DOORS[library])
    ]
    assert visitors == []


@pytest.mark.parametrize("module", STANDARD_LIBRARY_ONLY)
def test_schema_and_errors_need_the_standard_library_only(module):
    paths = [path for name, path in modules().items() if is_inside(name, (module,))]
    allowed = tuple(f"fedjax_rec.{name}" for name in STANDARD_LIBRARY_ONLY)
    foreign = {
        name
        for path in paths
        for name in imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not is_inside(name, allowed)
        and name != "fedjax_rec"
    }
    assert paths
    assert foreign == set()


def test_evaluation_knows_no_model():
    paths = [path for name, path in modules().items() if is_inside(name, ("evaluation",))]
    known = {name for path in paths for name in imported(path)}
    assert not any(is_inside(name, ("fedjax_rec.models",)) for name in known)


# ------------------------------------------------------------------- by running


def test_importing_the_package_loads_no_heavy_library():
    loaded = run("import sys, fedjax_rec; print(*{name.split('.')[0] for name in sys.modules})")
    assert set(loaded.split()) & HEAVY == set()


def test_help_loads_no_jax():
    loaded = run(
        "import runpy, sys\n"
        "sys.argv = ['fedjax-rec', '--help']\n"
        "try:\n"
        "    runpy.run_module('fedjax_rec', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print('loaded:', *{name.split('.')[0] for name in sys.modules})\n"
    )
    names = set(loaded.rsplit("loaded:", 1)[1].split())
    assert "fedjax_rec" in names
    assert names & {"jax", "jaxlib", "flax", "optax", "chex", "orbax"} == set()


def test_importing_changes_no_environment_variable():
    names = [f"fedjax_rec.{module}".rstrip(".") for module in modules() if module != "__main__"]
    run(
        "import importlib, os\n"
        "before = dict(os.environ)\n"
        "import fedjax_rec\n"
        "assert dict(os.environ) == before, 'the package'\n"
        "import jax, flax.linen, optax, orbax.checkpoint, rich, tyro\n"  # jax sets two
        "before = dict(os.environ)\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    assert dict(os.environ) == before, name\n"
    )


# --------------------------------------------------- on the core packages alone


def canonical(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_by(names: tuple[str, ...]) -> set[str]:
    """These installed distributions and all that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonical(waiting.pop())
        if name in found:
            continue
        try:
            needs = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            continue
        found.add(name)
        waiting += [
            need.name for need in needs if not need.marker or need.marker.evaluate({"extra": ""})
        ]
    return found


def only_core() -> str:
    """Code that hides from an interpreter all but the core packages and their requirements.

    rich stays visible, because flax requires it.
    """
    core = required_by(CORE) | {"fedjax-rec"}
    absent = {
        top
        for top, distributions in packages_distributions().items()
        if not {canonical(name) for name in distributions} & core
    }
    absent |= {"tyro", "dp_accounting", "jax_privacy", "matplotlib", "cryptography"}
    return (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {sorted(absent)}:\n"
        "            raise ModuleNotFoundError(f'{name} is not of the core', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )


def test_on_the_core_packages_alone_the_others_are_hidden():
    seen = run(
        only_core() + "for name in ('tyro', 'pytest', 'dp_accounting', 'msgpack'):\n"
        "    try:\n"
        "        __import__(name)\n"
        "        print(name)\n"
        "    except ModuleNotFoundError:\n"
        "        pass\n"
    )
    assert seen.split() == ["msgpack"]


def test_the_library_imports_on_the_core_packages_alone():
    tools = ("__main__", "cli", "reporting")
    names = [
        f"fedjax_rec.{module}".rstrip(".") for module in modules() if not is_inside(module, tools)
    ]
    run(only_core() + f"import importlib\nfor name in {names}: importlib.import_module(name)")


def test_simulate_trains_evaluates_and_saves_on_the_core_packages_alone(tmp_path):
    said = run(
        only_core() + "import pathlib, jax, fedjax_rec\n"
        "from fedjax_rec.data import load\n"
        "data = load('synthetic', num_users=12, num_items=20, mean_events=6)\n"
        "result = fedjax_rec.simulate(\n"
        "    fedjax_rec.fedmf(data.num_items, dim=4), data, key=jax.random.key(0), rounds=1,\n"
        f"    output=pathlib.Path({str(tmp_path)!r}),\n"
        ")\n"
        "print('metric', result.summary['metrics']['test/ndcg@10'])\n"
    )
    assert 0 <= float(said.split()[-1]) <= 1
    assert (tmp_path / "metrics.jsonl").is_file()
    assert any((tmp_path / "checkpoints").iterdir())
