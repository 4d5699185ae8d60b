"""One set of springs for two maps, each with a scale and a background of its own.

Two crystals of one kind were measured: one well at low resolution, one at high resolution only
and with more noise, its scale unknown: alone it tells ratios of springs, all else is the prior's
(wide errors, of all springs together). What `onephonon fit` minimizes for one map is added up for
both.

    python examples/several_maps.py [--output FOLDER] [--small]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy.optimize import minimize

from onephonon import DiffuseMap, MapGrid, OnePhonon, SpringPlan, read_crystal
from onephonon.crystal import Reindexing
from onephonon.data import crambin_path
from onephonon.refine import LEVELS, FitSettings, Uncertainty, make_parametrization, select_voxels
from onephonon.refine.fit import make_objective

PRIOR = 1.0  # springs within a factor e of each other
#: Range of d in Å, noise and background relative to the mean, scale.
MAPS = ((6.0, 20.0, 0.03, 0.5, 1.0), (4.0, 6.0, 0.1, 2.0, 0.3))


def main(output: Path, small: bool = False) -> dict[str, np.ndarray]:
    """Make both maps, fit each and both, draw; returns logarithms of springs and their errors."""
    crystal = read_crystal(crambin_path())
    cell = crystal.cell.parameters
    d_min = 5.2 if small else 4.0
    axes = [(-int(a / d_min), int(a / d_min), 2) for a in cell[:3]]
    truth = OnePhonon(crystal, *axes, springs=SpringPlan(by="interface"), thermal_scale=1.0)
    random = np.random.default_rng(4)
    true = random.normal(0, 0.7, len(truth.springs.names))
    truth.springs.set_values(torch.tensor(np.exp(true)[:, None]))
    with torch.no_grad():
        clean = truth(use_data_adp=True).numpy().reshape(truth.map_shape)

    start = OnePhonon(crystal)
    objectives = []
    for low, high, noise, level, factor in MAPS:
        sigma = np.full(clean.shape, noise * factor * np.nanmean(clean))
        values = factor * (clean + level * np.nanmean(clean)) + sigma * random.normal(
            size=sigma.shape
        )
        grid = MapGrid.from_sampling(*axes)
        data = DiffuseMap.on_grid(values, grid, cell, spacegroup=crystal.spacegroup, sigma=sigma)
        settings = FitSettings(voxels="all", d_min=low, d_max=high, average=0, knots=4)
        voxels = select_voxels(data, crystal, Reindexing(np.eye(3)), settings)
        # The scale of the first is known; that of the second is fitted, the springs being shared.
        made, _ = make_objective(start, data, voxels, settings, absolute=factor == 1.0)
        interface_level = next(r for r in LEVELS if r.name == "interface")
        parametrization = make_parametrization(interface_level, start.bodies, start.contacts, 1.0)
        objectives.append(replace(made, parametrization=parametrization, basis=None))

    fits = [fit(some) for some in ([objectives[0]], [objectives[1]], objectives)]
    for name, (x, sigma) in zip(("first", "second", "both"), fits, strict=True):
        off = np.sqrt(np.mean((x - true) ** 2))
        print(
            f"{name:6s} map(s): springs wrong by {100 * off:.1f} % (rms), "
            f"{100 * np.sqrt(np.mean(sigma**2)):.1f} % expected"
        )
    draw(output, truth.springs.names, true, fits)
    x, sigma = (np.array([f[i] for f in fits]) for i in (0, 1))
    return {"true": true, "x": x, "sigma": sigma}


def fit(objectives) -> tuple[np.ndarray, np.ndarray]:
    """Springs that make the sum of objectives and one prior smallest, and their errors."""

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        found = [objective.gradient(torch.from_numpy(x)) for objective in objectives]
        value = sum(at.objective for at, _ in found) + PRIOR * x @ x
        return value, sum(g.numpy() for _, g in found) + 2 * PRIOR * x

    n = objectives[0].parametrization.n
    x = minimize(function, np.zeros(n), jac=True, method="L-BFGS-B", options={"ftol": 1e-9}).x
    every = [objective.slopes(objective.evaluate(torch.from_numpy(x))) for objective in objectives]
    return x, Uncertainty(sum(s.hessian for s in every), PRIOR).sigma.numpy()


def draw(output, names, true, fits) -> None:
    """Springs by each map, and by both."""
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(names))
    axes.plot(np.exp(true), rows, "D", color="0.2", ms=13, mfc="none", mew=1.5, label="true")
    colours = ("#D55E00", "#009E73", "#0072B2")
    for i, (label, colour) in enumerate(zip(("first map", "second", "both"), colours, strict=True)):
        x, sigma = fits[i]
        ends = [np.exp(x) - np.exp(x - sigma), np.exp(x + sigma) - np.exp(x)]
        axes.errorbar(
            np.exp(x),
            rows + 0.15 * (i - 1),
            xerr=ends,
            fmt="o",
            color=colour,
            capsize=3,
            label=label,
        )
    axes.set(xscale="log", xlabel="spring constant / (kT Å⁻²)", ylabel="interface (operator)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.legend(fontsize="small", ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "several_maps.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="lower resolution")
    main(**vars(parser.parse_args()))
