"""Coverage of the intervals of fitted components: how often they contain the truth.

Maps are made up of lattice and liquid-like motions in known shares, with springs drawn at random, a
background that depends on |q| and noise. Amplitudes and parameters are fitted from equal springs
and another length, and each error is divided by its standard uncertainty. With a share of 0 the
component has to come out zero.

    python benchmarks/components.py [STRUCTURE] [--seeds N] [--d-min D] [--per-index N]
        [--share S] [--gamma G] [--noise X] [--level NAME] [--scope NAME] [--json FILE]
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from onephonon import DiffuseMap, MapGrid, OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.disorder import Liquid
from onephonon.refine import FitSettings
from onephonon.refine.components import (
    ComponentTerm,
    MapProblem,
    ParametricFit,
    fit_parametric,
    held_out_gain,
    lattice_term,
    prepare,
)

#: Spread of the logarithms of the true springs.
SPREAD = 0.5


def blank(given: argparse.Namespace) -> MapProblem:
    """The voxels of a map, and the model's amplitudes there."""
    crystal = read_crystal(given.structure)
    axes = [
        (-n, n, given.per_index)
        for n in (int(length / given.d_min) for length in crystal.cell.parameters[:3])
    ]
    grid = MapGrid.from_sampling(*axes)
    noise = np.random.default_rng(0).normal(size=grid.shape)
    data = DiffuseMap.on_grid(
        noise,
        grid,
        crystal.cell.parameters,
        spacegroup=crystal.spacegroup,
        sigma=np.ones(grid.shape),
    )
    settings = FitSettings(
        voxels="all", d_min=given.d_min, average=0, background="isotropic", knots=6
    )
    return prepare(OnePhonon(crystal), data, settings)


def made_up(seed: int, given: argparse.Namespace, empty: MapProblem) -> tuple[MapProblem, dict]:
    """A problem with made-up data, and the true numbers by name."""
    rng = np.random.default_rng(seed)
    lattice = lattice_term(empty.model, empty.forward, given.level)
    liquid = ComponentTerm(Liquid(scope=given.scope, gamma=given.gamma), empty.forward)
    x = torch.from_numpy(rng.normal(0, SPREAD, lattice.n))
    with torch.no_grad():
        clean = given.share * lattice.intensity(x)
        clean = (clean + (1 - given.share) * liquid.intensity(x.new_zeros(liquid.n))).numpy()
    mean = clean.mean()
    sigma = np.full(len(clean), given.noise * mean)
    data = clean + mean * (1 + np.cos(3 * empty.voxels.s)) + sigma * rng.normal(size=len(clean))
    truth = {"amplitude of lattice": given.share, "amplitude of liquid": 1 - given.share}
    if given.share < 1:
        truth["liquid:gamma"] = given.gamma
    if given.share > 0:
        springs = lattice.report(x, torch.tensor(given.share, dtype=x.dtype)).detach()
        truth |= dict(zip((name for name, _ in lattice.reported), springs.tolist(), strict=True))
    return replace(empty, voxels=replace(empty.voxels, data=data, sigma=sigma)), truth


def fitted(problem: MapProblem, given: argparse.Namespace) -> tuple[ParametricFit, float]:
    """The fit of both components, and its gain over the better one alone, in standard errors."""
    lattice = lattice_term(problem.model, problem.forward, given.level)
    start = Liquid(scope=given.scope, gamma=1.5 * given.gamma)
    liquid = ComponentTerm(start, problem.forward)
    both = fit_parametric([lattice, liquid], problem)
    gains = [held_out_gain(fit_parametric([term], problem), both) for term in (lattice, liquid)]
    least = min(gains, key=lambda gain: gain.chi2.value)
    return both, least.chi2.value / least.chi2.error


def errors_of(fit: ParametricFit, truth: dict[str, float]) -> dict[str, float]:
    """Errors in standard uncertainties, of logarithms for parameters; and of zeros in limits."""
    found = {}
    for row in fit.amplitudes:
        value = truth[f"amplitude of {row.name}"]
        if row.value > 0:
            found[f"amplitude of {row.name}"] = (row.value - value) / row.sigma
        else:
            found[f"limit of {row.name}"] = value / row.upper_limit
    for row in fit.parameters:
        if row.name in truth and row.sigma > 0 and not row.at_limit:
            relative = row.sigma / row.value
            found[row.name] = float(np.log(row.value / truth[row.name]) / relative)
    return found


def main() -> None:
    """Print the coverage at one and 1.96 standard uncertainties."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structure", nargs="?", type=Path, default=crambin_path())
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--d-min", type=float, default=4.0)
    parser.add_argument("--per-index", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.6, help="of the lattice; 0 to 1")
    parser.add_argument("--gamma", type=float, default=4.0, help="length of the liquid, Å")
    parser.add_argument("--noise", type=float, default=0.1, help="sigma over the mean intensity")
    parser.add_argument("--level", default="interface", help="of the springs")
    parser.add_argument("--scope", default="asu", help="of the liquid: asu or crystal")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args()
    empty = blank(given)
    every: list[dict[str, float]] = []
    for seed in range(given.seeds):
        problem, truth = made_up(seed, given, empty)
        fit, gain = fitted(problem, given)
        every.append(errors_of(fit, truth) | {"gain": gain})
        told = "told apart" if any("are told apart" in s for s in fit.told_apart) else "not both"
        print(f"seed {seed}: {', '.join(map(str, fit.amplitudes))}; {told}; gain {gain:.1f} sigma")
    for kind, names in (
        ("amplitudes", ["amplitude of lattice", "amplitude of liquid"]),
        ("gamma", ["liquid:gamma"]),
        (
            "springs",
            [name for name, _ in lattice_term(empty.model, empty.forward, given.level).reported],
        ),
    ):
        pulls = np.abs([row[name] for row in every for name in names if name in row])
        if not len(pulls):
            continue
        for limit, nominal in ((1.0, 0.683), (1.96, 0.95)):
            # Numbers of one fit are correlated: at worst a fit counts as one.
            error = np.sqrt(nominal * (1 - nominal) / given.seeds)
            inside = np.mean(pulls < limit)
            print(
                f"{kind}: {inside:.3f} within {limit:g} sigma (nominal {nominal}, at most "
                f"+- {error:.3f})"
            )
    zero = [v for row in every for k, v in row.items() if k.startswith("limit")]
    print(f"zero: {len(zero)} amplitudes, {sum(v <= 1 for v in zero)} limits hold")
    print(f"gain over the better component alone: clear in {sum(r['gain'] > 1 for r in every)}")
    if given.json:
        given.json.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
