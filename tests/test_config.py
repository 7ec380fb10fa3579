"""The configuration: round trip, overrides, and one line for every mistake."""

import dataclasses
import subprocess
import sys
import tomllib

import pytest

from fedjax_rec.config import (
    OPTIONS,
    apply_overrides,
    first_difference,
    flatten,
    from_dict,
    load_preset,
    preset_names,
    read_toml,
    to_toml,
    type_name,
)
from fedjax_rec.errors import UserError

MINIMAL = {"data": {"name": "synthetic"}, "algorithm": {"name": "fedmf"}}


def refusal(call, *args):
    """The message of the `UserError` that the call raises; it is one line."""
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def merged(**sections):
    return MINIMAL | sections


def test_an_empty_section_has_every_default():
    config = from_dict(MINIMAL, "here")
    assert (config.seed, config.rounds) == (0, 100)
    assert config.split.ties == "hash"
    assert config.negatives.exclude == "train"
    assert config.evaluate.at_k == (5, 10, 20)
    assert config.evaluate.candidates == "full"


def test_what_is_written_reads_back_equal():
    algorithm = {"name": "fedmf", "dim": 8, "learning_rate": 1e-5, "loss": "bce", "is_odd": True}
    table = {
        "preset": 'quo"ted \\ ü 🙂 \x7f\t',
        "seed": 2**32 - 1,
        "rounds": 7,
        "data": {"name": "synthetic", "path": "C:\\x", "num_users": 5, "mean_events": 1e16},
        "algorithm": algorithm,
        "evaluate": {"at_k": [1, 3]},
        "execution": {"debug": True},
    }
    config = from_dict(table, "here")
    again = from_dict(tomllib.loads(to_toml(config)), "there")
    assert again == config
    assert again.algorithm.settings == {k: v for k, v in algorithm.items() if k != "name"}


def test_what_is_written_names_every_option():
    written = tomllib.loads(to_toml(from_dict(MINIMAL, "here")))
    names = {f"{s}.{k}" for s, t in written.items() if isinstance(t, dict) for k in t}
    top = {k for k, v in written.items() if not isinstance(v, dict)}
    assert names | top == {*OPTIONS, "given"}


def test_every_option_has_a_help_text():
    assert all(entry.metadata["help"] for _, entry in OPTIONS.values())


