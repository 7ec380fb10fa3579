"""Mistakes that the author of a method makes, told in the author's words while tracing."""

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec import base, tree
from fedjax_rec.base import (
    ClientOutput,
    FederatedAlgorithm,
    History,
    Part,
    Private,
    PyTree,
    RowIds,
    ServerState,
    Stat,
    View,
)
from fedjax_rec.errors import MethodError

HERE = str(Path(__file__).parent)
FIELDS = ", ".join(ClientOutput._fields)


class BranchError(MethodError, jax.errors.JAXTypeError):
    """A Python branch on a number that is not known while tracing."""

    def __init__(self, message: str) -> None:
        """Without the link that jax adds."""
        TypeError.__init__(self, message)


@contextmanager
def in_words(slot: str) -> Iterator[None]:
    """Says what a function of the author's did wrong, where jax would tell of tracers.

    Args:
      slot: which function, such as `ClientUpdate.run`.
    """
    try:
        yield
    except BranchError:
        raise
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
        jax.errors.TracerBoolConversionError,
    ) as error:
        raise BranchError(
            f"{slot}: Python asks for the value of an array that is known only when the program "
            f"runs{_place(error)}; use jnp.where, jax.lax.cond or jax.lax.fori_loop in place of "
            "if, while, range, int, float or NumPy"
        ) from error


