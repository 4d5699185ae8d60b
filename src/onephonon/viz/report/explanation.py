"""Report of components of disorder: how much of a map each explains."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from onephonon.core.files import check_writable, make_folder, replacing
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.io.registry import write_map
from onephonon.refine.components.bench import ExplainedModel
from onephonon.refine.components.explanation import Explanation
from onephonon.refine.components.judgement import Correlation, shell_correlations, shell_edges

from .. import plot
from .encoding import csv_bytes, json_bytes, npz_bytes
from .html import Markup, details, element, fixed, listed, number, page, paragraph, table
from .numbers import plain, versions
from .pictures import drawn

#: Version of the layout of fit.json.
LAYOUT = 1

#: What the numbers of a fit of components are.
FORMAT = "onephonon explanation"

#: Ways of leaving out, in a few words.
TILES = {
    "small": "small blocks left out",
    "wide": "wide blocks left out",
    "guarded": "blocks with a guard left out",
}

#: Files of maps, and what they are.
MAPS = {
    "model.h5": "the fitted model, with the isotropic part of the data",
    "held_out.h5": "predictions of voxels that were left out of the fit, small blocks at a time",
    "residual.h5": "the data less those predictions",
}


def write_explanation(
    found: Explanation,
    folder: str | os.PathLike[str],
    command: str = "",
    force: bool = False,
) -> list[Path]:
    """Write the results of a fit of components: an HTML page, numbers, and maps.

    Parameters
    ----------
    found : Explanation
    folder : path
        Created if missing.
    command : str
        The command that made the fit, for the page.
    force : bool
        Overwrite existing files.

    Returns
    -------
    list of Path
        The written files, the page first.

    Raises
    ------
    FileError
        If a file exists and `force` is not set, or cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    numbers: dict[str, Callable[[], bytes]] = {
        "report.html": lambda: explanation_page(found, command).encode("utf-8"),
        "fit.json": lambda: json_bytes(numbers_of(found, command)),
        "models.csv": lambda: csv_bytes(model_rows(found)),
        "shells.csv": lambda: csv_bytes(shell_rows(found)),
        "voxels.npz": lambda: npz_bytes(voxel_arrays(found)),
    }
    paths = {name: check_writable(folder / name, force) for name in (*numbers, *MAPS)}
    for name, content in numbers.items():
        made = content()
        with replacing(paths[name], force) as temporary:
            temporary.write_bytes(made)
    for name, diffuse in maps_of(found).items():
        write_map(diffuse, paths[name], force)
    return list(paths.values())


def maps_of(found: Explanation) -> dict[str, DiffuseMap]:
    """The maps of the best model, by the names of their files."""
    best = found.best
    held_out = found.to_map(best.held_out["small"], MAPS["held_out.h5"])
    data = found.voxels.to_map_shape(found.voxels.data, found.data)
    return {
        "model.h5": found.to_map(best.fitted, MAPS["model.h5"]),
        "held_out.h5": held_out,
        "residual.h5": found.data.changed(
            MAPS["residual.h5"], {"intensity": data - held_out.intensity}
        ),
    }


def explanation_page(found: Explanation, command: str = "") -> str:
    """The page."""
    sections = [
        ("explained", "How much each kind of motion explains", _explained_section(found)),
        ("shells", "By resolution", _shell_section(found)),
        ("parameters", "Parameters", _parameter_section(found)),
        ("fitted", "What was fitted", _data_section(found)),
        ("reproduce", "How to reproduce this", _reproduction_section(command)),
    ]
    links = [Markup(f'<a href="#{anchor}">{name}</a>') for anchor, name, _ in sections]
    title = "Kinds of motion in a crystal, fitted to its diffuse scattering"
    body: list[object] = [element("h1", title), *_headline(found), element("nav", *links)]
    for anchor, name, content in sections:
        body.append(element("section", element("h2", name), *content, ident=anchor))
    return page(title, body)


def headline_lines(found: Explanation) -> list[str]:
    """What the fit says, in a few sentences."""
    best, smooth = found.best, found.baseline()
    lines = []
    for way in best.judgement.held_out:
        ours = best.judgement.held_out[way]
        text = f"{found.ways[way]}: anisotropic CC {_with_error(ours)}"
        if found.second is not None:
            text += f", with {found.second.name} {fixed(best.judgement.second[way].cc)}"
        if way in smooth.judgement.held_out:
            gain, error = best.judgement.gain_over(smooth.judgement, way)
            text += (
                f"; smoothness of the map alone {fixed(smooth.judgement.held_out[way].cc)}, so the "
                f"gain is {fixed(gain, sign=True)} ± {fixed(error)}"
            )
        lines.append(text)
    if found.second is not None:
        lines.append(
            f"the two maps agree with each other at {fixed(found.second.cc)} ± "
            f"{fixed(found.second.error)}, which is about what a model can reach"
        )
    return lines


