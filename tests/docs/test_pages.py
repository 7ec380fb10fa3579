"""What the documents name is there: files, tests, verbs, keys, presets, checks."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from fedjax_rec.cli.arguments import ACTIONS, OWN_OPTIONS, VERBS
from fedjax_rec.config import OPTIONS
from fedjax_rec.evaluation import Protocol
from fedjax_rec.experiment.assembly import find_factory, own_settings
from fedjax_rec.registry import READERS
from fedjax_rec.testing import CHECKS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request) -> Path:
    return request.param


@pytest.fixture
def text(page) -> str:
    return page.read_text(encoding="utf-8")


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def test_links_lead_to_files_and_headings(page, text):
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in headings(file), target


def test_paths_in_the_tree_exist(text):
    named = re.findall(r"`((?:fedjax_rec|tests|docs|configs)/[\w./-]*)[`:]", text)
    made_by_the_reader = {"fedjax_rec/algorithms/fedprox_mf.py"}
    missing = {name for name in named if not (ROOT / name).exists()}
    assert missing <= made_by_the_reader


def test_tests_that_are_named_exist(text):
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(
            f"def {name}(" in file.read_text(encoding="utf-8")
            for file in (ROOT / "tests").rglob("test_*.py")
        ), name


def test_commands_are_verbs_and_keys_of_the_command_line(text):
    for verb, action in re.findall(r"fedjax-rec ([a-z]+)(?: ([a-z]+)\b)?", text):
        assert verb in VERBS
        assert verb not in ACTIONS or action in ACTIONS[verb]
    known = own_settings(find_factory("fedmf")) | own_settings(find_factory("fedavg"))
    settings = {f"algorithm.{key}" for key in known}
    made_by_the_reader = {"algorithm.mu", "aggregate.chain"}
    for key in re.findall(r"--([a-z_]+\.[a-z_]+)", text):
        own = f"--{key}" in set.union(*OWN_OPTIONS.values())
        assert own or key in OPTIONS or key in settings | made_by_the_reader


def test_presets_that_are_named_exist(text):
    for name in re.findall(r"\b(?:ml-100k|synthetic)/[a-z]+\b", text):
        assert (ROOT / "configs" / f"{name}.toml").is_file(), name


def test_nothing_is_left_to_fill_in_but_what_is_marked(text):
    assert not re.search(r"\b(TODO|TBD|FIXME|XXX)\b", text)


def table_of(page: str, section: str) -> list[str]:
    """First cells, in code, of the table in a section."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)


def test_the_protocol_page_has_every_field():
    described = table_of("protocols.md", "The fields")
    assert described == [field.name for field in fields(Protocol)]


def test_the_page_of_data_has_every_layout():
    assert sorted(table_of("data.md", "Layouts by name")) == sorted(READERS.load())


def test_the_design_names_every_conformance_check():
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert [name for name in CHECKS if f"`{name}`" not in text] == []
