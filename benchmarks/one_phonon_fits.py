"""How wrong springs are when one phonon is fitted to a map of every order.

Maps are made up with known springs, drawn at random, and every order of the scattering, at the
centres of voxels around Bragg points between two resolutions, without noise. Springs are fitted
with a constant and a slope under each halo, and a scale.

    python benchmarks/one_phonon_fits.py [STRUCTURE] [--b 5 10 20] [--d-min 2] [--d-max 2.5]
        [--orders 1 all] [--seeds N] [--halos N] [--background NAME]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from onephonon import DiffuseMap, MapGrid, OnePhonon, SpringPlan, read_crystal
from onephonon.crystal.crystal import Crystal
from onephonon.data import crambin_path
from onephonon.model import points_at
from onephonon.refine import FitSettings, fit_springs, spring_table

#: Relative uncertainty of each voxel.
NOISE = 0.02

#: Part of the zone around each Bragg point that is measured, in Miller indices.
REACH = 0.41


def made_up(
    crystal: Crystal, seed: int, given: argparse.Namespace
) -> tuple[DiffuseMap, np.ndarray, float]:
    """A map of halos with known springs, those springs, and the share of one phonon."""
    rng = np.random.default_rng(seed)
    reach = [int(length / given.d_min) + 1 for length in crystal.cell.parameters[:3]]
    grid = MapGrid.from_sampling(*((-n, n, given.per_index) for n in reach))
    hkl = grid.hkl
    whole = np.rint(hkl)
    cell = crystal.cell.numpy()
    d = cell.resolution(cell.q_from_hkl(whole))
    near = (np.abs(hkl - whole) < REACH).all(1) & (hkl != whole).any(1)
    inside = near & (d >= given.d_min) & (d <= given.d_max) & (whole @ [10**6, 10**3, 1] > 0)
    peaks, index = np.unique(whole[inside], axis=0, return_inverse=True)
    kept = rng.permutation(len(peaks))[: given.halos]
    chosen = np.flatnonzero(inside)[np.isin(index.reshape(-1), kept)]
    truth = OnePhonon(crystal, springs=SpringPlan(by="interface"), orders="all", rtol=1e-4)
    truth.springs.set_values(torch.tensor(np.exp(rng.normal(0, 0.5, truth.springs.free.shape))))
    with torch.no_grad():
        points = points_at(truth, torch.from_numpy(hkl[chosen]))
        clean, one = (truth(points, use_data_adp=True, orders=o).numpy() for o in ("all", 1))
        springs = truth.springs.values().detach().numpy().reshape(-1) / float(truth.thermal_scale)
    values, sigma = np.full(len(hkl), np.nan), np.full(len(hkl), np.nan)
    values[chosen], sigma[chosen] = clean, NOISE * clean
    data = DiffuseMap.on_grid(
        values.reshape(grid.shape),
        grid,
        crystal.cell.parameters,
        spacegroup=crystal.spacegroup,
        sigma=sigma.reshape(grid.shape),
    )
    return data, springs, float(np.nansum(one) / np.nansum(clean))


def errors(
    crystal: Crystal, data: DiffuseMap, springs: np.ndarray, orders: str, given: argparse.Namespace
) -> np.ndarray:
    """Errors of the logarithms of the fitted springs."""
    start = OnePhonon(crystal, orders=orders, rtol=1e-4)
    settings = FitSettings(
        voxels="halos",
        n_peaks=given.halos,
        d_min=given.d_min,
        d_max=given.d_max,
        bragg_radius=1e-3,
        average=0,
        background=given.background,
        scale="fitted",
        levels=("interface",),
        prior=0.0,
        reindex="none",
    )
    fit = fit_springs(start, data, settings)
    rows = spring_table(fit)
    return np.array([np.log(r.value / k) for r, k in zip(rows, springs, strict=True)])


def main() -> None:
    """Print the errors of every B and sum of orders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structure", nargs="?", type=Path, default=crambin_path())
    parser.add_argument("--b", type=float, nargs="+", default=[5.0, 10.0, 20.0])
    parser.add_argument("--d-min", type=float, default=2.0)
    parser.add_argument("--d-max", type=float, default=2.5)
    parser.add_argument("--orders", nargs="+", default=["1", "all"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--halos", type=int, default=150)
    parser.add_argument("--per-index", type=int, default=5)
    parser.add_argument("--background", default="halo")
    given = parser.parse_args()
    read = read_crystal(given.structure)
    for B in given.b:
        crystal = read.with_tensors(B=torch.full((read.n_atoms,), B, dtype=torch.float64))
        for seed in range(given.seeds):
            data, springs, share = made_up(crystal, seed, given)
            for orders in given.orders:
                start = time.perf_counter()
                found = errors(crystal, data, springs, orders, given)
                ratio = found - found.mean()
                print(
                    f"B {B:g}, seed {seed}, one phonon {share:.2f} of the intensity; fitted with "
                    f"orders {orders}: {len(found)} springs, all {np.exp(found.mean()):.3f} times, "
                    f"their ratios off by {ratio.std():.3f} (rms of the logarithm), at most "
                    f"{np.abs(ratio).max():.3f}; {time.perf_counter() - start:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
