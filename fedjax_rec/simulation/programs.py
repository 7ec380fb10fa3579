"""Compiled programs, shared by all runs of a process whose structure is the same.

A program takes an algorithm's numbers as its first argument and builds the algorithm from
them when it is traced (`base.recipes`). So another seed or another rate compiles nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from fedjax_rec.base import FederatedAlgorithm, PyTree
from fedjax_rec.base.recipes import identity
from fedjax_rec.simulation.compilation import compile_program
from fedjax_rec.simulation.engine import build
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.lapack import devices_of, refuse_lapack

Numbers = Mapping[str, float]
Function = Callable[..., Any]
Make = Callable[[FederatedAlgorithm], Function]

MOST_PROGRAMS = 64
"""The oldest is forgotten beyond it: a program keeps what its algorithm closes over."""

_programs: OrderedDict[Hashable, Any] = OrderedDict()
_constants: dict[Hashable, frozenset[str]] = {}


def clear_programs() -> None:
    """Forgets every compiled program of this process."""
    _programs.clear()
    _constants.clear()


class Shared:
    """The programs of one algorithm, as far as another run has not made them already.

    Attributes:
      algorithm: with its own, concrete numbers.
    """

    def __init__(
        self, algorithm: FederatedAlgorithm, notice: Callable[[str], None] = lambda line: None
    ) -> None:
        """Compiles nothing yet; `notice` hears of numbers that cannot be inputs."""
        self.algorithm, self._notice = algorithm, notice
        self._identity = identity(algorithm)
        self._given = dict(algorithm.recipe.numbers) if algorithm.recipe else {}

    @property
    def numbers(self) -> dict[str, float]:
        """What programs take as their first argument."""
        constants = _constants.get(self._identity, frozenset())
        return {name: value for name, value in self._given.items() if name not in constants}

    def call(self, name: Hashable, make: Make, *args: PyTree) -> Any:
        """`make(algorithm)(*args)`, by a program that is compiled once for a structure.

        Args:
          name: of the function, with everything else that `make` closes over.
          make: `algorithm -> function`.
          *args: of the function.
        """
        return self.compiled(name, make, *args)(self.numbers, *args)

    def compiled(self, name: Hashable, make: Make, *args: PyTree) -> Any:
        """The program of `call`, of arguments like these; shapes will do."""
        return self._program((name, _shapes(args)), make, args, lower_compiled, ())

    def rounds(self, execution: Execution, *args: PyTree) -> "Bound":
        """The program of a stretch of rounds, of arguments like these; it donates the first two.

        Args:
          execution: how rounds are run.
          *args: `(state, clients, cohorts, fixed)`, or their shapes.
        """

        def make(algorithm: FederatedAlgorithm) -> Function:
            return build(algorithm, execution).rounds

        name = ("rounds", execution, _shapes(args))
        program = self._program(name, make, args, compile_program, (1, 2))
        return Bound(program, self.numbers)

    def _program(
        self,
        name: Hashable,
        make: Make,
        args: tuple[PyTree, ...],
        compile: Callable[[Any], Any],
        donated: tuple[int, ...],
    ) -> Any:
        function = self._of_numbers(make)
        function.__name__ = _label(name)  # jax names the program after it

        def lower() -> Any:
            traced = jax.jit(function, donate_argnums=donated).trace(self.numbers, *args)
            refuse_lapack(traced.jaxpr.jaxpr, devices_of(args), "its programs")
            return traced.lower()

        def compiled() -> Any:
            try:
                return compile(lower())
            except (jax.errors.JAXTypeError, RuntimeError, StopIteration) as error:
                if not self._found_constants(function, args):
                    raise error from None
                return compile(lower())

        program = _programs.get(key := (name, self._key()))
        if program is None:
            program = compiled()
            key = (name, self._key())  # constants may have been found
            _programs[key] = program
            while len(_programs) > MOST_PROGRAMS:
                _programs.popitem(last=False)
        _programs.move_to_end(key)
        return program

    def _key(self) -> Hashable:
        numbers = self.numbers
        constants = tuple((k, v) for k, v in sorted(self._given.items()) if k not in numbers)
        return self._identity, constants

    def _of_numbers(self, make: Make) -> Function:
        """The function of numbers and arrays: it builds the algorithm of those numbers."""
        recipe, algorithm = self.algorithm.recipe, self.algorithm

        def function(numbers: Numbers, *args: Any) -> Any:
            return make(recipe.rebuild(numbers) if recipe else algorithm)(*args)

        return function

    def _found_constants(self, function: Function, args: tuple[PyTree, ...]) -> bool:
        """Whether there are numbers whose values Python code asks for, and no other fault.

        They are constants from now on, and the user is told.
        """

        def is_traceable(numbers: Numbers) -> bool:
            try:
                jax.eval_shape(function, numbers, *args)
            except (jax.errors.JAXTypeError, RuntimeError, StopIteration):
                return False
            return True

        if self.algorithm.recipe is None or not is_traceable({}):
            return False
        found = [n for n, value in self.numbers.items() if not is_traceable({n: value})]
        self._notice(
            f"{', '.join(found)} of {self.algorithm.recipe.name}: compiled as a constant, for "
            "Python code asks for the value; every other value compiles again"
        )
        _constants[self._identity] = _constants.get(self._identity, frozenset()) | set(found)
        return bool(found)


@dataclass(frozen=True)
class Bound:
    """A compiled program with its algorithm's numbers.

    Attributes:
      compiled: by jax; takes the numbers first.
      numbers: of this algorithm.
    """

    compiled: Any
    numbers: Numbers

    def __call__(self, *args: PyTree) -> Any:
        """Runs it."""
        return self.compiled(self.numbers, *args)


def lower_compiled(lowered: Any) -> Any:
    """Compiles with jax's own options."""
    return lowered.compile()


def _label(name: Hashable) -> str:
    """The word that a name begins with."""
    return _label(name[0]) if isinstance(name, tuple) else str(name)


def _shapes(args: PyTree) -> Hashable:
    leaves, structure = jax.tree.flatten(args)
    described = ((x.shape, str(x.dtype), getattr(x, "sharding", None)) for x in leaves)
    return structure, tuple(described)
