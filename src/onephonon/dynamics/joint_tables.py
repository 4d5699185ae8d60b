"""Tables of joint displacements, as rows for CSV and JSON."""

from __future__ import annotations

import math
from typing import Any

from .joint import Joint, JointDisplacements
from .tables import Row

#: Elements of a symmetric tensor in the order of anisotropic displacement parameters.
ELEMENTS = (
    ("U11", 0, 0),
    ("U22", 1, 1),
    ("U33", 2, 2),
    ("U12", 0, 1),
    ("U13", 0, 2),
    ("U23", 1, 2),
)


def joint_rows(pairs: JointDisplacements, of_atoms: bool = False) -> list[Row]:
    """One row for each pair.

    ``operator`` maps the first copy onto the second, and ``interface`` is the same for a pair and
    its reverse, as in tables of contacts; ``cell_a`` to ``cell_c`` are the cell of the second
    relative to the first's, and x, y, z the Cartesian vector between the two (Å). U11 to U23 are
    the symmetric part of the joint ADP (Å^2, Cartesian); ``parallel`` and ``perpendicular`` are its
    parts along and across the vector, ``relative_...`` those of the mean-square displacement of one
    relative to the other.
    """
    parallel, across = pairs.along(pairs.U)
    stretch, shear = pairs.along(pairs.relative)
    columns = {
        "parallel": parallel,
        "perpendicular": across,
        "correlation": pairs.correlation,
        "relative_parallel": stretch,
        "relative_perpendicular": shear,
    }
    values = {name: x.tolist() for name, x in columns.items()}
    vectors, lengths, cells = (x.tolist() for x in (pairs.vector, pairs.distance, pairs.cell))
    U, touching = pairs.symmetric_U.tolist(), pairs.touching.tolist()
    called = ("atom_1", "atom_2") if of_atoms else ("body_1", "body_2")
    rows = []
    for n in range(pairs.n_pairs):
        row: Row = dict(zip(called, pairs.names[n], strict=True)) if pairs.names else {}
        row |= {
            "operator": pairs.operators.operator[n],
            "interface": pairs.operators.interface[n],
        }
        row |= dict(zip(("cell_a", "cell_b", "cell_c"), cells[n], strict=True))
        row |= dict(zip("xyz", vectors[n], strict=True)) | {"distance": lengths[n]}
        if not of_atoms:
            row["touching"] = touching[n]
        row |= {name: U[n][i][j] for name, i, j in ELEMENTS}
        rows.append(row | {name: x[n] for name, x in values.items()})
    return rows


def molecule_rows(joint: Joint) -> list[Row]:
    """Rows of `joint_rows` for molecules, and parts of the joint ADP of an elastic continuum."""
    parts = [x.tolist() for x in joint.molecules.along(joint.continuum)]
    names = ("continuum_parallel", "continuum_perpendicular")
    rows = joint_rows(joint.molecules)
    for row, *values in zip(rows, *parts, strict=True):
        row |= {n: None if math.isnan(v) else v for n, v in zip(names, values, strict=True)}
    return rows


def joint_json(joint: Joint) -> dict[str, Any]:
    """All pairs with their whole covariances, ``<u_a u_b^T>``, as named values and rows.

    Of bodies 6 x 6: translations (Å), then librations (rad), Cartesian.
    """
    return {
        "mesh": list(joint.mesh),
        "molecules_within": joint.molecules_within,
        "bodies_within": joint.bodies_within,
        "molecules": _with_covariances(molecule_rows(joint), joint.molecules),
        "bodies": _with_covariances(joint_rows(joint.bodies), joint.bodies),
        "atom_pairs": _with_covariances(joint_rows(joint.contacts, True), joint.contacts),
    }


def _with_covariances(rows: list[Row], pairs: JointDisplacements) -> list[Row]:
    return [row | {"covariance": C} for row, C in zip(rows, pairs.C.tolist(), strict=True)]
