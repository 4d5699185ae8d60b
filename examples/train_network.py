"""Teach a small neural network how stiff a contact of a given length is, from intensities.

The crystal is the C-alpha trace of crambin, every atom a body of its own, joined to its
neighbours within 8 Å: an elastic network. The true springs weaken with distance and are stiffer
within a molecule than between molecules. The network is told neither; it sees the distances, the
kind of contact, and the misfit of the intensities.

    python examples/train_network.py [--output FOLDER] [--small]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from onephonon import Crystal, OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.network.interfaces import ContactFeatures
from onephonon.scattering.sampling import halos, strongest_peaks

CUTOFF = 8.0  # Å
NOISE = 0.02  # of each intensity


def law(distance: Tensor, same_copy: Tensor) -> Tensor:
    """The truth: springs in kT/Å²."""
    return torch.where(same_copy, 4.0, 1.5) * torch.exp(-(distance - 3.8) / 1.5)


class SpringNetwork(nn.Module):
    """Distance and kind of a contact in, a positive spring constant out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, contacts: ContactFeatures) -> Tensor:
        """Springs of all contacts, kT/Å²."""
        return self.spring(contacts.distance, contacts.same_copy)

    def spring(self, distance: Tensor, same_copy: Tensor) -> Tensor:
        """Exponential of the layers' output: positive whatever the weights."""
        x = torch.stack([(distance - 6.0) / 2.0, same_copy.to(distance)], dim=-1)
        return self.layers(x).squeeze(-1).exp()


def main(output: Path, small: bool = False) -> dict[str, Tensor]:
    """Make data, train, draw; returns the law, what was learned at the contacts, and the loss."""
    crystal = c_alphas(read_crystal(crambin_path()))
    peaks = strongest_peaks(crystal, 40 if small else 100, 2.0, 5.0)
    # Whole zones around strong Bragg peaks: all peaks share the wavevectors, so that the large
    # matrix of 138 bodies is factorized once for each of them and not once for each q.
    sample = halos(crystal.cell, peaks, (2, 2, 1 if small else 2))
    options = {"q_vectors": sample.points(), "group_by": "atom", "gnm_cutoff": CUTOFF}
    options["thermal_scale"] = 1.0  # springs in kT/Å²

    truth = OnePhonon(crystal, springs=lambda f: law(f.distance, f.same_copy), **options)
    G = truth.amplitudes()  # does not depend on the springs
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        exact = truth(G=G)[sample.valid]
    sigma = NOISE * exact
    data = exact + sigma * torch.randn(len(exact), generator=random, dtype=exact.dtype)

    torch.manual_seed(0)  # the weights the network starts with
    network = SpringNetwork()
    model = OnePhonon(crystal, springs=network, **options)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=50 if small else 60, line_search_fn="strong_wolfe"
    )
    loss = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        # The logarithm: at the start intensities may be wrong by any factor.
        chi2 = ((model(G=G)[sample.valid] / data).log() / NOISE).square().mean()
        chi2.backward()
        loss.append(chi2.item())
        return chi2

    optimizer.step(closure)
    distance, same = model.contacts.distance, model.contacts.same_copy
    with torch.no_grad():
        learned, true = network.spring(distance, same), law(distance, same)
    wrong = (learned / true).log().abs()
    print(f"{len(data)} intensities, {NOISE:.0%} noise; mean chi² {loss[0]:.3g} -> {loss[-1]:.3f}")
    for name, which in (("within a molecule", same), ("between molecules", ~same)):
        n, median, worst = int(which.sum()), wrong[which].median(), wrong[which].max()
        print(f"{n} contacts {name}: springs wrong by {median:.1%} (median), {worst:.1%} (worst)")
    draw(output, network, distance, same, loss)
    return {"true": true, "learned": learned, "same_copy": same, "loss": torch.tensor(loss)}


def c_alphas(crystal: Crystal) -> Crystal:
    """The C-alpha atoms of a crystal, as a crystal."""
    which = [i for i, label in enumerate(crystal.labels) if label.atom_name == "CA"]
    return Crystal.from_atoms(
        crystal.cell,
        crystal.spacegroup,
        ["C"] * len(which),
        crystal.positions_frac[which],
        B=crystal.B[which],
        labels=[crystal.labels[i] for i in which],
    )


def draw(output, network, distance, same, loss) -> None:
    """The law and what was learned, and the loss."""
    figure = Figure(figsize=(9.5, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    x = torch.linspace(3.6, CUTOFF, 100, dtype=torch.float64)
    for within, colour, name in ((True, "#0072B2", "within"), (False, "#D55E00", "between")):
        kind = torch.full_like(x, within, dtype=torch.bool)
        left.plot(x, law(x, kind), color=colour, lw=7, alpha=0.3, label=f"{name} molecules: law")
        left.plot(x, network.spring(x, kind).detach(), color=colour, label="learned")
        ticks = distance[same == within]
        left.plot(ticks, torch.full_like(ticks, 0.068 + 0.014 * within), "|", color=colour, ms=6)
    left.text(0.02, 0.12, "ticks: contacts of the crystal", transform=left.transAxes, color="0.35")
    left.set(
        yscale="log", xlabel="distance of the contact / Å", ylabel="spring constant / (kT Å⁻²)"
    )
    left.legend(fontsize="small")
    right.semilogy(loss, color="#0072B2", label="training")
    right.axhline(1.0, color="0.55", linestyle="--", label="noise alone")
    right.set(xlabel="evaluation (trial steps included)", ylabel="mean squared residual / σ²")
    right.legend(fontsize="small")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "train_network.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="fewer data and steps")
    main(**vars(parser.parse_args()))
