"""Training, selection on validation, the honest experiment, and all that is told about its outcome."""

import importlib
from typing import TYPE_CHECKING, Any

from mmgraph.study.blending import Blended, blend
from mmgraph.study.calibrate import Calibrated, calibrate
from mmgraph.study.compare import compare
from mmgraph.study.comparison import Comparison, Row, save, table
from mmgraph.study.curves import Average, Point, append_points, averages, measured_once, paired_interval, read_curves
from mmgraph.study.diagnosis.diagnostics import diagnose
from mmgraph.study.diagnosis.findings import Diagnosis, Finding, Thresholds
from mmgraph.study.fit import calibrated, fit, with_cold_start, with_user_start
from mmgraph.study.interviewing import simulated_interview
from mmgraph.study.leakage import LeakageError, LeakageReport, check_leakage
from mmgraph.study.log_services import MLflowLogger, TensorBoardLogger, WandbLogger
from mmgraph.study.loggers import CSVLogger, Guarded, Logger
from mmgraph.study.mixed_lists import MixedLists, mixed_lists
from mmgraph.study.modality_weights import ModalityWeights, modality_weights
from mmgraph.study.oracle import OracleRatio, oracle_ratio, with_half_seen
from mmgraph.study.pages.comparison_page import write_report
from mmgraph.study.plan_file import read_study
from mmgraph.study.result import Result, per_user, read
from mmgraph.study.space import Candidate
from mmgraph.study.study import Outside, Study
from mmgraph.study.turns import Turn, cross_validation, draws, nested_validation, single

if TYPE_CHECKING:  # what draws and tabulates needs pandas, which takes longer to import than all else here
    from mmgraph.study.diagnosis.audit import Section, write_audit
    from mmgraph.study.outcome import report
    from mmgraph.study.pages.page import write_page
    from mmgraph.study.pages.plots import write_plots
    from mmgraph.study.summary import Cell, Line, Summary, summarise
    from mmgraph.study.tables import latex, markdown, rich_table

LATER = {
    "Section": "mmgraph.study.diagnosis.audit",
    "write_audit": "mmgraph.study.diagnosis.audit",
    "report": "mmgraph.study.outcome",
    "write_page": "mmgraph.study.pages.page",
    "write_plots": "mmgraph.study.pages.plots",
    "Cell": "mmgraph.study.summary",
    "Line": "mmgraph.study.summary",
    "Summary": "mmgraph.study.summary",
    "summarise": "mmgraph.study.summary",
    "latex": "mmgraph.study.tables",
    "markdown": "mmgraph.study.tables",
    "rich_table": "mmgraph.study.tables",
}

__all__ = ["Average", "Blended", "CSVLogger", "Calibrated", "Candidate", "Cell", "Comparison", "Diagnosis", "Finding",
           "Guarded", "LeakageError", "LeakageReport", "Line", "Logger", "MLflowLogger", "MixedLists",
           "ModalityWeights", "OracleRatio", "Outside", "Point", "Result", "Row", "Section", "Study", "Summary",
           "TensorBoardLogger", "Thresholds", "Turn", "WandbLogger", "append_points", "averages", "blend", "calibrate",
           "calibrated", "check_leakage", "compare", "cross_validation", "diagnose", "draws", "fit", "latex",
           "markdown", "measured_once", "mixed_lists", "modality_weights", "nested_validation", "oracle_ratio",
           "paired_interval", "per_user", "read", "read_curves", "read_study", "report", "rich_table", "save",
           "simulated_interview", "single", "summarise", "table", "with_cold_start", "with_half_seen",
           "with_user_start", "write_audit", "write_page", "write_plots", "write_report"]


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for."""
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(LATER[name]), name)
