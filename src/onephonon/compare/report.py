"""Results of a comparison as a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import asdict
from typing import Any

from onephonon.core import json_files
from onephonon.core.files import replacing
from onephonon.core.json_files import finite

from .agreement import Agreement, Statistics

#: Columns of a shell: heading, name of the number, and format.
Column = tuple[str, str, str]

BASE: tuple[Column, ...] = (
    ("voxels", "n", "d"),
    ("CC", "cc", ".3f"),
    ("CC aniso", "cc_anisotropic", ".3f"),
)
HALVES: tuple[Column, ...] = (
    ("CC½", "cc_half", ".3f"),
    ("CC*", "cc_star", ".3f"),
    ("CC½ aniso", "cc_half_anisotropic", ".3f"),
    ("CC* aniso", "cc_star_anisotropic", ".3f"),
)
REST: tuple[Column, ...] = (
    ("R", "r", ".3f"),
    ("wR", "wr", ".3f"),
    ("R aniso", "r_anisotropic", ".3f"),
    ("mean model", "mean_model", ".4g"),
    ("mean data", "mean_data", ".4g"),
)


def table(agreement: Agreement) -> tuple[list[str], list[list[str]]]:
    """Headings, and rows for each shell and for all shells, as text."""
    columns = (*BASE, *(HALVES if agreement.has_halves else ()), *REST)

    def row(name: str, found: Statistics) -> list[str]:
        return [name, *(_written(getattr(found, key), how) for _, key, how in columns)]

    rows = [row(_range(shell), shell) for shell in agreement.shells]
    return ["d / Å", *(name for name, _, _ in columns)], [*rows, row("all", agreement.overall)]


def trial_table(agreement: Agreement) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each indexing, as text."""
    rows = [
        [
            trial.reindexing.name + (" (used)" if trial.reindexing is agreement.reindexing else ""),
            f"{100 * trial.reindexing.misfit:.2f} %",
            str(trial.n),
            _written(trial.cc, ".3f"),
            f"{_written(trial.cc_anisotropic, '.3f')} ± {_written(trial.error, '.3f')}",
            f"{_written(trial.behind, '.3f')} ± {_written(trial.behind_error, '.3f')}",
        ]
        for trial in agreement.trials
    ]
    return ["indices", "cell misfit", "voxels", "CC", "CC aniso", "below best"], rows


def baseline_table(agreement: Agreement) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each null model, as text."""
    rows = [
        [
            f"{null.name}: {null.meaning}",
            str(null.n),
            f"{_written(null.cc_anisotropic, '.3f')} ± {_written(null.error, '.3f')}",
            f"{_written(null.difference, '+.3f')} ± {_written(null.difference_error, '.3f')}",
        ]
        for null in agreement.baselines
    ]
    return ["null model", "voxels", "CC aniso", "model minus null"], rows


def summary(agreement: Agreement) -> list[str]:
    """Remarks that accompany the numbers, one line each."""
    return [
        f"indexing: {agreement.decision}",
        f"model: {agreement.quadrature}",
        f"isotropic part: {agreement.isotropic}, from both model and data",
        f"weights: {agreement.weighting}",
        f"scale of the model: {agreement.scale:.5g} for intensities, "
        f"{agreement.scale_anisotropic:.5g} for anisotropic parts; R aniso is on the latter",
        *agreement.notes,
    ]


def to_dict(agreement: Agreement) -> dict[str, Any]:
    """All numbers of a comparison, ready for JSON; NaN and infinity become None."""
    found = {
        "overall": asdict(agreement.overall),
        "cc_anisotropic_error": agreement.error,
        "baselines": [asdict(null) for null in agreement.baselines],
        "shells": [asdict(shell) for shell in agreement.shells],
        "scale": agreement.scale,
        "scale_anisotropic": agreement.scale_anisotropic,
        "indexing": {
            "used": agreement.reindexing.name,
            "matrix": agreement.reindexing.matrix.tolist(),
            "decision": agreement.decision,
            "tried": [
                {
                    "indices": trial.reindexing.name,
                    "cell_misfit": trial.reindexing.misfit,
                    "n": trial.n,
                    "cc": trial.cc,
                    "cc_anisotropic": trial.cc_anisotropic,
                    "error": trial.error,
                    "behind": trial.behind,
                    "behind_error": trial.behind_error,
                }
                for trial in agreement.trials
            ],
        },
        "isotropic": str(agreement.isotropic),
        "weighting": agreement.weighting,
        "quadrature": agreement.quadrature,
        "notes": list(agreement.notes),
    }
    plain: dict[str, Any] = finite(found)
    return plain


def write_json(
    agreement: Agreement,
    path: str | os.PathLike[str],
    force: bool = False,
    held_out: Agreement | None = None,
) -> None:
    """Write all numbers of a comparison as JSON.

    Parameters
    ----------
    agreement : Agreement
    path : path
    force : bool
        Overwrite an existing file.
    held_out : Agreement, optional
        A second comparison, of voxels left out of a fit, under the key 'held_out'.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, or cannot be written.
    """
    found = to_dict(agreement) | ({} if held_out is None else {"held_out": to_dict(held_out)})
    json_files.write_json(found, path, force, indent=2)


def write_csv(agreement: Agreement, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write the statistics of all shells as CSV, in full precision; then a line over all.

    Lines of null models follow, with their number of voxels and correlation alone. d is in Å;
    unknown numbers are empty.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, or cannot be written.
    """
    rows = [asdict(found) for found in (*agreement.shells, agreement.overall)]
    with replacing(path, force) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["shell", *rows[0]])
        writer.writeheader()
        for i, row in enumerate(rows):
            name = "all" if i == len(agreement.shells) else str(i + 1)
            writer.writerow({"shell": name} | finite(row))
        for null in agreement.baselines:
            known = {"n": null.n, "cc_anisotropic": null.cc_anisotropic}
            writer.writerow({"shell": null.name} | finite(known))


def _range(shell: Statistics) -> str:
    low = "∞" if math.isinf(shell.d_max) else f"{shell.d_max:.2f}"
    return f"{low}–{shell.d_min:.2f}"


def _written(value: float, how: str) -> str:
    return format(value, how) if math.isfinite(value) else "–"
