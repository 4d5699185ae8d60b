"""Atoms on symmetry elements."""

import pytest
import torch

from onephonon import Crystal, OnePhonon


def on_the_axis(occupancy: float) -> OnePhonon:
    crystal = Crystal.from_atoms(
        (6, 7, 8, 90, 95, 90),
        "P 1 2 1",
        ["C", "N", "O"],
        [[0.0, 0.3, 0.0], [0.2, 0.45, 0.1], [0.35, 0.2, 0.3]],
        occupancies=[occupancy, 1.0, 1.0],
    )
    q = torch.tensor([[0.3, 0.4, 0.5]], dtype=torch.float64)
    return OnePhonon(crystal, q_vectors=q, gnm_cutoff=7.5, model="anm", group_by="atom")


def test_counting_an_atom_twice_is_said() -> None:
    with pytest.warns(UserWarning, match=r"C1.*symmetry elements"):
        on_the_axis(1.0)


def test_half_an_atom_on_a_twofold_axis_is_right() -> None:
    # No direction joins the two coinciding copies, so only springs to others hold them.
    assert torch.isfinite(on_the_axis(0.5)()).all()
