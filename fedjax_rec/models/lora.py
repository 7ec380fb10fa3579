"""LoRA: a frozen base, and beside some of its kernels two thin factors that are trained."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_rec.base import (
    Array,
    Inputs,
    ItemSide,
    Key,
    Model,
    Part,
    PyTree,
    View,
    empty,
    is_concrete,
    nothing_private,
)
from fedjax_rec.models.checks import refuse_out_of_range
from fedjax_rec.models.nested import leaf_at, leaves_of, named_by, nested, with_leaves

FACTORS = ("a", "b")
RESIDUAL = "residual"
"""What is added to a frozen kernel, at its place in what the server keeps."""

_DRAW = 0x10A4  # apart from the keys by which the base is drawn


def lora(
    model: Model,
    paths: str,
    rank: int = 8,
    *,
    alpha: float = 16.0,
    trained: str = "",
    is_a_frozen: bool = False,
) -> Model:
    """Low-rank adaptation of a model whose layers are flax's `nn.Dense`, as it is.

    A wanted layer `x W` becomes `x W + (alpha / r) (x a) b` with W frozen, a `[d_in, r]` and b
    `[r, d_out]`. b starts at 0, so that the model starts as its base; a is drawn from
    `N(0, 1 / d_in)`. The product is never merged into W: clients that are trained side by side
    read one W and have factors of their own. Kernels of a scan over layers, `[L, d_in, d_out]`,
    get factors `[L, d_in, r]` and `[L, r, d_out]`.

    Args:
      model: its dense parameters, shared or frozen, lie in dicts.
      paths: layers by their names, joined by commas: a path is one or more names in a row, so
        that `query` is all layers of that name and `attention/query` those within `attention`.
      rank: r, at least 1 and at most the smaller side of each kernel.
      alpha: above 0; the factors' product counts alpha / r times.
      trained: what else is trained, likewise: leaves, such as `bias`, or all that lies below
        a name, such as `head`. What was frozen is trained as a distance from there.
      is_a_frozen: only b is trained and sent (FFA-LoRA): means of b are exact then.

    Returns:
      The model, with all dense parameters frozen but for factors and `trained`. Factors stand in
      `shared.dense` at their kernel's place, as `a` and `b`. Rows of items stay as they were.

    Raises:
      ValueError: a path names nothing, or a number is out of range; when traced: a wanted kernel
        is not applied by an `nn.Dense`.

    Reference:
      Hu et al. (2022), "LoRA: low-rank adaptation of large language models", section 4.1; with
      `is_a_frozen`, Sun et al. (2024), "Improving LoRA in privacy-preserving federated
      learning". Difference: where `View.extra` has a `residual` at a kernel's place it is added
      to W (FedEx-LoRA, see `algorithms.fedlora`).

    >>> from fedjax_rec.models import sasrec
    >>> model = lora(sasrec(5, dim=8), "query,value", rank=2)
    >>> shared, _ = model.init(jax.random.key(0))
    >>> shared.dense["blocks"]["attention"]["query"]["a"].shape
    (2, 8, 2)
    """
    refuse_out_of_range(rank=rank)
    if is_concrete(alpha) and not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    parts = _Parts(model, paths, trained, rank)
    scale = alpha / rank

    def init(key: Key) -> tuple[Part, Part]:
        shared, frozen = model.init(key)
        drawn = {}
        for number, (name, kernel) in enumerate(sorted(parts.kernels.items())):
            own = jax.random.fold_in(jax.random.fold_in(key, _DRAW), number)
            *stack, d_in, d_out = kernel.shape
            drawn[(*name[:-1], "a")] = jax.random.normal(own, (*stack, d_in, rank)) * d_in**-0.5
            drawn[(*name[:-1], "b")] = jnp.zeros((*stack, rank, d_out))
        return parts.outside(shared, frozen, drawn, is_a_frozen)

    def applied(fun: Callable[..., Any], view: View, *args: PyTree, checks: bool = True) -> Any:
        served: set[tuple[str, ...]] = set()
        with factors_applied(scale, served):
            result = fun(parts.inside(view), *args)
        if checks:
            parts.refuse_unserved(served)
        return result

    def score(view: View, inputs: Inputs) -> Array:
        return applied(model.score, view, inputs)  # type: ignore[no-any-return]

    def factors(view: View, inputs: Inputs) -> tuple[Array, Array]:
        assert model.factors is not None
        return applied(model.factors, view, inputs)  # type: ignore[no-any-return]

    def encode(shared: Part, frozen: Part, extra: Part) -> PyTree:
        side, nobody = model.item_side, nothing_private()
        assert side is not None
        view = View(shared, nobody, frozen, nobody, extra)
        return applied(lambda v: side.encode(v.shared, v.frozen, v.extra), view, checks=False)

    def score_encoded(view: View, inputs: Inputs, encoded: PyTree) -> Array:
        side = model.item_side
        assert side is not None
        return applied(side.score, view, inputs, encoded, checks=False)  # type: ignore[no-any-return]

    return model.with_score(
        score,
        init=init,
        weights=model.weights and model.weights.placed(_within),
        is_row_wise=model.is_row_wise,
        factors=model.factors and factors,
        item_side=model.item_side and ItemSide(encode, score_encoded),
    )


@contextmanager
def factors_applied(scale: Any, served: set[tuple[str, ...]] | None = None) -> Iterator[None]:
    """Within it an `nn.Dense` whose parameters hold `a` and `b` adds `scale (x a) b`.

    Factors are multiplied in their own precision; the sum has that of `x W`.

    Args:
      scale: alpha / r.
      served: gets the path of each such layer within its module.
    """
    import flax.linen as nn

    def add(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = next_fun(*args, **kwargs)
        module = context.module
        if not isinstance(module, nn.Dense) or context.method_name != "__call__":
            return output
        params = module.variables.get("params", {})
        if any(name not in params for name in FACTORS):
            return output
        if served is not None:
            served.add(module.path)
        a, b = (params[name] for name in FACTORS)
        added = scale * ((args[0].astype(a.dtype) @ a) @ b)
        return (output + added).astype(output.dtype)

    with nn.intercept_methods(add):
        yield


def factor_pairs(dense: PyTree) -> dict[tuple[str, ...], tuple[Array, Array]]:
    """The place of each adapted kernel -> its factors, where both are there."""
    flat = leaves_of(dense)
    places = [name[:-1] for name in flat if name[-1:] == ("a",) and (*name[:-1], "b") in flat]
    return {place: (flat[*place, "a"], flat[*place, "b"]) for place in places}


class _Parts:
    """Which dense leaf has which role, and the way from the adapted model's view to the base's."""

    def __init__(self, model: Model, paths: str, trained: str, rank: int) -> None:
        shared, drawn = jax.eval_shape(model.init, jax.random.key(0))
        loaded = model.weights.like() if model.weights else empty()
        self.shared = leaves_of(shared.dense)
        self.frozen = leaves_of(drawn.dense) | leaves_of(loaded.dense)
        known = self.shared | self.frozen
        names = named_by(paths, [name for name in known if name[-1:] == ("kernel",)], "kernel")
        self.kernels = {name: known[name] for name in names}
        self.trained = named_by(trained, [name for name in known if name not in names], "leaf")
        for name, kernel in self.kernels.items():
            if rank > min(kernel.shape[-2:]):
                raise ValueError(
                    f"rank must be at most {min(kernel.shape[-2:])}, the smaller side of "
                    f"{'/'.join(name)}, got {rank}"
                )
        if not self.kernels and not self.trained:
            raise ValueError("lora: paths and trained name nothing, so nothing would be trained")

    def outside(
        self, shared: Part, frozen: Part, factors: Mapping[tuple[str, ...], Array], is_ffa: bool
    ) -> tuple[Part, Part]:
        """What is sent and what is frozen, from what the base drew."""
        base = leaves_of(shared.dense)
        sent = {name: leaf for name, leaf in base.items() if name in self.trained}
        still = {name: leaf for name, leaf in base.items() if name not in self.trained}
        sent |= {n: jnp.zeros(self.frozen[n].shape) for n in self.trained if n in self.frozen}
        sent |= {n: leaf for n, leaf in factors.items() if not (is_ffa and n[-1] == "a")}
        still |= {n: leaf for n, leaf in factors.items() if is_ffa and n[-1] == "a"}
        dense = {"base": nested(still), "own": frozen.dense}
        return shared._replace(dense=nested(sent)), frozen._replace(dense=dense)

    def inside(self, view: View) -> View:
        """What the base model's functions see: its own trees, factors beside their kernels."""
        every = leaves_of(view.frozen.dense["base"]) | leaves_of(view.shared.dense)
        own = view.frozen.dense["own"]
        mine = {n: leaf_at(own, n) for n in self.frozen if n in self.trained or n in self.kernels}
        for name in self.trained & self.frozen.keys():
            mine[name] = (mine[name] + every.pop(name)).astype(mine[name].dtype)
        residuals = leaves_of(view.extra.dense)
        for name in self.kernels:
            if (residual := residuals.get((*name[:-1], RESIDUAL))) is not None:
                side = every if name in every else mine
                side[name] = (side[name] + residual).astype(side[name].dtype)
        for name in self.frozen.keys() & self.kernels.keys():
            mine |= {(*name[:-1], one): every.pop((*name[:-1], one)) for one in FACTORS}
        shared = view.shared._replace(dense=nested(every))
        return view._replace(
            shared=shared, frozen=view.frozen._replace(dense=with_leaves(own, mine))
        )

    def refuse_unserved(self, served: set[tuple[str, ...]]) -> None:
        """Raises `ValueError` for factors that no layer has read."""
        for name in self.kernels:
            place = name[:-1]
            if not any(place[len(place) - len(path) :] == path for path in served):
                raise ValueError(
                    f"lora: {'/'.join(name)} is not applied by an nn.Dense, so that its factors "
                    "would stay unread; leave it out of paths"
                )


def _within(loaded: Part) -> Part:
    """The weights at the place where the adapted model keeps what its base has frozen."""
    return loaded._replace(dense={"own": loaded.dense})
