"""The page of the benchmarks is what its stored results say."""

import json

from benchmarks import tables
from benchmarks.harness import KEYS
from benchmarks.registry import PEERS


def test_the_page_agrees_with_the_stored_results():
    page = tables.README.read_text()
    assert tables.with_tables(page) == page, "run: python -m benchmarks --tables"


def test_every_stored_row_has_all_keys_and_figures_or_a_reason():
    for path in tables.RESULTS.glob("*.json"):
        for stored in json.loads(path.read_text()):
            assert tuple(stored) == KEYS, path
            assert stored["peer"] in PEERS, path
            assert stored["note"] or stored["seconds_per_round"] > 0, path


def row(peer: str, seconds: float | None, note: str = "") -> dict:
    """A row as the harness writes it."""
    figures = ("clients_per_second", "examples_per_second", "compile_seconds", "peak_mb")
    return dict.fromkeys(KEYS) | {
        "peer": peer,
        "workload": "W1",
        "clients": 64,
        "seconds_per_round": seconds,
        "seconds_min": seconds,
        **dict.fromkeys(figures, None if seconds is None else 1e6),
        "hit_rate@10": 0.25,
        "ndcg@10": 0.125,
        "rounds": 10,
        "load": 0.0,
        "note": note,
    }


def test_a_row_gives_its_ratio_to_ours_and_a_failed_one_its_note():
    text = tables.table([row("ours", 0.002), row("pfl", 0.5), row("flower", None, "too many")])

    ours, pfl, flower = (line.split(" | ") for line in text.splitlines()[2:])
    assert ours[1:3] == ["2.00", "2.00"]
    assert pfl[5] == "250x"
    assert flower[-1] == "too many |"
    assert len({len(line) for line in (ours, pfl, flower)}) == 1
