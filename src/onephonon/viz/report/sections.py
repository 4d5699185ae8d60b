"""The sections of the page, in their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from onephonon.core.correlation import pearson
from onephonon.maps.diffuse import DiffuseMap
from onephonon.refine.model_series import LevelFit
from onephonon.refine.quality import Gain, Quality
from onephonon.refine.table import SpringRow

from .html import (
    Markup,
    element,
    fixed,
    interval,
    joined,
    listed,
    number,
    page,
    paragraph,
    percent,
    table,
)
from .numbers import ReportData, versions
from .pictures import (
    agreement_pictures,
    b_factor_picture,
    dispersion_picture,
    halo_pictures,
    map_pictures,
    profile_pictures,
    series_picture,
    shell_picture,
    spectrum_picture,
    spring_picture,
)

if TYPE_CHECKING:
    from .pictures import Maps

#: Maximum number of springs on the page; the rest is in the CSV table.
MAX_SPRINGS = 60

#: Number of directions described at each end of the spectrum, and of springs named in each.
N_DIRECTIONS, N_NAMED_SPRINGS = 4, 3

#: A section: anchor, title, and function that returns its content.
Section = tuple[str, str, Callable[[ReportData], list[Markup]]]


def report_page(report_data: ReportData, files: tuple[str, ...], maps: Maps | None = None) -> str:
    """The page.

    Parameters
    ----------
    report_data : ReportData
    files : tuple of str
        Names of the files beside it.
    maps : pair of DiffuseMap, optional
        Model with background, and data, to be drawn.
    """
    drawn = maps or _maps_of(report_data)
    sections: list[Section] = [
        ("fitted", "What was fitted", what_was_fitted),
        ("series", "Series of models", series_section),
        ("shells", "By resolution", by_shell),
        ("springs", "Springs", springs),
        ("known", "What the data determine", information_section),
        ("maps", "Maps", lambda m: maps_drawn(m, drawn)),
        ("background", "Background", background),
        ("motion", "B-factors and rigid-body motion", motion),
        ("waves", "Dispersion and speeds of sound", waves),
        ("indexing", "Indexing", indexing),
        ("again", "How to compute this again", lambda m: again(m, files)),
    ]
    if report_data.predictions is None:
        sections = [s for s in sections if s[0] not in ("motion", "waves")]
    title = "Springs of a crystal, fitted to its diffuse scattering"
    links = [Markup(f'<a href="#{anchor}">{name}</a>') for anchor, name, _ in sections]
    body = [element("h1", title), *headline(report_data), element("nav", *links)]
    for anchor, name, write in sections:
        body.append(element("section", element("h2", name), *write(report_data), ident=anchor))
    return page(title, body)


def _maps_of(report_data: ReportData) -> Maps:
    """Model with background, and data, of the chosen model."""
    model, back, data = report_data.fit.maps()
    total = {"intensity": model.intensity + back.intensity}
    return model.changed("model and background", total), data


def headline(report_data: ReportData) -> list[Markup]:
    """The chosen model, four numbers, and the verdict."""
    fit, verdict = report_data.fit, report_data.verdict
    best, untuned = fit.best, fit.series.untuned
    tiles = [
        _tile("anisotropic CC, held out", best.held_out, untuned.held_out, "cc_anisotropic"),
        _tile("anisotropic CC, fitted", best.used, untuned.used, "cc_anisotropic"),
        _tile("chi-square per voxel, held out", best.held_out, untuned.held_out, "chi2"),
        _tile("chi-square per voxel, fitted", best.used, untuned.used, "chi2"),
    ]
    lines: list[object] = [verdict.explains, verdict.holds, verdict.gains]
    lines += [element("span", line, kind="bad") for line in verdict.warnings]
    if verdict.good:
        lines.append(element("span", "No other problems were found.", kind="good"))
    crystal = fit.model.crystal
    cell = ", ".join(f"{x:g}" for x in crystal.cell.parameters)
    return [
        paragraph(f"Space group {crystal.spacegroup}, cell {cell} (Å, °)", kind="faint"),
        paragraph("Chosen model: ", element("b", best.level.description), f" ({best.level.name})."),
        element("div", *tiles, kind="tiles"),
        listed(lines, kind="verdict"),
    ]


def _tile(name: str, now: Quality, before: Quality, what: str) -> Markup:
    show = fixed if what == "cc_anisotropic" else number
    value, other = show(getattr(now, what)), show(getattr(before, what))
    return element(
        "div", element("span", name), element("b", value), element("span", f"untuned {other}")
    )


def what_was_fitted(report_data: ReportData) -> list[Markup]:
    """Data, assumptions and decisions."""
    fit, voxels = report_data.fit, report_data.fit.voxels
    out = int(voxels.held_out.sum())
    halos = len(np.unique(voxels.halo[voxels.held_out]))
    grid, _ = fit.data.require_grid()
    lines = [
        f"{voxels.n} voxels that symmetry makes different, {1 / voxels.s.min():.3g} to "
        f"{1 / voxels.s.max():.3g} Å, around {voxels.n_halos} Bragg points",
        f"{out} of them, around {halos} Bragg points, were held out of the fit",
        f"the map: {' x '.join(str(n) for n in grid.shape)} voxels, "
        f"{' x '.join(f'{1 / step:.3g}' for step in grid.step)} per Miller index, "
        f"in {_units(fit.data)}",
        f"bodies: {len(fit.model.bodies.names)} in the asymmetric unit, "
        f"{fit.model.bodies.n_dof} degrees of freedom in the cell; contacts up to "
        f"{fit.model.gnm_cutoff:g} Å",
    ]
    return [listed([*lines, *(_sentence(line) for line in fit.messages)])]


def _units(data: DiffuseMap) -> str:
    return "arbitrary units" if data.units in ("", "arbitrary") else _sentence(data.units)


def _sentence(line: str) -> str:
    return line.replace("^2", "²")


def series_section(report_data: ReportData) -> list[Markup]:
    """A table of the models, and a picture."""
    fit = report_data.fit
    head = ["level", "springs", "prior", "known", "χ² fitted", "χ² held out", "CC fitted"]
    head += ["CC held out", "gain ± error", "converged"]
    rows = [_level_row("untuned", fit.series.untuned)]
    rows += [_level_row(r.level.name, r) for r in fit.series.levels]
    tried = [r for r in fit.series.levels if len(r.tried) > 1]
    parts = [
        paragraph(
            "Each model starts from the springs of the one before; the last whose gain on held-out "
            "data exceeds its standard error is chosen (highlighted)."
        ),
        table(head, rows, text=(0, 9), highlighted=1 + fit.series.chosen),
        paragraph(
            "χ²: chi-square per voxel. CC: without the isotropic parts of model and data, "
            "background left out. Prior: weight of the squared log-ratios to the geometric "
            "start. Determined: directions known better from the data than from the prior, "
            "and in brackets the parameters that the data set. Gain: drop of χ² held out, "
            "from the model chosen before.",
            kind="faint",
        ),
        *(
            paragraph(f"{r.level.name} has not converged: {r.minimum.why}.", kind="faint bad")
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
        parts.append(_folded("Priors that were tried", table(head, trials)))
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
    information_section = math.isfinite(gain.error) and gain.error > 1e-9
    return f"{value} ± {number(gain.error, 2)}" if information_section else value


def _folded(title: str, *content: Markup) -> Markup:
    return element("details", element("summary", title), *content)


def by_shell(report_data: ReportData) -> list[Markup]:
    """Agreement in shells of resolution."""
    fit = report_data.fit
    best, untuned = fit.best, fit.series.untuned
    head = ["Å", "voxels", "held out", "χ² fitted", "χ² held out", "χ² untuned"]
    head += ["CC fitted", "CC held out", "CC untuned", "background"]
    rows = []
    for used, out, before in zip(
        best.used_shells, best.held_out_shells, untuned.used_shells, strict=True
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
        paragraph("Untuned: on the fitted voxels. Shells of all models: shells.csv.", kind="faint"),
    ]


def springs(report_data: ReportData) -> list[Markup]:
    """Constants by interface, with intervals."""
    rows = report_data.best_springs
    # Of many, the best determined ones, in the order of the table.
    kept = sorted(range(len(rows)), key=lambda i: -rows[i].by_data)[:MAX_SPRINGS]
    shown = [rows[i] for i in sorted(kept)]
    head = ["spring", "kT/Å²", "68 % interval", "of the start", "from data", "contacts"]
    head += ["residues most in contact"]
    unit = (
        "The data are on an absolute scale, and so are the springs."
        if report_data.fit.absolute
        else "A scale was fitted, so the mean B-factor of the file sets the unit of all springs "
        "together; their ratios are the data's."
    )
    parts = [
        paragraph(
            unit + " Along and across: of the line between two atoms in contact. Librations "
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
            paragraph("One spring fixed at a series of values, everything else refitted at each."),
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
    head = ["direction", "uncertainty", "from data", "logarithms of"]
    return [
        paragraph(
            f"Of {n} directions in the space of the logarithms of the springs, the data determine "
            f"{uncertainty.n_determined} better than the prior; this corresponds to "
            f"{number(uncertainty.n_effective)} parameters. Uncertainties count data and prior, "
            f"and errors scaled to chi-square ({number(best.dispersion)} per voxel)."
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


def maps_drawn(report_data: ReportData, maps: tuple[DiffuseMap, DiffuseMap]) -> list[Markup]:
    """Model, data and difference, as sections and close-ups."""
    return [
        paragraph(
            "Model with background, on the data's scale, at the voxels of the fit and their "
            "equivalents, in the data's indices; held-out ones included."
        ),
        *map_pictures(*maps),
        *halo_pictures(report_data.fit, *maps),
    ]


def background(report_data: ReportData) -> list[Markup]:
    """The background's share, and means over shells."""
    best = report_data.fit.best
    return [
        paragraph(
            f"The background is {percent(best.used.background)} of the fitted intensity, and "
            f"{percent(best.held_out.background)} on held-out voxels. It is solved for within "
            "the fit, so that it does not bias the springs."
        ),
        agreement_pictures(report_data.fit),
    ]


