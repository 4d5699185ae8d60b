"""The order of elimination and what it leaves, against the dense stiffness."""

import pytest
import torch

from crystals import CELLS, made_up
from onephonon import OnePhonon
from onephonon.dynamics.solvers.condensed.condensation import condense
from onephonon.dynamics.solvers.condensed.elimination import plan_elimination
from onephonon.dynamics.stiffness_matrix import stiffness

#: Off Gamma and off every symmetric place of the zone.
K_FRAC = torch.tensor([[0.13, -0.31, 0.42], [-0.45, 0.07, 0.21]], dtype=torch.float64)


def network(spacegroup, group_by, **options):
    model = OnePhonon(
        made_up(spacegroup, n_atoms=12),
        q_vectors=torch.ones(1, 3, dtype=torch.float64),
        gnm_cutoff=6.0,
        group_by=group_by,
        **options,
    )
    with torch.no_grad():
        return model.bodies, model.force_constants()


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize("group_by", ["residue", "atom"])
def test_every_degree_of_freedom_is_eliminated_once_and_in_order(spacegroup, group_by):
    bodies, constants = network(spacegroup, group_by)
    plan = plan_elimination(constants, bodies.dof)
    every = torch.cat([plan.interior, plan.boundary])
    assert torch.equal(every.sort().values, torch.arange(bodies.n_dof))
    row = 0
    for i, front in enumerate(plan.fronts):
        assert front.start == row
        row = front.stop
        # What it touches comes later, and the first of it belongs to its parent.
        assert (front.touched >= front.stop).all()
        if front.parent < 0:
            assert (front.touched >= len(plan.interior)).all()
        else:
            parent = plan.fronts[front.parent]
            assert front.parent > i
            assert parent.start <= int(front.touched[0]) < parent.stop
    assert row == len(plan.interior)


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize(
    ("group_by", "model"), [("residue", "gnm"), ("atom", "gnm"), ("atom", "hybrid")]
)
def test_the_boundary_is_the_schur_complement(spacegroup, group_by, model):
    more = {"k_par": 1.0, "k_perp": 0.3} if model == "hybrid" else {}
    bodies, constants = network(spacegroup, group_by, model=model, **more)
    made = condense(bodies, constants, components=1)
    K = stiffness(bodies, constants, K_FRAC)
    i, b = made.plan.interior, made.plan.boundary
    K_ii, K_ib, K_bb = K[:, i][:, :, i], K[:, i][:, :, b], K[:, b][:, :, b]
    # The interior knows nothing of k.
    assert not K_ii.imag.any()
    assert torch.equal(K_ii[0], K_ii[1])
    expected = K_bb - K_ib.mH @ torch.linalg.solve(K_ii, K_ib)
    # Rounding, times the condition of K_ii, below 1e3.
    torch.testing.assert_close(made.stiffness(K_FRAC), expected, rtol=1e-11, atol=1e-11)


def test_one_matrix_serves_three_components():
    bodies, constants = network("P 21 21 21", "atom")
    once, thrice = condense(bodies, constants), condense(bodies, constants, components=1)
    assert (once.components, thrice.components) == (3, 1)
    S = once.stiffness(K_FRAC)
    atoms = once.plan.boundary[:, None] * 3 + torch.arange(3)
    place = torch.searchsorted(thrice.plan.boundary, atoms)
    assert torch.equal(thrice.plan.boundary[place], atoms)
    for x in range(3):
        at = place[:, x]
        torch.testing.assert_close(thrice.stiffness(K_FRAC)[:, at][:, :, at], S)
