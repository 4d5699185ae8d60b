"""Sections on what the fitted springs predict: B-factors, TLS, dispersion, elasticity, joint U."""

from __future__ import annotations

import math

import numpy as np

from onephonon.core.correlation import pearson
from onephonon.dynamics.elastic_tables import MODULI, ROTATION, VOIGT_NAMES, ZERO

from .html import (
    Markup,
    capitalized,
    fixed,
    interval,
    number,
    paragraph,
    table,
)
from .numbers import ReportData
from .pictures import b_factor_picture, dispersion_picture, elastic_picture, joint_picture
from .prediction_tables import JOINT_NAMES, joint_operators


def motion_section(report_data: ReportData) -> list[Markup]:
    """Predicted B-factors and TLS, compared with those of the file."""
    fit, found = report_data.fit, report_data.predictions
    assert found is not None
    band, from_file = found.b_factors, found.b_file
    mean, low, high = (float(np.mean(x)) for x in (band.value, band.low, band.high))
    cc = pearson(from_file, band.value)
    between = f" ({interval(low, high)})" if math.isfinite(low) else ""
    sentence = (
        f"The springs fitted to diffuse scattering predict a mean B of {number(mean)} "
        f"Å²{between}; the structure file has {number(from_file.mean())} Å². The correlation over "
        f"the atoms is {fixed(cc, 2)}."
    )
    if not fit.absolute:
        sentence += (
            " With a fitted scale the mean is not a prediction: it sets the unit of the springs."
        )
    return [
        paragraph(sentence),
        b_factor_picture(fit, found),
        _tls_table(report_data),
        paragraph(
            "T and L about the centroid of each body, along principal axes, the largest first. "
            f"File: TLS fitted to its U ({found.tls_file.undetermined()}). A negative "
            "value stands for a negative mean square.",
            kind="faint",
        ),
        *(paragraph(capitalized(line) + ".", kind="faint") for line in found.messages),
    ]


def _tls_table(report_data: ReportData) -> Markup:
    """Principal root mean squares of the bodies."""
    from onephonon.dynamics.tls import principal_rms

    found = report_data.predictions
    assert found is not None
    file = found.tls_file.tls
    rows = []
    for i, name in enumerate(report_data.fit.model.bodies.names):
        for j, (letter, unit, tensor) in enumerate(
            (("T", 1.0, file.T), ("L", 180 / math.pi, file.L))
        ):
            from_file = unit * principal_rms(tensor)[i].numpy(force=True)
            ours, low, high = (
                unit * x[i, j] for x in (found.rms.value, found.rms.low, found.rms.high)
            )
            bands = ", ".join(interval(a, b) for a, b in zip(low, high, strict=True))
            rows.append(
                [
                    name,
                    f"{letter}, {'Å' if letter == 'T' else '°'} rms",
                    ", ".join(number(x) for x in ours),
                    bands if np.isfinite(low).all() else "–",
                    ", ".join(number(x) for x in from_file),
                ]
            )
    return table(["body", "", "diffuse", "68 % intervals", "file"], rows, text=(0, 1))


def dispersion_section(report_data: ReportData) -> list[Markup]:
    """Dispersion with bands, and speeds of sound."""
    found = report_data.predictions
    assert found is not None
    speeds = found.speeds
    rows = [
        [
            direction,
            *(
                f"{number(value)} ({interval(low, high)})" if np.isfinite(low) else number(value)
                for value, low, high in zip(
                    speeds.value[i], speeds.low[i], speeds.high[i], strict=True
                )
            ),
        ]
        for i, direction in enumerate(found.directions)
    ]
    sentence = (
        f"At {found.temperature:g} K."
        + (f" Bands are 68 % intervals of {found.n_draws} draws." if found.n_draws else "")
        + " Frequencies are those of undamped motion; in a hydrated crystal most modes are "
        "overdamped."
    )
    return [
        paragraph(sentence),
        dispersion_picture(found),
        table(["along", "slowest, m/s", "middle, m/s", "fastest, m/s"], rows),
    ]


def elastic_section(report_data: ReportData) -> list[Markup]:
    """Elastic constants with intervals, moduli, and sound in all directions."""
    found = report_data.predictions
    assert found is not None
    band, moduli = found.elastic, found.moduli
    size = float(np.abs(band.value).max())

    def written(i: int, j: int) -> str:
        value, low, high = (float(x[i, j]) for x in (band.value, band.low, band.high))
        if j < i or abs(value) < ZERO * size:
            return "" if j < i else "0"
        return f"{number(value)} ({interval(low, high)})" if math.isfinite(low) else number(value)

    rows = [[name, *(written(i, j) for j in range(6))] for i, name in enumerate(VOIGT_NAMES)]
    averages = [
        [
            name,
            number(moduli.value[i]),
            interval(moduli.low[i], moduli.high[i]) if np.isfinite(moduli.low[i]) else "–",
        ]
        for i, name in enumerate(MODULI)
    ]
    sentence = (
        f"Elastic constants in GPa at {found.temperature:g} K, from the energy of homogeneous "
        "strains with all bodies in equilibrium; x along a, z along c*. Springs are at rest in the "
        "crystal, so that there is no stress."
    )
    share = float(found.elasticity.rotation_share)
    remark = (
        "The springs resist a rotation of the whole crystal, which nature does not: in a simple "
        f"shear it takes {number(share, 2)} times the energy of the strain, and sound is faster "
        "than these constants say."
    )
    parts = [
        paragraph(sentence),
        table(["", *VOIGT_NAMES], rows),
        table(["modulus of a polycrystal", "GPa", "68 % interval"], averages),
        elastic_picture(report_data.fit, found),
    ]
    return [*parts, paragraph(remark, kind="faint")] if share > ROTATION else parts


def joint_section(report_data: ReportData) -> list[Markup]:
    """Joint displacements of neighbouring molecules, with intervals."""
    found = report_data.predictions
    assert found is not None
    assert found.joint is not None
    band, molecules = found.joint_parts, found.joint.molecules
    rows = []
    for i, (n, operator) in enumerate(zip(found.neighbours, joint_operators(found), strict=True)):
        row = [operator, number(float(molecules.distance[n]))]
        for part in ("parallel", "perpendicular", "correlation"):
            at = JOINT_NAMES.index(part)
            value, low, high = (float(x[i, at]) for x in (band.value, band.low, band.high))
            known = math.isfinite(low)
            row.append(f"{number(value)} ({interval(low, high)})" if known else number(value))
        rows.append(row)
    return [
        paragraph(
            "The covariance of the displacements of neighbouring molecules, in Å², along and "
            "across the vector between their centroids. The correlation is 1 if two molecules move "
            "as one, and 0 if they move independently."
        ),
        joint_picture(found),
        table(["operator", "distance, Å", "parallel", "perpendicular", "correlation"], rows),
    ]
