"""The report of a fit: a page to read, and every number in files."""

from .verdict import Verdict, judge
from .writing import write_report

__all__ = ["Verdict", "judge", "write_report"]
