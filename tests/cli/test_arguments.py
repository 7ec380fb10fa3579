"""Verbs, help, and one line for every mistake in the words."""

import subprocess
import sys
from pathlib import Path

import pytest

import fedjax_rec
from fedjax_rec.cli import main
from fedjax_rec.cli.arguments import parse, take_overrides
from fedjax_rec.config import OPTIONS


def told(capsys, *words):
    """Exit code 2 and the one line on standard error."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line, end = captured.err.split("\n")
    assert end == ""
    assert line.startswith("fedjax-rec: error: ")
    return line.removeprefix("fedjax-rec: error: ")


def helped(capsys, *words):
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_the_verbs(capsys, words):
    text = helped(capsys, *words)
    verbs = ("run", "data", "compare", "algorithms", "recommend", "export", "presets", "--version")
    assert all(verb in text for verb in verbs)


def test_help_of_run_names_every_key_its_meaning_and_default(capsys):
    text = helped(capsys, "run", "--help", "all")
    flat = " ".join(text.replace("│", " ").split())
    for key, (_, entry) in OPTIONS.items():
        if key != "preset":
            assert f"--{key} " in flat
            assert " ".join(entry.metadata["help"].split()) in flat
    assert "--split.ties hash|file_order|item_id" in flat
    assert "(default: 5,10,20)" in flat
    assert "--algorithm.KEY VALUE" in flat
    assert "--no-resume" in flat
    assert "_TYPE" not in flat


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_help_fits_a_screen_and_has_examples_and_every_section(capsys, verb):
    lines = helped(capsys, verb, "--help").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(f"  fedjax-rec {verb} ") for line in lines) >= 2
    assert {key.partition(".")[0] for key in OPTIONS if "." in key} <= {
        line.split()[0] for line in lines if line.startswith("  ")
    }


def test_help_of_a_section_has_its_keys_and_no_others(capsys):
    text = helped(capsys, "run", "--help", "stop")
    keys = {word[2:] for word in text.split() if word.startswith("--")}
    assert keys == {key for key in OPTIONS if key.startswith("stop.")}
    assert "(default: valid/ndcg@10)" in text


def test_examples_of_help_are_requests_that_hold(capsys):
    from fedjax_rec.config import load_preset

    for verb in ("run", "plan"):
        text = helped(capsys, verb, "--help")
        for line in (one for one in text.splitlines() if one.startswith(f"  fedjax-rec {verb}")):
            rest, overrides = take_overrides(line.split()[1:])
            request = parse(rest, overrides)
            if "config.toml" not in request.preset:
                load_preset(request.preset, request.overrides)


def test_help_of_run_with_a_preset_shows_its_values(capsys):
    flat = " ".join(helped(capsys, "run", "ml-100k/popularity", "--help").replace("│", " ").split())
    assert "(default: popularity)" in flat
    assert "PRESET|FILE.toml" in flat


@pytest.mark.parametrize("verb", ["data", "compare", "algorithms", "recommend"])
def test_every_verb_has_help(capsys, verb):
    assert f"fedjax-rec {verb}" in helped(capsys, verb, "--help")


def test_help_imports_neither_jax_nor_numpy():
    code = (
        "import sys; from fedjax_rec.cli import main; code = main(['run', '--help'])\n"
        "print({'jax', 'numpy', 'optax', 'rich'} & set(sys.modules), code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set() 0"


def test_a_reader_that_stops_early_sees_no_traceback():
    command = f"{sys.executable} -m fedjax_rec run --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: fedjax-rec run")
    assert done.stderr == ""


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fedjax-rec {fedjax_rec.__version__}\n"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "fedjax_rec", "rnu"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fedjax-rec: error: unknown verb 'rnu' (did you mean 'run'?)\n"


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("rnu", "unknown verb 'rnu' (did you mean 'run'?)"),
        ("data lst", "unknown action of data 'lst' (did you mean 'list'?)"),
        ("data", "Missing subcommand: Expected one of {list, get, describe}"),
        ("data get ml-100", "unknown data set 'ml-100' (did you mean 'ml-100k'?)"),
        ("data get", "Required options: Missing from fedjax-rec data get"),
        ("--foo", "Unrecognized options: --foo"),
        ("run", "Required options: Missing from fedjax-rec run: PRESET|FILE.toml"),
        ("run a b", "Unrecognized options: b"),
        ("recommend r --client 1 --k ten", "Value error: Error parsing --k"),
        ("recommend r --client 1 --k 0", "k: expected at least 1, got 0"),
        ("recommend none --client 1", "none: no such folder"),
        ("compare", "compare: name at least one folder of a run"),
        ("compare none", "none: no such folder"),
        ("run ml-100k/fedfm", "no preset 'ml-100k/fedfm' (did you mean 'ml-100k/fedmf'?)"),
        ("run --help sto", "no preset and no section of help 'sto' (did you mean 'stop'?)"),
        ("run none.toml", "none.toml: No such file or directory"),
        ("run synthetic/fedmf --ruonds 3", "unknown key 'ruonds' (did you mean 'rounds'?)"),
        ("run synthetic/fedmf --rounds ten", "rounds: expected an integer, got 'ten'"),
        ("run synthetic/fedmf --rounds", "rounds: expected a value"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, words, start):
    assert told(capsys, *words.split()).startswith(start)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("run", "fedjax-rec run --help"),
        ("recommend", "fedjax-rec recommend --help"),
        ("export", "fedjax-rec export --help"),
        ("data get", "fedjax-rec data get --help"),
        ("data", "fedjax-rec data --help"),
        ("--foo", "fedjax-rec --help"),
    ],
)
def test_what_is_missing_names_the_help_that_has_it(capsys, words, place):
    assert told(capsys, *words.split()).endswith(f"; see {place}")


def test_own_flags_are_parted_from_keys_wherever_they_stand():
    words = ["run", "--rounds=3", "--output", "o", "--a.b", "c", "x", "--no-resume", "--flag"]
    own, overrides = take_overrides(words)
    assert own == ["run", "--output", "o", "x", "--no-resume"]
    assert overrides == ["--rounds=3", "--a.b", "c", "--flag"]


def test_other_verbs_keep_their_words():
    assert take_overrides(["compare", "--a.b", "c"]) == (["compare", "--a.b", "c"], [])


def test_a_request_carries_its_arguments():
    request = parse(["run", "x", "--output", "o", "--no-resume"], ["--rounds", "3"])
    assert (request.preset, request.output, request.no_resume) == ("x", Path("o"), True)
    assert request.overrides == ("--rounds", "3")


def test_the_command_that_goes_on_leaves_out_starting_over():
    from dataclasses import replace

    request = parse(["run", "x", "--output", "o p", "--no-resume"], ["--rounds", "3"])
    assert "--no-resume" in request.command()
    again = replace(request, no_resume=False).command()
    assert again == ["fedjax-rec", "run", "x", "--output", "o p", "--rounds", "3"]
