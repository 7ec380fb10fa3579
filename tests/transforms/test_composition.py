"""Composition: order, bounds, supports, and the compositions that are refused."""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_rec.base import AggregateTransform, Message, Part, Private
from fedjax_rec.transforms import chain, clip_by_norm, gaussian_noise, mean, total

KEY = jax.random.key(0)
NO_BOUND = jnp.float32(jnp.inf)
TEMPLATE = Part({}, jnp.zeros(()))


def message(value: float) -> Message:
    return Message(Part({}, jnp.float32(value)), jnp.float32(1), {}, {})


def digit(number: int) -> AggregateTransform:
    """Writes its digit behind the update, on either side, and counts in its state."""

    def write(sent: Message) -> Message:
        return sent._replace(update=Part({}, 10 * sent.update.dense + number))

    def encode(key: Any, sent: Message, state: Any, residual: Any, bound: Any) -> Any:
        sent = sent._replace(stats=sent.stats | {f"bound {number}": bound})
        return write(sent), Private({}, residual.dense + number)

    def decode(key: Any, sent: Message, state: Any, bound: Any) -> Any:
        sent = sent._replace(stats=sent.stats | {f"bound back {number}": bound})
        return write(sent), {"count": state["count"] + number}

    return AggregateTransform(
        init=lambda key, template: {"count": jnp.int32(100 * number)},
        init_residual=lambda template: Private({}, jnp.int32(0)),
        encode=encode,
        decode=decode,
        bound=lambda bound, state: bound - number,
    )


def through(transform: AggregateTransform, side: str, bound: Any = 20.0) -> Any:
    state, residual = transform.init(KEY, TEMPLATE), transform.init_residual(TEMPLATE)
    bound = jnp.float32(bound)
    if side == "encode":
        return transform.encode(KEY, message(0), state, residual, bound)
    return transform.decode(KEY, message(0), state, bound)


def test_clients_go_left_to_right_and_the_server_right_to_left() -> None:
    links = chain(digit(1), digit(2), digit(3))
    assert int(through(links, "encode")[0].update.dense) == 123
    assert int(through(links, "decode")[0].update.dense) == 321


def test_every_link_has_its_own_state_and_residual() -> None:
    links = chain(digit(1), digit(2), digit(3))
    assert [int(state["count"]) for state in links.init(KEY, TEMPLATE)] == [100, 200, 300]
    _, residual = through(links, "encode")
    assert [int(part.dense) for part in residual] == [1, 2, 3]
    _, state = through(links, "decode")
    assert [int(part["count"]) for part in state] == [101, 202, 303]


def test_each_link_is_told_the_bound_of_what_reaches_it_on_either_side() -> None:
    links = chain(digit(1), digit(2), digit(3))
    sent = through(links, "encode")[0].stats
    assert [float(sent[f"bound {n}"]) for n in (1, 2, 3)] == [20, 19, 17]
    summed = through(links, "decode")[0].stats
    assert [float(summed[f"bound back {n}"]) for n in (1, 2, 3)] == [20, 19, 17]
    assert links.bound(20.0, None) == 14
    assert links.bound(20.0, links.init(KEY, TEMPLATE)) == 14


@pytest.mark.parametrize(
    "nested",
    [
        chain(chain(digit(1), digit(2)), digit(3)),
        chain(digit(1), chain(digit(2), digit(3))),
        chain(chain(chain(digit(1)), digit(2), digit(3))),
        chain(total(), digit(1), chain(), digit(2), digit(3)),
    ],
)
@pytest.mark.parametrize("side", ["encode", "decode"])
def test_a_chain_of_chains_equals_the_flat_chain(nested: AggregateTransform, side: str) -> None:
    flat, other = through(chain(digit(1), digit(2), digit(3)), side), through(nested, side)
    assert int(other[0].update.dense) == int(flat[0].update.dense)
    assert {k: float(v) for k, v in other[0].stats.items()} == {
        k: float(v) for k, v in flat[0].stats.items()
    }
    assert nested.bound(20.0, None) == 14
    left = [jax.tree.leaves(kept) for kept in (flat[1], other[1])]
    assert list(map(int, left[0])) == list(map(int, left[1]))


def test_links_have_different_keys() -> None:
    def noisy(key: Any, sent: Message, state: Any, residual: Any, bound: Any) -> Any:
        drawn = jax.random.normal(key)
        return sent._replace(stats=sent.stats | {str(len(sent.stats)): drawn}), residual

    link = AggregateTransform(encode=noisy)
    sent, _ = through(chain(link, link, link), "encode")
    assert len({float(value) for value in sent.stats.values()}) == 3


def test_an_empty_chain_is_the_sum() -> None:
    sent, _ = through(chain(), "encode")
    assert float(sent.update.dense) == 0
    assert chain().support == "slice"
    assert chain().bound(3.0, None) == 3


def test_a_chain_supports_what_its_strictest_link_supports() -> None:
    slice_, lazy, table = (AggregateTransform(support=kind) for kind in ("slice", "lazy", "table"))
    assert chain(slice_, slice_).support == "slice"
    assert chain(slice_, lazy).support == "lazy"
    assert chain(lazy, table, slice_).support == "table"
    assert chain(slice_, chain(chain(lazy))).support == "lazy"


