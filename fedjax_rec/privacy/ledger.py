"""What a run executed, written down as it happens: the only thing privacy is accounted from."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, NamedTuple

from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec.errors import UserError


class Executed(NamedTuple):
    """Consecutive rounds that were alike.

    Attributes:
      event: how their cohorts were drawn.
      mechanisms: the noise on what each of them released; none: they released it as it is.
      rounds: how many, at least 1.
    """

    event: SamplingEvent
    mechanisms: tuple[Mechanism, ...]
    rounds: int


Ledger = tuple[Executed, ...]
"""A run, in the order of its rounds."""


def add_rounds(
    ledger: Ledger, event: SamplingEvent, mechanisms: Iterable[Mechanism], rounds: int
) -> Ledger:
    """A ledger with more rounds at its end; those like the last ones only raise their number.

    Args:
      ledger: what was executed before.
      event: how the cohorts were drawn.
      mechanisms: the noise on what each round released.
      rounds: how many; 0 changes nothing.

    Raises:
      UserError: it cannot have happened: a negative number of rounds, a multiplier that is
        not a number, a cohort larger than the population.

    >>> everybody = SamplingEvent("all", 10, 10.0, 10)
    >>> noise = (Mechanism("gaussian", 2.0),)
    >>> ledger = add_rounds(add_rounds((), everybody, noise, 3), everybody, noise, 2)
    >>> [entry.rounds for entry in ledger]
    [5]
    """
    added = Executed(event, tuple(mechanisms), rounds)
    if rounds == 0:
        return ledger
    _refuse_impossible(added)
    added = added._replace(mechanisms=tuple(_of_floats(one) for one in added.mechanisms))
    if ledger and ledger[-1][:2] == added[:2]:
        return (*ledger[:-1], ledger[-1]._replace(rounds=ledger[-1].rounds + rounds))
    return (*ledger, added)


def num_rounds(ledger: Ledger) -> int:
    """How many rounds were executed."""
    return sum(entry.rounds for entry in ledger)


def to_record(ledger: Ledger) -> list[dict[str, Any]]:
    """A ledger as plain data for JSON, whose numbers come back to the bit.

    >>> event = SamplingEvent("poisson", 100, 10.0, 40)
    >>> record = to_record((Executed(event, (Mechanism("gaussian", 0.1),), 7),))
    >>> record[0]["rounds"], record[0]["mechanisms"][0]["noise_multiplier"]
    (7, 0.1)
    >>> from_record(record)[0].event == event
    True
    """
    return [
        {
            "event": {name: _plain(value) for name, value in asdict(entry.event).items()},
            "mechanisms": [
                {name: _plain(value) for name, value in asdict(one).items()}
                for one in entry.mechanisms
            ],
            "rounds": int(entry.rounds),
        }
        for entry in ledger
    ]


def from_record(records: Any) -> Ledger:
    """The ledger of a record.

    Args:
      records: what `to_record` made, perhaps through a file.

    Raises:
      UserError: it is no such record. Nothing is guessed: a ledger with a hole would
        understate what was spent.
    """
    if not isinstance(records, list | tuple):
        raise _damaged("it is not a list")
    ledger: Ledger = ()
    for number, record in enumerate(records):
        try:
            entry = _executed(record)
            _refuse_impossible(entry)
        except (AttributeError, TypeError, KeyError, ValueError, UserError) as error:
            raise _damaged(f"entry {number}: {error}") from error
        ledger = (*ledger, entry._replace(rounds=int(entry.rounds)))
    return ledger


def _executed(record: Mapping[str, Any]) -> Executed:
    if set(record) != {"event", "mechanisms", "rounds"}:
        raise ValueError(f"it has the fields {sorted(record)}")
    mechanisms = tuple(
        Mechanism(**{**one, "strategy": tuple(one.get("strategy", ()))})
        for one in record["mechanisms"]
    )
    return Executed(_event(record["event"]), mechanisms, record["rounds"])


def _event(record: Mapping[str, Any]) -> SamplingEvent:
    """An event; of a record without the law of who comes when, what such a record meant."""
    if set(record) != {"kind", "num_clients", "expected_size", "capacity"}:
        missing = {one.name for one in fields(SamplingEvent)} - set(record)
        if missing:
            raise ValueError(f"its event has no {sorted(missing)[0]}")
        return SamplingEvent(**record)
    if record["kind"] == "rotating":
        return SamplingEvent(**record, most=record["capacity"], within=record["num_clients"])
    if record["kind"] == "cyclic_poisson":  # its groups decide about amplification
        raise ValueError("its event does not say how often a client comes")
    return SamplingEvent(**record)


def _of_floats(one: Mechanism) -> Mechanism:
    """A mechanism whose numbers may have been arrays, which have no hash."""
    strategy = tuple(float(coefficient) for coefficient in one.strategy)
    return replace(one, noise_multiplier=float(one.noise_multiplier), strategy=strategy)


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python, a tuple as a list."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value


def _refuse_impossible(entry: Executed) -> None:
    event = entry.event
    for name, whole in (
        ("rounds", entry.rounds),
        ("num_clients", event.num_clients),
        ("capacity", event.capacity),
        ("most", event.most),
        ("within", event.within),
        ("burst + 1", event.burst + 1),
    ):
        if not _is_number(whole) or whole != int(whole) or whole < 1:
            raise _impossible(f"{name} {whole!r} is not a whole number above 0")
    words = [event.kind, *(word for one in entry.mechanisms for word in (one.kind, one.releases))]
    if not all(isinstance(word, str) for word in words):
        raise _impossible(f"its kinds are {words!r}, not words")
    if not _is_number(event.expected_size) or not 0 < event.expected_size <= event.num_clients:
        raise _impossible(
            f"an expected cohort of {event.expected_size!r} among {event.num_clients} clients"
        )
    for one in entry.mechanisms:
        if not _is_number(one.noise_multiplier) or one.noise_multiplier < 0:
            raise _impossible(f"noise multiplier {one.noise_multiplier!r}")
        if not all(_is_number(coefficient) for coefficient in one.strategy):
            raise _impossible("a strategy that is not made of numbers")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _impossible(what: str) -> UserError:
    return UserError(f"no such round can have been executed: {what}")


def _damaged(why: str) -> UserError:
    return UserError(
        f"the log of executed rounds is damaged ({why}), so nothing can be said about privacy; "
        "use the checkpoint before this one"
    )
