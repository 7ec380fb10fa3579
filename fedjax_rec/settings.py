"""What a factory's settings are, read from its signature, and values checked against it."""

import inspect
import typing
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from fedjax_rec.errors import UserError, did_you_mean

Scalar = int | float | str | bool
WORDS: dict[type, str] = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
}
Parameters = Mapping[str, inspect.Parameter]


def parameters_of(
    factory: Callable[..., Any], chosen: Mapping[str, Any] | None = None
) -> dict[str, inspect.Parameter]:
    """Everything that a factory takes, by name.

    Args:
      factory: may have `parameters_for(chosen)`, where parameters depend on settings.
      chosen: settings.

    >>> list(parameters_of(lambda num_items, *, dim=3: None))
    ['num_items', 'dim']
    """
    depending = getattr(factory, "parameters_for", None)
    if depending is not None:
        found: dict[str, inspect.Parameter] = depending(chosen or {})
        return found
    return dict(inspect.signature(factory).parameters)


def scalar_defaults(parameters: Parameters) -> dict[str, Scalar]:
    """The parameters that default to a number, a word or a truth value."""
    return {name: one.default for name, one in parameters.items() if _is_scalar(one.default)}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float | str | bool)


def kind_of(parameter: inspect.Parameter) -> type | None:
    """The type of a setting; `None` for a parameter that no configuration can set.

    >>> kind_of(inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, default=0.5))
    <class 'float'>
    """
    if _is_scalar(parameter.default):
        return type(parameter.default)
    if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
        return None
    return _plain(parameter.annotation)


def _plain(annotation: Any) -> type | None:
    """The plain type in an annotation such as `float`, `"float"` or `float | None`."""
    if isinstance(annotation, str):
        return {kind.__name__: kind for kind in WORDS}.get(annotation.partition(" |")[0])
    if get_origin(annotation) is Literal:
        return type(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, typing.Union):
        found = [kind for each in get_args(annotation) if (kind := _plain(each))]
        return found[0] if found else None
    return annotation if annotation in WORDS else None


def checked_settings(
    where: str, owner: str, parameters: Parameters, settings: Mapping[str, Any]
) -> dict[str, Scalar]:
    """The settings in the types that the parameters have.

    Args:
      where: what stands before a setting's name in a configuration, such as `algorithm`.
      owner: whose settings they are, for messages.
      parameters: of the factory.
      settings: what was said.

    Raises:
      UserError: an unknown setting or a wrong type.
    """
    kinds = {name: kind for name, one in parameters.items() if (kind := kind_of(one))}
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in kinds or (where == "algorithm" and key not in scalar_defaults(parameters)):
            known = scalar_defaults(parameters) if where == "algorithm" else kinds
            hint = did_you_mean(key, known) if known else " (it has none)"
            raise UserError(f"{where}.{key}: {owner} has no such setting{hint}")
        kind = kinds[key]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise UserError(f"{where}.{key}: expected {WORDS[kind]}, got {value!r}")
        checked[key] = value
    return checked


def refuse_missing(
    where: str, owner: str, parameters: Parameters, settings: Mapping[str, Any]
) -> None:
    """Refuses that a setting without a default is not set.

    Raises:
      UserError: one is missing.
    """
    for name, one in parameters.items():
        kind = kind_of(one)
        if kind is not None and one.default is one.empty and name not in settings:
            raise UserError(f"{where}.{name}: {owner} needs it; set it to {WORDS[kind]}")
