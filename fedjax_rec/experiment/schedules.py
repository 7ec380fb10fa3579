"""Who takes part in a round of a configuration, and when its training ends."""

from fedjax_rec.base import CohortSampler
from fedjax_rec.config.schema import CohortConfig, StopConfig
from fedjax_rec.errors import UserError, did_you_mean
from fedjax_rec.evaluation import is_better
from fedjax_rec.registry import SAMPLERS
from fedjax_rec.settings import parameters_of
from fedjax_rec.simulation import EarlyStop, EvaluationPlan
from fedjax_rec.simulation.plans import SPLIT_OF


def build_sampler(config: CohortConfig, num_clients: int) -> CohortSampler:
    """Who takes part in a round, of the clients that may train.

    Raises:
      UserError: more clients than there are, or a setting that the sampler does not take.
    """
    try:
        factory = SAMPLERS.find(config.sampler)
    except UserError as error:
        raise UserError(f"cohort.sampler: {error}") from None
    parameters = parameters_of(factory)
    size = [*parameters.values()][1:2]
    if config.size and not size:
        raise UserError(f"cohort.size: {config.sampler} takes none; leave it out")
    if size and not config.size and size[0].default is size[0].empty:
        raise UserError(f"cohort.size: {config.sampler} needs at least 1 client")
    if config.separation and "separation" not in parameters:
        raise UserError(f"cohort.separation: {config.sampler} takes none; leave it out")
    chosen = (config.size,) if config.size else ()
    apart = {"separation": config.separation} if config.separation else {}
    try:
        sampler: CohortSampler = factory(num_clients, *chosen, **apart)
    except ValueError as error:
        raise UserError(f"cohort{'' if apart else '.size'}: {error}") from error
    return sampler


def early_stop(
    config: StopConfig, evaluation: EvaluationPlan, *, is_given: bool = False
) -> EarlyStop | None:
    """When training ends early; `None` when it never does.

    Args:
      config: of the configuration.
      evaluation: what is measured.
      is_given: whether any of it was asked for.

    Raises:
      UserError: an unknown metric, one that is not measured on what `select` names, or a
        target that it cannot reach.
    """
    is_used = bool(config.patience or config.target or config.select == "test_as_released")
    known = [f"{SPLIT_OF[config.select]}/{key}" for key in evaluation.question.keys]
    if config.metric not in known and (is_used or is_given or config != StopConfig()):
        hint = did_you_mean(config.metric, known)
        items = " on test items" if config.select == "test_as_released" else ""
        raise UserError(f"stop.metric: {config.metric!r} is not measured{items}{hint}")
    if config.target > 1 and is_better(config.metric, 1, 0):
        raise UserError(f"stop.target: {config.metric} is at most 1, got {config.target}")
    if not is_used:
        return None
    if config.min_rounds and not config.patience:
        raise UserError("stop.min_rounds: is of stop.patience, which is 0; set that too")
    return EarlyStop(
        config.metric,
        config.patience,
        config.target or None,
        config.select,
        config.min_rounds,
        config.waits_for,
    )
