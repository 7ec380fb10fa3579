"""Completion, by a shell that has read the script."""

import shlex
import shutil
import subprocess

import pytest

from fedjax_rec.cli import main
from fedjax_rec.cli.arguments import ACTIONS, OWN_FLAGS, OWN_OPTIONS, VERBS
from fedjax_rec.cli.completion import WITH_PRESET, flags_of
from fedjax_rec.config import OPTIONS, preset_names

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "script"
    with path.open("w") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    return path


@pytest.fixture
def complete(printed, tmp_path):
    """Words of a command, the last one begun -> what the shell offers."""

    def offered(*words):
        line = shlex.join(["fedjax-rec", *words])
        asked = (
            f"source {shlex.quote(str(printed))}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
            '_fedjax_rec; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [BASH, "--norc", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert not done.stderr
        return done.stdout.split()

    return offered


def test_verbs(complete):
    assert complete("") == [*VERBS, "--help", "--version"]
    assert complete("re") == ["report", "recommend"]


@pytest.mark.parametrize("verb", ["run", "sweep", "plan"])
def test_presets(complete, verb):
    assert complete(verb, "") == preset_names()
    assert complete(verb, "ml-100k/fedmf_") == [
        "ml-100k/fedmf_bpr",
        "ml-100k/fedmf_by_client",
        "ml-100k/fedmf_explicit",
    ]
    assert complete(verb, "--seed", "3", "ml-1m-2999/h") == ["ml-1m-2999/hstu"]


def test_keys_of_a_configuration(complete):
    offered = complete("run", "ml-100k/fedmf", "--")
    assert {f"--{key}" for key in OPTIONS} - {"--preset"} < set(offered)
    assert "--preset" not in offered
    assert complete("plan", "ml-100k/fedmf", "--stop.mi") == ["--stop.min_rounds"]
    assert "--algorithm.item_learning_rate" in complete("run", "x", "--algorithm.")


def test_words_of_the_verbs_themselves(complete):
    for verb, flags in OWN_FLAGS.items():
        assert (flags | OWN_OPTIONS[verb]) <= set(complete(verb, "--")), verb
    assert complete("run", "ml-100k/fedmf", "--tu") == ["--tune", "--tune.trials", "--tune.minutes"]
    assert "--format" in complete("compare", "--f")
    assert not set(complete("compare", "--")) & {"--data.name", "--overrides"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_offers_what_it_takes_and_no_more(complete, verb):
    offered = set(complete(verb, "--"))
    assert "--help" in offered
    assert set(flags_of(VERBS[verb])) <= offered
    assert any(word.startswith("--stop.") for word in offered) == (verb in WITH_PRESET)


@pytest.mark.parametrize("verb", ACTIONS)
def test_actions(complete, verb):
    assert complete(verb, "") == sorted(ACTIONS[verb])


def test_values_that_are_listed(complete):
    words = ("run", "ml-100k/fedmf", "--stop.waits_for")
    assert complete(*words, "") == ["popularity", "nothing"]
    assert complete(*words, "n") == ["nothing"]
    assert "pfedrec" in complete("run", "ml-100k/fedmf", "--algorithm.name", "pf")
    assert complete("completion", "") == ["bash", "zsh"]


def test_files_where_a_file_is_wanted_or_nothing_else_fits(complete, tmp_path):
    (tmp_path / "mine.toml").touch()
    assert complete("run", "mi") == ["mine.toml"]
    assert complete("run", "ml-100k/fedmf", "--data.path", "") == ["mine.toml"]
    assert complete("recommend", "mi") == ["mine.toml"]


def test_zsh_reads_the_same_through_its_own_door(printed, capsys):
    assert main(["completion", "zsh"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "autoload -U +X bashcompinit && bashcompinit"
    assert lines[3:] == printed.read_text().splitlines()[1:]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize("setup", ["", "autoload -Uz compinit && compinit -u"])
def test_zsh_completes_at_a_tab(tmp_path, setup, capsys):
    assert main(["completion", "zsh"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    asked = f"""
        zmodload zsh/zpty
        zpty shell zsh -f -i
        say() {{ zpty -w $@; sleep 0.2 }}
        say shell {shlex.quote(setup)}
        say shell "source {tmp_path / "script"}; print READY"
        zpty -r shell line '*READY*READY*'
        zpty -w -n shell $'fedjax-rec run ml-1m-2999/h\\t'
        zpty -r shell line '*2999/hstu*'
        print -r -- $line
    """
    done = subprocess.run(
        ["zsh", "-f", "-c", asked], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "ml-1m-2999/hstu" in done.stdout
    assert "not found" not in done.stdout + done.stderr


def test_the_line_that_it_prints_at_its_head_is_how_it_is_read(printed):
    assert "source <(fedjax-rec completion bash)" in printed.read_text().splitlines()[0]


def test_another_shell_is_refused_in_one_line(capsys):
    assert main(["completion", "fish"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
