"""Many runs of one workflow: rows of a table become jobs, jobs become files and lines of a manifest.

`plan` says what is to be done, `work` does one job, `drive` does all of them and can go on where it was stopped.
"""

from __future__ import annotations

from ...media.rows import Table
from .drive import BatchStopped, Report, check, grouped, new_scratch, remove_scratch, run_batch, write_results
from .manifest import Manifest
from .plan import BatchError, Job, Plan, alike, read_grid
from .work import Result, ResultFile, Workplace

__all__ = [
    "BatchError",
    "BatchStopped",
    "Job",
    "Manifest",
    "Plan",
    "Report",
    "Result",
    "ResultFile",
    "Table",
    "Workplace",
    "alike",
    "check",
    "grouped",
    "new_scratch",
    "read_grid",
    "remove_scratch",
    "run_batch",
    "write_results",
]
