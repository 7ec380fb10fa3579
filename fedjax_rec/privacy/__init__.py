"""Differential privacy of clients: what was executed, what it cost, and how to say so.

A run keeps a `Ledger` of the rounds it executed. `epsilon_of` reads nothing else, so what is
claimed cannot differ from what was done. Installing `fedjax-rec[privacy]` brings the
accountant; importing this package does not load it.
"""

from fedjax_rec.privacy.accounting import check_delta, default_delta, epsilon_of
from fedjax_rec.privacy.calibration import noise_multiplier_for, rounds_within
from fedjax_rec.privacy.ledger import (
    Executed,
    Ledger,
    add_rounds,
    from_record,
    num_rounds,
    to_record,
)
from fedjax_rec.privacy.report import PrivacyReport, in_words, report_of
from fedjax_rec.privacy.strategies import Banded, Buffered, banded, buffered

__all__ = [
    "Banded",
    "Buffered",
    "Executed",
    "Ledger",
    "PrivacyReport",
    "add_rounds",
    "banded",
    "buffered",
    "check_delta",
    "default_delta",
    "epsilon_of",
    "from_record",
    "in_words",
    "noise_multiplier_for",
    "num_rounds",
    "report_of",
    "rounds_within",
    "to_record",
]
