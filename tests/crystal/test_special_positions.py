"""Atoms on symmetry elements."""

import warnings

import pytest
import torch

from onephonon import Crystal, OnePhonon, SpringPlan
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts

CUTOFF = 7.5


def on_the_axis(occupancy: float) -> Crystal:
    """Two atoms in general positions, and a carbon atom on the twofold axis."""
    return Crystal.from_atoms(
        (6, 7, 8, 90, 95, 90),
        "P 1 2 1",
        ["C", "N", "O"],
        [[0.0, 0.3, 0.0], [0.2, 0.45, 0.1], [0.35, 0.2, 0.3]],
        occupancies=[occupancy, 1.0, 1.0],
    )


def intensity(crystal: Crystal, **options) -> torch.Tensor:
    hkl = torch.tensor([[0.3, 0.4, 0.5], [-1.4, 2.3, 0.2], [3.2, -0.7, 2.4]], dtype=torch.float64)
    options = {"model": "anm", "group_by": "atom", "thermal_scale": 1.0} | options
    q = crystal.cell.q_from_hkl(hkl)
    model = OnePhonon(crystal, q_vectors=q, gnm_cutoff=CUTOFF, **options)
    return model(use_data_adp=True).detach()


def test_counting_an_atom_twice_warns() -> None:
    with pytest.warns(UserWarning, match=r"C1.*symmetry elements"):
        intensity(on_the_axis(1.0))


def test_half_an_atom_on_a_twofold_axis_is_one_atom() -> None:
    """Two halves scatter as one atom in P 1 that has the springs of both."""
    halves = on_the_axis(0.5)
    mates = [(-x, y, -z) for x, y, z in halves.positions_frac[1:].tolist()]
    whole = Crystal.from_atoms(
        halves.cell, "P 1", list("CNONO"), [*halves.positions_frac.tolist(), *mates]
    )
    # In the sum of their displacements the halves resist with the springs of both; their
    # difference neither scatters nor couples to it. Two carbon atoms meet with four pairs.
    contacts = find_contacts(gather_bodies(whole, "atom"), CUTOFF)
    n_carbon = (contacts.i == 0).int() + (contacts.j == 0).int()
    plan = SpringPlan(
        by=[str(2 ** int(n)) for n in n_carbon],
        kind="parallel",
        start={"1": 1.0, "2": 2.0, "4": 4.0},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = intensity(halves)
    expected = intensity(whole, springs=plan, model="gnm")
    # The same sums in another order, through inverses of condition below 1e3.
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