def motion(report_data: ReportData) -> list[Markup]:
    """Predicted B-factors and TLS, compared with those of the file."""
    fit, found = report_data.fit, report_data.predictions
    assert found is not None
    band, from_file = found.b_factors, found.b_file
    mean, low, high = (float(np.mean(x)) for x in (band.value, band.low, band.high))
    cc = pearson(from_file, band.value)
    between = f" ({interval(low, high)})" if math.isfinite(low) else ""
    sentence = (
        f"Springs from diffuse scattering predict a mean B of {number(mean)} Å²{between}; the "
        f"Bragg refinement in the file has {number(from_file.mean())} Å². "
        f"Correlation over the atoms: {fixed(cc, 2)}."
    )
    if not fit.absolute:
        sentence += " The mean is no prediction: a scale was fitted, and it sets the springs' unit."
    return [
        paragraph(sentence),
        b_factor_picture(fit, found),
        _tls_table(report_data),
        paragraph(
            "T and L about the centroid of each body; principal axes, the largest first. "
            f"File: best fit to its U ({found.tls_file.undetermined()}); a negative "
            "value means a negative mean square.",
            kind="faint",
        ),
        *(paragraph(_capital(line) + ".", kind="faint") for line in found.messages),
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


def _capital(line: str) -> str:
    return line[:1].upper() + line[1:]


def waves(report_data: ReportData) -> list[Markup]:
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
        + (f" Bands: 68 % of {found.n_draws} draws of the springs." if found.n_draws else "")
        + " Frequencies are those of undamped motion: in a crystal full of water most of it is "
        "overdamped."
    )
    return [
        paragraph(sentence),
        dispersion_picture(found),
        table(["along", "slowest, m/s", "middle, m/s", "fastest, m/s"], rows),
    ]


