"""What a run is: everything that its results depend on, as plain data.

It is written into every checkpoint, `config.toml` and `summary.json`, so that a folder never
hands out, or goes on with, what was made of something else. Rounds, checkpoints and execution
change no result and are no part of it.
"""

import dataclasses
import functools
import hashlib
import json
import math
import types
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from fedjax_rec.base import CohortSampler, FederatedAlgorithm, Key, Part, PyTree
from fedjax_rec.data import FederatedData, fingerprint
from fedjax_rec.simulation.plans import EarlyStop, EvaluationPlan
from fedjax_rec.tree import named_leaves

Facts = dict[str, Any]
"""JSON: part -> key -> value."""

DEEPEST = 12
"""How deep a function's own values are followed."""


def identity_of(
    algorithm: FederatedAlgorithm,
    data: FederatedData,
    key: Key,
    initial: PyTree,
    frozen: Part,
) -> Facts:
    """What the parameters of a run depend on, whatever they are asked.

    Args:
      algorithm: the filled slots.
      data: training histories and held-out items.
      key: the root of all randomness.
      initial: `(state, clients)` at round 0; their shapes are a part.
      frozen: what is never trained; its numbers are a part.
    """
    recipe = getattr(algorithm, "recipe", None)
    slots = (one for one in dataclasses.fields(algorithm) if one.name != "recipe")
    parts = {one.name: getattr(algorithm, one.name) for one in slots}
    return _plain(
        {
            "key": {"words": np.asarray(jax.random.key_data(key)).ravel().tolist()},
            "algorithm": recipe.describe() if recipe else {},
            "slots": dict(_described(parts)),
            "shapes": {name: shape_of(leaf) for name, leaf in named_leaves(initial).items()},
            "frozen": {name: checksum(leaf) for name, leaf in named_leaves(frozen).items()},
            "data": fingerprint(data),
        }
    )


def terms_of(
    protocol: Mapping[str, Any],
    evaluation: EvaluationPlan,
    stop: EarlyStop | None,
    sampler: CohortSampler,
    payload: str,
    plugins: Mapping[str, str],
) -> Facts:
    """The rest of what a run's log and summary depend on."""
    return _plain(
        {
            "protocol": dict(protocol),
            "evaluation": dataclasses.asdict(evaluation),
            "stop": dataclasses.asdict(stop) if stop else {},
            "sampler": dict(_described({"sampler": sampler})),
            "communication": {"payload": payload},
            "plugins": dict(plugins),
        }
    )


def first_difference(old: Facts, new: Facts) -> tuple[str, Any, Any] | None:
    """The first fact that differs, with both values; a part that one lacks is not compared.

    >>> first_difference({"data": {"n": 1, "m": 2}}, {"data": {"n": 1, "m": 3}, "key": {}})
    ('data.m', 2, 3)
    """
    for part in (name for name in new if name in old):
        before, after = old[part], new[part]
        for name in [*after, *(name for name in before if name not in after)]:
            if before.get(name) != after.get(name):
                return f"{part}.{name}", before.get(name), after.get(name)
    return None


def difference_in_words(old: Facts, new: Facts) -> str:
    """What differs, as a clause of a message; empty where nothing does.

    >>> difference_in_words({"data": {"n": 1}}, {"data": {"n": 2}})
    'data.n was 1 and is 2'
    """
    found = first_difference(old, new)
    return f"{found[0]} was {_short(found[1])} and is {_short(found[2])}" if found else ""


def digests(facts: Facts) -> dict[str, str]:
    """SHA-256 of each part, for people and files that have no room for all of it.

    >>> list(digests({"data": {"n": 1}}))
    ['data']
    """
    return {
        part: hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        for part, values in facts.items()
    }


def rates_of(facts: Facts) -> list[str]:
    """The learning rates of an algorithm, `name (value)`, largest first.

    A name that two have is told with what it belongs to.

    >>> rates_of({"algorithm": {"algorithm.item_learning_rate": 5.0, "algorithm.dim": 3}})
    ['item_learning_rate (5)']
    >>> rates_of({"algorithm": {"algorithm.learning_rate": 5.0, "server.learning_rate": 1.0}})
    ['algorithm.learning_rate (5)', 'server.learning_rate (1)']
    """
    known = facts.get("algorithm") or facts.get("slots") or {}
    found = {
        name: value
        for name, value in known.items()
        if isinstance(value, int | float) and name.endswith("learning_rate") and value
    }
    owners = Counter(map(_last, found))
    return [
        f"{_last(name) if owners[_last(name)] == 1 else name} ({value:g})"
        for name, value in sorted(found.items(), key=lambda rate: -rate[1])
    ]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


# ------------------------------------------------------------ values inside functions


def _described(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted path -> plain value of everything that functions and dataclasses hold."""
    yield from _walk("", dict(parts), frozenset(), 0)


def _walk(path: str, value: Any, above: frozenset[int], depth: int) -> Iterator[tuple[str, Any]]:
    if value is None or isinstance(value, bool | int | float | str):
        yield path, value
        return
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        yield path, checksum(value)
        return
    yield path or ".", _kind(value)
    if id(value) in above or depth > DEEPEST:
        return
    for name, inner in _held_by(value).items():
        below = f"{path}.{name}" if path else str(name)
        yield from _walk(below, inner, above | {id(value)}, depth + 1)


def _kind(value: Any) -> str:
    named = value if callable(value) and hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def _held_by(value: Any) -> dict[Any, Any]:
    """What an object holds, by name."""
    if isinstance(value, functools.partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, types.FunctionType):
        return _held_by_function(value)
    if isinstance(value, types.MethodType):
        return {"self": value.__self__}
    if hasattr(value, "__wrapped__"):
        return {"wrapped": value.__wrapped__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    if isinstance(value, tuple | list):
        return dict(enumerate(value))
    return {}


def _held_by_function(function: types.FunctionType) -> dict[Any, Any]:
    held: dict[Any, Any] = {}
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not yet filled
            continue
    defaults = function.__defaults__ or ()
    return held | {f"default {n}": one for n, one in enumerate(defaults)}


# ------------------------------------------------------------------- plain data


def shape_of(leaf: Any) -> str:
    """Dtype and shape of an array, or of a `jax.ShapeDtypeStruct`.

    >>> shape_of(np.zeros((2, 3), np.float32))
    'float32[2, 3]'
    """
    return f"{leaf.dtype}{list(leaf.shape)}"


def checksum(leaf: Any) -> str:
    """Dtype, shape and CRC-32 of an array."""
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return f"{shape_of(array)}:{zlib.crc32(array.tobytes()):08x}"


def _plain(facts: Facts) -> Facts:
    """As it is once it was written as JSON and read again, numbers that are not finite as text."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(name): finite(one) for name, one in value.items()}
        if isinstance(value, tuple | list):
            return [finite(one) for one in value]
        return repr(value) if isinstance(value, float) and not math.isfinite(value) else value

    plain: Facts = json.loads(json.dumps(finite(facts)))
    return plain


def _short(value: Any, most: int = 60) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
