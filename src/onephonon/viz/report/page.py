"""The page of a report: headline, sections, and how to reproduce it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from onephonon.refine.quality import Quality

from .agreement import background_section, data_section, map_section, series_section, shell_section
from .html import (
    Markup,
    capitalized,
    details,
    element,
    fixed,
    joined,
    listed,
    number,
    page,
    paragraph,
    table,
)
from .numbers import ReportData, versions
from .pictures import Maps
from .predictions import dispersion_section, elastic_section, joint_section, motion_section
from .springs import information_section, springs_section

#: Files of maps beside the page, and what each is.
MAP_FILES = {
    "model.h5": "the model without background, on the data's scale",
    "background.h5": "the background",
    "total.h5": "their sum, to be compared with the data",
}

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
        ("fitted", "What was fitted", data_section),
        ("series", "Series of models", series_section),
        ("shells", "By resolution", shell_section),
        ("springs", "Springs", springs_section),
        ("determined", "What the data determine", information_section),
        ("maps", "Maps", lambda m: map_section(m, drawn)),
        ("background", "Background", background_section),
        ("motion", "B-factors and rigid-body motion", motion_section),
        ("dispersion", "Dispersion and speeds of sound", dispersion_section),
        ("elasticity", "Elastic constants", elastic_section),
        ("joint", "Joint displacements", joint_section),
        ("indexing", "Indexing", indexing_section),
        ("reproduce", "How to reproduce this", lambda m: reproduction_section(m, files)),
    ]
    found, left_out = report_data.predictions, set[str]()
    if found is None:
        left_out |= {"motion", "dispersion", "elasticity"}
    if found is None or not found.neighbours:
        left_out.add("joint")
    sections = [section for section in sections if section[0] not in left_out]
    title = "Springs of a crystal, fitted to its diffuse scattering"
    links = [Markup(f'<a href="#{anchor}">{name}</a>') for anchor, name, _ in sections]
    body = [element("h1", title), *headline(report_data), element("nav", *links)]
    for anchor, name, write in sections:
        body.append(element("section", element("h2", name), *write(report_data), ident=anchor))
    return page(title, body)


def _maps_of(report_data: ReportData) -> Maps:
    """Model with background, and data, of the chosen level."""
    maps = report_data.fit.maps()
    return maps.total, maps.data


def headline(report_data: ReportData) -> list[Markup]:
    """The chosen level, four numbers, and the verdict."""
    fit, verdict = report_data.fit, report_data.verdict
    best, start = fit.best, fit.series.start
    tiles = [
        _tile("anisotropic CC, held out", best.held_out, start.held_out, "cc_anisotropic"),
        _tile("anisotropic CC, fitted", best.used, start.used, "cc_anisotropic"),
        _tile("chi-square per voxel, held out", best.held_out, start.held_out, "chi2"),
        _tile("chi-square per voxel, fitted", best.used, start.used, "chi2"),
    ]
    lines: list[object] = [verdict.explained, verdict.held_out, verdict.gain]
    lines += [element("span", line, kind="bad") for line in verdict.warnings]
    if verdict.good:
        lines.append(element("span", "No problems were found.", kind="good"))
    crystal = fit.model.crystal
    cell = ", ".join(f"{x:g}" for x in crystal.cell.parameters)
    return [
        paragraph(f"Space group {crystal.spacegroup}, cell {cell} (Å, °)", kind="faint"),
        paragraph("Chosen level: ", element("b", best.level.description), f" ({best.level.name})."),
        element("div", *tiles, kind="tiles"),
        listed(lines, kind="verdict"),
    ]


def _tile(name: str, now: Quality, before: Quality, what: str) -> Markup:
    show = fixed if what == "cc_anisotropic" else number
    value, other = show(getattr(now, what)), show(getattr(before, what))
    return element(
        "div",
        element("span", name),
        element("b", value),
        element("span", f"start {other}"),
    )


def indexing_section(report_data: ReportData) -> list[Markup]:
    """Indexings tried with the starting model."""
    fit = report_data.fit
    if fit.indexing is None:
        sentence = f"{fit.reindexing.name} is used; the lattice allows no other indexing."
        return [paragraph(sentence)]
    rows, used = [], None
    for i, t in enumerate(fit.indexing.trials):
        if np.array_equal(t.reindexing.matrix, fit.reindexing.matrix):
            used = i
        behind = "–" if not t.behind > 0 else f"{fixed(t.behind)} ± {fixed(t.behind_error)}"
        cc = f"{fixed(t.cc_anisotropic)} ± {fixed(t.error)}"
        rows.append([t.reindexing.name, str(t.n), fixed(t.cc), cc, behind])
    head = ["model's h,k,l", "voxels", "CC", "anisotropic CC", "below the best by"]
    return [
        paragraph(
            f"{capitalized(fit.indexing.decision)}. Indexings are compared with the starting model."
        ),
        table(head, rows, highlighted=used),
    ]


def reproduction_section(report_data: ReportData, files: tuple[str, ...]) -> list[Markup]:
    """Command, versions, settings and files."""
    settings = asdict(report_data.fit.settings)
    rows = [
        [name, ", ".join(map(str, v)) if isinstance(v, tuple) else "default" if v is None else v]
        for name, v in settings.items()
    ]
    history = report_data.fit.data.history
    numbers = [name for name in files[1:] if name not in MAP_FILES]
    maps = [f"{name}, {MAP_FILES[name]}" for name in files if name in MAP_FILES]
    parts = [
        element("pre", element("code", report_data.command)) if report_data.command else "",
        paragraph("Versions: ", ", ".join(f"{k} {v}" for k, v in versions().items()), "."),
        paragraph("All numbers are in the files next to this page: ", ", ".join(numbers), "."),
        paragraph("Maps: ", "; ".join(maps), "."),
        details("Settings", table(["setting", "value"], rows, text=(0, 1), long=(1,))),
    ]
    if history:
        parts.append(details("History of the data", listed(history)))
    return [joined(*parts)]