def test_a_whole_number_will_do_for_a_number():
    config = from_dict(merged(server={"learning_rate": 2}), "here")
    assert config.server.learning_rate == 2.0
    assert isinstance(config.server.learning_rate, float)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (merged(ruonds=3), "unknown key 'ruonds' (did you mean 'rounds'?) (in f.toml)"),
        (merged(splt={}), "unknown key 'splt' (did you mean 'split'?) (in f.toml)"),
        (
            merged(split={"tie": "hash"}),
            "unknown key 'split.tie' (did you mean 'split.ties'?) (in f.toml)",
        ),
        (merged(ties="hash"), "unknown key 'ties' (did you mean 'split.ties'?) (in f.toml)"),
        (merged(rounds="ten"), "rounds: expected an integer, got 'ten' (in f.toml)"),
        (merged(rounds=2.5), "rounds: expected an integer, got 2.5 (in f.toml)"),
        (merged(rounds=True), "rounds: expected an integer, got True (in f.toml)"),
        (merged(rounds=0), "rounds: expected at least 1, got 0 (in f.toml)"),
        (merged(seed=2**32), "seed: expected at most 4294967295, got 4294967296 (in f.toml)"),
        (merged(data=3), "data: expected a table [data], got 3 (in f.toml)"),
        (
            merged(data={"name": 5}),
            "data.name: expected a string, got 5 (in f.toml)",
        ),
        (
            merged(data={}),
            "data.name: missing; add it to the table [data] (in f.toml)",
        ),
        (
            {"data": {"name": "x"}},
            "algorithm.name: missing; add a table [algorithm] with a name (in f.toml)",
        ),
        (
            merged(algorithm={"name": "x", "dim": [1]}),
            "algorithm.dim: expected a number, a string or true/false, got [1] (in f.toml)",
        ),
        (
            merged(split={"ties": "hsh"}),
            "split.ties: 'hsh' is not a choice (did you mean 'hash'?) (in f.toml)",
        ),
        (
            merged(split={"ties": 1}),
            "split.ties: expected one of: hash, file_order, item_id, got 1 (in f.toml)",
        ),
        (
            merged(execution={"debug": 1}),
            "execution.debug: expected true or false, got 1 (in f.toml)",
        ),
        (
            merged(evaluate={"at_k": 10}),
            "evaluate.at_k: expected a list of integers, got 10 (in f.toml)",
        ),
        (
            merged(evaluate={"at_k": [10, 0]}),
            "evaluate.at_k: expected at least 1, got 0 (in f.toml)",
        ),
        (
            merged(evaluate={"at_k": []}),
            "evaluate.at_k: expected distinct integers, got [] (in f.toml)",
        ),
        (
            merged(server={"momentum": 1.0}),
            "server.momentum: expected below 1, got 1.0 (in f.toml)",
        ),
        (
            merged(server={"learning_rate": float("nan")}),
            "server.learning_rate: expected a number, got nan (in f.toml)",
        ),
        (
            merged(server={"learning_rate": 0.0}),
            "server.learning_rate: expected above 0, got 0.0 (in f.toml)",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(table, message):
    assert refusal(from_dict, table, "in f.toml") == message


@pytest.mark.parametrize(
    ("sections", "start"),
    [
        ({"cohort": {"size": 3}}, "cohort.size: set cohort.sampler"),
        ({"cohort": {"sampler": "uniform"}}, "cohort.size: uniform needs at least 1 client"),
        (
            {"data": {"name": "ml-100k", "num_items": 9}},
            "data: num_items and mean_events belong to",
        ),
        ({"data": {"name": "ml-100k", "seed": 9}}, "data.seed: chooses users; set data.num_users"),
        (
            {"split": {"validation": "none"}, "stop": {"patience": 2}},
            "stop: needs a validation item",
        ),
        ({"aggregate": {"noise_multiplier": 1.0}}, "aggregate.noise_multiplier: noise comes with"),
        ({"aggregate": {"clip_norm": 1.0}}, "aggregate.clip_norm: noise comes with"),
        ({"privacy": {"clip_norm": 1.0}}, "privacy: there is no noise; set privacy.epsilon"),
        (
            {"privacy": {"epsilon": 1.0}, "aggregate": {"chain": [{"name": "total"}]}},
            "aggregate.chain: privacy makes its own chain",
        ),
        (
            {"evaluate": {"task": "rating", "at_k": [3]}},
            "evaluate.at_k: belongs to task ranking; leave it out",
        ),
        (
            {"evaluate": {"task": "label", "candidates": "uni99"}},
            "evaluate.candidates: belongs to task ranking",
        ),
    ],
)
def test_options_at_odds_are_refused(sections, start):
    assert refusal(from_dict, merged(**sections), "here").startswith(start)


def test_the_command_line_has_the_last_word():
    words = ["--rounds", "3", "--split.ties=file_order", "--evaluate.at-k", "5,10"]
    words += ["--server.learning_rate", "1", "--execution.debug", "True", "--data.path", "a-b c"]
    config = from_dict(apply_overrides(MINIMAL | {"rounds": 9}, words), "here")
    assert config.rounds == 3
    assert config.split.ties == "file_order"
    assert config.evaluate.at_k == (5, 10)
    assert config.server.learning_rate == 1.0
    assert config.execution.debug is True
    assert config.data.path == "a-b c"


def test_overriding_leaves_the_table_as_it_was():
    table = {"data": {"name": "synthetic"}}
    apply_overrides(table, ["--data.name", "ml-100k"])
    assert table == {"data": {"name": "synthetic"}}


def test_settings_of_an_algorithm_take_the_type_they_look_like():
    words = "--algorithm.dim 8 --algorithm.rate 0.5 --algorithm.loss bce --algorithm.on true"
    settings = apply_overrides({}, words.split())["algorithm"]
    assert settings == {"dim": 8, "rate": 0.5, "loss": "bce", "on": True}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "ten"], "rounds: expected an integer, got 'ten'"),
        (["--rounds", "-1"], "rounds: expected at least 1, got -1"),
        (["--rounds"], "rounds: expected a value"),
        (["--rounds", "--seed"], "rounds: expected a value"),
        (["--no-such"], "unknown key 'no_such'"),
        (["rounds", "3"], "unexpected 'rounds': expected --key value"),
        (["--evaluate.at_k", "5,x"], "evaluate.at_k: expected a list of integers, got '5,x'"),
        (["--splt.ties", "hash"], "unknown key 'splt.ties' (did you mean 'split.ties'?)"),
        (["--zz.q", "1"], "unknown key 'zz.q' (choose from: data, split,"),
        (["--server.momentum", "a"], "server.momentum: expected a number, got 'a'"),
        (["--execution.debug", "yes"], "execution.debug: expected true or false, got 'yes'"),
    ],
)
def test_a_mistake_on_the_command_line_says_so(words, message):
    told = refusal(apply_overrides, MINIMAL, words)
    assert told.startswith(message)
    assert told.endswith("(on the command line)")


