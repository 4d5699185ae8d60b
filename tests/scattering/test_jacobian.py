"""Normal equations of springs, against autograd through the intensity itself."""

import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon, SpringPlan

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
