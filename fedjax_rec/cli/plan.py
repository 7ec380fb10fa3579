"""`fedjax-rec plan`: what a run needs, known before it runs."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg

from fedjax_rec.cli.memory import free_memory, needed_memory, parse_bytes, refuse_too_big
from fedjax_rec.cli.plugins import Plugins, load_plugins
from fedjax_rec.cli.process import prepare_process
from fedjax_rec.config import load_preset
from fedjax_rec.cpu import available_memory

if TYPE_CHECKING:
    from fedjax_rec.experiment import Experiment


@dataclass(frozen=True)
class Plan:
    """What a run needs, before it runs: parameters, memory, bytes. Nothing is trained.

    Every key below may be given, as for `run`. A run that cannot fit is refused.
    """

    preset: Annotated[Positional[str], arg(metavar="PRESET|FILE.toml")]
    """A preset such as ml-100k/fedmf, or a TOML file."""

    memory: Annotated[str, arg(metavar="SIZE")] = ""
    """Plan for a machine or device of this memory, such as 4GB; by default for this one."""

    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print a JSON object in place of tables."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    overrides: Suppress[tuple[str, ...]] = ()

    def execute(self) -> int:
        """Prints the plan; then refuses it where it does not fit."""
        config = load_preset(self.preset, self.overrides)
        limit = parse_bytes(self.memory) if self.memory else None
        tell_settings = prepare_process()
        host_memory = available_memory()  # before this process takes any

        from fedjax_rec.experiment import build, resolve
        from fedjax_rec.reporting import open_console, print_plan
        from fedjax_rec.simulation.records import to_json

        load_plugins(self.plugin)
        experiment = build(resolve(config))
        tell_settings()
        _ = experiment.start  # refused where it does not fit
        plan = make_plan(experiment, limit or free_memory(host_memory))
        if self.json:
            print(to_json(plan, indent=2))
        else:
            print_plan(open_console(), plan)
        refuse_too_big(plan, experiment)
        return 0


def make_plan(experiment: "Experiment", available: int | None) -> dict[str, Any]:
    """The plan as plain data, sizes in bytes.

    Args:
      experiment: what would be run.
      available: memory, in bytes; `None` where it is not known.
    """
    import jax

    from fedjax_rec.simulation import footprint
    from fedjax_rec.simulation.evaluation_memory import evaluation_memory
    from fedjax_rec.simulation.rounds import stretch_ends

    config, data, sampler = experiment.config, experiment.data, experiment.sampler
    at_rest = footprint.at_rest(experiment.algorithm, data)
    intervals = [experiment.evaluation.every, experiment.checkpoint.every]
    num_rounds = stretch_ends(0, config.rounds, intervals)[0]
    working = footprint.round_memory(
        experiment.algorithm, data, sampler, experiment.execution, num_rounds
    )
    asking = evaluation_memory(
        experiment.algorithm, data, experiment.evaluation, experiment.execution
    )
    payload = config.communication.payload
    sent = footprint.client_bytes(experiment.algorithm, data, payload, sampler)
    devices = jax.local_devices()
    return {
        "preset": config.preset,
        "algorithm": config.algorithm.name,
        "num_clients": data.num_clients,
        "num_items": data.num_items,
        "parameters": [
            {"role": role, "shape": shape, **size._asdict()}
            for (role, shape), size in at_rest.parameters.items()
        ],
        "client": at_rest.client,
        "at_rest": {name: getattr(at_rest, name) for name in ("server", "store", "frozen", "data")},
        "round": asdict(working) | {"working": working.working} if working else None,
        "evaluation": asdict(asking) | {"working": asking.working} if asking else None,
        "communication": {
            "payload": payload,
            "down": sent.down,
            "up": sent.up,
            "is_bound": payload == "rows",
            "is_mean": experiment.algorithm.sent is not None,
        },
        "cohort": {
            "sampler": config.cohort.sampler,
            "expected": sampler.event.expected_size,
            "capacity": sampler.event.capacity,
        },
        "execution": asdict(experiment.execution),
        "devices": {"kind": devices[0].device_kind, "count": len(devices)},
        "memory": needed_memory(at_rest, working, asking) | {"available": available},
    }
