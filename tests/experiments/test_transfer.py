"""What the table of transfer says, from stored cells."""

import json
from pathlib import Path

import pytest

from experiments.cells import END, START, Cells
from experiments.transfer import run as transfer
from fedjax_rec.config import load_preset
from fedjax_rec.data import DATASETS

MACHINE = {
    "environment": {"processor": "A", "num_cpus": 2, "versions": {"python": "3", "jax": "0"}}
}


def cell(hits: float, gain: float) -> dict:
    return {"metrics": {"test/hit_rate@10": hits, "test/ndcg@10": gain}} | MACHINE


def test_every_cell_is_a_command_that_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        Cells, "run", lambda self, name, preset, *words, **rest: asked.append((preset, words, rest))
    )
    transfer.run(Cells(Path()), list(transfer.DATA), list(transfer.METHODS))
    assert len(asked) == 100
    assert set(transfer.DATA) <= set(DATASETS)
    for preset, words, rest in asked:
        assert rest == {"seconds": 900.0}
        if not any(word.startswith("--tune") for word in words):
            config = load_preset(preset, words)
            assert config.evaluate.at_k == (10,)
            assert config.stop.metric in ("valid/ndcg@10", "valid/hit_rate@10")


def test_the_verdict_counts_fifteen_per_cent_above_popularity() -> None:
    stored = {
        "gowalla/Popularity": cell(0.1, 0.10),
        "gowalla/FedMF": cell(0.2, 0.115),
        "gowalla/PFedRec": cell(0.3, 0.1149),
        "gowalla/BPR-MF, pooled, tuned": cell(0.2, 0.11),
        "gowalla/FCF": cell(0.2, 0.08),
        "gowalla/EASE": cell(0.2, 0.1),
        "gowalla/FedAvg": {"stopped": "over 15 minutes"},
    }
    assert transfer.verdict(stored, "gowalla") == (
        "15 % above Popularity: FedMF; not: PFedRec; tuned BPR-MF does not either; "
        "FCF reaches 80 % of EASE"
    )
    assert transfer.verdict({}, "anime") == "Popularity has not been run"


def test_the_table_shows_what_is_stored_and_what_took_too_long(tmp_path: Path) -> None:
    stored = {
        "anime/FedMF": cell(0.25, 0.125) | {"command": "x"},
        "anime/EASE": {"stopped": "over 15 minutes", "command": "y"} | MACHINE,
    }
    (tmp_path / "results.json").write_text(json.dumps(stored))
    (tmp_path / "README.md").write_text(f"a\n{START}\n{END}\nb\n")
    cells = Cells(tmp_path)
    cells.write_readme(transfer.table(cells.found))
    text = (tmp_path / "README.md").read_text()
    assert "| FedMF | 25.0 / 12.5 |" in text
    assert "| EASE | over 15 minutes |" in text
    assert "| PFedRec | - |" in text
