"""When federation helps: two owners of data, 10 to 10,000 clients, and skewed labels.

Runs every cell, stores it beside this file as `results.json` and prints the tables. A run
that was stopped goes on; a cell that is stored is kept. All run in this one process, for a
cell takes two seconds once its program is compiled.

    .venv/bin/python experiments/when_federation_helps/run.py [owners] [clients] [skew]
"""

import json
import math
import shutil
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedjax_rec.cli import main

RESULTS = Path(__file__).with_name("results.json")
RUNS = Path("runs/when_federation_helps")
ARMS = {"updates": "federated", "nothing": "each alone", "records": "pooled"}
OWNERS_SEEDS, SEEDS = range(10), range(5)
ROUNDS = ("10", "100")
BUDGET = {"updates": ("100", "20"), "nothing": ("25", "5"), "records": ("25", "5")}
"""Rounds and rounds between evaluations, of which the best on validation is reported."""
NUM_RECORDS = 20_000
CLIENTS, SKEWED_CLIENTS = (10, 100, 1000, 10_000), (10, 1000)
ALPHAS = ("10", "1", "0.5", "0.1")
METRICS = ("log_loss", "accuracy")
QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262}
"""The 97.5 % point of Student's t for the mean of so many seeds."""

Cells = dict[str, dict]


# ----------------------------------------------------------------------- cells


def owners_cells() -> Iterator[tuple[str, str, list[str]]]:
    """`ml-100k/two_owners` as it is, and ten times as long; the majority class."""
    for seed in OWNERS_SEEDS:
        for arm in ARMS:
            longer = ["--rounds", ROUNDS[-1], "--evaluate.every", ROUNDS[0]]
            words = ["--silos.exchange", arm, *longer, *seeded(seed)]
            yield f"owners-{arm}-{seed}", "ml-100k/two_owners", words
        yield f"owners-majority-{seed}", "ml-100k/majority", seeded(seed)


def clients_cells() -> Iterator[tuple[str, str, list[str]]]:
    """The same records over ever more clients, all alike; and in one hand."""
    for seed in SEEDS:
        for number in CLIENTS:
            for arm in ("updates", "nothing"):
                words = [*parted(number, arm), *seeded(seed)]
                yield f"clients-{number}-{arm}-{seed}", "ml-100k/two_owners", words
        words = [*parted(CLIENTS[0], "records"), *seeded(seed)]
        yield f"clients-pooled-{seed}", "ml-100k/two_owners", words
        words = [*dealt(CLIENTS[0]), *seeded(seed)]
        yield f"clients-majority-{seed}", "ml-100k/majority", words


def skew_cells() -> Iterator[tuple[str, str, list[str]]]:
    """Clients whose labels differ, each asked about records like its own."""
    for number in reversed(SKEWED_CLIENTS):
        for alpha in ALPHAS:
            for seed in SEEDS:
                for arm in ("updates", "nothing"):
                    words = [*parted(number, arm), *seeded(seed)]
                    words += ["--silos.alpha", alpha, "--split.holdout", "own_records"]
                    yield f"skew-{alpha}-{number}-{arm}-{seed}", "ml-100k/two_owners", words


def seeded(seed: int) -> list[str]:
    """A seed draws the records, deals them and starts the model."""
    return ["--seed", str(seed), "--split.seed", str(seed)]