def test_an_override_of_a_section_that_is_no_table_is_refused():
    told = refusal(apply_overrides, {"split": 3}, ["--split.ties", "hash"])
    assert told == "split: expected a table [split], got 3 (in the file)"


def test_the_first_difference_has_both_values():
    old = from_dict(MINIMAL, "here")
    new = dataclasses.replace(old, seed=4, rounds=8)
    assert first_difference(old, new) == ("seed", 0, 4)
    assert first_difference(old, new, ignored=["seed"]) == ("rounds", 100, 8)
    assert first_difference(old, new, ignored=["seed", "rounds"]) is None
    other = dataclasses.replace(old, execution=dataclasses.replace(old.execution, chunk_size=2))
    assert first_difference(old, other, ignored=["execution"]) is None


def test_a_setting_on_one_side_only_is_a_difference():
    old = from_dict(merged(algorithm={"name": "fedmf", "dim": 8}), "here")
    assert first_difference(old, from_dict(MINIMAL, "here")) == ("algorithm.dim", 8, None)


def test_presets_are_found_and_valid():
    assert {"ml-100k/fedmf", "ml-100k/popularity", "synthetic/fedmf"} <= set(preset_names())
    for name in preset_names():
        config = load_preset(name)
        assert config.preset == name
        folder, _, own = name.partition("/")
        assert folder == config.data.name
        chosen = [one for one in config.algorithm.settings.values() if isinstance(one, str) and one]
        names = {config.algorithm.name, *chosen}
        is_variant = own.startswith(tuple(f"{name}_" for name in names))
        is_of_both = own == "fed" + str(config.algorithm.settings.get("model"))
        assert own in names or is_variant or is_of_both or config.silos.number


def test_presets_open_with_their_command():
    from fedjax_rec.config.files import preset_folder

    for name in preset_names():
        first = (preset_folder() / f"{name}.toml").read_text().splitlines()[0]
        assert first == f"# fedjax-rec run {name}"


def test_a_misspelled_preset_gets_a_hint():
    told = refusal(load_preset, "ml-100k/fedmff")
    assert (
        told
        == "no preset 'ml-100k/fedmff' (did you mean 'ml-100k/fedmf'?), nor a file of that name"
    )


