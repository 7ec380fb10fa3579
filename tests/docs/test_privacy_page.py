"""docs/privacy.md: its script runs, and what it says of reports, switches and refusals holds."""

import re
from pathlib import Path

import pytest

from fedjax_rec import transforms
from fedjax_rec.config import load_preset
from fedjax_rec.errors import UserError
from fedjax_rec.experiment.private import settled
from fedjax_rec.privacy import check_delta, default_delta, noise_multiplier_for, report_of
from fedjax_rec.registry import SAMPLERS
from fedjax_rec.sampling import TruncatedPoisson

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


def test_the_worked_example_asks_for_what_it_says() -> None:
    block, printed = re.findall(r"```\n(.*?)```", PAGE.split("### Epsilon 8")[1], re.DOTALL)[:2]
    _, verb, preset, *words = block.replace("\\\n", " ").split()
    assert (verb, preset) == ("run", "synthetic/fedmf")
    told: list[str] = []
    config = settled(load_preset(preset, words), told.append)
    assert told == [line for line in printed.splitlines() if " is client in place of " in line]
    num_clients, event = config.data.num_users, TruncatedPoisson(100_000, 20_000).event
    assert (num_clients, config.cohort.size, config.rounds) == (100_000, 20_000, 100)
    delta = default_delta(num_clients)
    noise = noise_multiplier_for(event, config.rounds, config.privacy.epsilon, delta)
    assert f"noise_multiplier is {noise:.4g} for epsilon 8, delta {delta:.3g}" in printed


def test_the_refusal_of_a_common_delta_is_printed_as_it_is() -> None:
    with pytest.raises(UserError) as refusal:
        check_delta(1e-5, 100_000)
    assert f"\n{refusal.value}\n" in PAGE


def test_every_sampler_is_on_the_page() -> None:
    table = PAGE.split("## Cohorts")[1].split("\n## ")[0]
    own = {name for name, origin in SAMPLERS.load().origins.items() if not origin}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == own


def test_every_sharp_edge_is_named() -> None:
    section = PAGE.split("## Sharp edges")[1].split("\n## ")[0].lower()
    for word in ("rounds", "delta", "float noise", "one seed", "small pop", "fixed-size", "tuning"):
        assert f"- **{word}" in section
