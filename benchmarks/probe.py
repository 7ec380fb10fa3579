"""What a device can do: its copy bandwidth, and how it adds many float32 updates to few rows.

`python -m benchmarks.probe [--small]` prints one line of JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec.simulation.compilation import cuda_warning

HAZARD_RATIO = 5.0
"""A scatter-add of float32 that takes this many times its expected time is a hazard.

Where both types are added by the device's own atomic operations, they take about as long as
each other; a compare-and-swap loop is tens to hundreds of times slower.
"""


def probe(*, megabytes: int = 512, num_updates: int = 2**18, repeats: int = 5) -> dict[str, Any]:
    """Measures the default device.

    Args:
      megabytes: size of the array that is copied, in MiB.
      num_updates: updates of a scatter-add, of 64 numbers each.
      repeats: of which the fastest copy and the median scatter-add count.
    """
    device = jax.devices()[0]
    bandwidth = copy_bandwidth(megabytes * 2**20, repeats)
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "copy_bytes_per_second": bandwidth,
        "scatter_add": scatter_add(num_updates, bandwidth, repeats),
    }


def copy_bandwidth(num_bytes: int, repeats: int) -> float:
    """Bytes a second, read and written, of the fastest of some passes over an array."""
    # a multiplication cannot be left out as a mere copy could, and costs no time beside it
    step = jax.jit(lambda array: array * jnp.float32(0.5), donate_argnums=0)
    array = step(jnp.ones(num_bytes // 4, jnp.float32)).block_until_ready()
    seconds = []
    passes = 8
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(passes):
            array = step(array)
        array.block_until_ready()
        seconds.append((time.perf_counter() - begin) / passes)
    return 2 * num_bytes / min(seconds)


def scatter_add(
    num_updates: int, bandwidth: float, repeats: int, *, num_rows: int = 8, dim: int = 64
) -> dict[str, Any]:
    """Times the sum of many float32 updates into few rows against what it should take.

    Expected is the longer of two times: that of the same scatter-add of int32, which devices
    add atomically, and that of the memory it moves: each update is read, its row read and
    written.

    Returns:
      Seconds, the ratio, whether it is a hazard, and what fedjax_rec says of this jax.
    """
    rows = jax.random.randint(jax.random.key(0), (num_updates,), 0, num_rows)
    seconds = {
        kind: _seconds_of_sum(rows, jnp.ones((num_updates, dim), kind), num_rows, repeats)
        for kind in ("float32", "int32")
    }
    moved = 3 * 4 * num_updates * dim / bandwidth
    return {
        "updates": num_updates,
        "rows": num_rows,
        "dim": dim,
        "seconds_float32": seconds["float32"],
        "seconds_int32": seconds["int32"],
        "seconds_by_bandwidth": moved,
        **verdict(seconds["float32"], max(seconds["int32"], moved)),
        "warning": cuda_warning(),
    }


def verdict(measured: float, expected: float) -> dict[str, Any]:
    """The ratio of two times, and whether it is a hazard.

    >>> verdict(0.5, 0.25)
    {'expected_seconds': 0.25, 'ratio': 2.0, 'is_hazardous': False}
    """
    ratio = measured / expected
    return {
        "expected_seconds": expected,
        "ratio": ratio,
        "is_hazardous": ratio >= HAZARD_RATIO,
    }


def _seconds_of_sum(rows: jax.Array, updates: jax.Array, num_rows: int, repeats: int) -> float:
    """Median seconds of one scatter-add."""
    zeros = jnp.zeros((num_rows, updates.shape[1]), updates.dtype)
    add = jax.jit(lambda rows, updates: zeros.at[rows].add(updates))
    return _median(lambda: add(rows, updates).block_until_ready(), repeats)


def _median(work: Callable[[], Any], repeats: int) -> float:
    work()  # compiles
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def main(words: list[str] | None = None) -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe", description=__doc__)
    parser.add_argument("--small", action="store_true", help="sizes for a trial on a CPU")
    small = parser.parse_args(words).small
    print(json.dumps(probe(megabytes=16, num_updates=2**13) if small else probe()))


if __name__ == "__main__":
    main()
