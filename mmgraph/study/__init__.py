"""Training, selection on validation, the table and the page."""

from mmgraph.study.compare import compare
from mmgraph.study.comparison import Comparison, Row, save, table
from mmgraph.study.fit import fit
from mmgraph.study.report import write_report

__all__ = ["Comparison", "Row", "compare", "fit", "save", "table", "write_report"]
