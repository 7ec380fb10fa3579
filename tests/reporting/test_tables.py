"""Tables, on summaries made by hand."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fedjax_rec.reporting import (
    RunRecord,
    data_differences,
    facts_table,
    format_bytes,
    is_noisy,
    print_results,
    protocol_differences,
)
from fedjax_rec.reporting.tables import privacy_cell, protocol_names

SUMMARY = {
    "metrics": {
        "valid/ndcg@10": 0.25,
        "valid/ndcg@5": 0.125,
        "test/ndcg@5": 0.0625,
        "test/ndcg@10": 0.1875,
        "test/hit_rate@10": 0.5,
        "test/mrr@10": 0.0123,
    },
    "protocol": {"candidates": "full", "time_ties": "hash", "selection": "last"},
    "privacy": None,
    "communication": {
        "payload": "table",
        "bytes_up_per_client_round": 2000.0,
        "bytes_down_per_client_round": 3000.0,
        "total_up": 40_000,
        "total_down": 60_000,
    },
    "timing": {"compile_seconds": 1.0, "train_seconds": 2.5, "clients_per_second": 1234.0},
    "rounds": 7,
    "num_clients": 5,
    "num_items": 9,
}


def record(name="a", algorithm="fedmf", **protocol):
    summary = SUMMARY | {"protocol": SUMMARY["protocol"] | protocol}
    return RunRecord(Path(name), {"algorithm": {"name": algorithm}}, summary)


def printed(show):
    console = Console(file=io.StringIO(), width=150)
    show(console)
    return console.file.getvalue()


def rows(text):
    """Cells of the lines of a table."""
    return [
        [cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")]
        for line in text.splitlines()
        if line.startswith(("│", "┃"))
    ]


def test_results_have_a_row_a_metric_and_a_column_a_cutoff():
    header, *body = rows(printed(lambda console: print_results(console, SUMMARY)))
    assert header == ["metric", "valid @5", "valid @10", "test @5", "test @10"]
    assert body == [
        ["hit_rate", "-", "-", "-", "0.5000"],
        ["ndcg", "0.1250", "0.2500", "0.0625", "0.1875"],
        ["mrr", "-", "-", "-", "0.0123"],
    ]


def test_predicted_values_have_a_column_a_split():
    metrics = {"test/accuracy": 0.4, "test/rmse": 0.9, "test/mae": 0.7, "valid/rmse": 0.95}
    header, *body = rows(printed(lambda console: print_results(console, {"metrics": metrics})))
    assert header == ["metric", "valid", "test"]
    assert body == [
        ["rmse", "0.9500", "0.9000"],
        ["mae", "-", "0.7000"],
        ["accuracy", "-", "0.4000"],
    ]


def test_results_name_protocol_bytes_and_seconds():
    text = printed(lambda console: print_results(console, SUMMARY | {"notes": ["no guarantee"]}))
    assert "protocol: candidates full, time ties hash, selection last" in text
    assert "(table): 2.0 kB up and 3.0 kB down per client and round, 100.0 kB in all" in text
    assert "time: compile 1.0 s, train 2.5 s, 1,234 clients/s" in text
    assert "rounds: 7, clients: 5, items: 9" in text
    assert text.splitlines()[-1] == "no guarantee"
    chosen = printed(lambda console: print_results(console, SUMMARY | {"reported_round": 4}))
    assert "rounds: 7 (reported: round 4), clients: 5" in chosen


def test_results_need_no_more_than_metrics():
    assert "0.5000" in printed(lambda c: print_results(c, {"metrics": {"test/ndcg@10": 0.5}}))


@pytest.mark.parametrize("undefined", [None, float("nan")])
def test_what_is_not_defined_is_a_dash_before_and_after_it_was_written(undefined):
    metrics = {"test/auc": undefined, "test/worst_decile_auc": undefined, "test/ndcg@10": undefined}
    text = printed(lambda console: print_results(console, {"metrics": metrics}))
    assert "AUC: test - (worst decile -)\n" in text
    assert ["ndcg", "-"] in rows(text)
    of_labels = {"metrics": {"test/auc": 0.75, "test/log_loss": 0.5}}
    assert "AUC: test 0.7500\n" in printed(lambda console: print_results(console, of_labels))


def test_protocols_that_differ_are_marked_and_named():
    records = [record(), record("b", time_ties="file_order"), record("c", candidates="uni99")]
    assert protocol_names(records) == ["A: full", "B: full", "C: uni99"]
    assert protocol_differences(records) == [
        "candidates (full, uni99)",
        "time_ties (hash, file_order)",
    ]


def test_which_round_is_reported_does_not_make_rows_incomparable():
    records = [record(), record("b", selection="best on validation")]
    assert protocol_differences(records) == []
    assert protocol_names(records) == ["full", "full"]


ON_TEST = "best on test, as released"


def test_a_round_chosen_on_test_is_marked_in_every_table():
    released = record("b", selection=ON_TEST)
    released.summary["metrics"] = released.summary["metrics"] | {"test/auc": 0.75}
    records = [record(), released]
    assert protocol_names(records) == ["full", "full, ROUND CHOSEN ON TEST"]
    assert protocol_differences(records) == [f"selection (last, {ON_TEST})"]
    text = printed(lambda console: print_results(console, released.summary))
    assert text.splitlines()[0].strip() == "ROUND CHOSEN ON TEST"
    assert f"selection {ON_TEST}" in text
    assert "CHOSEN" not in printed(lambda console: print_results(console, record().summary))


def test_names_in_brackets_are_shown_as_they_are():
    assert "[red]" in printed(lambda c: c.print(facts_table("t", {"[red]": "[b]"})))


def test_facts_are_shown_by_their_type():
    table = facts_table("t", {"users": 12345, "density": 0.061234, "name": "x"})
    text = rows(printed(lambda console: console.print(table)))
    assert text == [["users", "12,345"], ["density", "0.06123"], ["name", "x"]]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (2.5e9, "2.5 GB"),
        (3e15, "3,000.0 TB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(count, text):
    assert format_bytes(count) == text


# ------------------------------------------------------------------ rows that differ


def on_data(name, sha256, path="a"):
    one = record(path)
    facts = {"name": name, "sha256": sha256 * 64, "num_clients": 5}
    return RunRecord(one.path, one.config | {"data": {"name": name}}, one.summary | {"data": facts})


@pytest.mark.parametrize(
    ("one", "other"),
    [(("mine", "a"), ("yours", "b")), (("mine", "a"), ("mine", "b"))],
    ids=["another name", "another content"],
)
def test_runs_on_different_data_are_told_apart_by_name_and_content(one, other):
    records = [on_data(*one), on_data(*other, "b")]
    assert data_differences(records) == [f"{name} ({sha * 8})" for name, sha in (one, other)]


def test_runs_on_the_same_data_do_not_differ():
    records = [on_data("mine", "a"), on_data("mine", "a", "b")]
    assert data_differences(records) == []


def test_a_noisy_run_without_a_guarantee_is_marked():
    plain = record()
    notes = ["privacy: noise was added, but no privacy guarantee is computed yet"]
    noisy = RunRecord(Path("b"), plain.config, plain.summary | {"notes": notes})
    valid = {"claims": "valid", "epsilon": 1.0, "delta": 1e-5, "unit": "user", "rounds": 3}
    guaranteed = RunRecord(
        Path("c"), plain.config, plain.summary | {"privacy": valid | {"noise_multiplier": 2.0}}
    )
    assert [is_noisy(one) for one in (plain, noisy, guaranteed)] == [False, True, False]
    cells = [privacy_cell(one.summary) for one in (plain, noisy, guaranteed)]
    assert cells == ["no noise", "no guarantee", "1, 1e-05"]


def test_popularity_stands_below_the_runs_own_figures():
    popular = {"test/hit_rate@10": 0.25, "test/ndcg@10": 0.0987}
    text = printed(lambda console: print_results(console, SUMMARY | {"popularity": popular}))
    found = {row[0]: row[1:] for row in rows(text)}
    assert "0.0987" in found["ndcg of Popularity"]
    assert "0.2500" in found["hit_rate of Popularity"]
    assert "mrr of Popularity" not in found