def _place(error: Exception) -> str:
    """The author's line that an error came from: the last one outside jax and the engine."""
    packages = (HERE, str(Path(jax.__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*packages, "<")):
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f" ({Path(frame.filename).name}, line {frame.lineno}: {line})"
    return ""


# ------------------------------------------------------------------------ clients


def refuse_output(template: Part, view: View, row_ids: RowIds, output: Any) -> None:
    """Refuses what is not the output of a client as the algorithm declares it.

    Args:
      template: of an update, with whole tables.
      view: what the client got.
      row_ids: the rows that its objective named.
      output: what `ClientUpdate.run` returned.

    Raises:
      MethodError: what is wrong, and how to mend it.
    """
    if not isinstance(output, ClientOutput):
        raise MethodError(
            f"ClientUpdate.run must return ClientOutput({FIELDS}); got {_kind(output)}"
        )
    declared, sent = _structure(template), _structure(output.update)
    if isinstance(output.update, Private) or sent != declared:
        raise MethodError(
            f"ClientOutput.update must have the tree of the algorithm's template, {declared}; "
            f"got {sent}. Private parameters never leave the client"
        )
    expected = jax.eval_shape(lambda part: tree.take(part, row_ids), template)
    _refuse_shapes(
        "ClientOutput.update",
        expected,
        output.update,
        "return a change of every row of the view, in its order, and of every dense leaf",
    )
    for name, kept, had in (
        ("private", output.private, view.private),
        ("memory", output.memory, view.memory),
    ):
        if _structure(kept) != _structure(had):
            raise MethodError(
                f"ClientOutput.{name} must keep its tree, {_structure(had)}; got {_structure(kept)}"
            )
        _refuse_shapes(f"ClientOutput.{name}", had, kept, "return it in the shape that it had")
        _refuse_types(f"ClientOutput.{name}", had, kept)
    _refuse_numbers(output)


def _refuse_numbers(output: ClientOutput) -> None:
    """The weight is one number, and what was observed are statistics."""
    if jnp.shape(output.weight) != ():
        raise MethodError(
            f"ClientOutput.weight must be one number, the client's size; got an array of shape "
            f"{jnp.shape(output.weight)}"
        )
    if not isinstance(output.info, dict):
        raise MethodError(f"ClientOutput.info must be a dict of Stat; got {_kind(output.info)}")
    for name, stat in output.info.items():
        if not isinstance(stat, Stat):
            raise MethodError(
                f"ClientOutput.info[{name!r}] must be Stat(total, weight); got {_kind(stat)}: "
                "write Stat(value * weight, weight)"
            )
        if jnp.shape(stat.total) != () or jnp.shape(stat.weight) != ():
            raise MethodError(
                f"ClientOutput.info[{name!r}]: total and weight must be single numbers; got "
                f"shapes {jnp.shape(stat.total)} and {jnp.shape(stat.weight)}"
            )


# ------------------------------------------------------------------------- server


def checked_state(before: ServerState, after: Any) -> ServerState:
    """What a server update returned, if it is a state like the one before.

    Raises:
      MethodError: what is wrong, and how to mend it.
    """
    if not isinstance(after, ServerState):
        raise MethodError(
            f"ServerUpdate.apply must return a ServerState; got {_kind(after)}: write "
            "return state._replace(shared=...)"
        )
    for name, had, now in zip(before._fields, before, after, strict=True):
        if _structure(had) != _structure(now):
            raise MethodError(
                f"ServerUpdate.apply must keep the tree of {name}, {_structure(had)}; got "
                f"{_structure(now)}"
            )
        _refuse_shapes(f"ServerUpdate.apply: {name}", had, now, "return it in the shape it had")
        _refuse_types(f"ServerUpdate.apply: {name}", had, now)
    return after


# ------------------------------------------------------------------------- slices


def refuse_slices(algorithm: FederatedAlgorithm, row_ids: RowIds) -> None:
    """Refuses slices for what needs whole tables, however long a client's slice may be.

    Args:
      algorithm: the filled slots.
      row_ids: of a client; `None` for a whole table, which a long history may come to.

    Raises:
      ValueError: the objective gives slices.
    """
    if "table" not in (algorithm.client_update.support, algorithm.aggregate.support):
        return
    sampler = algorithm.objective.sampler
    is_sliced = sampler is not None and sampler.is_sliced
    if is_sliced or _names_rows(row_ids) or _names_rows(_rows_of_one_event(algorithm)):
        raise ValueError(
            "a client update or transform needs every row (support='table') but the objective "
            "gives slices: build it with Sampler(is_sliced=False)"
        )


def _names_rows(row_ids: RowIds) -> bool:
    return any(ids is not None for ids in row_ids.values())


def _rows_of_one_event(algorithm: FederatedAlgorithm) -> RowIds:
    """The rows, as shapes, of a client of a single event."""
    ids: Any = jax.ShapeDtypeStruct((1,), jnp.int32)
    one: Any = jax.ShapeDtypeStruct((), jnp.int32)
    values: Any = jax.ShapeDtypeStruct((1,), jnp.float32)
    history = History(ids, values, ids, one, ids, one)
    rows: RowIds = jax.eval_shape(
        lambda key, history: algorithm.objective.prepare(key, history)[0],
        base.derive_key(jax.random.key(0), 0, 0, base.PREPARE),
        history,
    )
    return rows


# --------------------------------------------------------------------- comparisons


def _refuse_shapes(what: str, had: PyTree, got: PyTree, advice: str) -> None:
    for path, one, other in _pairs(had, got):
        if jnp.shape(one) != jnp.shape(other):
            raise MethodError(
                f"{what}{path} must have the shape {jnp.shape(one)}; got {jnp.shape(other)}: "
                f"{advice}"
            )


def _refuse_types(what: str, had: PyTree, got: PyTree) -> None:
    for path, one, other in _pairs(had, got):
        if jnp.result_type(one) != jnp.result_type(other):
            raise MethodError(
                f"{what}{path} was {jnp.result_type(one)} and is {jnp.result_type(other)}: return "
                f"it with .astype(jnp.{jnp.result_type(one)})"
            )


def _pairs(had: PyTree, got: PyTree) -> Iterator[tuple[str, Any, Any]]:
    for (path, one), other in zip(
        jax.tree_util.tree_leaves_with_path(had), jax.tree.leaves(got), strict=True
    ):
        yield jax.tree_util.keystr(path), one, other


def _structure(tree: PyTree) -> str:
    return str(jax.tree.structure(tree))


def _kind(value: Any) -> str:
    """What a value is, in words.

    >>> _kind((1, 2)), _kind(None), _kind(0.5)
    ('a tuple of 2', 'None', 'a float')
    """
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, jax.Array | jax.core.Tracer):
        name = "plain array"
    article = "an" if name[0] in "aeiou" else "a"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{article} {name}{size}"
