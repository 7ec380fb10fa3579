"""Rounds as programs, and the loop around them."""

from fedjax_rec.simulation.engine import Engine, build, pad_cohort
from fedjax_rec.simulation.execution import Execution
from fedjax_rec.simulation.loop import load_run, simulate
from fedjax_rec.simulation.plans import (
    CheckpointPlan,
    EarlyStop,
    EvaluationPlan,
    PrivacyPlan,
    Report,
    Result,
)
from fedjax_rec.simulation.records import write_atomically, write_json
from fedjax_rec.simulation.scoring import evaluate
from fedjax_rec.simulation.start import Start, start_from
from fedjax_rec.simulation.trials import simulate_many

__all__ = [
    "CheckpointPlan",
    "EarlyStop",
    "Engine",
    "EvaluationPlan",
    "Execution",
    "PrivacyPlan",
    "Report",
    "Result",
    "Start",
    "build",
    "evaluate",
    "load_run",
    "pad_cohort",
    "simulate",
    "simulate_many",
    "start_from",
    "write_atomically",
    "write_json",
]
