"""What a run tells: progress, tables, and the records in its folder."""

from fedjax_rec.reporting.audit import audit_table
from fedjax_rec.reporting.environment import environment
from fedjax_rec.reporting.plan import print_plan
from fedjax_rec.reporting.progress import ProgressLine
from fedjax_rec.reporting.records import (
    RunRecord,
    finished_run,
    last_round,
    read_summary,
)
from fedjax_rec.reporting.tables import (
    data_differences,
    facts_table,
    format_bytes,
    is_noisy,
    open_console,
    print_results,
    protocol_differences,
)

__all__ = [
    "ProgressLine",
    "RunRecord",
    "audit_table",
    "data_differences",
    "environment",
    "facts_table",
    "finished_run",
    "format_bytes",
    "is_noisy",
    "last_round",
    "open_console",
    "print_plan",
    "print_results",
    "protocol_differences",
    "read_summary",
]
