"""Sections on the fitted springs and on what the data determine."""

from __future__ import annotations

import math

import numpy as np

from onephonon.refine.model_series import LevelFit
from onephonon.refine.table import SpringRow

from .html import (
    Markup,
    element,
    fixed,
    interval,
    number,
    paragraph,
    percent,
    table,
)
from .numbers import ReportData
from .pictures import (
    profile_pictures,
    spectrum_picture,
    spring_picture,
)

#: Maximum number of springs on the page; the rest is in the CSV table.
MAX_SPRINGS = 60

#: Number of directions described at each end of the spectrum, and of springs named in each.
N_DIRECTIONS, N_NAMED_SPRINGS = 4, 3


def springs_section(report_data: ReportData) -> list[Markup]:
    """Constants by interface, with intervals."""
    rows = report_data.best_springs
    # Of many, the best determined ones, in the order of the table.
    kept = sorted(range(len(rows)), key=lambda i: -rows[i].by_data)[:MAX_SPRINGS]
    shown = [rows[i] for i in sorted(kept)]
    known = "from data" if report_data.fit.absolute else "from data and B"
    head = ["spring", "kT/Å²", "68 % interval", "ratio to start", known, "contacts"]
    head += ["residue pairs with most contacts"]
    unit = (
        "The data are on an absolute scale, and so are the springs."
        if report_data.fit.absolute
        else "A scale was fitted: the data determine the ratios of the springs, and the mean "
        "B-factor of the file sets their common unit. Intervals include an uncertainty of "
        f"{percent(report_data.fit.unit_sigma)} of the mean B, which is an assumption. B-factors "
        "also contain internal motion and static disorder, so springs may be larger."
    )
    parts = [
        paragraph(
            unit + " Along and across refer to the line between two atoms in contact. Librations "
            "are in kT/rad², about the centre of the interface."
        ),
        spring_picture(shown),
        table(head, [_spring_row(row) for row in shown], text=(0, 6), long=(6,)),
    ]
    if len(shown) < len(rows):
        left = f"{len(rows) - len(shown)} less well determined springs are in springs.csv."
        parts.append(paragraph(left, kind="faint"))
    if report_data.profiles:
        parts += [
            element("h3", "Profiles"),
            paragraph(
                "One spring is fixed at a series of values, and everything else refitted at each."
            ),
            profile_pictures(report_data.profiles),
        ]
    return parts


def _spring_row(row: SpringRow) -> list[object]:
    return [
        row.name,
        number(row.value),
        interval(row.low, row.high),
        f"× {number(row.ratio)}",
        percent(row.by_data),
        str(row.n_contacts),
        ", ".join(row.residues),
    ]


def information_section(report_data: ReportData) -> list[Markup]:
    """The sloppiness spectrum, and a description of its ends."""
    best = report_data.fit.best
    uncertainty = best.uncertainty
    values, vectors = (x.numpy(force=True) for x in uncertainty.spectrum)
    n = len(values)
    ends = sorted({*range(min(N_DIRECTIONS, n)), *range(max(0, n - N_DIRECTIONS), n)})
    rows = []
    for i in ends:
        total = values[i] + uncertainty.prior
        sigma = 1 / math.sqrt(total) if total > 0 else math.inf
        share = values[i] / total if total > 0 else 0.0
        rows.append([str(i + 1), number(sigma, 2), percent(share), _direction(best, vectors[:, i])])
    head = ["direction", "uncertainty", "from data", "combination of log springs"]
    by_b = (
        ""
        if report_data.fit.absolute
        else " One more, the common factor of all springs, is determined by the mean B-factor of "
        "the file and not by the data: with both, a spring can be known although the data alone "
        "determine only its ratio to others."
    )
    return [
        paragraph(
            f"Of {n} directions in the space of the logarithms of the springs, the data determine "
            f"{uncertainty.n_determined} better than the prior.{by_b} The effective number of "
            f"parameters is {number(uncertainty.n_effective)}. Uncertainties include the prior and "
            f"are scaled to chi-square ({number(best.dispersion)} per voxel)."
        ),
        spectrum_picture(best),
        table(head, rows, text=(3,), long=(3,)),
    ]


def _direction(r: LevelFit, vector: np.ndarray) -> str:
    """The springs that change most along a direction."""
    order = np.argsort(-np.abs(vector))[:N_NAMED_SPRINGS]
    sign = np.sign(vector[order[0]])
    parts = [f"{fixed(sign * vector[i], 2, True)} {r.parametrization.names[i]}" for i in order]
    left = 1 - float((vector[order] ** 2).sum())
    return ",  ".join(parts) + (f"  (and {percent(left)} others)" if left > 0.005 else "")
