"""Objectives by name, for algorithms that suit any model: add one line to add one."""

from fedjax_rec.base import Objective, Sampler
from fedjax_rec.objectives.explicit import ratings
from fedjax_rec.objectives.implicit import with_history
from fedjax_rec.objectives.losses import binary_cross_entropy
from fedjax_rec.objectives.named import LossName, implicit
from fedjax_rec.objectives.next_item import masked_item, next_item
from fedjax_rec.objectives.sampled_items import sampled_item
from fedjax_rec.registry import OBJECTIVES

__all__ = ["OBJECTIVES"]


@OBJECTIVES.named("implicit")
def sampled_implicit(
    num_items: int,
    *,
    loss: LossName = "bce",
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    max_positives: int = 0,
    is_sliced: bool = True,
) -> Objective:
    """Training items with sampled negatives: `implicit` from plain settings.

    >>> sampled_implicit(90, num_negatives=2).sampler.num_negatives
    2
    """
    sampler = Sampler(
        num_items,
        num_negatives,
        local_epochs,
        batch_size,
        is_sliced=is_sliced,
        max_positives=max_positives,
    )
    return implicit(sampler, loss)


@OBJECTIVES.named("implicit_with_history")
def implicit_with_history(
    num_items: int,
    *,
    loss: LossName = "bce",
    num_negatives: int = 4,
    batch_size: int = 256,
    local_epochs: int = 1,
    max_positives: int = 0,
    is_sliced: bool = True,
) -> Objective:
    """The same, for models that read the client's events.

    >>> implicit_with_history(90, num_negatives=2).sampler.num_negatives
    2
    """
    sampler = Sampler(
        num_items,
        num_negatives,
        local_epochs,
        batch_size,
        is_sliced=is_sliced,
        max_positives=max_positives,
    )
    return with_history(implicit(sampler, loss))


@OBJECTIVES.named("ratings")
def squared_ratings(
    num_items: int,
    *,
    batch_size: int = 256,
    local_epochs: int = 1,
    is_sliced: bool = True,
) -> Objective:
    """A client's own ratings, by squared error.

    >>> squared_ratings(90, local_epochs=2).rating_epochs
    2
    """
    return ratings(num_items, local_epochs=local_epochs, batch_size=batch_size, is_sliced=is_sliced)


@OBJECTIVES.named("labels")
def labels_of_records(
    num_items: int,
    *,
    batch_size: int = 256,
    local_epochs: int = 1,
    is_sliced: bool = True,
) -> Objective:
    """A client's own labels, 0 or 1, by binary cross-entropy of scores taken as logits.

    >>> labels_of_records(90, local_epochs=2).rating_epochs
    2
    """
    return ratings(
        num_items,
        binary_cross_entropy,
        local_epochs=local_epochs,
        batch_size=batch_size,
        is_sliced=is_sliced,
    )


OBJECTIVES.register("next_item", next_item)
OBJECTIVES.register("masked_item", masked_item)
OBJECTIVES.register("sampled_item", sampled_item)
