"""Climb dI/dq to the brightest directions of the halo around a Bragg peak of crambin.

A halo has no summit of its own: towards the Bragg point the intensity grows as 1/k² without end.
On a sphere |k| = constant around the peak it has: there this q sees the crystal at its softest.
Several climbs start at once and follow the gradient along the sphere.

    python examples/follow_halo.py [--output FOLDER] [--small]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from onephonon import OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.scattering.sampling import shells

PEAK = (7, 6, -3)  # a strong one, in no plane or axis of symmetry
SCALE = 3.4  # every spring 1/3.4 kT/Å²: the B-factors of the model are then about the file's
RADIUS = 0.06  # |k|, 1/Å; the nearest faces of the zone are 0.077/Å away


def main(output: Path, small: bool = False) -> dict[str, Tensor]:
    """SeriesFitter, scan, draw; returns intensities of the climbs and of a scan of the sphere."""
    crystal = read_crystal(crambin_path())
    bragg = crystal.cell.q_from_hkl(crystal.positions.new_tensor(PEAK))
    n = shells(crystal.cell, [1.0], 4 if small else 8).q  # where climbs start: unit vectors

    q = (bragg + RADIUS * n).requires_grad_()  # the leaf: the model follows it
    model = OnePhonon(crystal, q_vectors=q, thermal_scale=SCALE)
    rate = torch.full((len(n), 1), 0.05, dtype=n.dtype)  # of the next step, by the slope
    heights, paths, slope = torch.zeros(len(n)).to(n), [], torch.zeros_like(n)
    for _ in range(80):
        q.grad = None
        value = model(use_data_adp=True)
        value.log().sum().backward()  # the q do not know of each other
        value = value.detach()
        # Higher: accept, and try a longer step from here. Not higher: go back, try a shorter one.
        higher = (value > heights)[:, None]
        heights = torch.maximum(value, heights)
        n = torch.where(higher, normalize(q.detach() - bragg), n)
        along = q.grad - (q.grad * n).sum(1, keepdim=True) * n  # the part along the sphere
        slope = torch.where(higher, RADIUS * along, slope)  # of log I, per radian
        rate = torch.where(higher, 1.2 * rate, 0.4 * rate)
        paths.append(n)
        rotation_step = (
            rate * slope / (1 + 4 * torch.linalg.vector_norm(rate * slope, dim=1, keepdim=True))
        )
        with torch.no_grad():
            q.copy_(bragg + RADIUS * normalize(n + rotation_step))

    grid = torch.meshgrid(
        torch.linspace(-torch.pi / 2, torch.pi / 2, 31 if small else 61, dtype=n.dtype),
        torch.linspace(-torch.pi, torch.pi, 61 if small else 121, dtype=n.dtype),
        indexing="ij",
    )
    scan = scan_sphere(crystal, bragg, *grid)
    best = n[heights.argmax()]
    print(f"peak {PEAK}, |q| {bragg.norm():.3f}/Å, sphere of |k| = {RADIUS}/Å")
    print(f"I from {scan.min():.0f} to {scan.max():.0f} in a scan of {scan.numel()} directions")
    print("climbs end at", ", ".join(f"{x:.0f}" for x in heights), "e² per cell")
    print("brightest k / |k| =", [round(x, 4) for x in best.tolist()])
    print(f"slope of log I there: {slope[heights.argmax()].norm():.1e} per radian")
    draw(output, grid, scan, torch.stack(paths))
    return {"heights": heights, "scan": scan, "slope": slope.norm(dim=1)}


def scan_sphere(crystal, bragg, latitude: Tensor, longitude: Tensor) -> Tensor:
    """Intensity all over the sphere; c* is the pole."""
    x, y = (latitude.cos() * f(longitude) for f in (torch.cos, torch.sin))
    n = torch.stack([x, y, latitude.sin()], dim=-1)
    around = (bragg + RADIUS * n).reshape(-1, 3)
    model = OnePhonon(crystal, q_vectors=around, thermal_scale=SCALE)
    with torch.no_grad():
        return model(use_data_adp=True).reshape(latitude.shape)


def draw(output, grid, scan, paths) -> None:
    """The sphere as a map of the world, with the climbs on it."""
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    globe = figure.add_subplot(projection="mollweide")
    latitude, longitude, scan = (t.numpy() for t in (*grid, scan))
    norm = LogNorm(float(scan.min()), float(scan.max()))
    image = globe.pcolormesh(longitude, latitude, scan, norm=norm, cmap="viridis", rasterized=True)
    for path in paths.unbind(1):
        east, north = torch.atan2(path[:, 1], path[:, 0]), path[:, 2].clamp(-1, 1).asin()
        jump = torch.diff(east, append=east[-1:]).abs() > torch.pi  # across the edge of the map
        globe.plot(east.masked_fill(jump, torch.nan), north, ".-", color="white", lw=1, ms=3)
        globe.plot(east[0], north[0], "o", color="white", mec="black", ms=6)
        globe.plot(east[-1], north[-1], "*", color="#D55E00", mec="black", ms=13)
    globe.set_title(f"Climbs from ○ to ★ on the sphere |k| = {RADIUS}/Å around {PEAK}", pad=16)
    globe.set(
        xlabel="longitude of k, from a (0°) to b (90°)", ylabel="latitude of k, towards c* (90°)"
    )
    globe.tick_params(axis="x", colors="white", pad=14)
    figure.colorbar(image, label="I / e² per cell", shrink=0.7)
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "follow_halo.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="fewer climbs, a coarser map")
    main(**vars(parser.parse_args()))
