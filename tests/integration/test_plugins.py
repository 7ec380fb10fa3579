"""Others' code by the command line: it runs, resumes, compares and recommends; never by itself."""

import os
import subprocess
import sys
import tomllib

import pytest

from fedjax_rec.cli import main
from fedjax_rec.plugins import forget_plugin, loaded_plugins

PLUGIN = '''
"""A model, an algorithm, two metrics, a transform and a sampler of one's own."""

import jax
import jax.numpy as jnp

from fedjax_rec import register
from fedjax_rec.algorithms import fedopt
from fedjax_rec.recommenders import on_recommender
from fedjax_rec.base import AggregateTransform
from fedjax_rec.models import matrix_factorization
from fedjax_rec.sampling import Uniform


@register.model("small_mf", item_learning_rate=20.0)
def small_mf(num_items: int, dim: int = 4, *, spread: float = 0.2):
    """Matrix factorisation of few dimensions."""
    return matrix_factorization(num_items, dim, init_stddev=spread)


def halved(model, objective, optimizer, *, share: float = 0.5, aggregate=None,
           server_optimizer=None):
    """FedAvg whose server may be told to go part of the way."""
    return fedopt(model, objective, optimizer, aggregate=aggregate,
                  server_optimizer=server_optimizer)


register.algorithm("halved", on_recommender(halved, model="small_mf"))


@register.metric("top_share")
def top_share(ranks, num_relevant, k):
    """Whether the best of the relevant items is first."""
    return (ranks == 1).max(axis=-1).astype(jnp.float32)


@register.list_metric("first_item")
def first_item(lists, consumed):
    """The mean id of what stands first."""
    return lists[:, 0].mean()


@register.transform("scaled")
def scaled(by: float):
    """Every update times a number."""

    def encode(key, message, state, residual, bound):
        return message._replace(update=jax.tree.map(lambda x: by * x, message.update)), residual

    return AggregateTransform(encode=encode, bound=lambda bound, state: by * bound)


@register.sampler("half")
def half(num_clients: int):
    """Half of the clients, by chance."""
    return Uniform(num_clients, num_clients // 2)
'''

CONFIG = """
rounds = 4
[data]
name = "synthetic"
num_users = 30
num_items = 40
mean_events = 8.0
[algorithm]
name = "halved"
batch_size = 32
spread = 0.1
[cohort]
sampler = "half"
[evaluate]
every = 2
at_k = [5, 10]
[[aggregate.chain]]
name = "scaled"
by = 0.5
[[aggregate.chain]]
name = "mean"
by = "row"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "my_method.py").write_text(PLUGIN)
    (folder / "mine.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    done = words(folder, "run", "mine.toml", "--plugin", "my_method.py", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    return folder


def words(folder, *arguments):
    """What the command line says, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fedjax_rec", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def here(finished, monkeypatch, capsys):
    """Runs the command line in this process, where no plug-in is loaded before or after."""
    monkeypatch.chdir(finished)

    def run(*arguments):
        code = main(arguments)
        told = capsys.readouterr()
        return code, told.out, told.err

    yield run
    for name in loaded_plugins():
        forget_plugin(name)


def refusal(told):
    code, out, err = told
    assert (code, out) == (2, "")
    line, end = err.split("\n")
    assert end == ""
    return line.removeprefix("fedjax-rec: error: ")


def test_the_run_is_made_of_all_its_parts_and_records_them(finished):
    config = tomllib.loads((finished / "runs/mine/config.toml").read_text())
    assert [plugin["name"] for plugin in config["plugin"]] == ["my_method.py"]
    assert len(config["plugin"][0]["sha256"]) == 64
    assert (
        config["algorithm"] | {"model": "small_mf", "spread": 0.1, "item_learning_rate": 20.0}
        == (config["algorithm"])
    )
    assert config["aggregate"]["chain"] == [
        {"name": "scaled", "by": 0.5},
        {"name": "mean", "by": "row"},
    ]
    summary = (finished / "runs/mine/summary.json").read_text()
    assert '"test/top_share@10"' in summary
    assert '"test/first_item@5"' in summary


def test_it_goes_on_with_the_flag_and_not_without(finished, here):
    told = refusal(here("run", "mine.toml"))
    assert told == (
        "runs/mine: made with the plug-in my_method.py, which is never loaded by itself; "
        "give --plugin my_method.py if you trust it"
    )
    told = refusal(here("run", "runs/mine/config.toml", "--output", "other"))
    assert told.startswith("this configuration: made with the plug-in my_method.py, which is never")
    done = words(finished, "run", "mine.toml", "--plugin=my_method.py")
    assert done.returncode == 0, done.stderr
    assert "going on from round 2 of 4" in done.stderr + done.stdout


def test_it_recommends_with_the_flag_and_not_without(finished, here):
    asked = ("recommend", "runs/mine", "--client", "1", "--k", "3")
    assert "give --plugin my_method.py" in refusal(here(*asked))
    done = words(finished, *asked, "--plugin", "my_method.py")
    assert done.returncode == 0, done.stderr
    assert "rank" in done.stdout


def test_runs_are_compared_without_the_code(here):
    code, out, err = here("compare", "runs/mine")
    assert (code, err) == (0, "")
    assert "halved" in out


def test_other_code_under_the_same_name_is_refused(here, tmp_path):
    (tmp_path / "my_method.py").write_text(PLUGIN.replace("first", "last"))
    told = refusal(here("run", "mine.toml", "--plugin", str(tmp_path / "my_method.py")))
    assert told.startswith("runs/mine: made with another my_method.py than ")
    assert "(sha256 " in told


def test_every_verb_that_may_need_code_takes_the_flag(here):
    for verb in ("run", "plan", "recommend", "compare", "audit", "algorithms", "check"):
        code, out, _ = here(verb, "--help")
        assert code == 0
        assert "--plugin" in out or verb == "check"


def test_algorithms_lists_what_a_plug_in_brings(here):
    assert "halved" in here("algorithms", "--plugin", "my_method.py")[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1 +\n", "SyntaxError: invalid syntax (line 1)"),
        ("\nraise RuntimeError('no')\n", "RuntimeError: no (line 2)"),
        (
            "import no_such_module\n",
            "ModuleNotFoundError: No module named 'no_such_module' (line 1)",
        ),
        (
            "from fedjax_rec import register\nregister.model('mf', lambda: None)\n",
            "model 'mf' is registered already, by fedjax_rec; choose another name",
        ),
    ],
)
def test_code_that_fails_is_told_in_one_line(text, told, here, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(text)
    line = refusal(here("algorithms", "--plugin", str(path)))
    assert line == f"plug-in broken.py: {told}"


def test_a_missing_file_is_told_in_one_line(here):
    assert refusal(here("algorithms", "--plugin", "none.py")) == (
        "plug-in none.py: No such file or directory; name a Python file"
    )
    assert refusal(here("algorithms", "--plugin", "none")).startswith(
        "plug-in 'none': neither a file FILE.py nor an installed one"
    )
