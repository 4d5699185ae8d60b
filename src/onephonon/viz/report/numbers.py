"""All numbers of a fit, as JSON and as tables."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from torch import Tensor

from onephonon.core.units import thermal_frequency
from onephonon.dynamics.elastic_tables import MODULI
from onephonon.dynamics.tls import TLS
from onephonon.refine.model_series import LevelFit
from onephonon.refine.null_fits import NullFit
from onephonon.refine.predictions import Predictions
from onephonon.refine.profile import Profile
from onephonon.refine.quality import Quality
from onephonon.refine.residuals import Diagnosis, diagnose
from onephonon.refine.result import Fit
from onephonon.refine.table import SpringRow, spring_table
from onephonon.scattering.one_phonon_share import OnePhononShare, is_quick, one_phonon_share

from .prediction_tables import JOINT_NAMES, Rows, joint_operators, prediction_tables
from .verdict import Verdict, assess_fit

#: Version of the layout of fit.json.
LAYOUT = 2

#: Packages whose versions are recorded.
PACKAGES = ("onephonon", "torch", "numpy", "scipy", "gemmi")

#: Numbers of `Quality`, in the order of tables.
QUALITIES = ("n", "chi2", "cc", "cc_anisotropic", "r", "background")

#: A range of resolution whose ends differ by less than this factor is a point.
NARROW = 1.01


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows.

    Parameters
    ----------
    fit : Fit
    verdict : Verdict
    residuals : Diagnosis
    springs : dict of str to tuple of SpringRow
        By the name of the level.
    predictions : Predictions or None
    profiles : tuple of Profile
    command : str
    share : OnePhononShare or None
        How much of the intensity is one phonon, with the fitted springs; None if it would take
        long.
    nulls : tuple of NullFit
        Null models at the same voxels.
    """

    fit: Fit
    verdict: Verdict
    residuals: Diagnosis
    springs: dict[str, tuple[SpringRow, ...]]
    predictions: Predictions | None
    profiles: tuple[Profile, ...]
    command: str
    share: OnePhononShare | None = None
    nulls: tuple[NullFit, ...] = ()

    @classmethod
    def of(
        cls,
        fit: Fit,
        predictions: Predictions | None,
        profiles: Sequence[Profile],
        command: str,
        nulls: Sequence[NullFit] = (),
    ) -> ReportData:
        """Collect the input of a report."""
        springs = {r.level.name: spring_table(fit, r) for r in fit.series.levels}
        found = diagnose(fit)
        return cls(
            fit,
            assess_fit(fit, found),
            found,
            springs,
            predictions,
            tuple(profiles),
            command,
            _share(fit),
            tuple(nulls),
        )

    @property
    def best_springs(self) -> tuple[SpringRow, ...]:
        """Springs of the chosen level."""
        return self.springs[self.fit.best.level.name]


def _share(fit: Fit) -> OnePhononShare | None:
    """Share of one phonon at the resolutions of the fit, with the file's Debye-Waller factors."""
    lattice, mesh = fit.fitted_lattice(), fit.model.multiphonon_mesh
    if not is_quick(lattice, mesh=mesh):
        return None
    low, high = float(fit.voxels.s.min()), float(fit.voxels.s.max())
    d_max = 1 / low if 0 < low < high / NARROW else math.inf
    return one_phonon_share(lattice, 1 / high, d_max, use_data_adp=True, mesh=mesh)


