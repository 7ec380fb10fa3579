"""What memory a run may take, and what to do where it needs more."""

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fedjax_rec.errors import UserError

if TYPE_CHECKING:
    from fedjax_rec.experiment import Experiment
    from fedjax_rec.simulation.evaluation_memory import EvaluationMemory
    from fedjax_rec.simulation.footprint import AtRest, RoundMemory

PREFIXES = ("", "K", "M", "G", "T")
UNITS = {"": 1} | {f"{prefix}B": 1000**power for power, prefix in enumerate(PREFIXES)}
UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate(PREFIXES) if prefix}

FIRST_CHUNK = 16
"""Where smaller chunks are tried from when the size is left to the engine."""

WIDTH = "dim"
"""The setting that, where an algorithm has it, memory grows with."""


def parse_bytes(text: str) -> int:
    """Bytes from a number and a unit.

    Raises:
      UserError: not of that form.

    >>> parse_bytes("1.5GB"), parse_bytes("2 GiB"), parse_bytes("900")
    (1500000000, 2147483648, 900)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in UNITS:
        raise UserError(f"memory: expected a size such as 4GB or 512MiB, got {text!r}")
    return int(float(found[1]) * UNITS[found[2].upper()])


def needed_memory(
    at_rest: "AtRest",
    working: "RoundMemory | None",
    asking: "EvaluationMemory | None" = None,
) -> dict[str, int]:
    """Bytes that a run takes: `needed` in all, and parts that no device's program knows.

    On an accelerator these are the bytes of one device. The devices of a host share its
    memory with the process, in which the data are already, and with the checkpoint. A
    store that lies on several devices is gathered on one, to be evaluated and saved.
    """
    import jax

    from fedjax_rec.simulation.progress import peak_megabytes

    a_device = working.total if working else at_rest.to_allocate + at_rest.data
    if working and asking:  # one after the other
        a_device += max(asking.working - working.working, 0)
    num_devices = working.num_devices if working else 1
    gathered = at_rest.store if num_devices > 1 else 0
    parts = {"process": 0, "checkpoint": 0, "gathered": gathered}
    if jax.local_devices()[0].platform != "cpu":
        return {"needed": a_device + gathered} | parts
    parts |= {"process": int(peak_megabytes() * 10**6), "checkpoint": at_rest.saved}
    return {"needed": num_devices * a_device - at_rest.data + sum(parts.values())} | parts


def free_memory(host_memory: int | None) -> int | None:
    """What an accelerator holds, or `host_memory` where there is none."""
    import jax

    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return host_memory
    return (device.memory_stats() or {}).get("bytes_limit")


def refuse_impossible(experiment: "Experiment", host_memory: int | None) -> None:
    """Refuses, before anything is allocated or written, a run that cannot begin.

    Args:
      experiment: what is to be run.
      host_memory: what the system had left before the data were read.

    Raises:
      UserError: its parameters alone need more than is available, or what it is to start from
        is not there or does not fit.
    """
    from fedjax_rec.reporting import format_bytes
    from fedjax_rec.simulation.footprint import at_rest

    _ = experiment.start
    sizes = at_rest(experiment.algorithm, experiment.data)
    working = experiment.algorithm.server_update.working_bytes
    needed, available = sizes.to_allocate + sizes.data + working, free_memory(host_memory)
    if available is not None and needed > available:
        what = "client store, data and the server's work" if working else "client store and data"
        raise UserError(
            f"does not fit: parameters, {what} need {format_bytes(needed)} of "
            f"memory, {format_bytes(available)} are available; fedjax-rec plan with the same "
            "words says what would fit"
        )


def refuse_too_big(plan: dict[str, Any], experiment: "Experiment") -> None:
    """Refuses what does not fit, and says what would.

    Raises:
      UserError: the run needs more than is available.
    """
    from fedjax_rec.reporting import format_bytes

    needed, available = plan["memory"]["needed"], plan["memory"]["available"]
    if available is None or needed <= available:
        return
    if (process := plan["memory"]["process"]) >= available:
        hint = f"Python, jax and its compiler alone take {format_bytes(process)}"
    else:
        hint = smaller_chunk(plan, experiment) or smaller_width(plan, experiment)
    raise UserError(
        f"does not fit: needs {format_bytes(needed)} of memory, {format_bytes(available)} are "
        f"available; {hint or 'nothing smaller was found that fits'}"
    )


def devices_in_one_memory(plan: dict[str, Any]) -> int:
    """How many devices of the run share a memory: all of a host, each accelerator by itself."""
    is_host = plan["memory"]["process"] > 0
    return plan["round"]["num_devices"] if is_host and plan["round"] else 1


def smaller_chunk(plan: dict[str, Any], experiment: "Experiment") -> str:
    """The largest chunk, of halves of the present one, with which the run fits."""
    from fedjax_rec.simulation.footprint import round_memory

    working, memory = plan["round"], plan["memory"]
    if not working:
        return ""
    num_here = devices_in_one_memory(plan)
    asking = (plan["evaluation"] or {"working": 0})["working"]
    fixed = memory["needed"] - num_here * max(working["working"], asking)
    size = experiment.execution.chunk_size or FIRST_CHUNK
    while fixed < memory["available"] and (size := size // 2):
        execution = replace(experiment.execution, chunk_size=size)
        tried = round_memory(
            experiment.algorithm,
            experiment.data,
            experiment.sampler,
            execution,
            working["num_rounds"],
        )
        if tried and fixed + num_here * max(tried.working, asking) <= memory["available"]:
            return f"it fits with --execution.chunk_size {size}"
    return ""


def smaller_width(plan: dict[str, Any], experiment: "Experiment") -> str:
    """The largest width with which the run should fit: memory is nearly linear in it."""
    from fedjax_rec.experiment import build
    from fedjax_rec.simulation.footprint import at_rest

    config, memory = experiment.config, plan["memory"]
    settings = config.algorithm.settings
    width = settings.get(WIDTH)
    if not isinstance(width, int) or width < 2:
        return ""
    half = replace(config.algorithm, settings=settings | {WIDTH: width // 2})
    try:
        narrow = build(replace(config, algorithm=half), notice=lambda line: None)
    except UserError:  # not every width will do, as where heads share it
        return ""
    num_devices = plan["round"]["num_devices"] if plan["round"] else 1
    num_here = devices_in_one_memory(plan)

    def resting(each: "Experiment") -> float:
        sizes = at_rest(each.algorithm, each.data)
        bytes = num_here * (sizes.server + sizes.frozen + sizes.store / num_devices)
        bytes += sizes.store if memory["gathered"] else 0
        return bytes + (sizes.saved if memory["checkpoint"] else 0)

    slope = (resting(experiment) - resting(narrow)) / (width - width // 2)
    at_work = [plan[part]["working"] for part in ("round", "evaluation") if plan[part]]
    slope += num_here * max(at_work, default=0) / width
    fitting = math.floor(width - (memory["needed"] - memory["available"]) / slope)
    return f"it should fit with --algorithm.{WIDTH} {fitting}" if fitting >= 1 else ""
