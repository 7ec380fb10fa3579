"""docs/privacy.md: its script runs, and what it says of reports, switches and refusals holds."""

import re
from pathlib import Path

import pytest

from fedjax_rec import transforms
from fedjax_rec.config import load_preset
from fedjax_rec.experiment.private import settled
from fedjax_rec.privacy import report_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")


def test_the_script_of_the_page_has_a_valid_claim(capsys: pytest.CaptureFixture[str]) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(script, "docs/privacy.md", "exec"), {})
    assert capsys.readouterr().out == "valid\n"


def test_the_page_names_every_key_of_a_report() -> None:
    report = report_of((), 1e-5, clip_norm=1.0, unit="user").to_dict()
    paragraph = PAGE.split("`summary.json` then holds")[1].split("\n\n")[0]
    assert set(report) <= set(re.findall(r"`(\w+)`", paragraph))


def test_the_switches_of_the_page_are_those_that_are_made() -> None:
    words = ["--privacy.epsilon", "8", "--stop.target", "0.5", "--aggregate.mean", "row"]
    told: list[str] = []
    settled(load_preset("ml-100k/fedmf", words), told.append)
    made = {line.removeprefix("privacy: ").split(" is ")[0] for line in told}
    assert made == {"cohort.sampler", "aggregate.mean", "stop.patience", "stop.target"}
    for key in made:
        assert f"`{key}`" in PAGE.split("| switch |")[1].split("\n\n")[0]


def test_the_transforms_of_the_page_are_there() -> None:
    table = PAGE.split("## Transforms")[1].split("\n## ")[0]
    for name in re.findall(r"^\| `(\w+)\(", table, re.MULTILINE):
        assert hasattr(transforms, name)
