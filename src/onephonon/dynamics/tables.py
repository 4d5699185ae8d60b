"""Tables of spectra, of T, L and S, and of B-factors, as rows for CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from onephonon.core.files import replacing
from onephonon.core.text import csv_cell
from onephonon.core.units import thermal_frequency
from onephonon.crystal.crystal import Crystal

from .spectra import DensityOfStates, Dispersion
from .tls import TLS

Row = dict[str, Any]

#: A radian in degrees.
DEGREES = 180.0 / math.pi


def dispersion_rows(dispersion: Dispersion, temperature: float) -> list[Row]:
    """One row for each wavevector and mode: hkl, distance (1/Å), frequency, translation."""
    unit = thermal_frequency(temperature)
    names = dict(dispersion.corners)
    way, k = dispersion.distance.tolist(), dispersion.k_frac.tolist()
    columns = (dispersion.frequencies.tolist(), dispersion.translation.tolist())
    rows = []
    for i, (frequencies, shares) in enumerate(zip(*columns, strict=True)):
        for mode, (w, share) in enumerate(zip(frequencies, shares, strict=True)):
            rows.append(
                {
                    "piece": int(dispersion.piece[i]),
                    "point": names.get(i, ""),
                    "distance": way[i],
                    "h": k[i][0],
                    "k": k[i][1],
                    "l": k[i][2],
                    "mode": mode,
                    "frequency_reduced": w,
                    "frequency_THz": w * unit,
                    "translation": share,
                }
            )
    return rows


def states_rows(states: DensityOfStates, temperature: float) -> list[Row]:
    """One row for each frequency: modes per cell and THz, and the translational part."""
    unit = thermal_frequency(temperature)
    return [
        {
            "frequency_reduced": w,
            "frequency_THz": w * unit,
            "modes_per_THz": g / unit,
            "translation_per_THz": t / unit,
        }
        for w, g, t in zip(
            states.frequencies.tolist(),
            states.density.tolist(),
            states.translation.tolist(),
            strict=True,
        )
    ]


def tls_rows(
    names: Sequence[str], tensors: TLS, source: str, misfit: Tensor | None = None
) -> list[Row]:
    """Two rows for each body: about its centroid and about its centre of reaction.

    T in Å^2, L in degrees^2, S in Å degrees, ``<l t^T>``, row by row; for fitted tensors the
    misfit, Å^2.
    """
    rows = []
    for about, tls in (("centroid", tensors), ("reaction", tensors.about_reaction_centre())):
        for b, name in enumerate(names):
            row: Row = {"body": name, "source": source, "about": about}
            row |= dict(zip("xyz", tls.origin[b].tolist(), strict=True))
            for letter, tensor in (("T", tls.T), ("L", tls.L), ("S", tls.S)):
                scaled = tensor[b] * DEGREES ** {"T": 0, "L": 2, "S": 1}[letter]
                row |= {
                    f"{letter}{i + 1}{j + 1}": float(scaled[i, j])
                    for i in range(3)
                    for j in range(3)
                    if letter == "S" or i <= j
                }
            rows.append(row | {"misfit": None if misfit is None else float(misfit[b])})
    return rows


def b_rows(crystal: Crystal, B: dict[str, Tensor]) -> list[Row]:
    """One row for each atom with its B-factors, Å^2, by their source."""
    table = torch.stack(list(B.values()), dim=1).tolist()
    return [
        {
            "chain": label.chain,
            "residue": label.residue_number,
            "type": label.residue_name,
            "atom": label.atom_name,
            "altloc": label.altloc,
        }
        | dict(zip(B, values, strict=True))
        for label, values in zip(crystal.labels, table, strict=True)
    ]


def write_rows(rows: Sequence[Row], path: str | os.PathLike[str], force: bool = False) -> None:
    """Write rows with the same columns as CSV, numbers to six digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: f"{v:.6g}" if isinstance(v, float) else csv_cell(v) for k, v in row.items()}
        )
    with replacing(path, force) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8")
