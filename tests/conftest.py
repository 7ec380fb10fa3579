"""What every test can use: real data where there are any, and an empty cache."""

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight devices on any machine: what names no device runs on the first, as with one. And little
# optimisation: most programs run a few times, on little. `make slow` optimises as users' runs do.
FLAGS = ["--xla_force_host_platform_device_count=8"]
if "OPTIMISED_TESTS" not in os.environ:
    FLAGS.append("--xla_backend_optimization_level=0")
    FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")  # a worker a core is enough
    if version("jaxlib").startswith("0.10."):  # a later XLA ends the process over it
        FLAGS.append("--xla_cpu_use_fusion_emitters=false")
for flag in FLAGS:
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
# What the command line chooses in its process would hold for the tests that come after.
os.environ.setdefault("FEDJAX_REC_CPU", "off")
# A program that several tests need is compiled once; a folder for each process, for jax does not
# write its files at one stroke. Processes that run one after another may name one for all.
COMPILED = os.environ.get("FEDJAX_REC_COMPILED_TESTS", "")
if not COMPILED:
    COMPILED = tempfile.mkdtemp(prefix="fedjax-rec-compiled-")
    atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

# Compiling takes longer than hypothesis' deadline, and a failure has to come again.
settings.register_profile("fedjax_rec", deadline=None, derandomize=True)
settings.load_profile("fedjax_rec")


@pytest.fixture(scope="session", autouse=True)
def _empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache folder of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDJAX_REC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


MOST_MAPPINGS = 25_000
"""Of memory, by one process: Linux allows 65,530, and a compiled program takes several. Past
them XLA ends the process."""


@pytest.fixture(scope="module", autouse=True)
def _few_programs() -> Iterator[None]:
    """Programs of earlier tests are forgotten before they are too many for the process."""
    yield
    held = Path("/proc/self/maps")
    if "jax" in sys.modules and held.exists():
        with held.open() as lines:
            is_full = sum(1 for _ in lines) > MOST_MAPPINGS
        if is_full:
            import jax

            from fedjax_rec.simulation.programs import clear_programs

            clear_programs()
            jax.clear_caches()
            gc.collect()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of data-set folders that FEDJAX_REC_DATA names."""
    named = os.environ.get("FEDJAX_REC_DATA")
    if not named:
        pytest.skip("needs real data: FEDJAX_REC_DATA is not set")
    if not Path(named).is_dir():
        pytest.skip(f"needs real data: FEDJAX_REC_DATA={named} is no folder")
    return Path(named)


@pytest.fixture(scope="session")
def rated_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small data set that says who people and films are.

    400 ratings of people aged 1 to 30, odd ones male, of 20 films, film n of the genre n % 4.
    """
    folder = tmp_path_factory.mktemp("rated")
    rng = np.random.default_rng(0)
    people, films = np.divmod(rng.permutation(30 * 20)[:400], 20)
    columns = (1 + people, 1 + films, rng.integers(1, 6, 400), rng.integers(1, 999, 400))
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    rows += ["\t".join(map(str, row)) for row in zip(*columns, strict=True)]
    (folder / "x.inter").write_text("\n".join(rows))
    rows = [f"{n}\t{n}\t{'FM'[n % 2]}" for n in range(1, 31)]
    (folder / "x.user").write_text("\n".join(["user_id:token\tage:token\tgender:token", *rows]))
    genres = ("Action", "Comedy", "Drama", "War")
    rows = [f"{n}\t{genres[n % 4]}" for n in range(1, 21)]
    (folder / "x.item").write_text("\n".join(["item_id:token\tclass:token_seq", *rows]))
    return str(folder)


@pytest.fixture(scope="session")
def ml_100k_folder(data_folder: Path) -> Path:
    """The folder of MovieLens-100K."""
    if not (data_folder / "ml-100k").is_dir():
        pytest.skip(f"needs real data: no ml-100k in {data_folder}")
    return data_folder / "ml-100k"


@pytest.fixture
def count_calls():
    """`function -> calls` that Python makes in it: a bound on work that no busy machine moves."""

    def count(function):
        calls = 0

        def note(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(note)
        try:
            function()
        finally:
            sys.setprofile(None)
        return calls

    return count
