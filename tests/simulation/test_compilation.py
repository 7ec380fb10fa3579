"""Programs are compiled with what helps on this machine, and without what it does not know."""

import jax
import jax.numpy as jnp
import pytest

from fedjax_rec.simulation import compilation
from fedjax_rec.simulation.compilation import CPU_OPTIONS, compile_program

UNKNOWN = {"xla_of_another_year": True, "xla_backend_optimization_level": 2, "xla_neither": "x"}


class Lowered:
    """A lowered program that notes with which options it was compiled."""

    def __init__(self) -> None:
        self.lowered = jax.jit(lambda x: x + 1).lower(jnp.float32(1))
        self.tried: list[dict[str, object] | None] = []

    def compile(self, compiler_options: dict[str, object] | None = None) -> object:
        self.tried.append(compiler_options and dict(compiler_options))
        return self.lowered.compile(compiler_options=compiler_options)


def test_every_option_of_ours_is_known_to_this_version() -> None:
    program = Lowered()
    assert float(compile_program(program)(jnp.float32(1))) == 2  # type: ignore[operator]
    assert program.tried == [CPU_OPTIONS]


def test_unknown_options_are_dropped_and_the_program_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compilation, "CPU_OPTIONS", UNKNOWN)
    program = Lowered()
    assert float(compile_program(program)(jnp.float32(1))) == 2  # type: ignore[operator]
    assert program.tried[0] == UNKNOWN
    assert program.tried[-1] == {"xla_backend_optimization_level": 2}
    assert UNKNOWN == {**UNKNOWN, "xla_neither": "x"}, "the table itself stays"


def test_with_no_known_option_it_compiles_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "CPU_OPTIONS", {"xla_of_another_year": True})
    program = Lowered()
    compile_program(program)
    assert program.tried == [{"xla_of_another_year": True}, None]


def test_on_an_accelerator_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = Lowered()
    compile_program(program)
    assert program.tried == [None]


def test_an_error_that_is_not_about_an_option_is_passed_on() -> None:
    class Broken:
        def compile(self, compiler_options: object = None) -> object:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no memory")

    with pytest.raises(jax.errors.JaxRuntimeError, match="no memory"):
        compile_program(Broken())