def versions() -> dict[str, str]:
    """Versions of the packages used."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a source tree that is not installed
            found[name] = "unknown"
    return found


def all_levels(fit: Fit) -> list[tuple[str, LevelFit]]:
    """The starting model and the fitted levels, by name."""
    return [("start", fit.series.start), *((r.level.name, r) for r in fit.series.levels)]


def to_json_types(report_data: ReportData) -> Any:
    """Everything except the voxels, as plain types; null for values that are not finite."""
    fit, found = report_data.fit, report_data.predictions
    grid, cell = fit.data.require_grid()
    voxels = fit.voxels
    return plain(
        {
            "format": "onephonon fit report",
            "layout": LAYOUT,
            "versions": versions(),
            "command": report_data.command,
            "settings": asdict(fit.settings),
            "orders": fit.model.orders,
            "multiphonon_mesh": fit.model.multiphonon_mesh,
            "verdict": asdict(report_data.verdict),
            "residuals": asdict(report_data.residuals),
            "messages": fit.messages,
            "data": {
                "cell": cell,
                "spacegroup": fit.data.spacegroup,
                "model_spacegroup": fit.model.crystal.spacegroup,
                "units": fit.data.units,
                "shape": grid.shape,
                "voxels": voxels.n,
                "voxels_held_out": int(voxels.held_out.sum()),
                "halos": voxels.n_halos,
                "sigma_known": voxels.sigma_known,
                "absolute": fit.absolute,
                "b_uncertainty": fit.unit_sigma,
                "averaging": None if fit.averaging is None else asdict(fit.averaging),
                "background": fit.background,
                "history": fit.data.history,
            },
            "one_phonon": None if report_data.share is None else asdict(report_data.share),
            "indexing": _indexing(fit),
            "chosen": fit.best.level.name,
            "nulls": [asdict(null) for null in report_data.nulls],
            "levels": {
                name: _level(r)
                | {"springs": [asdict(row) for row in report_data.springs.get(name, ())]}
                for name, r in all_levels(fit)
            },
            "profiles": [vars(p) for p in report_data.profiles],
            "predictions": None if found is None else _predictions(found),
        }
    )


def _indexing(fit: Fit) -> Any:
    trials = fit.indexing.trials if fit.indexing else ()
    return {
        "used": fit.reindexing.name,
        "decision": fit.indexing.decision if fit.indexing else None,
        "trials": [
            {
                "operator": t.reindexing.name,
                "n": t.n,
                "cc": t.cc,
                "cc_anisotropic": t.cc_anisotropic,
                "error": t.error,
                "behind": t.behind,
                "behind_error": t.behind_error,
            }
            for t in trials
        ],
    }


def _level(r: LevelFit) -> dict[str, Any]:
    values, directions = r.uncertainty.spectrum
    return {
        "description": r.level.description,
        "names": r.parametrization.names,
        "start": r.parametrization.start,
        "x": r.x,
        "sigma": r.uncertainty.sigma,
        "by_data": r.uncertainty.by_data,
        "prior": r.prior,
        "dispersion": r.dispersion,
        "scale": r.minimum.at.scale,
        "converged": r.minimum.converged,
        "reason": r.minimum.reason,
        "steps": r.minimum.n_steps,
        "largest_change": r.minimum.largest_change,
        "tried": [dict(zip(("prior", "chi2", "chi2_held_out"), t, strict=True)) for t in r.tried],
        "gain": None if r.gain is None else asdict(r.gain) | {"clear": r.gain.clear},
        "fitted": asdict(r.used),
        "held_out": asdict(r.held_out),
        "shells": [
            {"fitted": asdict(a), "held_out": asdict(b)}
            for a, b in zip(r.used_shells, r.held_out_shells, strict=True)
        ],
        "uncertainty": {
            "prior": r.uncertainty.prior,
            "n_determined": r.uncertainty.n_determined,
            "n_effective": r.uncertainty.n_effective,
            "information": r.uncertainty.information,
            "spectrum": values,
            "directions": directions.T,
        },
    }


def _tls(tls: TLS) -> dict[str, Any]:
    return {"T": tls.T, "L": tls.L, "S": tls.S, "origin": tls.origin}


def _predictions(found: Predictions) -> dict[str, Any]:
    branches = found.dispersion
    return {
        "temperature": found.temperature,
        "draws": found.n_draws,
        "draws_skipped": found.n_skipped,
        "messages": found.messages,
        "b_factors": vars(found.b_factors),
        "b_file": found.b_file,
        "tls": _tls(found.tls),
        "tls_file": _tls(found.tls_file.tls)
        | {"n_determined": found.tls_file.n_determined, "residual": found.tls_file.residual},
        "rms": vars(found.rms),
        "directions": found.directions,
        "speeds": vars(found.speeds),
        "elastic": vars(found.elastic),
        "moduli": {
            name: dict(zip(vars(found.moduli), values, strict=True))
            for name, values in zip(
                MODULI, zip(*vars(found.moduli).values(), strict=True), strict=True
            )
        },
        "rotation_share": float(found.elasticity.rotation_share),
        "joint": {
            "names": JOINT_NAMES,
            "operators": joint_operators(found),
            "values": vars(found.joint_parts),
        },
        "thz_per_reduced": thermal_frequency(found.temperature),
        "dispersion": {
            "k_frac": branches.k_frac,
            "distance": branches.distance,
            "piece": branches.piece,
            "translation": branches.translation,
            "corners": branches.corners,
            "frequencies": vars(found.frequencies),
        },
    }


def plain(value: Any) -> Any:
    """Convert to types supported by JSON; values that are not finite become None."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def tables(report_data: ReportData) -> dict[str, Rows]:
    """Rows of each CSV file by its name, headings first."""
    found = {
        "levels.csv": level_rows(report_data.fit),
        "shells.csv": shell_rows(report_data.fit),
        "springs.csv": spring_rows(report_data),
    }
    if report_data.predictions is not None:
        found |= prediction_tables(report_data.fit, report_data.predictions)
    return found


