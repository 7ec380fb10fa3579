"""`fedjax-rec check`: somebody's method, put to the laws."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from fedjax_rec.cli.plugins import Plugins, load_plugins
from fedjax_rec.cli.process import prepare_process
from fedjax_rec.errors import UserError

if TYPE_CHECKING:
    from fedjax_rec.testing import Outcome


@dataclass(frozen=True)
class Check:
    """Put everything that a plug-in registers to the laws; exit code 1 where one is broken."""

    file: Annotated[Positional[str], arg(metavar="FILE.py")]
    """Python file of a plug-in, or an installed one."""

    plugin: Plugins = ()
    """Further plug-ins that it needs; may be given several times."""

    def execute(self) -> int:
        """Prints a line for each law, as soon as it is known."""
        tell_settings = prepare_process()

        from fedjax_rec.plugins import load_plugin

        load_plugins(self.plugin)
        plugin = load_plugin(self.file)
        registered = plugin.registered()
        if not registered:
            raise UserError(
                f"{self.file}: registers nothing; put @register.algorithm('my_method') above the "
                "function that makes it"
            )
        tell_settings()
        verdicts: list[str] = []
        for slot, name in registered:
            for outcome, seconds in _timed(_outcomes(slot, name)):
                verdicts.append(outcome.verdict)
                why = f": {outcome.why}" if outcome.why else ""
                label = f"{slot} {name}  {outcome.law}"
                print(f"{label}  {outcome.verdict} ({seconds:.1f} s){why}", flush=True)
        counts = (f"{verdicts.count(v)} {v}" for v in ("passed", "failed", "not applicable"))
        print(", ".join(counts))
        return 1 if "failed" in verdicts else 0


def _timed(outcomes: "Iterator[Outcome]") -> "Iterator[tuple[Outcome, float]]":
    start = time.perf_counter()
    for outcome in outcomes:
        yield outcome, time.perf_counter() - start
        start = time.perf_counter()


def _outcomes(slot: str, name: str) -> "Iterator[Outcome]":
    """What the laws say of an entry: of a model, through federated averaging of it."""
    from fedjax_rec.registry import ALGORITHMS, SLOTS
    from fedjax_rec.testing import Outcome, put_to_laws

    entry: Any = SLOTS[slot][name]
    if slot in ("algorithm", "baseline"):
        yield from put_to_laws(entry)
    elif slot in ("model", "objective"):
        yield from put_to_laws(ALGORITHMS.find("fedavg"), **{slot: name})
    elif slot == "transform":
        yield _of_transform(entry)
    else:
        yield Outcome("any", "not applicable", f"there is no law of a {SLOTS[slot].what}")


def _of_transform(factory: Any) -> "Outcome":
    """What the contract of transforms says, with 1 for every setting that has no default."""
    from fedjax_rec.settings import kind_of, parameters_of
    from fedjax_rec.testing import Outcome, check_transform

    law = "keeps_the_contract"
    needed = {
        name: kind_of(one)
        for name, one in parameters_of(factory).items()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    if unset := [name for name, kind in needed.items() if kind not in (int, float)]:
        why = f"no value is known for {', '.join(unset)}; give a default"
        return Outcome(law, "not applicable", why)
    try:
        check_transform(factory(**{name: kind(1) for name, kind in needed.items() if kind}))
    except Exception as error:  # noqa: BLE001  whatever an author's code may raise
        return Outcome(law, "failed", f"{type(error).__name__}: {error}")
    return Outcome(law, "passed")
