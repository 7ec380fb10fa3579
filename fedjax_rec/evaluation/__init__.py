"""Rankings, predictions, protocols and communication: how good, on what terms, at what cost."""

from fedjax_rec.evaluation.communication import (
    ClientBytes,
    Communication,
    Payload,
    bytes_per_client,
)
from fedjax_rec.evaluation.evaluate import (
    Evaluator,
    build_evaluator,
    top_k,
)
from fedjax_rec.evaluation.metrics import METRICS, UNRANKED, is_better, metric_keys
from fedjax_rec.evaluation.personal import without_own
from fedjax_rec.evaluation.predictions import Prediction
from fedjax_rec.evaluation.protocols import Protocol
from fedjax_rec.evaluation.questions import Evaluation, HeldOutSet, Question, Ranking
from fedjax_rec.evaluation.ranking import ranks

__all__ = [
    "METRICS",
    "UNRANKED",
    "ClientBytes",
    "Communication",
    "Evaluation",
    "Evaluator",
    "HeldOutSet",
    "Payload",
    "Prediction",
    "Protocol",
    "Question",
    "Ranking",
    "build_evaluator",
    "bytes_per_client",
    "is_better",
    "metric_keys",
    "ranks",
    "top_k",
    "without_own",
]
