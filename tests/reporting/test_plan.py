"""The tables of a plan, whatever of it is there."""

import io

from rich.console import Console

from fedjax_rec.reporting import print_plan

PLAN = {
    "num_clients": 1200,
    "num_items": 50,
    "parameters": [
        {"role": "shared", "shape": "rows", "numbers": 1500, "bytes": 6000},
        {"role": "frozen", "shape": "dense", "numbers": 7, "bytes": 28},
    ],
    "client": {"private": 0, "memory": 12, "residual": 2000},
    "at_rest": {"server": 6012, "store": 2_414_400, "frozen": 28, "data": 90_000},
    "round": None,
    "evaluation": None,
    "communication": {
        "payload": "table",
        "down": 6000,
        "up": 6000,
        "is_bound": False,
        "is_mean": False,
    },
    "cohort": {"sampler": "poisson", "expected": 2.5, "capacity": 9},
    "execution": {"chunk_size": 0, "is_debug": True},
    "devices": {"kind": "NVIDIA [x]", "count": 1},
    "memory": {
        "needed": 2_510_440,
        "process": 0,
        "checkpoint": 0,
        "gathered": 0,
        "available": None,
    },
}


def printed(plan):
    console = Console(file=io.StringIO(), width=150)
    print_plan(console, plan)
    return console.file.getvalue()


def cells(text):
    """Cells of the lines of tables."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines]


def test_what_is_not_there_has_no_line():
    text = printed(PLAN)
    assert cells(text) == [
        ["shared", "rows", "1,500", "6.0 kB"],
        ["frozen", "dense", "7", "28 B"],
        ["server", "shared parameters, optimizer and other state", "6.0 kB"],
        ["client store", "1,200 clients, each memory 12 B, residual 2.0 kB", "2.4 MB"],
        ["frozen", "parameters that are never trained", "28 B"],
        ["data", "training histories", "90.0 kB"],
        ["in all", "at most", "2.5 MB"],
    ]
    assert "cohort: 2.5 of 1,200 clients a round (poisson), 50 items" in text
    assert "execution: chunk size 0, is debug True; 1 x NVIDIA [x]" in text
    assert "compile" not in text


def test_a_host_with_devices_has_more_in_memory():
    working = {"working": 3_000_000, "num_devices": 4, "num_rounds": 5, "compile_seconds": 1.25}
    memory = {"process": 10**9, "checkpoint": 2000, "gathered": 3000, "available": 4 * 10**9}
    plan = PLAN | {"round": working, "memory": PLAN["memory"] | memory}
    text = printed(plan)
    assert cells(text)[6:] == [
        ["round", "beside these, in 5 rounds at a time, on each of 4 devices", "3.0 MB"],
        ["gathered", "the store on one device, to evaluate it", "3.0 kB"],
        ["checkpoint", "a copy on the host while it is written", "2.0 kB"],
        ["process", "Python, jax and its compiler so far", "1.0 GB"],
        ["in all", "at most, of 4.0 GB available", "2.5 MB"],
    ]
    assert text.splitlines()[-1] == "compile: 1.2 s"
