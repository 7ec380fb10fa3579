"""The tables of `fedjax-rec plan`."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedjax_rec.reporting.tables import format_bytes


def print_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Prints what a run needs: parameters, memory, and how it would be executed.

    Args:
      console: where to.
      plan: the object that `plan --json` prints.
    """
    console.print(parameters_table(plan["parameters"]))
    console.print(memory_table(plan))
    for line in _facts(plan):
        console.print(escape(line), highlight=False, soft_wrap=True)


def parameters_table(parameters: list[dict[str, Any]]) -> Table:
    """A row for each role and shape."""
    table = Table("parameters", "shape")
    table.add_column("numbers", justify="right")
    table.add_column("size", justify="right")
    for entry in parameters:
        role = entry["role"] + (", a client" if entry["role"] == "private" else "")
        table.add_row(role, entry["shape"], f"{entry['numbers']:,}", format_bytes(entry["bytes"]))
    return table


def memory_table(plan: Mapping[str, Any]) -> Table:
    """What lies in memory, and what of it a single client keeps."""
    kept, at_rest, working = plan["client"], plan["at_rest"], plan["round"]
    table = Table("memory", "what it is")
    table.add_column("size", justify="right")
    owners = ", ".join(f"{owner} {format_bytes(size)}" for owner, size in kept.items() if size)
    store = f"{plan['num_clients']:,} clients" + (f", each {owners}" if owners else "")
    rows = [
        ("server", "shared parameters, optimizer and other state", at_rest["server"]),
        ("client store", store, at_rest["store"]),
        ("frozen", "parameters that are never trained", at_rest["frozen"]),
        ("data", "training histories", at_rest["data"]),
    ]
    if working:
        on = f", on each of {working['num_devices']} devices" if working["num_devices"] > 1 else ""
        what = f"beside these, in {working['num_rounds']} rounds at a time{on}"
        rows.append(("round", what, working["working"]))
    if asking := plan["evaluation"]:
        encoding = asking["encoding"]
        also = f", {format_bytes(encoding)} to encode items first" if encoding else ""
        rows.append(("evaluation", f"in place of a round's{also}", asking["working"]))
    rows += [
        ("gathered", "the store on one device, to evaluate it", plan["memory"]["gathered"]),
        ("checkpoint", "a copy on the host while it is written", plan["memory"]["checkpoint"]),
        ("process", "Python, jax and its compiler so far", plan["memory"]["process"]),
    ]
    for name, what, size in rows:
        if size:
            table.add_row(name, escape(what), format_bytes(size))
    table.add_section()
    available = plan["memory"]["available"]
    limit = f", of {format_bytes(available)} available" if available is not None else ""
    table.add_row("in all", f"at most{limit}", format_bytes(plan["memory"]["needed"]))
    return table


def _facts(plan: Mapping[str, Any]) -> list[str]:
    sent, cohort, execution = plan["communication"], plan["cohort"], plan["execution"]
    bound = "at most " if sent["is_bound"] else ""
    settings = ", ".join(f"{name.replace('_', ' ')} {v}" for name, v in execution.items())
    lines = [
        f"communication ({sent['payload']}): {bound}{format_bytes(sent['up'])} up and "
        f"{bound}{format_bytes(sent['down'])} down per client and round"
        + (", in the mean of a first cohort" if sent["is_mean"] else ""),
        f"cohort: {cohort['expected']:,.6g} of {plan['num_clients']:,} clients a round"
        f" ({cohort['sampler']}), {plan['num_items']:,} items",
        f"execution: {settings}; {plan['devices']['count']} x {plan['devices']['kind']}",
    ]
    if plan["round"]:
        lines.append(f"compile: {plan['round']['compile_seconds']:.1f} s")
    return lines
