"""Fit springs to photon counts with a loss of one's own: Poisson's likelihood, and a prior.

Weak diffuse scattering is a few photons per voxel, for which squares over sigma are wrong. The
model is a function of tensors, so any loss goes around it.

    python examples/own_loss.py [--output FOLDER] [--small]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from onephonon import OnePhonon, SpringPlan, read_crystal
from onephonon.data import crambin_path
from onephonon.scattering.sampling import shell_radii, shells

PHOTONS = 2.0  # per voxel, on average, of the crystal's
BACKGROUND = 1.0  # and of everything else


def main(output: Path, small: bool = False) -> dict[str, Tensor]:
    """Make counts, fit, draw; returns springs true and found, and errors of their logarithms."""
    crystal = read_crystal(crambin_path())
    sample = shells(crystal.cell, shell_radii(8, 1.5, 10), 80 if small else 1000, bragg_radius=0.02)
    q = sample.q[sample.valid]
    plan = SpringPlan(by="interface")
    model = OnePhonon(crystal, q_vectors=q, springs=plan, thermal_scale=1.0)
    G = model.amplitudes()  # does not depend on the springs
    free = model.springs.free
    random = torch.Generator().manual_seed(1)
    true = 0.7 * torch.randn(len(free), generator=random, dtype=q.dtype)
    with torch.no_grad():
        free.copy_(true[:, None])
        exact = model(G=G)
        exposure = PHOTONS / exact.mean()  # photons per e^2: known from the Bragg peaks
        counts = torch.poisson(exposure * exact + BACKGROUND, random)
        free.zero_()
    level = torch.zeros((), dtype=q.dtype, requires_grad=True)  # logarithm of the background

    def loss() -> Tensor:
        expected = exposure * model(G=G) + level.exp()
        likelihood = (counts * expected.log() - expected).sum()
        return 0.5 * free.square().sum() - likelihood  # springs within a factor e of each other

    optimizer = torch.optim.LBFGS([free, level], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)

    # Fisher's information: slopes of what is expected, over the counts expected.
    with torch.no_grad():
        found, springs = free[:, 0].clone(), model.springs.values()[:, 0]
        intensity, by_spring = model.spring_jacobian(G=G)[:2]
        expected = exposure * intensity + level.exp()
        rows = torch.cat([exposure * by_spring * springs, level.exp().expand(len(q), 1)], dim=1)
        information = rows.T @ (rows / expected[:, None])
        information[range(len(free)), range(len(free))] += 1.0  # of the prior
        error = torch.linalg.inv(information).diagonal().sqrt()[:-1]
    print(f"{len(q)} voxels, {int(counts.sum())} photons; background {level.exp():.3f} each")
    for name, k, value, e in zip(model.springs.names, true, found, error, strict=True):
        print(f"{name:18s} true {k.exp():.3f}  found {value.exp():.3f} within {100 * e:.0f} %")
    draw(output, model.springs.names, true, found, error, counts)
    return {"true": true, "found": found, "error": error, "level": level.detach().exp()}


def draw(output, names, true, found, error, counts) -> None:
    """Springs of each interface, and how few photons told them."""
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    rows = range(len(names))
    true, found, error = (t.numpy() for t in (true, found, error))
    left.axvline(1.0, color="0.55", linestyle="--", label="start")
    left.plot(np.exp(true), rows, "D", color="#D55E00", ms=11, mfc="none", mew=1.8, label="true")
    ends = [np.exp(found - s * error) for s in (1, 0, -1)]
    bars = [ends[1] - ends[0], ends[2] - ends[1]]
    left.errorbar(ends[1], rows, xerr=bars, fmt="o", color="#0072B2", capsize=3, label="found ± 1σ")
    left.set(xscale="log", xlabel="spring constant / (kT Å⁻²)", ylabel="interface (operator)")
    left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_yticks(rows, names)
    left.invert_yaxis()
    left.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    number = np.bincount(counts.long().numpy())[:16]
    right.bar(range(len(number)), number, color="#0072B2")
    right.set(xlabel="photons in a voxel", ylabel="voxels")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "own_loss.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="fewer data")
    main(**vars(parser.parse_args()))
