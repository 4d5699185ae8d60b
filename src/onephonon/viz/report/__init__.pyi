from .verdict import Verdict, assess_fit
from .writing import write_report

__all__ = [
    "Verdict",
    "assess_fit",
    "write_report",
]
