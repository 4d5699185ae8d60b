"""Made-up crystals, small enough for a supercell in a blink."""

from dataclasses import replace

import numpy as np
import torch

from onephonon import AtomLabel, Crystal

ELEMENTS = "CNOSC"

#: A cell of each kind that trips programs up: no right angle, a screw axis, centring, three screw
#: axes, hexagonal axes. The cells are so small that every copy meets its own images.
CELLS = {
    "P 1": (5.1, 6.2, 7.0, 75.0, 82.0, 98.0),
    "P 1 21 1": (5.1, 6.3, 7.7, 90.0, 107.0, 90.0),
    "C 1 2 1": (9.1, 5.3, 7.2, 90.0, 104.0, 90.0),
    "P 21 21 21": (6.1, 7.3, 8.2, 90.0, 90.0, 90.0),
    "P 31 2 1": (8.3, 8.3, 9.1, 90.0, 90.0, 120.0),
    "P 61": (8.3, 8.3, 11.1, 90.0, 90.0, 120.0),
}


def made_up(spacegroup="P 1", *, n_atoms=5, seed=0, cell=None, **options):
    """A chain of atoms 1.5 Å apart, folded at random, in chains A and B of two residues each."""
    rng = np.random.default_rng(seed)
    cell = cell or CELLS[spacegroup]
    steps = rng.normal(size=(n_atoms, 3))
    steps *= 1.5 / np.linalg.norm(steps, axis=1, keepdims=True)
    random_walk = np.cumsum(steps, axis=0)
    elements = [ELEMENTS[i % len(ELEMENTS)] for i in range(n_atoms)]
    labels = [
        AtomLabel("AB"[2 * i >= n_atoms], str(1 + 4 * i // n_atoms), "UNK", f"{e}{i}", e)
        for i, e in enumerate(elements)
    ]
    crystal = Crystal.from_atoms(
        cell,
        spacegroup,
        elements,
        np.zeros((n_atoms, 3)),
        B=rng.uniform(5.0, 20.0, n_atoms),
        labels=labels,
        **options,
    )
    matrix = crystal.cell.matrix
    # A start away from the symmetry elements.
    start = matrix.new_tensor([0.11, 0.17, 0.23])
    return crystal.replace(
        positions_frac=start + torch.as_tensor(random_walk) @ torch.linalg.inv(matrix).T
    )


def simple_lattice(cell=(4.0, 4.0, 4.0, 90.0, 90.0, 90.0), element="C"):
    """One atom in a cell."""
    return Crystal.from_atoms(cell, "P 1", [element], [[0.0, 0.0, 0.0]])


def split(crystal, conformers, which=None):
    """Atoms in several conformers (letter, share), at the same place; all of them or some."""
    rows = []
    for n in range(crystal.n_atoms):
        if which is None or n in which:
            rows += [(n, letter, share) for letter, share in conformers]
        else:
            rows.append((n, crystal.labels[n].altloc, 1.0))
    atoms = [n for n, _, _ in rows]
    factors = crystal.form_factors
    return crystal.replace(
        positions_frac=crystal.positions_frac[atoms],
        U=crystal.U[atoms],
        masses=crystal.masses[atoms],
        occupancies=crystal.occupancies[atoms] * crystal.U.new_tensor([w for _, _, w in rows]),
        form_factors=replace(factors, kind=factors.kind[atoms]),
        labels=tuple(replace(crystal.labels[n], altloc=letter) for n, letter, _ in rows),
    )
