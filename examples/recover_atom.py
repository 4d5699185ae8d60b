"""Find a displaced atom in crambin, and put it back, from diffuse intensities alone.

First the gradient of the misfit by every coordinate says which atom is wrong; then the three
coordinates of that atom are fitted.

    python examples/recover_atom.py [--output FOLDER] [--small]
"""

import argparse
from pathlib import Path

import gemmi
import torch
from matplotlib.figure import Figure
from torch import Tensor

from onephonon import OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.scattering.sampling import shell_radii, shells

NOISE = 0.05  # of each intensity
DISPLACED = "A/ILE 33/CG2"
DISPLACEMENT = (0.3, -0.4, 0.2)  # Å


def main(output: Path, small: bool = False) -> dict[str, float | str]:
    """Make data, find the atom, fit it, draw; returns distances in Å and the atom found."""
    crystal = read_crystal(crambin_path())
    names = [str(label) for label in crystal.labels]
    sample = shells(crystal.cell, shell_radii(8.0, 1.0, 8), 80 if small else 300, bragg_radius=0.02)
    q = sample.q[sample.valid]
    start = crystal.positions
    positions = start.clone().requires_grad_()  # the leaf: the model follows it
    # Contacts between atoms are found here, once; they stay the same while an atom moves.
    model = OnePhonon(crystal, q_vectors=q, positions=positions, thermal_scale=3.0)

    true = start.clone()
    true[names.index(DISPLACED)] += torch.tensor(DISPLACEMENT, dtype=q.dtype)
    with torch.no_grad():
        positions.copy_(true)
        exact = model(use_data_adp=True)
        positions.copy_(start)
    sigma = NOISE * exact
    random = torch.Generator().manual_seed(3)
    data = exact + sigma * torch.randn(len(q), generator=random, dtype=q.dtype)

    def misfit() -> Tensor:
        return ((model(use_data_adp=True) - data) / sigma).square().mean()

    # Which atom? The one whose displacement would pay most, for its number of electrons.
    misfit().backward()
    electrons = start.new_tensor([gemmi.Element(a.element).atomic_number for a in crystal.labels])
    blame = torch.linalg.vector_norm(positions.grad, dim=1) / electrons
    atom = int(blame.argmax())
    only_this = torch.zeros_like(start)
    only_this[atom] = 1.0
    positions.register_hook(lambda gradient: gradient * only_this)

    optimizer = torch.optim.LBFGS([positions], max_iter=50, line_search_fn="strong_wolfe")
    loss, distance = [], []

    def closure() -> Tensor:
        optimizer.zero_grad()
        chi2 = misfit()
        chi2.backward()
        loss.append(chi2.item())
        distance.append(float(torch.linalg.vector_norm(positions.detach()[atom] - true[atom])))
        return chi2

    optimizer.step(closure)

    # How far such noise moves the atom, from the curvature of the misfit: the second derivative.
    (slope,) = torch.autograd.grad(misfit(), positions, create_graph=True)
    rows = [torch.autograd.grad(g, positions, retain_graph=True)[0][atom] for g in slope[atom]]
    error = torch.linalg.inv(torch.stack(rows) * len(q) / 2).trace().sqrt().item()
    print(f"{len(q)} intensities, {NOISE:.0%} noise; displaced: {DISPLACED}, found: {names[atom]}")
    print(
        f"mean chi² {loss[0]:.3f} -> {loss[-1]:.3f}; distance from the true place "
        f"{distance[0]:.3f} -> {distance[-1]:.3f} Å (expected of the noise: {error:.3f} Å)"
    )
    draw(output, blame, atom, names[atom], distance, error)
    result = {"before": distance[0], "after": distance[-1], "error": error, "loss": loss[-1]}
    return {**result, "found": names[atom]}


def draw(output, blame, atom, name, distance, error) -> None:
    """How much each atom is to blame, and the way of the one to its place."""
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.vlines(range(len(blame)), 0, blame, color="0.6", linewidth=1)
    left.vlines(atom, 0, blame[atom], color="#D55E00", linewidth=2.5)
    left.annotate(name, (atom, blame[atom]), (6, -4), textcoords="offset points", color="#D55E00")
    left.set(xlabel="atom", ylabel="|gradient of misfit| per electron / Å⁻¹", ylim=(0, None))
    right.plot(distance, "o-", color="#0072B2", label="fit")
    right.axhline(error, color="0.55", linestyle="--", label="expected of the noise")
    right.legend(fontsize="small")
    right.set(
        xlabel="evaluation (trial steps included)", ylabel="distance from true place / Å", ylim=0
    )
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "recover_atom.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="fewer data")
    main(**vars(parser.parse_args()))