def _headline(found: Explanation) -> list[Markup]:
    crystal = found.model.crystal
    cell = ", ".join(f"{x:g}" for x in crystal.cell.parameters)
    best = found.best
    tiles = [
        element(
            "div",
            element("span", f"anisotropic CC, {TILES[way]}"),
            element("b", fixed(value.cc)),
            element("span", f"± {fixed(value.error)}"),
        )
        for way, value in best.judgement.held_out.items()
    ]
    if found.second is not None:
        ceiling = element("b", fixed(found.second.cc))
        error = element("span", f"± {fixed(found.second.error)}")
        tiles.append(element("div", element("span", "the two maps"), ceiling, error))
    return [
        paragraph(f"Space group {crystal.spacegroup}, cell {cell} (Å, °)", kind="faint"),
        paragraph("Model: ", element("b", best.name)),
        element("div", *tiles, kind="tiles"),
        listed(headline_lines(found), kind="verdict"),
    ]


def _explained_section(found: Explanation) -> list[Markup]:
    rows = [
        plot.Explained(
            name=m.name,
            baseline=m.kind in ("baseline", "control"),
            cc=_held(m, "small").cc,
            error=_held(m, "small").error,
            cc_wide=_held(m, "guarded").cc if _guarded(found) else _held(m, "wide").cc,
            error_wide=_held(m, "guarded").error if _guarded(found) else _held(m, "wide").error,
            cc_second=_second(m, "small").cc,
        )
        for m in found.models
    ]
    ceiling = found.second.cc if found.second is not None else float("nan")
    wide_name = "blocks with a guard left out" if _guarded(found) else "wide blocks left out"
    chosen = found.models.index(found.best)
    ways = list(found.ways)
    head = ["model", "parameters", "fitted", *ways]
    if found.second is not None:
        head += [f"second, {way}" for way in ways]
    cells = []
    for m in found.models:
        cells.append(
            [
                f"{m.name} ({m.kind})",
                number(m.n_effective),
                fixed(m.judgement.fitted.cc),
                *(_with_error(_held(m, way)) for way in ways),
                *(fixed(_second(m, way).cc) for way in ways if found.second is not None),
            ]
        )
    what = [f"{way}: {text}" for way, text in found.ways.items()]
    return [
        paragraph(
            "Correlations of anisotropic parts, of voxels that were left out of the fit. A map is "
            "smooth, so that voxels can be predicted from their neighbours without any model of "
            "motion: compare with the baselines, and where no neighbour is fitted."
        ),
        drawn(
            lambda: plot.draw_explained(rows, wide_name=wide_name, ceiling=ceiling, chosen=chosen),
            "Correlation of each model with voxels that were left out of its fit",
        ),
        table(head, cells, long=(0,), highlighted=chosen),
        listed(what),
    ]


def _shell_section(found: Explanation) -> list[Markup]:
    edges = shell_edges(found.voxels, _n_shells(found))
    middle = (edges[1:] + edges[:-1]) / 2
    shown = [m for m in found.models if m.kind != "control"]
    curves = [
        (m.name, m.judgement.shells["wide" if "wide" in m.judgement.shells else "small"])
        for m in shown
    ]
    return [
        drawn(
            lambda: plot.draw_explained_shells(middle, curves, ceiling_by_shell(found)),
            "Correlation with voxels left out, in shells of resolution",
            "Wide blocks left out; small ones where a model of few parameters was fitted to no "
            "others.",
        )
    ]


def ceiling_by_shell(found: Explanation) -> np.ndarray | None:
    """Correlation of the two maps in shells; None without a second."""
    if found.second is None:
        return None
    voxels = found.voxels
    return shell_correlations(voxels, voxels.data, found.second.values, _n_shells(found))


def _parameter_section(found: Explanation) -> list[Markup]:
    parts: list[Markup] = []
    rows = [
        [m.name, name, number(value)] for m in found.models for name, value in m.weights.items()
    ]
    if rows:
        parts += [
            paragraph(
                "Expected strength of each part, and of the noise, relative to the variance of the "
                "data, with which voxels left out are predicted best."
            ),
            table(["model", "part", "weight"], rows, text=(0, 1), long=(0,)),
        ]
    for m in found.models:
        if m.parametric is not None and m.kind != "baseline":
            parts.append(paragraph(element("b", m.name)))
            parts.append(listed(m.parametric.summary()))
    return parts


def _data_section(found: Explanation) -> list[Markup]:
    voxels = found.voxels
    lines = [
        f"{voxels.n} symmetry-unique voxels, {1 / voxels.s.min():.3g} to "
        f"{1 / voxels.s.max():.3g} Å",
        *found.messages,
    ]
    return [listed([line.replace("^2", "²") for line in lines])]