def dealt(number: int) -> list[str]:
    """`NUM_RECORDS` over some clients; 1,000 tested records, 1,000 that choose the round."""
    words = ["--silos.number", str(number), "--silos.size", str(NUM_RECORDS // number)]
    return [*words, "--silos.test", "1000", "--split.validation", "records"]


def parted(number: int, arm: str) -> list[str]:
    """The same with what trains, and for how long."""
    batch_size = min(100, NUM_RECORDS // number)
    rounds, every = BUDGET[arm]
    words = ["--algorithm.batch_size", str(batch_size), "--algorithm.learning_rate", "0.01"]
    words += ["--rounds", rounds, "--evaluate.every", every]
    return [*dealt(number), "--silos.exchange", arm, *words]


STUDIES = {"owners": owners_cells, "clients": clients_cells, "skew": skew_cells}


def run_cell(name: str, preset: str, words: list[str]) -> dict:
    """Runs one cell and returns its record; its folder is not kept."""
    folder = RUNS / name
    saving = ["--checkpoint.every", "1000", "--execution.num_devices", "1"]
    if main(["run", preset, "--output", str(folder), *words, *saving]):
        sys.exit(f"{folder}: the run did not end; the next call begins it again")
    summary = json.loads((folder / "summary.json").read_text())
    facts = json.loads((folder / "environment.json").read_text())
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    shutil.rmtree(folder)
    curve = {
        str(line["round"]): {k: v for k, v in line.items() if k.startswith(("valid/", "test/"))}
        for line in lines
        if "test/log_loss" in line
    }
    kept = ("protocol", "timing", "num_clients")
    known = ("command", "git", "processor", "num_cpus", "versions")
    environment = {k: facts[k] for k in known}
    return {"curve": curve, **{k: summary[k] for k in kept}, "environment": environment}


# ---------------------------------------------------------------------- tables


def interval(values: list[float]) -> str:
    """Mean and half the width of its 95 % interval."""
    return f"{statistics.mean(values):.4f} ± {half_width(values):.4f}"


def half_width(values: list[float]) -> float:
    """`t s / sqrt(n)`: half the 95 % interval of a mean over seeds."""
    return QUANTILE[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def stored(cells: Cells, prefixes: list[str], seeds: range) -> list[int]:
    """The seeds of which all of a row's cells are stored; too few for an interval count as none."""
    whole = [seed for seed in seeds if all(f"{prefix}-{seed}" in cells for prefix in prefixes)]
    return whole if len(whole) in QUANTILE else []


def measured(
    cells: Cells, prefix: str, seeds: Iterable[int], metric: str, at: str = ""
) -> list[float]:
    """One metric of a row's cells, seed by seed: of a round, or of the best on validation."""
    curves = [cells[f"{prefix}-{seed}"]["curve"] for seed in seeds]
    return [curve[at or best_round(curve)][f"test/{metric}"] for curve in curves]


def best_round(curve: dict[str, dict]) -> str:
    """The round with the lowest log loss on validation records; the last without any."""
    last = max(curve, key=int)
    return min(curve, key=lambda at: curve[at].get("valid/log_loss", at != last))


def owners_table(cells: Cells) -> str:
    """Two owners: each arm after as many rounds as the preset has, and after more."""
    names = {f"owners-{arm}": words for arm, words in ARMS.items()}
    rows = [(name, words, at) for at in ROUNDS for name, words in names.items()]
    rows.append(("owners-majority", "majority class", "1"))
    lines = [
        "| model | rounds | log loss | accuracy | log loss - majority's | accuracy - majority's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, words, at in rows:
        found = [measured(cells, name, OWNERS_SEEDS, metric, at) for metric in METRICS]
        counted = [measured(cells, "owners-majority", OWNERS_SEEDS, metric) for metric in METRICS]
        above = [
            [one - other for one, other in zip(*pair, strict=True)]
            for pair in zip(found, counted, strict=True)
        ]
        lines.append(f"| {words} | {at} | {' | '.join(map(interval, [*found, *above]))} |")
    return "\n".join(lines)


def count_row(cells: Cells, prefix: str, number: int) -> str:
    """Federated, alone, and their difference, seed by seed, in log loss; both accuracies."""
    arms = [f"{prefix}-{number}-{arm}" for arm in ("updates", "nothing")]
    seeds = stored(cells, arms, SEEDS)
    start = f"{number:,} | {NUM_RECORDS // number:,} | {len(seeds)}"
    if not seeds:
        return f"{start} |{' - |' * (HEAD.count('|') - 3)}"
    losses, accuracies = (
        [measured(cells, arm, seeds, metric) for arm in arms] for metric in METRICS
    )
    gap = [alone - together for together, alone in zip(*losses, strict=True)]
    parts = [*map(interval, losses), interval(gap), *map(interval, accuracies)]
    return f"{start} | {' | '.join(parts)} | {verdict(gap)} |"


def verdict(gap: list[float]) -> str:
    """Who has the lower log loss, if the interval of the difference leaves out 0."""
    mean, half = statistics.mean(gap), half_width(gap)
    if abs(mean) <= half:
        return "neither"
    return "federated" if mean > 0 else "alone"


HEAD = (
    "clients | records each | seeds | log loss, federated | log loss, alone | alone - federated | "
    "accuracy, federated | accuracy, alone | better |"
)


def clients_table(cells: Cells) -> str:
    """Alike clients: a row a count; below them what does not depend on it."""
    lines = [f"| {HEAD}", f"|{' --- |' * HEAD.count('|')}"]
    lines += [f"| {count_row(cells, 'clients', number)}" for number in CLIENTS]
    for name in ("pooled", "majority"):
        seeds = stored(cells, [f"clients-{name}"], SEEDS)
        loss, accuracy = (
            interval(measured(cells, f"clients-{name}", seeds, metric)) if seeds else "-"
            for metric in METRICS
        )
        start = f"| {name} | {NUM_RECORDS:,} | {len(seeds)}"
        lines.append(f"{start} | {loss} | - | - | {accuracy} | - | - |")
    return "\n".join(lines)


def skew_table(cells: Cells) -> str:
    """Skewed clients: a row an alpha and a count."""
    lines = [f"| alpha | {HEAD}", f"| --- |{' --- |' * HEAD.count('|')}"]
    lines += [
        f"| {alpha} | {count_row(cells, f'skew-{alpha}', number)}"
        for alpha in ALPHAS
        for number in SKEWED_CLIENTS
    ]
    return "\n".join(lines)


TABLES = {"owners": owners_table, "clients": clients_table, "skew": skew_table}


def run_all(chosen: list[str]) -> None:
    """Runs what is missing, stores the results after each cell and prints the tables."""
    cells: Cells = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for study in chosen or STUDIES:
        for name, preset, words in STUDIES[study]():
            if name not in cells:
                cells[name] = run_cell(name, preset, words)
                RESULTS.write_text(json.dumps(cells, indent=1) + "\n")
        print(TABLES[study](cells))


if __name__ == "__main__":
    run_all(sys.argv[1:])
