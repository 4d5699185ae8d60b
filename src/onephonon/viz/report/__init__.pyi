from .verdict import Verdict, judge
from .writing import write_report

__all__ = [
    "Verdict",
    "judge",
    "write_report",
]