def _reproduction_section(command: str) -> list[Markup]:
    parts = [element("pre", element("code", command))] if command else []
    parts.append(paragraph("Versions: ", ", ".join(f"{k} {v}" for k, v in versions().items()), "."))
    maps = "; ".join(f"{name}, {text}" for name, text in MAPS.items())
    parts.append(details("Maps", paragraph(maps)))
    return parts


def numbers_of(found: Explanation, command: str = "") -> Any:
    """All numbers but those of voxels, as plain types; null for values that are not finite."""
    second = found.second
    return plain(
        {
            "format": FORMAT,
            "layout": LAYOUT,
            "versions": versions(),
            "command": command,
            "settings": asdict(found.settings),
            "messages": found.messages,
            "voxels": found.voxels.n,
            "indexing": found.reindexing.name,
            "ways_of_leaving_out": dict(found.ways),
            "second": None
            if second is None
            else {
                "name": second.name,
                "indexing": second.reindexing.name,
                "voxels": second.n,
                "cc_anisotropic": second.cc,
                "error": second.error,
                "shells": ceiling_by_shell(found),
            },
            "shell_edges": shell_edges(found.voxels, _n_shells(found)),
            "best": found.best.name,
            "models": [_model_numbers(found, m) for m in found.models],
        }
    )


def _model_numbers(found: Explanation, m: ExplainedModel) -> dict[str, Any]:
    judged = m.judgement
    gains = {
        base.name: {
            way: dict(zip(("gain", "error"), judged.gain_over(base.judgement, way), strict=True))
            for way in judged.sums
            if way in base.judgement.sums
        }
        for base in found.models
        if base.kind == "baseline" and base is not m
    }
    return {
        "name": m.name,
        "kind": m.kind,
        "parameters": m.n_effective,
        "weights": dict(m.weights),
        "fitted": asdict(judged.fitted),
        "held_out": {way: asdict(value) for way, value in judged.held_out.items()},
        "second": {way: asdict(value) for way, value in judged.second.items()},
        "shells": dict(judged.shells),
        "gain_over": gains,
        "components": None if m.parametric is None else _parametric_numbers(m),
    }


def _parametric_numbers(m: ExplainedModel) -> dict[str, Any]:
    fit = m.parametric
    assert fit is not None
    return {
        "amplitudes": [asdict(row) for row in fit.amplitudes],
        "parameters": [asdict(row) for row in fit.parameters],
        "names": fit.names,
        "correlation": fit.correlation,
        "told_apart": fit.told_apart,
        "converged": fit.converged,
    }


def model_rows(found: Explanation) -> list[list[Any]]:
    """The table of models, with its head."""
    ways = list(found.ways)
    head = ["model", "kind", "parameters", "cc_fitted"]
    for way in ways:
        head += [f"cc_{way}", f"error_{way}", f"cc_{way}_second"]
    rows: list[list[Any]] = [head]
    for m in found.models:
        row: list[Any] = [m.name, m.kind, m.n_effective, m.judgement.fitted.cc]
        for way in ways:
            held = _held(m, way)
            row += [held.cc, held.error, _second(m, way).cc]
        rows.append(row)
    return rows


def shell_rows(found: Explanation) -> list[list[Any]]:
    """Correlations in shells, with their head."""
    edges = shell_edges(found.voxels, _n_shells(found))
    ceiling = ceiling_by_shell(found)
    shown = [m for m in found.models if "small" in m.judgement.shells]
    rows: list[list[Any]] = [["d_max", "d_min", "two_maps", *(m.name for m in shown)]]
    for i in range(len(edges) - 1):
        both = float("nan") if ceiling is None else ceiling[i]
        values = [m.judgement.shells["small"][i] for m in shown]
        rows.append([1 / edges[i], 1 / edges[i + 1], both, *values])
    return rows


def _n_shells(found: Explanation) -> int:
    return len(next(iter(found.best.judgement.shells.values())))


def _guarded(found: Explanation) -> bool:
    return any("guarded" in m.judgement.held_out for m in found.models)


def _held(m: ExplainedModel, way: str) -> Correlation:
    return m.judgement.held_out.get(way, Correlation(float("nan"), float("nan"), 0))


def _second(m: ExplainedModel, way: str) -> Correlation:
    return m.judgement.second.get(way, Correlation(float("nan"), float("nan"), 0))


def _with_error(value: Correlation) -> str:
    if not np.isfinite(value.cc):
        return "–"
    return f"{fixed(value.cc)} ± {fixed(value.error)}"


def voxel_arrays(found: Explanation) -> dict[str, np.ndarray]:
    """Data and predictions at every voxel; models are numbered as in fit.json."""
    voxels = found.voxels
    arrays = {"hkl": voxels.hkl, "data": voxels.data, "s": voxels.s, "block": voxels.orbit}
    if found.second is not None:
        arrays["second"] = found.second.values
    for i, m in enumerate(found.models):
        arrays[f"fitted_{i}"] = m.fitted
        for way, values in m.held_out.items():
            arrays[f"held_out_{way}_{i}"] = values
    return arrays
