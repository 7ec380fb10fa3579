"""How good, for whom, on what terms, and at what cost in bytes."""

from fedjax_rec.evaluation.area import area_under_curve
from fedjax_rec.evaluation.beyond import (
    Consumption,
    consumption,
    coverage,
    gini_of_exposure,
    list_metrics,
    popularity_bias,
)
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
from fedjax_rec.evaluation.fairness import gini, spread, worst_mean
from fedjax_rec.evaluation.metrics import (
    UNRANKED,
    auc,
    is_better,
    metric_keys,
    worst_keys,
)
from fedjax_rec.evaluation.personal import without_own
from fedjax_rec.evaluation.predictions import Prediction
from fedjax_rec.evaluation.protocols import Protocol
from fedjax_rec.evaluation.questions import Evaluation, HeldOutSet, Question, Ranking
from fedjax_rec.evaluation.ranking import ranks
from fedjax_rec.registry import LIST_METRICS, METRICS

__all__ = [
    "LIST_METRICS",
    "METRICS",
    "UNRANKED",
    "ClientBytes",
    "Communication",
    "Consumption",
    "Evaluation",
    "Evaluator",
    "HeldOutSet",
    "Payload",
    "Prediction",
    "Protocol",
    "Question",
    "Ranking",
    "area_under_curve",
    "auc",
    "build_evaluator",
    "bytes_per_client",
    "consumption",
    "coverage",
    "gini",
    "gini_of_exposure",
    "is_better",
    "list_metrics",
    "metric_keys",
    "popularity_bias",
    "ranks",
    "spread",
    "top_k",
    "without_own",
    "worst_keys",
    "worst_mean",
]
