"""Stretches of rounds: which they are, their cohorts, and one program for each length."""

from collections.abc import Sequence

import jax
import numpy as np
import numpy.typing as npt

from fedjax_rec.base import (
    Cohort,
    CohortSampler,
    Entry,
    Key,
)
from fedjax_rec.errors import UserError


def stretch_ends(first: int, rounds: int, intervals: Sequence[int]) -> list[int]:
    """The rounds after which the host looks: multiples of the intervals, and the last.

    They do not depend on the first round otherwise, so that a resumed run repeats the
    programs of an uninterrupted one.

    >>> stretch_ends(4, 11, [5, 3])
    [5, 6, 9, 10, 11]
    """
    return [
        end
        for end in range(first + 1, rounds + 1)
        if end == rounds or any(end % interval == 0 for interval in intervals)
    ]


def host_seed(key: Key) -> int:
    """The seed of what is drawn on the host, from the root key.

    >>> host_seed(jax.random.key(7))
    7
    """
    words = np.asarray(jax.random.key_data(key)).ravel()
    return int.from_bytes(words.astype(">u4").tobytes(), "big")


def draw_cohorts(
    sampler: CohortSampler,
    seed: int,
    first: int,
    end: int,
    training_clients: npt.NDArray[np.int32],
) -> Cohort:
    """The cohorts of rounds `first .. end - 1`, padded: fields `[rounds, capacity]`.

    Args:
      sampler: draws places among those who may train.
      seed: of all rounds.
      first, end: the rounds.
      training_clients: `[M]` their ids.

    Raises:
      UserError: the sampler is made for another number of clients.
      ValueError: the sampler draws a client twice, one that is not there, or too many.
    """
    event = sampler.event
    if event.num_clients != len(training_clients):
        raise UserError(
            f"{sampler} draws from {event.num_clients} clients, and {len(training_clients)} may "
            "train; make a sampler of as many"
        )
    ids = np.zeros((end - first, event.capacity), np.int32)
    is_valid = np.zeros(ids.shape, bool)
    for row, round in enumerate(range(first, end)):
        drawn = np.asarray(sampler.draw(seed, round))
        in_range = (drawn >= 0) & (drawn < event.num_clients)
        if len(drawn) > event.capacity or not in_range.all():
            raise ValueError(f"{sampler} drew too many clients, or unknown ones, in round {round}")
        if len(np.unique(drawn)) < len(drawn):
            raise ValueError(f"{sampler} drew a client twice in round {round}")
        ids[row, : len(drawn)] = training_clients[drawn]
        is_valid[row, : len(drawn)] = True
    return Entry(jax.numpy.asarray(ids), jax.numpy.asarray(ids.copy()), jax.numpy.asarray(is_valid))
