"""Between the names of a problem's networks and the trees that fedjax_rec's models have."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import Problem
from fedjax_rec.models.ncf import Layer, Tower

Arrays = dict[str, NDArray[np.float32]]

ENCODER = {
    "positions": ("positions",),
    "scale4": ("LayerNorm_0", "scale"),
    "shift4": ("LayerNorm_0", "bias"),
} | {
    f"{name}{number}": ("blocks", *path, block)
    for block in range(2)
    for name, number, path in (
        *((name, block, ("attention", name, "kernel")) for name in ("query", "key", "value")),
        ("inner", block, ("inner", "kernel")),
        ("inner_bias", block, ("inner", "bias")),
        ("outer", block, ("outer", "kernel")),
        ("outer_bias", block, ("outer", "bias")),
        ("scale", 2 * block, ("LayerNorm_0", "scale")),
        ("shift", 2 * block, ("LayerNorm_0", "bias")),
        ("scale", 2 * block + 1, ("LayerNorm_1", "scale")),
        ("shift", 2 * block + 1, ("LayerNorm_1", "bias")),
    )
}


def dense_of(problem: Problem, put: Callable[[Any], Any]) -> Any:
    """The dense shared parameters that the workload's model starts from, each leaf `put`."""
    arrays = {name: put(array) for name, array in problem.extra.items()}
    if problem.settings.workload == "W3":
        half = problem.settings.dim
        first = arrays["kernel0"]
        hidden = [Layer(arrays[f"kernel{n}"], arrays[f"bias{n}"]) for n in (1, 2)]
        output = Layer(arrays["kernel3"][:, 0], arrays["bias3"][0])
        return Tower(first[:half], first[half:], arrays["bias0"], tuple(hidden), output)
    if problem.settings.workload == "W4":
        return _tree({path: arrays[name] for name, path in ENCODER.items()})
    return ()


def _tree(leaves: dict[tuple[Any, ...], Any]) -> Any:
    """Leaves by path as nested dictionaries; those of both blocks as one array."""
    if list(leaves) == [()]:
        return leaves[()]
    first = {path[0] for path in leaves}
    below = {
        step: _tree({path[1:]: leaf for path, leaf in leaves.items() if path[0] == step})
        for step in sorted(first)
    }
    return jnp.stack([below[0], below[1]]) if first == {0, 1} else below


def named_dense(workload: str, dense: Any) -> Arrays:
    """The way back."""
    if workload == "W3":
        layers = [Layer(np.concatenate([dense.user, dense.item]), dense.bias), *dense.hidden]
        layers.append(Layer(dense.output.weight[:, None], dense.output.bias[None]))
        kernels = {f"kernel{n}": layer.weight for n, layer in enumerate(layers)}
        return kernels | {f"bias{n}": layer.bias for n, layer in enumerate(layers)}
    if workload == "W4":
        found = {}
        for name, path in ENCODER.items():
            found[name] = dense
            for step in path:
                found[name] = found[name][step]
        return found
    return {}
