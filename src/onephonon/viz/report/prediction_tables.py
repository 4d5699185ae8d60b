"""Tables of what fitted springs predict."""

from __future__ import annotations

from typing import Any

from onephonon.core.units import thermal_frequency
from onephonon.dynamics.elastic_tables import ELEMENTS
from onephonon.dynamics.joint_tables import ELEMENTS as JOINT_ELEMENTS
from onephonon.refine.predictions import Predictions
from onephonon.refine.result import Fit

Rows = list[list[Any]]

#: Numbers of `Predictions.joint_parts`, in their order.
JOINT_NAMES = (*(name for name, _, _ in JOINT_ELEMENTS), "parallel", "perpendicular", "correlation")


def prediction_tables(fit: Fit, found: Predictions) -> dict[str, Rows]:
    """Rows of each CSV file of predictions by its name, headings first."""
    tables = {
        "b_factors.csv": b_rows(fit, found),
        "dispersion.csv": dispersion_rows(found),
        "elastic.csv": elastic_rows(found),
    }
    return tables | ({"joint.csv": joint_rows(found)} if found.neighbours else {})


def b_rows(fit: Fit, found: Predictions) -> Rows:
    """One row per atom."""
    rows: Rows = [["chain", "residue_number", "residue_name", "atom", "altloc"]]
    rows[0] += ["b_file", "b_diffuse", "low", "high"]
    band = found.b_factors
    for i, label in enumerate(fit.model.crystal.labels):
        atom = [
            label.chain,
            label.residue_number,
            label.residue_name,
            label.atom_name,
            label.altloc,
        ]
        rows.append([*atom, found.b_file[i], band.value[i], band.low[i], band.high[i]])
    return rows


def dispersion_rows(found: Predictions) -> Rows:
    """One row per wavevector and branch; frequencies in THz."""
    branches, unit = found.dispersion, thermal_frequency(found.temperature)
    rows: Rows = [["point", "corner", "piece", "h", "k", "l", "distance", "branch"]]
    rows[0] += ["thz", "thz_low", "thz_high", "translation"]
    corners: dict[int, str] = {}
    for i, name in branches.corners:
        corners.setdefault(i, name)
    k, distance, piece, share = (
        x.numpy(force=True)
        for x in (branches.k_frac, branches.distance, branches.piece, branches.translation)
    )
    w = found.frequencies
    for i in range(len(k)):
        where = [i, corners.get(i, ""), piece[i], *k[i], distance[i]]
        for j in range(w.value.shape[1]):
            thz = [unit * band[i, j] for band in (w.value, w.low, w.high)]
            rows.append([*where, j + 1, *thz, share[i, j]])
    return rows


def elastic_rows(found: Predictions) -> Rows:
    """One row per elastic constant, GPa."""
    band = found.elastic
    rows: Rows = [["constant", "GPa", "low", "high"]]
    for i, j in ELEMENTS:
        values = [x[i, j] for x in (band.value, band.low, band.high)]
        rows.append([f"C{i + 1}{j + 1}", *values])
    return rows


def joint_operators(found: Predictions) -> list[str]:
    """Operators of the neighbours whose joint ADPs have intervals."""
    if found.joint is None:
        return []
    return [found.joint.molecules.operators.operator[n] for n in found.neighbours]


def joint_rows(found: Predictions) -> Rows:
    """One row per neighbour in contact: joint ADP with copy 1, Å^2, columns as `joint_tables`."""
    assert found.joint is not None
    molecules, band = found.joint.molecules, found.joint_parts
    rows: Rows = [
        ["operator", "interface", "cell_a", "cell_b", "cell_c", "x", "y", "z", "distance"]
    ]
    rows[0] += [x for name in JOINT_NAMES for x in (name, f"{name}_low", f"{name}_high")]
    for i, (n, operator) in enumerate(zip(found.neighbours, joint_operators(found), strict=True)):
        where = [operator, molecules.operators.interface[n], *molecules.cell[n].tolist()]
        where += [*molecules.vector[n].tolist(), float(molecules.distance[n])]
        values = zip(band.value[i], band.low[i], band.high[i], strict=True)
        rows.append([*where, *(x for each in values for x in each)])
    return rows
