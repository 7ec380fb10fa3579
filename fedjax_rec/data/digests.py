"""What identifies the data of a run: the same in every process and on every machine."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.data.clients import FederatedData

Facts = Mapping[str, str | int]

_KNOWN: WeakKeyDictionary[FederatedData, Facts] = WeakKeyDictionary()
"""Each data set's facts; they are computed once."""


def fingerprint(data: FederatedData) -> dict[str, str | int]:
    """Counts and checksums of a data set as it is split, trained on and asked about.

    Args:
      data: its arrays must not change afterwards.

    Returns:
      `name`; `num_users`, `num_items` (those that are ranked), `num_events` (those that are
      trained on, another domain's included) and `num_held_out` (validation and test items);
      `sha256` of raw ids, events, negatives' exclusions and held-out items with their
      candidates; `titles_sha256` where items have titles, and `features_sha256` where
      records have features. What differs in titles alone differs in `titles_sha256` alone.
      What no result depends on, such as by how much the held-out event is the latest, is no
      part of them.

    >>> from fedjax_rec.data import load
    >>> facts = fingerprint(load("synthetic", num_users=30, num_items=40, mean_events=8))
    >>> facts["num_users"], facts["num_items"], facts["num_held_out"], len(facts["sha256"])
    (30, 40, 60, 64)
    """
    facts = _KNOWN.get(data)
    if facts is None:
        facts = MappingProxyType(_facts(data))
        _KNOWN[data] = facts
    return dict(facts)


def _facts(data: FederatedData) -> dict[str, str | int]:
    split = data.split
    facts: dict[str, str | int] = {
        "name": data.name,
        "num_users": data.num_clients,
        "num_items": data.num_items,
        "num_events": int(data.clients.items.shape[0]),
        "num_held_out": sum(
            int((held.items < data.num_items).sum()) for held in (split.valid, split.test)
        ),
        "sha256": _sha256(_of_events(data)),
    }
    titles = [("target", split.train.item_titles)]
    if split.train.other is not None:
        titles.append(("other", split.train.other.item_titles))
    if any(listed is not None for _, listed in titles):
        facts["titles_sha256"] = _sha256(titles)
    if data.features is not None:
        facts["features_sha256"] = _sha256([("features", data.features)])
    return facts


def _of_events(data: FederatedData) -> Iterator[tuple[str, Any]]:
    """Everything that training and questions depend on, by name."""
    split, clients = data.split, data.clients
    for name in ("items", "values", "times", "offsets", "excluded", "excluded_offsets"):
        yield f"clients.{name}", getattr(clients, name)
    for name in ("users", "items", "values", "times", "user_labels", "item_labels"):
        yield f"train.{name}", getattr(split.train, name)
    if split.train.other is not None:
        yield "other.item_labels", split.train.other.item_labels
    for name in ("valid", "test"):
        held = getattr(split, name)
        yield f"{name}.items", held.items
        yield f"{name}.values", held.values
    yield "held_users", split.held_users
    for name, is_held in sorted((split.held_items or {}).items()):
        yield f"held_items.{name}", is_held
    for name, listed in sorted((split.candidates or {}).items()):
        yield f"candidates.{name}", listed


def _sha256(parts: Iterable[tuple[str, Any]]) -> str:
    digest = hashlib.sha256()
    for name, part in parts:
        if part is None:
            digest.update(f"{name} none\n".encode())
            continue
        for array in _arrays(part):
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _arrays(part: Any) -> list[NDArray[Any]]:
    """A part as little-endian numbers; of texts, their lengths and their UTF-8 bytes."""
    if isinstance(part, tuple) or np.asarray(part).dtype.kind == "U":
        return _texts([str(text).encode() for text in part])
    array = np.asarray(part)
    return [array.astype(array.dtype.newbyteorder("<"), copy=False)]


def _texts(encoded: Sequence[bytes]) -> list[NDArray[Any]]:
    lengths = np.array([len(text) for text in encoded], "<i8")
    return [lengths, np.frombuffer(b"".join(encoded), np.uint8)]
