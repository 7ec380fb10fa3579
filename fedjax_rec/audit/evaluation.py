"""How much of a score the evaluation protocol explains.

Training negatives that avoid the held-out items mark every item but those, and a client
that trains item parameters of its own then ranks them first without having learned
anything of them. The audit trains the same algorithm on each pool of negatives, and once
without federation, and puts each to sampled candidates and to the whole catalogue.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fedjax_rec.baselines import local_only
from fedjax_rec.config import RunConfig
from fedjax_rec.data.clients import EXCLUDES
from fedjax_rec.errors import UserError
from fedjax_rec.experiment import Experiment, build
from fedjax_rec.simulation import Report, Result, evaluate

LOCAL_ONLY = "local_only"
ARMS = (*EXCLUDES, LOCAL_ONLY)
"""What is trained: on each pool of negatives; and alone, on negatives that leak."""

Scores = dict[str, dict[str, float]]
"""Candidates -> metric -> value, such as `{"full": {"own/hit_rate@10": 0.1}}`."""


def audit_evaluation(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = True,
    report: Callable[[str, Report], None] = lambda arm, report: None,
    notice: Callable[[str], None] = lambda line: None,
) -> dict[str, Scores] | None:
    """Trains an algorithm on every pool of negatives and without federation; evaluates each.

    Args:
      config: of the run that is audited; its own pool does not matter.
      folder: each arm is a run in a folder of its own inside.
      resume: go on with what the folder holds.
      report: is told `(arm, report)` after each stretch of rounds.
      notice: gets lines for the user.

    Returns:
      Arm -> candidates (`uni99`, `full`) -> metrics of the test items: `own/...`, and
      `global/...` where clients have item parameters of their own; `None` if interrupted.
      An algorithm whose clients cannot train alone has no arm `local_only`.

    Raises:
      UserError: a configuration that cannot be run.
    """
    if config.evaluate.task != "ranking":
        raise UserError("audit evaluation: asks for rankings; set evaluate.task to ranking")
    if config.stop.select != "validation":
        raise UserError("stop.select: an audit chooses no round on test items; leave it out")
    if config.start.run:
        raise UserError("start.run: an audit's arms all begin afresh; leave it out")
    found: dict[str, Scores] = {}
    for arm in ARMS:
        experiment = build(_of_arm(config, arm), notice)
        if arm == LOCAL_ONLY:
            try:
                experiment = replace(experiment, algorithm=local_only(experiment.algorithm))
            except ValueError as error:
                notice(f"no arm without federation: {config.algorithm.name}: {error}")
                continue
        result = experiment.run(
            folder / arm,
            resume=resume,
            report=lambda told, arm=arm: report(arm, told),  # type: ignore[misc]
            notice=notice,
        )
        if result.is_interrupted:
            return None
        found[arm] = _scores(experiment, result)
    return found


def share_explained(found: dict[str, Scores], metric: str, candidates: str = "uni99") -> float:
    """The part of a score with leaking negatives that is gone with fair ones.

    `(s_heldout - s_train) / s_heldout`; 0 where there was no score.

    >>> scores = {"uni99": {"own/hit_rate@10": 0.8}}, {"uni99": {"own/hit_rate@10": 0.2}}
    >>> round(share_explained(dict(zip(("heldout", "train"), scores)), "own/hit_rate@10"), 2)
    0.75
    """
    leaky, fair = (found[arm][candidates][metric] for arm in ("heldout", "train"))
    return (leaky - fair) / leaky if leaky else 0.0


def _of_arm(config: RunConfig, arm: str) -> RunConfig:
    exclude = "heldout" if arm == LOCAL_ONLY else arm
    return replace(
        config,
        negatives=replace(config.negatives, exclude=exclude),  # type: ignore[arg-type]
        evaluate=replace(config.evaluate, candidates="uni99"),
    )


def _scores(experiment: Experiment, result: Result) -> Scores:
    """The test metrics among sampled candidates and in the whole catalogue."""
    scores: Scores = {}
    for candidates in ("uni99", "full"):
        plan = replace(experiment.evaluation, candidates=candidates)
        evaluations = evaluate(experiment.algorithm, experiment.data, result, plan)
        scores[candidates] = {
            f"{whose}/{metric}": value
            for split, whose in (("test", "own"), ("test_global", "global"))
            if split in evaluations
            for metric, value in evaluations[split].metrics.items()
        }
    return scores
