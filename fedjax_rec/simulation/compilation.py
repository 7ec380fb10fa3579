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
