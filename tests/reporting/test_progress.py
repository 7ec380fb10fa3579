"""Progress: plain lines at evaluations, one live line on a terminal."""

import io
from typing import NamedTuple

from rich.console import Console

from fedjax_rec.reporting import ProgressLine


class Observed(NamedTuple):
    round: int
    rounds: int
    num_clients: int
    line: dict
    epsilon: float | None = None


class Clock:
    """Every look at it takes two seconds."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 2.0
        return self.now


def shown(reports, **options):
    console = Console(file=io.StringIO(), width=120, **options)
    with ProgressLine(console, Clock()) as progress:
        for report in reports:
            progress(report)
    return console.file.getvalue()


REPORTS = [
    Observed(1, 10, 8, {"round": 1, "train/loss": 0.7}),
    Observed(5, 10, 8, {"round": 5, "train/loss": 0.6, "valid/ndcg@10": 0.25, "test/ndcg@10": 0.1}),
    Observed(6, 10, 8, {"round": 6, "train/loss": 0.5}),
    Observed(10, 10, 8, {"round": 10, "test/hit_rate@5": 0.5}),
]


def test_a_file_gets_a_plain_line_at_each_evaluation():
    assert shown(REPORTS).splitlines() == [
        "round 5/10  ETA 0:00:02  4 clients/s  loss 0.6000  valid/ndcg@10 0.2500",
        "round 10/10  ETA 0:00:00  4 clients/s  test/hit_rate@5 0.5000",
    ]


def test_the_first_report_knows_no_time_left():
    assert "ETA -:--:--" in shown(REPORTS[1:2])


def test_a_terminal_gets_a_live_line():
    text = shown(REPORTS[:3], force_terminal=True, color_system=None)
    assert "6/10" in text
    assert "4 clients/s  loss 0.5000  valid/ndcg@10 0.2500" in text
    assert "ETA" in text


def test_nothing_is_shown_before_the_first_report():
    assert shown([]) == ""


def test_what_noise_has_cost_so_far_stands_on_the_line():
    console = Console(file=io.StringIO(), width=200)
    with ProgressLine(console, Clock()) as progress:
        progress(Observed(5, 10, 3, {"valid/ndcg@10": 0.5}, 2.345))
        progress(Observed(10, 10, 3, {"valid/ndcg@10": 0.6}, 3.456))
    lines = console.file.getvalue().splitlines()
    assert [line.rsplit("epsilon ")[-1] for line in lines] == ["2.35", "3.46"]