def indexing(report_data: ReportData) -> list[Markup]:
    """Indexings tried with the untuned model."""
    fit = report_data.fit
    if fit.indexing is None:
        sentence = f"Used: {fit.reindexing.name}. There is no other indexing."
        return [paragraph(sentence)]
    rows, used = [], None
    for i, t in enumerate(fit.indexing.trials):
        if np.array_equal(t.reindexing.matrix, fit.reindexing.matrix):
            used = i
        behind = "–" if not t.behind > 0 else f"{fixed(t.behind)} ± {fixed(t.behind_error)}"
        cc = f"{fixed(t.cc_anisotropic)} ± {fixed(t.error)}"
        rows.append([t.reindexing.name, str(t.n), fixed(t.cc), cc, behind])
    head = ["model's h,k,l", "voxels", "CC", "anisotropic CC", "behind the best"]
    return [
        paragraph(f"Used: {fit.indexing.decision}. Compared with the untuned model."),
        table(head, rows, highlighted=used),
    ]


def again(report_data: ReportData, files: tuple[str, ...]) -> list[Markup]:
    """Command, versions, settings and files."""
    settings = asdict(report_data.fit.settings)
    rows = [
        [name, ", ".join(map(str, v)) if isinstance(v, tuple) else "default" if v is None else v]
        for name, v in settings.items()
    ]
    history = report_data.fit.data.history
    parts = [
        element("pre", element("code", report_data.command)) if report_data.command else "",
        paragraph("Versions: ", ", ".join(f"{k} {v}" for k, v in versions().items()), "."),
        paragraph("Every number is in the files beside this page: ", ", ".join(files[1:]), "."),
        _folded("Settings", table(["setting", "value"], rows, text=(0, 1), long=(1,))),
    ]
    if history:
        parts.append(_folded("History of the data", listed(history)))
    return [joined(*parts)]
