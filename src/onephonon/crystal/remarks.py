"""Differences between what a structure file says and what is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

#: What happened to a statement of the file, in the order of the report.
RemarkKind = Literal["read", "changed", "dropped", "assumed", "ignored"]


@dataclass(frozen=True)
class Remark:
    """One difference between a file and the crystal computed from it.

    Parameters
    ----------
    kind : {'read', 'changed', 'dropped', 'assumed', 'ignored'}
        'read': what was used; 'changed': used in another form; 'dropped': atoms left out;
        'assumed': not in the file; 'ignored': in the file and not used.
    text : str
        One sentence without a full stop, with the numbers: "112 atoms of 40 waters".
    matters : bool
        Whether the intensity would change and nobody asked for it: given as a warning too.
    """

    kind: RemarkKind
    text: str
    matters: bool = False


def remarks_text(remarks: Iterable[Remark]) -> str:
    """Remarks as one line for each kind: ``dropped: 112 atoms of 40 waters; 1 ion``."""
    lines = []
    remarks = tuple(remarks)
    for kind in get_args(RemarkKind):
        said = [remark.text for remark in remarks if remark.kind == kind]
        if said:
            lines.append(f"{kind}: {'; '.join(said)}")
    return "\n".join(lines)
