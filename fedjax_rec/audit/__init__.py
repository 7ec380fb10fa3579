"""What a result is worth: how much of a score is the protocol's, how much of a claim holds."""

from fedjax_rec.audit.evaluation import ARMS, LOCAL_ONLY, Scores, audit_evaluation, share_explained
from fedjax_rec.audit.privacy import PrivacyAudit, audit_privacy

__all__ = [
    "ARMS",
    "LOCAL_ONLY",
    "PrivacyAudit",
    "Scores",
    "audit_evaluation",
    "audit_privacy",
    "share_explained",
]