def test_a_chain_tells_what_its_links_are() -> None:
    private = chain(clip_by_norm(1.0), mean(divisor=2), gaussian_noise(1.0))
    assert private.is_noise
    assert not private.releases_counts
    assert not private.needs_bound
    assert chain(clip_by_norm(1.0), mean()).releases_counts
    assert chain(mean("row")).releases_counts
    assert not chain(clip_by_norm(1.0)).is_noise
    assert chain(clip_by_norm(1.0), AggregateTransform(is_stacked=True)).is_stacked
    assert not chain(clip_by_norm(1.0)).is_stacked


# --------------------------------------------------------------------- what is refused

NEEDS_CLIP = "noise needs a bounded update: put clip_by_norm before it"
LAST = "a link behind noise rescales it: put the noise last in the chain"
COUNTS = (
    "noise beside a divisor that depends on private data leaks it: use "
    r"mean\('client', divisor=expected cohort size\)"
)
NO_NOISE = (
    "noise is scaled to one client's part in a sum: leave it out, or the link that takes "
    "messages one by one"
)
NO_SUM = (
    "a link that takes messages one by one leaves those behind it no sum: put it last in the chain"
)
NO_MEAN = (
    "a mean or a sum in front of a link that takes messages one by one would divide what nobody "
    "adds up: leave it out"
)
CLIP, NOISE = clip_by_norm(1.0), gaussian_noise(1.0)
STACK = AggregateTransform(is_stacked=True)
SOUND = chain(CLIP, mean(divisor=2), NOISE)


@pytest.mark.parametrize(
    ("links", "says"),
    [
        pytest.param([NOISE], NEEDS_CLIP, id="noise alone"),
        pytest.param([mean(divisor=2), NOISE], NEEDS_CLIP, id="noise without clip"),
        pytest.param([NOISE, CLIP], NEEDS_CLIP, id="clip behind noise"),
        pytest.param([CLIP, mean("example"), NOISE], NEEDS_CLIP, id="weights have no bound"),
        pytest.param([CLIP, chain(mean("example")), NOISE], NEEDS_CLIP, id="nor in a chain"),
        pytest.param([CLIP, NOISE, mean(divisor=2)], LAST, id="mean behind noise"),
        pytest.param([CLIP, NOISE, NOISE], LAST, id="noise behind noise"),
        pytest.param([SOUND, CLIP], LAST, id="clip behind a noisy chain"),
        pytest.param([SOUND, total()], LAST, id="anything behind a noisy chain"),
        pytest.param([CLIP, mean(), NOISE], COUNTS, id="realised size"),
        pytest.param([CLIP, mean("row"), NOISE], COUNTS, id="by row"),
        pytest.param([mean("example"), CLIP, NOISE], COUNTS, id="by example before clip"),
        pytest.param([chain(CLIP, mean()), NOISE], COUNTS, id="realised size in a chain"),
        pytest.param([mean(), chain(CLIP, NOISE)], COUNTS, id="noise in a chain"),
        pytest.param([CLIP, STACK, NOISE], NO_NOISE, id="noise behind a stack"),
        pytest.param([chain(CLIP, STACK), NOISE], NO_NOISE, id="noise behind a stack in a chain"),
        pytest.param([STACK, CLIP], NO_SUM, id="clip behind a stack"),
        pytest.param([STACK, STACK], NO_SUM, id="a stack of stacks"),
        pytest.param([mean(), STACK], NO_MEAN, id="a mean in front of a stack"),
        pytest.param([CLIP, total(), STACK], NO_MEAN, id="a sum in front of a stack"),
    ],
)
def test_an_unsound_chain_is_refused_with_the_reason_and_the_way_out(links: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        chain(*links)


@pytest.mark.parametrize(
    "links",
    [
        [CLIP, NOISE],
        [CLIP, mean(divisor=2), NOISE],
        [mean(divisor=2), CLIP, NOISE],
        [chain(CLIP, mean(divisor=2)), NOISE],
        [mean("example"), CLIP],
        [CLIP, mean("row")],
    ],
)
def test_a_sound_chain_is_built(links: Any) -> None:
    assert chain(*links).is_noise == (NOISE in links)


def test_an_adaptive_clip_bounds_what_noise_needs_by_its_starting_norm() -> None:
    adaptive = replace(
        CLIP, bound=lambda bound, state: min(bound, 3.0) if state is None else state["norm"]
    )
    assert chain(adaptive, NOISE).bound(math.inf, None) == 3


def test_noise_of_a_chain_is_scaled_to_the_bound_behind_the_clip() -> None:
    template = Part({}, jnp.zeros(20_000))
    sent = Message(template, jnp.float32(0), {}, {})
    links = chain(clip_by_norm(3.0), clip_by_norm(0.1), mean(divisor=4), gaussian_noise(2.0))
    decoded, _ = links.decode(KEY, sent, links.init(KEY, template), NO_BOUND)
    assert np.std(decoded.update.dense) == pytest.approx(2.0 * 0.1 / 4, rel=0.03)


def test_what_has_its_bound_inside_a_chain_needs_none_from_outside() -> None:
    fixed_point = AggregateTransform(needs_bound=True)
    flat = [CLIP, fixed_point, mean("example")]  # weights leave it without a bound, behind
    assert not chain(*flat).needs_bound
    assert chain(chain(*flat)).bound(math.inf, None) == math.inf
