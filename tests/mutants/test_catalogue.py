"""The mutants apply, and name tests that are there: what can be told without running them."""

from collections import Counter

import pytest

from tests.mutants import MUTANTS
from tests.mutants.__main__ import main
from tests.mutants.harness import ROOT, mutated


def test_there_are_at_least_eighty_and_each_has_its_own_name():
    assert len(MUTANTS) >= 80
    assert [name for name, times in Counter(m.name for m in MUTANTS).items() if times > 1] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_is_there_exactly_once(mutant):
    text = (ROOT / mutant.path).read_text(encoding="utf-8")
    faulty = mutated(mutant, text)
    assert faulty is not None, f"{mutant.path} has it {text.count(mutant.old)} times"
    compile(faulty, mutant.path, "exec")


def test_the_tests_that_are_named_exist():
    named = {node for mutant in MUTANTS for node in mutant.node_ids}
    missing = []
    for node in sorted(named):
        path, _, name = node.partition("::")
        name = name.partition("[")[0]
        text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        if not text or (name and f"def {name}(" not in text):
            missing.append(node)
    assert missing == []


def test_the_list_has_a_line_for_each(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(MUTANTS)
    assert all(len(line.split("  ")) == 3 for line in lines)


def test_an_unknown_name_is_refused_in_one_line(capsys):
    assert main(["no-such-mutant"]) == 2
    assert capsys.readouterr().err == "no mutant is named 'no-such-mutant'; --list names them\n"
