"""The density of a cell, divided among its bodies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crystals import CELLS, made_up
from densities import density_of_atoms, noise
from onephonon import InputError
from onephonon.network.bodies import gather_bodies
from onephonon.network.density_of_bodies import cut_out_bodies

SPACEGROUPS = list(CELLS)

#: Sums over a few thousand points in double precision.
ROUNDING = 1e-11


def with_atoms(crystal, rows):
    """A crystal of some atoms of another."""
    factors = crystal.form_factors
    return crystal.replace(
        **{n: getattr(crystal, n)[rows] for n in ("positions_frac", "U", "masses", "occupancies")},
        form_factors=replace(factors, kind=factors.kind[rows]),
        labels=tuple(crystal.labels[row] for row in rows),
    )


def explicit_transform(cut, hkl):
    """Sum over the points of all bodies, at any hkl."""
    total = torch.zeros(len(hkl), dtype=torch.complex128)
    for start, electrons in zip(cut.starts, cut.electrons, strict=True):
        axes = [
            (torch.arange(n).double() + s) / m
            for n, s, m in zip(electrons.shape, start, cut.shape, strict=True)
        ]
        points = torch.cartesian_prod(*axes).double()
        waves = torch.exp(2j * torch.pi * (hkl @ points.T))
        total = total + waves @ electrons.reshape(-1).to(waves)
    return total


@pytest.mark.parametrize("spacegroup", SPACEGROUPS)
def test_bodies_together_have_the_structure_factors_of_the_density(spacegroup):
    """At Bragg points, where it does not matter to which body a point belongs."""
    crystal = made_up(spacegroup)
    density = noise(crystal, (11, 12, 14))
    cut = cut_out_bodies(density, gather_bodies(crystal, "chain"), level=0.0, edge=None)
    hkl = torch.tensor([[1, 0, 0], [2, -1, 3], [-4, 2, 1], [0, 5, -3]])
    got = explicit_transform(cut, hkl.double())
    expected = density.structure_factors(hkl)
    assert float((got - expected).abs().max()) < ROUNDING * float(expected.abs().max())


def test_wrapped_bodies_differ_between_bragg_points_only():
    crystal = made_up("P 21 21 21", n_atoms=6)
    bodies = gather_bodies(crystal, "asu")
    density = density_of_atoms(crystal, 1.2)
    whole, torn = (
        cut_out_bodies(density, bodies, level=0.0, edge=None, wrapped=w) for w in (False, True)
    )
    bragg = torch.tensor([[1.0, 2.0, 0.0], [-2.0, 1.0, 3.0]], dtype=torch.float64)
    between = bragg + 0.4
    differences = [
        float((explicit_transform(whole, hkl) - explicit_transform(torn, hkl)).abs().max())
        for hkl in (bragg, between)
    ]
    # In electrons, of some forty in the cell.
    assert differences[0] < 1e-10
    assert differences[1] > 1.0


def test_points_belong_to_the_nearest_surface_over_all_images():
    """Against distances to the atoms of 5 x 5 x 5 cells."""
    crystal = made_up("P 1 21 1", n_atoms=4)
    bodies = gather_bodies(crystal, "asu")
    density = noise(crystal, (9, 10, 13))
    cut = cut_out_bodies(density, bodies, level=0.0, edge=None)
    matrix = crystal.cell.matrix
    radius = {"C": 1.7, "N": 1.55, "O": 1.52, "S": 1.8}  # van der Waals, of gemmi
    radii = torch.tensor([radius[label.element] for label in crystal.labels]).double()
    shifts = torch.cartesian_prod(*[torch.arange(-2.0, 3.0, dtype=torch.float64)] * 3)
    for b in range(bodies.n_bodies):
        electrons, start = cut.electrons[b], np.array(cut.starts[b])
        for index in np.argwhere(electrons.numpy() != 0)[::97]:
            x = matrix @ torch.tensor((start + index) / np.array(cut.shape))
            away = bodies.positions + (shifts @ matrix.T)[:, None] - x
            surface = torch.linalg.vector_norm(away, dim=2) - radii[bodies.asu_atom]
            nearest = surface.min(0).values  # over images
            own = torch.linalg.vector_norm(bodies.positions - x, dim=1) - radii[bodies.asu_atom]
            mine = bodies.body == b
            # The nearest atom of all images is of this body, and this very image is the nearest.
            assert float(own[mine].min()) == pytest.approx(float(nearest.min()), abs=1e-9)


def test_solvent_is_read_off_the_map_and_subtracted():
    """Atoms in a solvent of 0.3 e/Å^3 that ends at the edge of the molecules."""
    crystal = made_up("P 21 21 21", n_atoms=6, cell=(19.0, 17.0, 15.0, 90.0, 90.0, 90.0))
    bodies = gather_bodies(crystal, "asu")
    density = density_of_atoms(crystal, 1.2)
    plain = cut_out_bodies(density, bodies)
    raised = cut_out_bodies(
        type(density)(density.values + 0.3, density.cell, density.d_min, "raised"), bodies
    )
    assert plain.level == pytest.approx(0.0, abs=1e-4)  # ripples of series termination
    assert raised.level - plain.level == pytest.approx(0.3, abs=1e-9)
    assert 0.1 < plain.solvent_share < 0.9
    # All electrons are within the envelope, but for the tails of the atoms.
    Z = sum({"C": 6, "N": 7, "O": 8, "S": 16}[label.element] for label in crystal.labels)
    assert plain.total == pytest.approx(4 * Z, rel=0.02)
    for a, b in zip(plain.electrons, raised.electrons, strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_ordered_atoms_move_with_the_nearest_body():
    crystal = made_up("P 1 21 1", n_atoms=4, cell=(19.0, 17.0, 15.0, 90.0, 107.0, 90.0))
    bodies = gather_bodies(crystal, "asu")
    outward = bodies.positions[3] - bodies.positions[:4].mean(0)
    step = torch.linalg.inv(crystal.cell.matrix) @ (3.0 * outward / outward.norm())
    last = with_atoms(crystal, [3])
    # 3 Å further on, and in another cell.
    water = last.replace(positions_frac=last.positions_frac + step + step.new_tensor([2, -1, 3]))
    both = with_atoms(crystal, [0, 1, 2, 3, 3])
    both = both.replace(positions_frac=torch.cat([crystal.positions_frac, water.positions_frac]))
    density = density_of_atoms(both, 1.2)
    without = cut_out_bodies(density, bodies, level=0.0)
    with_water = cut_out_bodies(density, bodies, level=0.0, ordered=water)
    Z = {"C": 6, "N": 7, "O": 8, "S": 16}[water.labels[0].element]
    gained = with_water.total - without.total
    # Each of two copies; part of the atom is within the envelope of the molecule already.
    assert 0.5 * 2 * Z < gained < 1.02 * 2 * Z
    # In one piece: within the water's distance, radius and envelope of the molecule's atoms.
    for b in range(bodies.n_bodies):
        r, _ = with_water.distances(b, bodies.centroids[b], crystal.cell.matrix)
        own = torch.linalg.vector_norm(bodies.offsets[bodies.body == b], dim=1).max()
        assert float(r.max()) < float(own) + 3.0 + 1.8 + 2.0
    again = cut_out_bodies(density, bodies, level=0.0, ordered=crystal)
    assert again.total == pytest.approx(without.total, rel=1e-12)  # atoms that are there already


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge": (2.0, 1.0)}, "edge=.*two distances"),
        ({"edge": (0.0, 50.0)}, "edge=.*two distances"),
        ({}, "bulk solvent, too little to read.*give the level"),
    ],
)
def test_what_cannot_be_cut(change, message):
    crystal = made_up("P 1")
    with pytest.raises(InputError, match=message):
        cut_out_bodies(density_of_atoms(crystal, 1.5), gather_bodies(crystal, "asu"), **change)


def test_a_density_of_another_cell():
    crystal = made_up("P 1")
    with pytest.raises(InputError, match=r"its cell .* is not that of the structure"):
        cut_out_bodies(noise(made_up("P 61"), (9, 9, 9)), gather_bodies(crystal, "asu"))
