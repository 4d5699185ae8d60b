"""Properties of a map as rows of a table in the terminal."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from onephonon.core.errors import InputError

if TYPE_CHECKING:
    from onephonon.crystal.grid import MapGrid
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.maps.equivalents import PairAgreement
    from onephonon.maps.summary import MapSummary, ShellSummary

Rows = list[tuple[str, str]]


def where(diffuse: DiffuseMap) -> Rows:
    """Grid, coverage, cell."""
    rows: Rows = []
    if diffuse.grid is not None:
        rows += [("" if axis else "grid", _axis(diffuse.grid, axis)) for axis in range(3)]
    else:
        rows.append(("list", f"{diffuse.intensity.size:,} q-vectors"))
    fraction = f"{100 * diffuse.coverage:.1f} %"
    rows.append(("values", f"{diffuse.n_valid:,} of {diffuse.intensity.size:,} ({fraction})"))
    if diffuse.cell is not None:
        lengths = ", ".join(f"{x:g}" for x in diffuse.cell[:3])
        rows.append(("cell", f"{lengths} Å; {', '.join(f'{x:g}' for x in diffuse.cell[3:])}°"))
    rows.append(("space group", diffuse.spacegroup or "unknown"))
    return rows


def _axis(grid: MapGrid, axis: int) -> str:
    step = grid.step[axis]
    density = f"{1 / step:g} per index" if step <= 1 else f"one in {step:g} indices"
    ends = f"{'hkl'[axis]} from {grid.origin[axis]:.6g} to {grid.end[axis]:.6g}"
    return f"{ends}: {grid.shape[axis]} voxels, {density}"


def file(diffuse: DiffuseMap) -> Rows:
    """What was read, changed, dropped, assumed and ignored of the file, and the history."""
    found = [line.partition(": ") for line in diffuse.report().splitlines()]
    rows = [(kind, text) for kind, _, text in found]
    remarked = {remark.text for remark in diffuse.remarks}
    history = [line for line in diffuse.history if line not in remarked]
    return rows + [("" if n else "history", line) for n, line in enumerate(history)]


def values(diffuse: DiffuseMap, summary: MapSummary) -> Rows:
    """Resolution, intensities, and the presence of sigma, counts and half-sets."""
    smallest, low, median, high, largest = (f"{x:.5g}" for x in summary.percentiles)
    units = diffuse.units.replace("^2", "²") or "units unknown"
    spread = f"1 % are below {low}, 1 % above {high}; smallest {smallest}, largest {largest}"
    rows = [
        ("resolution", f"{summary.d_max:.4g} to {summary.d_min:.4g} Å"),
        ("intensity", f"mean {summary.mean:.5g}, median {median} ({units}; {_kind(diffuse)})"),
        ("", spread),
    ]
    if summary.negative:
        rows.append(("", f"{100 * summary.negative:.2g} % are negative"))
    beside = [
        ("sigma", diffuse.sigma is not None, ""),
        ("counts", diffuse.counts is not None, _mean_count(diffuse)),
        ("half-sets", diffuse.halves is not None, f"CC½ {summary.cc_half:.4f}"),
    ]
    held = [f"{name}{f' ({what})' if what else ''}" for name, there, what in beside if there]
    rows.append(("also", ", ".join(held) or "nothing: no sigma, counts or half-sets"))
    return rows


def _kind(diffuse: DiffuseMap) -> str:
    return {"float32": "single precision"}.get(str(diffuse.intensity.dtype), "double precision")


def _mean_count(diffuse: DiffuseMap) -> str:
    if diffuse.counts is None:
        return ""
    known = diffuse.counts[diffuse.mask & ~np.isnan(diffuse.counts)]
    return f"{known.mean(dtype=np.float64):.3g} per voxel" if len(known) else "none"


def symmetry(diffuse: DiffuseMap, laue: str) -> Rows:
    """Agreement of equivalent voxels."""
    from onephonon.maps.equivalents import symmetry_agreement

    if diffuse.grid is None:
        return []
    try:
        found = symmetry_agreement(diffuse, laue)
    except InputError as error:
        if laue:
            raise InputError(f"--laue {laue!r}: {error}") from error
        return [("symmetry", f"not compared: {error}")]
    group = f"Laue group of {found.symmetry}, {found.n_operators} operators"
    rows = [("symmetry", group), ("", f"Friedel pairs: {_agreement(found.friedel)}")]
    if found.n_operators > 2:
        rows.append(("", f"other equivalents: {_agreement(found.rotations)}"))
    return rows


def _agreement(found: PairAgreement) -> str:
    if not found.n_pairs:
        return "no pairs in the map"
    return (
        f"CC {_number(found.cc, '.4f')}, anisotropic part {_number(found.cc_anisotropic, '.3f')}, "
        f"R {100 * found.r:.2f} % "
        f"({found.n_pairs:,} pairs)"
    )


def shells(found: ShellSummary) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table by resolution, without empty columns."""
    columns = {
        "d / Å": [f"{_d(low)} - {_d(high)}" for low, high in itertools.pairwise(found.edges)],
        "voxels": [f"{n:,}" for n in found.valid],
        "filled": [
            f"{100 * n / of:.1f} %" if of else "-"
            for n, of in zip(found.valid, found.voxels, strict=True)
        ],
        "mean I": [_number(x, ".5g") for x in found.mean],
        "I/sigma": [_number(x, ".3g") for x in found.signal],
        "CC½": [_number(x, ".3f") for x in found.cc_half],
    }
    shown = {name: cells for name, cells in columns.items() if set(cells) != {"-"}}
    return list(shown), [list(row) for row in zip(*shown.values(), strict=True)]


def _d(s: float) -> str:
    return f"{1 / s:.3g}" if s > 0 else "∞"


def _number(x: float, form: str) -> str:
    return "-" if math.isnan(x) else f"{x:{form}}"