def level_rows(fit: Fit) -> Rows:
    """One row per level."""
    head = ["level", "chosen", "free_parameters", "prior", "determined", "effective", "dispersion"]
    head += ["converged", "steps", "gain", "gain_error"]
    head += [f"{q}_{part}" for part in ("fitted", "held_out") for q in QUALITIES]
    rows: Rows = [head]
    for name, r in all_levels(fit):
        uncertainty = r.uncertainty
        gained = [math.nan, math.nan] if r.gain is None else [r.gain.value, r.gain.error]
        known = [uncertainty.n_determined, uncertainty.n_effective, r.dispersion]
        ended = [r.minimum.converged, r.minimum.n_steps]
        row = [name, r is fit.best, r.parametrization.n, r.prior, *known, *ended, *gained]
        rows.append([*row, *_qualities(r.used), *_qualities(r.held_out)])
    return rows


def shell_rows(fit: Fit) -> Rows:
    """One row per shell and level."""
    head = ["level", "d_max", "d_min"]
    head += [f"{q}_{part}" for part in ("fitted", "held_out") for q in QUALITIES]
    rows: Rows = [head]
    for name, r in all_levels(fit):
        for used, out in zip(r.used_shells, r.held_out_shells, strict=True):
            rows.append([name, used.d_max, used.d_min, *_qualities(used), *_qualities(out)])
    return rows


def _qualities(q: Quality) -> list[Any]:
    return [getattr(q, name) for name in QUALITIES]


def spring_rows(report_data: ReportData) -> Rows:
    """One row per spring constant and level, the chosen level first."""
    names = list(SpringRow.__dataclass_fields__)
    rows: Rows = [["level", "chosen", *names]]
    best = report_data.fit.best.level.name
    for level in sorted(report_data.springs, key=lambda name: name != best):
        for row in report_data.springs[level]:
            values = vars(row) | {"residues": "; ".join(row.residues)}
            rows.append([level, level == best, *(values[name] for name in names)])
    return rows


def voxel_arrays(fit: Fit) -> dict[str, np.ndarray]:
    """Data, model and flags of every voxel."""
    voxels, what = fit.voxels, fit.best.voxel_results
    return {
        "hkl": voxels.hkl,
        "d": 1 / np.maximum(voxels.s, 1e-300),
        "data": what.data,
        "sigma": voxels.sigma,
        "average": voxels.order,
        "model": what.model,
        "background": what.background,
        "loss": what.loss,
        "held_out": voxels.held_out,
        "halo": voxels.halo,
        "peaks": voxels.peaks,
        "orbit": voxels.orbit,
        "voxel_index": voxels.voxel_index,
    }