def test_a_missing_file_a_folder_and_broken_toml_are_each_one_line(tmp_path):
    assert "No such file" in refusal(read_toml, tmp_path / "none.toml")
    assert "Is a directory" in refusal(read_toml, tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("rounds = \n")
    assert refusal(load_preset, str(broken)).startswith(f"{broken}: not a TOML file: ")
    broken.write_bytes(b"\xff\xfe")
    assert "not a TOML file" in refusal(load_preset, str(broken))


def test_a_mistake_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('rounds = "ten"\n[data]\nname = "x"\n[algorithm]\nname = "y"\n')
    assert refusal(load_preset, str(path)) == f"rounds: expected an integer, got 'ten' (in {path})"


def test_a_written_configuration_is_a_preset_file(tmp_path):
    config = load_preset("synthetic/fedmf", ["--rounds", "3", "--algorithm.dim", "4"])
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load_preset(str(path)) == config


def test_the_types_have_names():
    assert [type_name(kind) for kind in (float, bool, str)] == [
        "a number",
        "true or false",
        "a string",
    ]
    assert type_name(tuple[int, ...]) == "a list of integers"


def test_flattening_keeps_an_algorithms_settings_beside_its_name():
    keys = list(flatten(from_dict(merged(algorithm={"name": "fedmf", "dim": 8}), "here")))
    assert keys.index("algorithm.dim") == keys.index("algorithm.name") + 1


def test_the_configuration_imports_nothing_heavy():
    code = (
        "import sys, fedjax_rec.config; print({'jax', 'numpy', 'tyro', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_chain_takes_the_place_of_the_shorthand_below_it():
    words = "--aggregate.chain.0.name clip_by_norm --aggregate.chain.0.clip_norm 1.0"
    words += " --aggregate.chain.1.name=mean --aggregate.chain.1.by client"
    config = from_dict(apply_overrides(merged(aggregate={"mean": "sum"}), words.split()), "here")
    assert [(link.name, link.settings) for link in config.aggregate.chain] == [
        ("clip_by_norm", {"clip_norm": 1.0}),
        ("mean", {"by": "client"}),
    ]
    again = from_dict(tomllib.loads(to_toml(config)), "there")
    assert again == config
    more = apply_overrides(tomllib.loads(to_toml(config)), ["--aggregate.chain.0.clip_norm", "3"])
    assert from_dict(more, "here").aggregate.chain[0].settings == {"clip_norm": 3}
    assert from_dict(more, "here").aggregate.chain[1].settings == {"by": "client"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--aggregate.chain.1.name mean", "aggregate.chain.1.name: there is no link 0 before it"),
        ("--aggregate.chain.x.name mean", "aggregate.chain.x.name: expected aggregate.chain.N.KEY"),
        ("--aggregate.chain.0.name", "aggregate.chain.0.name: expected a value"),
    ],
)
def test_a_wrong_link_on_the_command_line_says_so(words, message):
    assert refusal(apply_overrides, MINIMAL, words.split()).startswith(message)


def test_a_chain_and_its_shorthand_contradict_each_other():
    told = refusal(
        from_dict, merged(aggregate={"chain": [{"name": "total"}], "mean": "row"}), "here"
    )
    assert told.startswith("aggregate.mean: [[aggregate.chain]] says it all; leave")


def test_what_an_older_version_wrote_of_noise_is_read_where_there_was_none():
    old = {"mean": "client", "clip_norm": 0.0, "noise_multiplier": 0.0}
    assert from_dict(merged(aggregate=old), "here", is_record=True).aggregate.mean == "client"
    with pytest.raises(UserError, match=r"aggregate\.clip_norm: noise comes with"):
        from_dict(merged(aggregate=old | {"clip_norm": 1.0}), "here", is_record=True)


@pytest.mark.parametrize(
    ("sections", "start"),
    [
        ({"silos": {"size": 1000}}, "silos: there are none; set silos.number"),
        (
            {"evaluate": {"task": "rating", "at_k": [5, 10, 20]}},
            "evaluate.at_k: belongs to task ranking",
        ),
        ({"aggregate": {"chain": 3}}, "aggregate.chain: expected tables [[aggregate.chain]]"),
        ({"aggregate": {"chain": [{}]}}, "aggregate.chain.0.name: expected a transform's name"),
        ({"plugin": [{"path": "x"}]}, "plugin: expected tables [[plugin]] with name and sha256"),
    ],
)
def test_a_default_that_is_asked_for_is_refused_like_any_value(sections, start):
    assert refusal(from_dict, merged(**sections), "here").startswith(start)


def test_a_file_may_name_the_preset_that_it_changes(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('preset = "synthetic/fedmf"\nrounds = 3\n[algorithm]\ndim = 4\n')
    config = load_preset(str(path))
    base = load_preset("synthetic/fedmf")
    assert (config.rounds, config.preset) == (3, "synthetic/fedmf")
    assert config.algorithm.settings == base.algorithm.settings | {"dim": 4}
    assert config.data == base.data
    path.write_text('preset = "synthetic/fedfm"\n')
    told = refusal(load_preset, str(path))
    assert told.startswith("preset: there is no preset 'synthetic/fedfm' (did you mean 'synthetic/")


def test_plug_ins_are_named_with_their_digest_and_read_back():
    config = from_dict(merged(plugin=[{"name": "mine.py", "sha256": "ab"}]), "here")
    assert from_dict(tomllib.loads(to_toml(config)), "there").plugins == config.plugins
    assert first_difference(from_dict(MINIMAL, "here"), config) == ("plugin.mine.py", None, "ab")


def test_a_file_without_a_name_is_mine_and_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "my.csv").write_text("user,item\n1,2\n")
    monkeypatch.chdir(tmp_path)
    preset = {"data": {"name": "ml-100k"}, "algorithm": {"name": "fedmf"}}
    table = apply_overrides(preset, ["--data.path", "my.csv"])
    assert table["data"] == {"name": "mine", "path": str(tmp_path / "my.csv")}
    named = apply_overrides(preset, ["--data.name=ours", "--data.path=gone.csv"])
    assert named["data"] == {"name": "ours", "path": "gone.csv"}
    assert preset["data"] == {"name": "ml-100k"}


def test_an_older_name_of_a_key_is_still_read():
    table = {"data": {"name": "x"}, "algorithm": {"name": "fedmf"}, "split": {"repeats": "keep"}}
    config = from_dict(table, "here")
    assert config.data.repeats == "keep"
    assert "data.repeats" in config.given
    assert apply_overrides({}, ["--split.repeats", "last"]) == {"data": {"repeats": "last"}}
    recorded = from_dict(table | {"given": ["split.repeats"]}, "here", is_record=True)
    assert recorded.given == {"data.repeats"}
