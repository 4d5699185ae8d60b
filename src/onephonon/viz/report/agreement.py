"""Sections on the data and on how well each model agrees with them."""

from __future__ import annotations

import math

import numpy as np

from onephonon.maps.diffuse import DiffuseMap
from onephonon.refine.model_series import LevelFit
from onephonon.refine.quality import Gain

from .html import (
    Markup,
    details,
    fixed,
    listed,
    number,
    paragraph,
    percent,
    table,
)
from .numbers import ReportData
from .pictures import (
    agreement_pictures,
    halo_pictures,
    map_pictures,
    series_picture,
    shell_picture,
)


def data_section(report_data: ReportData) -> list[Markup]:
    """Data, assumptions and decisions."""
    fit, voxels = report_data.fit, report_data.fit.voxels
    out = int(voxels.held_out.sum())
    halos = len(np.unique(voxels.halo[voxels.held_out]))
    grid, _ = fit.data.require_grid()
    lines = [
        f"{voxels.n} symmetry-unique voxels, {1 / voxels.s.min():.3g} to "
        f"{1 / voxels.s.max():.3g} Å, around {voxels.n_halos} Bragg points",
        f"{out} of them, around {halos} Bragg points, are held out",
        f"map: {' x '.join(str(n) for n in grid.shape)} voxels, "
        f"{' x '.join(f'{1 / step:.3g}' for step in grid.step)} per Miller index, "
        f"in {_units(fit.data)}",
        f"rigid bodies: {len(fit.model.bodies.names)} in the asymmetric unit, "
        f"{fit.model.bodies.n_dof} degrees of freedom in the cell; contacts up to "
        f"{fit.model.gnm_cutoff:g} Å",
    ]
    return [listed([*lines, *(_superscript(line) for line in fit.messages)])]


def _units(data: DiffuseMap) -> str:
    return "arbitrary units" if data.units in ("", "arbitrary") else _superscript(data.units)


def _superscript(line: str) -> str:
    """Squares as typographic superscripts."""
    return line.replace("^2", "²")


def series_section(report_data: ReportData) -> list[Markup]:
    """A table of the models, and a picture."""
    fit = report_data.fit
    head = ["level", "parameters", "prior", "determined", "χ² fitted", "χ² held out", "CC fitted"]
    head += ["CC held out", "gain ± error", "converged"]
    rows = [_level_row("start", fit.series.start)]
    rows += [_level_row(r.level.name, r) for r in fit.series.levels]
    tried = [r for r in fit.series.levels if len(r.tried) > 1]
    parts = [
        paragraph(
            "Each level starts from the springs of the previous one. The chosen level is "
            "highlighted: the last whose gain on held-out data exceeds its standard error."
        ),
        table(head, rows, text=(0, 9), highlighted=1 + fit.series.chosen),
        paragraph(
            "χ²: chi-square per voxel. CC: correlation of the anisotropic parts of model and data, "
            "without the background. Prior: weight of the squared log-ratios to the starting "
            "springs. Determined: number of directions on which the data contain more information "
            "than the prior, and in brackets the effective number of parameters. Gain: decrease of "
            "χ² held out, relative to the level chosen before.",
            kind="faint",
        ),
        *(
            paragraph(f"{r.level.name} has not converged: {r.minimum.reason}.", kind="faint bad")
            for r in fit.series.levels
            if not r.minimum.converged
        ),
        series_picture(fit),
    ]
    if tried:
        trials = [
            [r.level.name if not i else "", number(prior), number(used), number(out)]
            for r in tried
            for i, (prior, used, out) in enumerate(r.tried)
        ]
        head = ["level", "prior", "χ² fitted", "χ² held out"]
        parts.append(details("Weights of the prior that were tried", table(head, trials)))
    return parts


def _level_row(name: str, r: LevelFit) -> list[object]:
    gained = "–" if r.gain is None else _gained(r.gain)
    uncertainty = r.uncertainty
    ended = "–" if r.gain is None else ("yes" if r.minimum.converged else "no")
    fitted = r.gain is not None
    return [
        name,
        str(r.parametrization.n),
        number(r.prior) if fitted else "–",
        f"{uncertainty.n_determined} ({number(uncertainty.n_effective)})" if fitted else "–",
        number(r.used.chi2, 4),
        number(r.held_out.chi2, 4),
        fixed(r.used.cc_anisotropic),
        fixed(r.held_out.cc_anisotropic),
        gained,
        ended,
    ]


def _gained(gain: Gain) -> str:
    """A gain with its error, if known."""
    value = "0" if abs(gain.value) < 1e-9 else number(gain.value)
    known = math.isfinite(gain.error) and gain.error > 1e-9
    return f"{value} ± {number(gain.error, 2)}" if known else value


def shell_section(report_data: ReportData) -> list[Markup]:
    """Agreement in shells of resolution."""
    fit = report_data.fit
    best, start = fit.best, fit.series.start
    head = ["Å", "voxels", "held out", "χ² fitted", "χ² held out", "χ² start"]
    head += ["CC fitted", "CC held out", "CC start", "background"]
    rows = []
    for used, out, before in zip(
        best.used_shells, best.held_out_shells, start.used_shells, strict=True
    ):
        rows.append(
            [
                f"{used.d_max:.2f} – {used.d_min:.2f}",
                str(used.n),
                str(out.n),
                number(used.chi2),
                number(out.chi2),
                number(before.chi2),
                fixed(used.cc_anisotropic),
                fixed(out.cc_anisotropic),
                fixed(before.cc_anisotropic),
                percent(used.background),
            ]
        )
    return [
        shell_picture(fit),
        table(head, rows),
        paragraph(
            "Start: the starting model, on the fitted voxels. The shells of all levels are in "
            "shells.csv.",
            kind="faint",
        ),
        *_share_table(report_data),
    ]


def _share_table(report_data: ReportData) -> list[Markup]:
    """How much of the intensity is one phonon."""
    share = report_data.share
    if share is None:
        return []
    summed = report_data.fit.model.orders
    what = {1: "one phonon alone", "all": "all orders"}.get(summed, f"orders 1 to {summed}")
    rows = [
        ["∞" if math.isinf(d_max) else f"{d_max:.2f}", f"{d_min:.2f}", percent(value)]
        for (d_max, d_min), value in zip(share.d, share.share, strict=True)
    ]
    return [
        paragraph(
            "One phonon as a share of the intensity of all orders, with the fitted springs and the "
            f"B-factors of the file; the fit is of {what}."
        ),
        table(["from Å", "to Å", "one phonon"], rows),
    ]


def map_section(report_data: ReportData, maps: tuple[DiffuseMap, DiffuseMap]) -> list[Markup]:
    """Model, data and difference, as sections and close-ups."""
    return [
        paragraph(
            "Model with background on the data's scale (total.h5), and the data, in the data's "
            "indices: at the fitted and held-out voxels and their symmetry equivalents. model.h5 "
            "is the model without background."
        ),
        *map_pictures(*maps),
        *halo_pictures(report_data.fit, *maps),
    ]


def background_section(report_data: ReportData) -> list[Markup]:
    """The background's share, and means over shells."""
    best = report_data.fit.best
    return [
        paragraph(
            f"The background is {percent(best.used.background)} of the calculated intensity at the "
            f"fitted voxels, and {percent(best.held_out.background)} at the held-out ones. It is "
            "fitted together with the springs, so it does not bias them."
        ),
        agreement_pictures(report_data.fit),
    ]
