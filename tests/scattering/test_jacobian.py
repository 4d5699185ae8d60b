"""Normal equations of springs, against autograd through the intensity itself."""

import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon, SpringPlan
from onephonon.core.errors import InputError

SAMPLING = (-1.5, 1.5, 2)

PLANS = {
    "gaussian": (SpringPlan(by="global"), "asu", "dense"),
    "hybrid": (SpringPlan(by="interface", kind="hybrid", start=(0.8, 0.3)), "asu", "dense"),
    "stiffness": (SpringPlan(by="interface", kind="stiffness"), "asu", "dense"),
    "residues": (SpringPlan(by="residue", kind="parallel"), "residue", "condensed"),
    "atoms": (SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3)), "atom", "condensed"),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("hold", [(), ("scale",)])
def test_normal_equations_are_autograds(name, hold):
    plan, group_by, solver = PLANS[name]
    model = OnePhonon(
        made_up("P 1 21 1"),
        *(SAMPLING,) * 3,
        gnm_cutoff=8.0,
        springs=plan,
        group_by=group_by,
        solver=solver,
    )
    intensity = model(use_data_adp=True, hold=hold)
    good = ~intensity.isnan()
    n = len(intensity)
    generator = torch.Generator().manual_seed(0)
    data, weights = torch.rand(2, n, dtype=torch.float64, generator=generator)
    residual = data - intensity.detach()
    matrix, vector = model.spring_normal_equations(residual, weights, hold=hold)
    # Gradient of the loss by what is free: minus A^T W r, by the chain rule through the springs.
    loss = 0.5 * (weights * (data - intensity).square())[good].sum()
    free = model.springs.free
    (expected,) = torch.autograd.grad(loss, free, retain_graph=True)
    values = model.springs.values()
    (got,) = torch.autograd.grad(values, free, -vector.reshape(values.shape))
    # Both sum some hundred terms in another order
    # (one spring with its scale leaves the intensity as it is: all of it cancels).
    size = (weights * residual * intensity.detach())[good].abs().sum()
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12 * float(size))
    # Curvature along a direction: the sum of squared changes of the intensity along it.
    direction = torch.randn(values.shape, dtype=torch.float64, generator=generator)
    _, jacobian = model.spring_jacobian(hold=hold)
    change = jacobian[good] @ direction.reshape(-1)
    along = direction.reshape(-1) @ matrix @ direction.reshape(-1)
    torch.testing.assert_close(
        along, (weights[good] * change.square()).sum(), rtol=1e-9, atol=1e-16 * float(size) ** 2
    )


@pytest.mark.parametrize(
    ("spacegroup", "name", "zone_average", "orders"),
    [
        ("P 1", "hybrid", "crystal", "all"),
        ("P 1 21 1", "stiffness", "supercell", "all"),
        ("P 1 21 1", "residues", "supercell", 3),
        ("P 1", "atoms", "supercell", "all"),
        ("P 21 21 21", "gaussian", "supercell", "all"),
    ],
)
@pytest.mark.parametrize("hold", [(), ("scale",)])
def test_slopes_of_every_order_are_autograds(spacegroup, name, zone_average, orders, hold):
    plan, group_by, solver = PLANS[name]
    generator = torch.Generator().manual_seed(0)
    crystal = made_up(spacegroup, n_atoms=4)
    model = OnePhonon(
        crystal,
        gnm_cutoff=8.0,
        springs=plan,
        group_by=group_by,
        solver=solver,
        orders=orders,
        mesh=(2, 2, 2),
        multiphonon_mesh=(1, 3, 2) if spacegroup == "P 1" else None,
        zone_average=zone_average,
        q_vectors=2.0 * torch.randn(5, 3, dtype=torch.float64, generator=generator),
    )
    intensity = model(use_data_adp=True, hold=hold)
    value, jacobian = model.spring_jacobian(hold=hold)
    # Two orders of the same sums, from which the first two terms of the exponential are taken.
    torch.testing.assert_close(value, intensity.detach(), rtol=1e-10, atol=0)
    values, free = model.springs.values(), model.springs.free
    for i, row in enumerate(jacobian):
        (expected,) = torch.autograd.grad(intensity[i], free, retain_graph=True)
        (got,) = torch.autograd.grad(values, free, row.reshape(values.shape), retain_graph=True)
        # What cancels where a scale follows one spring for all.
        size = float(intensity[i].detach())
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-11 * size)
    # Both are far from those of one phonon.
    first = model(use_data_adp=True, orders=1).detach()
    assert float((first / value).min()) < 0.9


def test_normal_equations_of_every_order_are_those_of_the_jacobian():
    model = OnePhonon(
        made_up("P 1"),
        *(SAMPLING,) * 3,
        gnm_cutoff=8.0,
        springs=SpringPlan(by="interface", kind="hybrid"),
        orders="all",
        mesh=(2, 2, 2),
        batch_size=50,
    )
    generator = torch.Generator().manual_seed(0)
    residual, weights = torch.rand(2, model.n_points, dtype=torch.float64, generator=generator)
    _, jacobian = model.spring_jacobian()
    good = model.valid
    weighted = weights[good, None] * jacobian[good]
    matrix, vector = model.spring_normal_equations(residual, weights)
    # Sums over the same rows in another order.
    torch.testing.assert_close(matrix, jacobian[good].T @ weighted, rtol=1e-10, atol=0)
    torch.testing.assert_close(vector, weighted.T @ residual[good], rtol=1e-10, atol=1e-10)


def test_stored_amplitudes_are_of_the_first_order_alone():
    model = OnePhonon(
        made_up("P 1"),
        *(SAMPLING,) * 3,
        gnm_cutoff=8.0,
        springs=SpringPlan(by="global"),
        orders=2,
    )
    with pytest.raises(InputError, match="G belongs to the one-phonon intensity"):
        model.spring_jacobian(G=model.amplitudes())


def test_weight_zero_hides_what_is_not_a_number():
    model = OnePhonon(
        made_up("P 1"), *(SAMPLING,) * 3, gnm_cutoff=8.0, springs=SpringPlan(by="global")
    )
    n = model.n_points
    residual = torch.ones(n, dtype=torch.float64)
    weights = torch.ones(n, dtype=torch.float64)
    weights[::2] = 0.0
    expected = model.spring_normal_equations(residual, weights)
    residual[::2] = torch.nan
    for got, reference in zip(
        model.spring_normal_equations(residual, weights), expected, strict=True
    ):
        assert torch.equal(got, reference)
