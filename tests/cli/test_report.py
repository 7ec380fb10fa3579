"""`report` from runs to a page: every figure from its file, nothing from a network."""

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fedjax_rec.cli import main
from fedjax_rec.reporting.page.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, place, ticks


@pytest.fixture(scope="module")
def text(runs):
    assert main(["report", str(runs), "--output", str(runs.parent / "page.html")]) == 0
    return (runs.parent / "page.html").read_text()


def figures(text):
    """Each figure's caption, and its lines: name, files, points, and where they are drawn."""
    found = []
    for figure in re.findall(r"<figure>.*?</figure>", text, re.DOTALL):
        caption = html.unescape(re.search("<figcaption>(.*?)</figcaption>", figure)[1])
        lines = []
        for attributes in re.findall(r'<path class="line([^>]*)>', figure):
            named = {k: html.unescape(v) for k, v in re.findall(r'([\w-]+)="([^"]*)"', attributes)}
            drawn = [tuple(map(float, one.split(","))) for one in named["d"][1:].split(" L")]
            facts = [json.loads(named[f"data-{name}"]) for name in ("sources", "x", "y")]
            lines.append((named["data-name"], *facts, drawn))
        found.append((caption, lines))
    return found


def read_log(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_every_curve_is_the_mean_of_the_files_that_it_names(text):
    curves = [one for one in figures(text) if "person" not in one[0]]
    assert len(curves) == 3  # valid by rounds; test by rounds and by bytes
    for caption, lines in curves:
        key = "valid/ndcg@10" if caption.startswith("valid") else "test/ndcg@10"
        assert [name for name, *_ in lines] == ["popularity, rounds 3", "popularity, rounds 4"]
        for _, sources, x, y, _ in lines:
            logs = [read_log(source) for source in sources]
            assert all(source in caption for source in sources)
            assert y == pytest.approx(np.mean([[one[key] for one in log] for log in logs], axis=0))
            if "by rounds" in caption:
                assert x == [line["round"] for line in logs[0]]
            else:
                folder = Path(sources[0]).parent
                sent = json.loads((folder / "summary.json").read_text())["communication"]
                assert x[-1] == pytest.approx((sent["total_up"] + sent["total_down"]) / 1e6)


@pytest.mark.parametrize(("factor", "unit"), [(1.0, "MB"), (1e6, "GB"), (1e9, "TB"), (1e15, "PB")])
def test_bytes_have_the_unit_that_keeps_numbers_short(runs, tmp_path, factor, unit):
    copy = shutil.copytree(runs, tmp_path / "runs")
    largest = 0.0
    for path in copy.rglob("summary.json"):
        summary = json.loads(path.read_text())
        sent = summary["communication"]
        for key in sent:
            sent[key] = sent[key] * factor if isinstance(sent[key], float | int) else sent[key]
        path.write_text(json.dumps(summary))
        largest = max(largest, sent["total_up"] + sent["total_down"])
    assert main(["report", str(copy), "--output", str(tmp_path / "p.html")]) == 0
    (lines,) = [
        lines
        for caption, lines in figures((tmp_path / "p.html").read_text())
        if f"by {unit} sent and received" in caption
    ]
    scale = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[unit]
    assert max(x[-1] for _, _, x, _, _ in lines) == pytest.approx(largest / scale)
    assert unit == "PB" or largest / scale < 1000


def test_the_curve_of_people_is_their_sorted_values(text):
    ((caption, lines),) = [one for one in figures(text) if "person" in one[0]]
    assert "AUC of a person" in caption
    for _, sources, x, y, _ in lines:
        assert all(source.endswith("per_client.npz") for source in sources)
        values = [np.sort(np.load(source)["test/auc"]) for source in sources]
        known = [one[np.isfinite(one)].astype(float) for one in values]
        assert y == pytest.approx(np.mean(known, axis=0))
        assert x == pytest.approx(100 * np.arange(1, len(y) + 1) / len(y))


def test_a_row_has_one_colour_also_where_another_is_left_out(runs, tmp_path):
    copy = shutil.copytree(runs, tmp_path / "runs")
    for path in copy.glob("*/rounds=3/*/per_client.npz"):
        path.unlink()
    assert main(["report", str(copy), "--output", str(tmp_path / "p.html")]) == 0
    text = (tmp_path / "p.html").read_text()
    tones = re.findall(r'class="line (tone-\d)" data-name="popularity, rounds (\d)"', text)
    assert sorted(tones) == [("tone-0", "3")] * 3 + [("tone-1", "4")] * 4
    assert re.findall(r'key (tone-\d)"><span class=""></span>popularity, rounds (\d)', text) == [
        ("tone-0", "3"),
        ("tone-1", "4"),
    ]


def test_points_are_drawn_where_their_numbers_are(text):
    for _, lines in figures(text):
        for _, _, x, y, drawn in lines:
            xs, ys = np.array(drawn).T
            for values, places, begin, end in (
                (x, xs, LEFT, WIDTH - RIGHT),
                (y, ys, HEIGHT - BOTTOM, TOP),
            ):
                assert min(begin, end) <= places.min() <= places.max() <= max(begin, end)
                if np.ptp(values) > 0:
                    line = np.polyfit(values, places, 1)
                    assert (line[0] > 0) == (end > begin)
                    assert np.abs(np.polyval(line, values) - places).max() < 0.02


def test_axes_cover_their_values_with_round_numbers():
    rng = np.random.default_rng(0)
    for low, width in zip(rng.normal(0, 100, 50), 10.0 ** rng.uniform(-4, 4, 50), strict=True):
        marks = ticks(low, low + width)
        assert marks[0] <= low + 1e-9 * abs(low)
        assert marks[-1] >= low + width - 1e-9 * abs(low + width)
        assert 3 <= len(marks) <= 9
        assert place(marks[0], marks, 10, 20) == 10


def test_nothing_is_fetched_and_every_element_is_closed(text):
    assert not re.search(r"\b(src|href)=|url\(|@import|<script|https?://", text)

    class Parser(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attributes):
            self.open += [tag] if tag != "meta" else []

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    parser = Parser()
    parser.feed(text)
    assert parser.open == []


def test_the_page_says_what_the_figures_mean(text, runs):
    for words in ("leave_one_out", "no noise, and no promise", "up/client/round", "jax 0."):
        assert words in text
    (one, *_) = runs.rglob("summary.json")
    metrics = json.loads(one.read_text())["metrics"]
    assert f"{metrics['test/ndcg@10']:.4f} ±0.0000" in text
    spread = json.loads(one.read_text())["spread"]["test/auc"]
    assert f"{spread['worst_decile']:.4f}" in text


def test_runs_of_older_versions_and_names_of_markup_are_shown(tmp_path, capsys):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.toml").write_text('[algorithm]\nname = "<b>mine"\n')
    (folder / "summary.json").write_text(json.dumps({"metrics": {"test/ndcg@10": 0.5}}))
    assert main(["report", str(folder), "--output", str(tmp_path / "p.html")]) == 0
    text = (tmp_path / "p.html").read_text()
    assert "&lt;b&gt;mine" in text
    assert "<b>mine" not in text
    assert "not recorded" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name at least one folder"),
        (["RUNS"], "--output FILE.html"),
        (["RUNS", "--output", "x.pdf"], "--output FILE.html"),
        (["RUNS", "--output", "RUNS/x.html/y.html", "--metrics", "x"], "no run has measured 'x'"),
    ],
)
def test_a_mistake_is_one_line(runs, words, told, capsys):
    assert main(["report", *(word.replace("RUNS", str(runs)) for word in words)]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
