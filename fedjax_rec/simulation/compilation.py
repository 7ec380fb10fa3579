"""How a round's program is compiled."""

from typing import Any

import jax

CPU_OPTIONS: dict[str, bool | int | str] = {
    # level 3 makes the scatter of rows two to three times slower
    "xla_backend_optimization_level": 2,
    # the library that small reductions would go to is ten times slower at them
    "xla_cpu_experimental_ynn_fusion_type": "",
}
"""What was measured to help on CPUs; an XLA that does not know an option goes without."""

SLOW_ON_CUDA = ("0.10.2", "0.11.0")


def compile_program(lowered: Any) -> Any:
    """Compiles `jax.jit(...).lower(...)`; on a CPU, with `CPU_OPTIONS`."""
    options = dict(CPU_OPTIONS) if jax.default_backend() == "cpu" else {}
    while options:
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            unknown = [name for name in options if name in str(error)]
            if not unknown:
                raise
            for name in unknown:
                del options[name]
    return lowered.compile()


def cuda_warning() -> str:
    """What to tell a user whose jax adds rows slowly on CUDA; empty otherwise.

    In these versions a scatter-add of float32 is compiled to a compare-and-swap loop, up to
    hundreds of times slower where many updates meet in a row (jax issue 38806).
    """
    is_slow = jax.__version__ in SLOW_ON_CUDA and jax.default_backend() == "gpu"
    return (
        f"warning: jax {jax.__version__} adds up rows very slowly on CUDA (jax issue 38806): "
        "install another version, 0.11.1 or newer"
        if is_slow
        else ""
    )
