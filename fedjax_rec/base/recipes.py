"""What an algorithm was made from, so that its numbers can be inputs of a compiled program.

A program is compiled for the *structure* of an algorithm: its factory, its whole numbers and
words, and what follows from them. Rates, strengths, decays and deviations change no shape.
They come in as arguments: the program builds the algorithm again, from tracers in their place.

What the structure depends on is decided once, from concrete numbers. Two rules hold:

- A number that is 0 is structure, for a 0 switches a part off. So is one that is not finite.
- `decided` answers any other question about numbers: when an algorithm is built it asks and
  keeps the answer, when it is built again inside a program it repeats the answer.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import jax

Answer = TypeVar("Answer")
Made = TypeVar("Made", bound="HasRecipe")
Number = float
"""A Python float, or a tracer in its place."""

_answers: ContextVar["list[Any] | Iterator[Any] | None"] = ContextVar("answers", default=None)


class HasRecipe(Protocol):
    """A frozen dataclass with a field `recipe` that is not part of `__init__`."""

    @property
    def recipe(self) -> "Recipe | None":
        """How it was made."""
        ...


@dataclass(frozen=True)
class Recipe:
    """How an object was made, and the numbers that may change without another structure.

    Attributes:
      name: what a message calls it.
      make: `numbers -> object`.
      numbers: name -> value, of those that a program takes as inputs.
      structure: all else that it was made from; hashable.
      answers: of `decided`, in the order in which they were asked.
    """

    name: str
    make: Callable[[Mapping[str, Any]], Any]
    numbers: Mapping[str, float] = field(hash=False)
    structure: tuple[Any, ...]
    answers: tuple[Any, ...]

    def rebuild(self, numbers: Mapping[str, Any]) -> Any:
        """The object with other numbers, such as tracers, and the same structure."""
        with _answering(iter(self.answers)):
            return self.make(dict(self.numbers) | dict(numbers))

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal where one program serves both."""
        return (self.name, tuple(sorted(self.numbers)), self.structure, self.answers)

    def describe(self) -> dict[str, Any]:
        """Its settings as plain data, those that have a plain form."""
        plain = {k: v for k, v in self.structure if isinstance(v, int | float | str | bool)}
        return {"name": self.name} | plain | dict(self.numbers)


@contextmanager
def _answering(answers: "list[Any] | Iterator[Any]") -> Iterator[None]:
    token = _answers.set(answers)
    try:
        yield
    finally:
        _answers.reset(token)


def decided(question: Callable[[], Answer]) -> Answer:
    """The answer to a question about concrete numbers, asked once.

    While an algorithm is built its answers are kept; while it is built again inside a
    program, whose numbers are tracers, they are repeated without asking. The question may
    raise: what is out of range is refused once.

    Args:
      question: returns something hashable.

    >>> decided(lambda: 0.5 > 0)
    True
    """
    answers = _answers.get()
    if answers is None:
        return question()
    if isinstance(answers, list):
        answers.append(answer := question())
        return answer
    repeated: Answer = next(answers)
    return repeated


def is_repeating() -> bool:
    """Whether an algorithm is being built again inside a program."""
    answers = _answers.get()
    return answers is not None and not isinstance(answers, list)


def is_zero(number: Any) -> bool:
    """Whether a number is 0, and so switches its part off; a tracer never is.

    >>> is_zero(0.0), is_zero(0.5)
    (True, False)
    """
    return not isinstance(number, jax.core.Tracer) and bool(number == 0)


def is_concrete(number: Any) -> bool:
    """Whether a number has a value now: ranges are checked of those alone.

    >>> is_concrete(0.5)
    True
    """
    return not isinstance(number, jax.core.Tracer)


def made_from(
    name: str,
    make: Callable[[Mapping[str, Any]], Made],
    numbers: Mapping[str, float],
    structure: tuple[Any, ...],
) -> Made:
    """Makes an object that knows how it was made.

    Args:
      name: what a message calls it.
      make: `numbers -> object`, asked again inside programs.
      numbers: name -> value; those that are 0 or not finite are structure.
      structure: all else that it is made from; hashable.

    Returns:
      `make(numbers)`, with its `recipe`; as it is where it is a part of a larger one.
    """
    if _answers.get() is not None:
        return make(numbers)
    answers: list[Any] = []
    with _answering(answers):
        made = make(numbers)
    inputs = {k: v for k, v in numbers.items() if v and math.isfinite(v)}
    constant = tuple(sorted((k, v) for k, v in numbers.items() if k not in inputs))
    recipe = Recipe(
        name,
        lambda given: make(dict(numbers) | dict(given)),
        inputs,
        (*structure, *constant),
        tuple(answers),
    )
    object.__setattr__(made, "recipe", recipe)
    return made


def parametric(factory: Callable[..., Made]) -> Callable[..., Made]:
    """A factory whose products know their numbers: those arguments that default to a float.

    Args:
      factory: every argument that is no number counts as structure: equal where it is
        hashable, the same object where it is not.

    >>> from fedjax_rec.algorithms import fedmf
    >>> sorted(fedmf(10, init_stddev=0.0).recipe.numbers)
    ['item_learning_rate', 'user_learning_rate']
    """
    signature = inspect.signature(factory)
    floats = [name for name, one in signature.parameters.items() if isinstance(one.default, float)]

    @functools.wraps(factory)
    def build(*args: Any, **kwargs: Any) -> Made:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        numbers = {
            name: float(value)
            for name in floats
            if isinstance(value := bound.arguments[name], int | float)
            and not isinstance(value, bool)
        }

        parts = {name: one for name, one in bound.arguments.items() if _has_recipe(one)}

        def make(given: Mapping[str, Any]) -> Made:
            arguments = bound.arguments | {name: given.get(name, n) for name, n in numbers.items()}
            if is_repeating():
                arguments |= {
                    name: part.recipe.rebuild(
                        {k: given.get(f"{name}.{k}", v) for k, v in part.recipe.numbers.items()}
                    )
                    for name, part in parts.items()
                }
            chosen = inspect.BoundArguments(signature, arguments)
            return factory(*chosen.args, **chosen.kwargs)

        if any(bound.arguments[name] is not None for name in floats if name not in numbers):
            return make({})  # tracers: it is a part of what is built in a program
        rest = tuple(
            (name, part.recipe.key if (part := parts.get(name)) else _hashable(value))
            for name, value in bound.arguments.items()
            if name not in numbers
        )
        inner = {f"{k}.{n}": v for k, part in parts.items() for n, v in part.recipe.numbers.items()}
        name = f"{factory.__module__}.{factory.__qualname__}"
        return made_from(name, make, numbers | inner, rest)

    return build


def _has_recipe(value: Any) -> bool:
    return isinstance(getattr(value, "recipe", None), Recipe)


class _ById:
    """Any object, equal to itself alone; it is kept alive as long as it is a key."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def structure_of(arguments: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Named arguments as structure: equal where they are hashable, else the same objects.

    >>> structure_of({"dim": 4})
    (('dim', 4),)
    """
    return tuple((name, _hashable(value)) for name, value in arguments.items())


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _hashable(each)) for key, each in value.items())
    try:
        hash(value)
    except TypeError:
        return _ById(value)
    return value


def identity(made: HasRecipe) -> Any:
    """What a program is compiled for: the recipe's structure, or the object itself."""
    return made.recipe.key if made.recipe else _ById(made)
