"""Refine the B-factors of crambin's atoms and its springs together, against noisy intensities.

B-factors fade the waves of the atoms, springs set how the molecules move: both shape the diffuse
intensity, and one gradient serves both. At the start all B are alike and all springs are 1.

    python examples/refine_adp_and_springs.py [--output FOLDER] [--small]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from onephonon import OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.network.springs import SpringPlan
from onephonon.scattering.sampling import shell_radii, shells

NOISE = 0.02  # of each intensity


def main(output: Path, small: bool = False) -> dict[str, Tensor]:
    """Make data, refine, draw; returns B and springs, true and refined, and the loss."""
    crystal = read_crystal(crambin_path())
    # B-factors show at high resolution: shells down to d = 0.8 Å, 0.02/Å clear of Bragg peaks.
    sample = shells(crystal.cell, shell_radii(5, 0.8, 10), 100 if small else 250, bragg_radius=0.02)
    q = sample.q[sample.valid]
    B_true = crystal.B
    B = B_true.clone().requires_grad_()  # the leaf: the model follows it
    # A given thermal scale and the given B: springs are in kT/Å² and nothing is tied to the file.
    plan = SpringPlan(by="interface")
    model = OnePhonon(crystal, q_vectors=q, B=B, springs=plan, thermal_scale=1.0)
    springs = model.springs

    random = torch.Generator().manual_seed(5)
    n = len(springs.names)
    k_true = 2 ** torch.linspace(-2, 1, n, dtype=q.dtype)[torch.randperm(n, generator=random)]
    with torch.no_grad():
        springs.free.copy_(k_true.log()[:, None])
        exact = model(use_data_adp=True)
        springs.free.zero_()  # start: every spring 1 ...
        B.fill_(B_true.mean())  # ... and every atom alike
    sigma = NOISE * exact
    data = exact + sigma * torch.randn(len(q), generator=random, dtype=q.dtype)
    loss: list[float] = []

    def refine(parameters: list[Tensor], steps: int) -> None:
        optimizer = torch.optim.LBFGS(
            parameters, max_iter=steps, history_size=50, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            chi2 = ((model(use_data_adp=True) - data) / sigma).square().mean()
            chi2.backward()
            loss.append(chi2.item())
            return chi2

        optimizer.step(closure)

    refine([springs.free], 10)  # the few that matter most, then all together
    alone = len(loss)
    refine([springs.free, B], 100 if small else 150)

    found, k_found = B.detach(), springs.values().detach()[:, 0]
    before, after = ((b - B_true).square().mean().sqrt() for b in (B_true.mean(), found))
    expected = 1 - (len(B) + n) / len(q)  # each parameter takes away one of the data's freedoms
    print(f"{len(q)} intensities, {NOISE:.0%} noise; {len(B)} B-factors and {n} springs")
    print(f"mean chi² {loss[0]:.4g} -> {loss[-1]:.3f}; noise alone leaves {expected:.3f}")
    print(f"B wrong by {before:.3f} -> {after:.3f} Å² (rms)")
    for name, true, k in zip(springs.names, k_true, k_found, strict=True):
        print(f"{name:18s} true {true:.4f}  refined {k:.4f} kT/Å²")
    draw(output, (B_true, found), (k_true, k_found), loss, alone, expected)
    return {"B_true": B_true, "B": found, "k_true": k_true, "k": k_found, "loss": loss[-1]}


def draw(output, B, springs, loss, alone, expected) -> None:
    """Refined against true, and the loss."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(B[0], B[1], "o", color="#0072B2", ms=4, alpha=0.5, mew=0, label="refined")
    middle.loglog(springs[0], springs[1], "o", color="#D55E00", ms=7, label="refined")
    left.axhline(B[0].mean(), color="0.55", linestyle="--", label="start")
    middle.axhline(1, color="0.55", linestyle="--", label="start")
    left.set(xlabel="true B / Å²", ylabel="refined B / Å²", aspect="equal")
    middle.set(xlabel="true spring / (kT Å⁻²)", ylabel="refined spring / (kT Å⁻²)", aspect="equal")
    for axis in (middle.xaxis, middle.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    for panel in (left, middle):
        panel.axline((1, 1), (2, 2), color="0.2", lw=0.8, label="true")
    right.semilogy(loss, color="#0072B2", label="fit")
    right.axvline(alone, color="0.2", linestyle=":", label="from here B too")
    right.axhline(expected, color="0.55", linestyle="--", label="noise alone")
    right.set(xlabel="evaluation (trial steps included)", ylabel="mean squared residual / σ²")
    for panel in (left, middle, right):
        panel.legend(fontsize="small")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "refine_adp_and_springs.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="fewer data and steps")
    main(**vars(parser.parse_args()))
