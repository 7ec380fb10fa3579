"""`new` and `check`: a file to start from, and what the laws say of a plug-in."""

import pytest

from fedjax_rec import testing
from fedjax_rec.cli import main
from fedjax_rec.plugins import forget_plugin, load_plugin, loaded_plugins
from fedjax_rec.testing import NotApplicable, suite


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """In an empty folder, without plug-ins of other tests."""
    monkeypatch.chdir(tmp_path)
    yield
    for name in loaded_plugins():
        forget_plugin(name)


@pytest.fixture
def laws(monkeypatch):
    """Two quick laws in place of all."""

    def looks(subject):
        assert subject.algorithm.model.num_rows

    def has_nothing(subject):
        raise NotApplicable("nothing to look at")

    monkeypatch.setattr(suite, "CHECKS", {"looks": looks, "has_nothing": has_nothing})
    return monkeypatch


def test_a_new_file_registers_an_algorithm_and_states_its_commands(tmp_path, capsys):
    assert main(["new", "algorithm", "my_method"]) == 0
    assert capsys.readouterr().out.startswith("written to my_method.py")
    plugin = load_plugin("my_method.py")
    assert plugin.registered() == [("algorithm", "my_method")]
    assert plugin.module.my_method(40).model.num_rows == {"item": 40}
    assert "fedjax-rec check my_method.py" in plugin.module.__doc__


@pytest.mark.slow
def test_a_new_file_passes_every_law(capsys):
    main(["new", "algorithm", "my_method"])
    assert main(["check", "my_method.py"]) == 0
    assert f"{len(testing.CHECKS)} passed, 0 failed, 0 not applicable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "says"),
    [("a-b", "is no Python name"), ("class", "is no Python name"), ("fedmf", "registered already")],
)
def test_a_name_that_will_not_do_is_refused(name, says, capsys):
    assert main(["new", "algorithm", name]) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_exists_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("x = 1\n")
    assert main(["new", "algorithm", "mine"]) == 2
    assert "mine.py: exists; choose another name" in capsys.readouterr().err
    assert (tmp_path / "mine.py").read_text() == "x = 1\n"


def test_every_law_is_told_with_its_verdict_and_reason(laws, capsys):
    main(["new", "algorithm", "mine"])
    capsys.readouterr()
    assert main(["check", "mine.py"]) == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert first.startswith("algorithm mine  looks  passed (")
    assert second.startswith("algorithm mine  has_nothing  not applicable (")
    assert second.endswith("): nothing to look at")
    assert total == "1 passed, 0 failed, 1 not applicable"


def test_a_broken_law_is_exit_code_1(laws, capsys):
    def broken(subject):
        raise AssertionError("the order matters")

    laws.setattr(suite, "CHECKS", suite.CHECKS | {"broken": broken})
    main(["new", "algorithm", "mine"])
    assert main(["check", "mine.py"]) == 1
    out = capsys.readouterr().out
    assert "algorithm mine  broken  failed (" in out
    assert "): the order matters" in out


def test_models_and_transforms_are_checked_too(laws, tmp_path, capsys):
    (tmp_path / "parts.py").write_text(
        "from fedjax_rec import register\n"
        "from fedjax_rec.models import matrix_factorization\n"
        "from fedjax_rec.transforms import clip_by_norm\n"
        "register.model('my_mf', matrix_factorization)\n"
        "register.transform('my_clip', clip_by_norm)\n"
        "register.metric('my_metric', lambda ranks, num_relevant, k: ranks)\n"
    )
    assert main(["check", "parts.py"]) == 0
    out = capsys.readouterr().out
    assert "model my_mf  looks  passed" in out
    assert "transform my_clip  keeps_the_contract  passed" in out
    assert "metric my_metric  any  not applicable" in out


def test_a_file_that_registers_nothing_is_told(tmp_path, capsys):
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert main(["check", "empty.py"]) == 2
    assert "empty.py: registers nothing; put @register.algorithm" in capsys.readouterr().err
