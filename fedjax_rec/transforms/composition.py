"""Composition of aggregate transforms, and the orders that are refused."""

import math
from typing import Any

import jax

from fedjax_rec.base import AggregateTransform, Array, Key, Message, Part, PyTree, Scaling, decided

SCALINGS: tuple[Scaling, ...] = ("no", "by_norm", "by_weight")
"""What an update may be multiplied by; a chain promises no more than its weakest link."""


def chain(*links: AggregateTransform) -> AggregateTransform:
    """One transform out of several: encode left to right, decode right to left.

    The bound on a client's message travels with it: each link is told the bound of what
    reaches it. The order is compress, clip, weigh, noise.

    Args:
      *links: transforms, in the order in which a client applies them.

    Returns:
      Their composition.

    Raises:
      ValueError: the composition is unsound: noise without a bound, a link behind noise,
        noise beside a divisor that depends on private data, or what is made for sums beside
        a link that takes messages one by one.

    Differences: the two-sided order is that of the postprocessors of pfl-research
    (Granqvist et al. 2024); the bound follows the sensitivity of jax-privacy's clipping.

    >>> from fedjax_rec.transforms import clip_by_norm, gaussian_noise, mean
    >>> sound = chain(clip_by_norm(1.0), mean(divisor=10), gaussian_noise(1.0))
    >>> try:
    ...     chain(mean(divisor=10), gaussian_noise(1.0))
    ... except ValueError as error:
    ...     print(error)
    noise needs a bounded update: put clip_by_norm before it
    """
    decided(lambda: _refuse_unsound(links))  # its bounds are concrete once
    _refuse_beside_stacked(links)

    def init(key: Key, template: Part) -> PyTree:
        return tuple(
            link.init(jax.random.fold_in(key, number), template)
            for number, link in enumerate(links)
        )

    def init_residual(template: Part) -> PyTree:
        return tuple(link.init_residual(template) for link in links)

    def encode(
        key: Key, message: Message, state: PyTree, residual: PyTree, bound: Array
    ) -> tuple[Message, PyTree]:
        left = []
        for number, link in enumerate(links):
            link_key = jax.random.fold_in(key, number)
            message, kept = link.encode(link_key, message, state[number], residual[number], bound)
            bound = link.bound(bound, state[number])
            left.append(kept)
        return message, tuple(left)

    def decode(key: Key, total: Message, state: PyTree, bound: Array) -> tuple[Message, PyTree]:
        bounds = [bound]
        for link, link_state in zip(links, state, strict=True):
            bounds.append(link.bound(bounds[-1], link_state))
        new_state = list(state)
        for number in reversed(range(len(links))):
            link_key = jax.random.fold_in(key, number)
            total, new_state[number] = links[number].decode(
                link_key, total, state[number], bounds[number]
            )
        return total, tuple(new_state)

    def bound_after(bound: Any, state: PyTree) -> Any:
        for number, link in enumerate(links):
            bound = link.bound(bound, None if state is None else state[number])
        return bound

    return AggregateTransform(
        init=init,
        init_residual=init_residual,
        encode=encode,
        decode=decode,
        bound=bound_after,
        support=min((link.support for link in links), key=_strictness, default="slice"),
        scaling=min((link.scaling for link in links), key=SCALINGS.index, default="by_weight"),
        mechanisms=tuple(mechanism for link in links for mechanism in link.mechanisms),
        is_bound_static=all(link.is_bound_static for link in links),
        releases_counts=any(link.releases_counts for link in links),
        public_size=next(
            (link.public_size for link in links if link.public_size is not None), None
        ),
        is_stacked=any(link.is_stacked for link in links),
    )


def _strictness(support: str) -> int:
    return ("table", "lazy", "slice").index(support)


def _refuse_unsound(links: tuple[AggregateTransform, ...]) -> None:
    bound: Any = math.inf
    is_static = True
    has_noise = False
    for link in links:
        if link.needs_bound and not math.isfinite(bound):
            raise ValueError("noise needs a bounded update: put clip_by_norm before it")
        if has_noise:
            raise ValueError("a link behind noise rescales it: put the noise last in the chain")
        if link.needs_static_bound and not is_static:
            raise ValueError(
                "noise that is correlated between rounds needs one bound for the whole run: put "
                "clip_by_norm before it, in place of a clip that adapts"
            )
        has_noise = link.is_noise
        is_static &= link.is_bound_static
        bound = link.bound(bound, None)
    if any(link.mechanisms for link in links) and any(link.releases_counts for link in links):
        raise ValueError(
            "noise beside a divisor that depends on private data leaks it: use "
            "mean('client', divisor=expected cohort size)"
        )


def _refuse_beside_stacked(links: tuple[AggregateTransform, ...]) -> None:
    """What is made for sums has no place beside a link that takes messages one by one."""
    if not any(link.is_stacked for link in links):
        return
    if any(link.mechanisms for link in links):
        raise ValueError(
            "noise is scaled to one client's part in a sum: leave it out, or the link that "
            "takes messages one by one"
        )
    if any(link.is_stacked for link in links[:-1]):
        raise ValueError(
            "a link that takes messages one by one leaves those behind it no sum: put it last "
            "in the chain"
        )
    if any(link.scaling == "by_weight" for link in links):
        raise ValueError(
            "a mean or a sum in front of a link that takes messages one by one would divide "
            "what nobody adds up: leave it out"
        )
