"""Coverage of the intervals of fitted springs: how often they contain the truth.

Maps are made up with known springs, drawn at random, averaged over voxels, with Poisson noise and a
scale that is fitted. The truth has the file's mean B on a mesh of the zone as fine as that of the
fit, or finer (--truth-mesh), so springs are compared in kT/Å^2 at that B.

    python benchmarks/coverage.py [STRUCTURE] [--seeds N] [--d-min D] [--per-index N] [--counts N]
        [--truth-mesh N] [--zone-average NAME]
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from onephonon import DiffuseMap, MapGrid, OnePhonon, SpringPlan, read_crystal
from onephonon.data import crambin_path
from onephonon.model import voxel_average
from onephonon.refine import FitSettings, fit_springs, spring_table

#: Springs with less of their information from the data follow the prior.
MIN_BY_DATA = 0.9


def errors(seed: int, given: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the logarithms of springs of one made-up map, and their uncertainties."""
    d_min, per_index = given.d_min, given.per_index
    rng = np.random.default_rng(seed)
    crystal = read_crystal(given.structure)
    reach = [int(length / d_min) for length in crystal.cell.parameters[:3]]
    axes = [(-n, n, per_index) for n in reach]
    grid = MapGrid.from_sampling(*axes)
    start = OnePhonon(crystal, zone_average=given.zone_average)
    finer = [given.truth_mesh * n for n in OnePhonon(crystal).mesh]
    truth = OnePhonon(crystal, springs=SpringPlan(by="interface"), mesh=finer)
    # The prior that is chosen is that of such a spread.
    truth.springs.set_values(torch.tensor(np.exp(rng.normal(0, 0.5, truth.springs.free.shape))))
    with torch.no_grad():
        clean = voxel_average(truth, grid, order=4, use_data_adp=True).numpy()
        unit = 1 / float(truth.thermal_scale)
    clean = clean.reshape(grid.shape)
    scale = given.counts / np.nanmean(clean)
    sigma = np.sqrt(scale * clean)
    values = scale * clean + sigma * rng.normal(size=clean.shape)
    data = DiffuseMap.on_grid(
        values, grid, crystal.cell.parameters, spacegroup=crystal.spacegroup, sigma=sigma
    )
    settings = FitSettings(
        voxels="all", d_min=d_min, background="isotropic", knots=6, levels=("interface",), seed=seed
    )
    fit = fit_springs(start, data, settings)
    known = unit * truth.springs.values().detach().numpy().reshape(-1)
    found = [
        (np.log(row.value / k), row.sigma_log_at_b)
        for row, k in zip(spring_table(fit), known, strict=True)
        if row.by_data > MIN_BY_DATA
    ]
    error, sigma_log = np.array(found).reshape(-1, 2).T
    return error, sigma_log


def main() -> None:
    """Print the coverage at one and 1.96 standard uncertainties."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structure", nargs="?", type=Path, default=crambin_path())
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--d-min", type=float, default=5.0)
    parser.add_argument("--per-index", type=int, default=3)
    parser.add_argument("--counts", type=float, default=100.0, help="mean photons of a voxel")
    parser.add_argument("--truth-mesh", type=int, default=1, help="times as fine as in the fit")
    parser.add_argument("--zone-average", default="crystal", help="of the fit: crystal, supercell")
    given = parser.parse_args()
    every = []
    for seed in range(given.seeds):
        error, sigma_log = errors(seed, given)
        every.append(error / sigma_log)
        # The mean error is that of the unit, where springs are known precisely.
        print(
            f"seed {seed}: {len(error)} springs, known to {np.median(sigma_log):.2%}, "
            f"{np.mean(error):+.2%} off on average, at most {np.abs(every[-1]).max():.2f} sigma",
            flush=True,
        )
    whole = np.abs(np.concatenate(every))
    for limit, nominal in ((1.0, 0.683), (1.96, 0.95)):
        inside = np.mean(whole < limit)
        # Springs of one fit are correlated: at worst a fit counts as one.
        error = np.sqrt(nominal * (1 - nominal) / given.seeds)
        print(f"within {limit:g} sigma: {inside:.3f} (nominal {nominal}, at most +- {error:.3f})")


if __name__ == "__main__":
    main()
