"""Recover the springs between crambin's copies from noisy diffuse intensities, without a grid.

The intensities stand at scattered q-vectors, each a wavevector of its own. Unknown are one spring
constant for each kind of interface and one for the contacts within a molecule.

    python examples/recover_springs.py [--output FOLDER] [--small]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from onephonon import OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.network.springs import SpringPlan
from onephonon.scattering.sampling import shell_radii, shells

NOISE = 0.05  # of each intensity


def main(output: Path, small: bool = False) -> dict[str, torch.Tensor]:
    """Make data, fit, draw; returns springs true and found, their errors, and the loss."""
    crystal = read_crystal(crambin_path())
    # Evenly spread directions on shells of d = 10 to 1.5 Å, at least 0.02/Å from a Bragg peak.
    radii = shell_radii(10.0, 1.5, 6 if small else 12)
    sample = shells(crystal.cell, radii, 100 if small else 200, bragg_radius=0.02)
    q = sample.q[sample.valid]

    # With thermal_scale=1 springs are in kT/Å². (Left out, the scale would follow the B-factors
    # of the file, and all springs times two would give the same intensity.)
    model = OnePhonon(crystal, q_vectors=q, springs=SpringPlan(by="interface"), thermal_scale=1.0)
    springs = model.springs
    G = model.amplitudes()  # does not depend on the springs: computed once, kept for the fit

    random = torch.Generator().manual_seed(6)
    n = len(springs.names)
    true = 2 ** torch.linspace(-3, 1, n, dtype=q.dtype)[torch.randperm(n, generator=random)]
    with torch.no_grad():
        springs.free.copy_(true.log()[:, None])
        exact = model(G=G)
        sigma = NOISE * exact
        data = exact + sigma * torch.randn(len(q), generator=random, dtype=q.dtype)
        springs.free.zero_()  # start: the logarithm of 1, every spring alike

    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=50, line_search_fn="strong_wolfe")
    loss = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        chi2 = ((model(G=G) - data) / sigma).square().mean()
        chi2.backward()
        loss.append(chi2.item())
        return chi2

    optimizer.step(closure)

    # Least squares says how far such noise moves each constant: covariance (J^T J)^-1.
    J = model.spring_jacobian(G=G)[1] / sigma[:, None]
    error = torch.linalg.inv(J.T @ J).diagonal().sqrt()
    found = springs.values().detach()[:, 0]
    print(f"{len(q)} intensities, {NOISE:.0%} noise: mean chi² {loss[0]:.3g} -> {loss[-1]:.4f}")
    for name, k, value, e in zip(springs.names, true, found, error, strict=True):
        print(f"{name:18s} true {k:.4f}  recovered {value:.4f} ± {e:.4f} kT/Å²")
    draw(output, springs.names, true, found, error, loss)
    return {"true": true, "found": found, "error": error, "loss": torch.tensor(loss)}


def draw(output, names, true, found, error, loss) -> None:
    """Springs of each interface, and the loss."""
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    rows = range(len(names))
    true, found, error = (t.numpy() for t in (true, found, error))
    left.axvline(1.0, color="0.55", linestyle="--", label="start")
    left.plot(true, rows, "D", color="#D55E00", markersize=11, mfc="none", mew=1.8, label="true")
    bars = {"xerr": error, "fmt": "o", "color": "#0072B2", "ms": 4.5, "capsize": 3}
    left.errorbar(found, rows, **bars, label="recovered ± 1σ")
    left.set(xscale="log", xlabel="spring constant / (kT Å⁻²)", ylabel="interface (operator)")
    left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_yticks(rows, names)
    left.invert_yaxis()
    right.semilogy(loss, ".-", color="#0072B2", label="fit")
    right.axhline(1.0, color="0.55", linestyle="--", label="noise alone")
    right.set(xlabel="evaluation (trial steps included)", ylabel="mean squared residual / σ²")
    for panel in (left, right):
        panel.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "recover_springs.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="fewer data")
    main(**vars(parser.parse_args()))
