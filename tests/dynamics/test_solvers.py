"""Condensed solves against dense ones: values and gradients."""

import pytest
import torch

from agreement import largest_error
from crystals import CELLS, made_up
from onephonon import OnePhonon, SpringPlan

#: Two samples per index, ends off the Bragg points.
SAMPLING = (-1.5, 1.5, 2)

#: Both solvers are exact; they differ by rounding times the condition of K, some 1e3 off Gamma.
ROUNDING = 1e-9


def by_both(crystal, **options):
    ranges = {"hsampling": SAMPLING, "ksampling": SAMPLING, "lsampling": SAMPLING}
    options = {"gnm_cutoff": 8.0, "engine": "direct"} | ranges | options
    return [OnePhonon(crystal, solver=solver, **options) for solver in ("dense", "condensed")]


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize("group_by", ["residue", "atom"])
@pytest.mark.parametrize("model", ["gnm", "hybrid"])
def test_condensed_intensities_are_the_dense_ones(spacegroup, group_by, model):
    more = {"k_par": 1.0, "k_perp": 0.3} if model == "hybrid" else {}
    dense, condensed = by_both(made_up(spacegroup), group_by=group_by, model=model, **more)
    assert condensed.chosen_solver.name == "condensed"
    # The mean over the zone too: without the file's ADPs, U and the scale come from it.
    for use_data_adp in (True, False):
        got = condensed(use_data_adp=use_data_adp)
        assert largest_error(got, dense(use_data_adp=use_data_adp)) < ROUNDING


@pytest.mark.parametrize("spacegroup", ["P 1", "P 21 21 21", "P 31 2 1"])
@pytest.mark.parametrize("group_by", ["residue", "atom"])
@pytest.mark.parametrize("use_data_adp", [True, False])
def test_condensed_gradients_are_the_dense_ones(spacegroup, group_by, use_data_adp):
    crystal = made_up(spacegroup)
    found = []
    for solver in ("dense", "condensed"):
        positions = crystal.positions.clone().requires_grad_()
        plan = SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3))
        ranges = {"hsampling": SAMPLING, "ksampling": SAMPLING, "lsampling": SAMPLING}
        model = OnePhonon(
            crystal,
            gnm_cutoff=8.0,
            group_by=group_by,
            springs=plan,
            positions=positions,
            solver=solver,
            engine="direct",
            **ranges,
        )
        intensity = model(use_data_adp=use_data_adp)
        weights = torch.linspace(0.5, 1.5, intensity.numel(), dtype=torch.float64)
        loss = (weights.reshape(intensity.shape) * intensity).nansum()
        found.append(torch.autograd.grad(loss, [positions, *model.parameters()]))
    assert len(found[0]) > 1
    for reference, got in zip(*found, strict=True):
        assert largest_error(got, reference) < 100 * ROUNDING


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize("group_by", ["residue", "atom"])
def test_covariance_of_the_zone_is_the_dense_one(spacegroup, group_by):
    # A scale of its own: the one fitted to the mean B would hide a factor.
    dense, condensed = by_both(made_up(spacegroup), group_by=group_by, thermal_scale=1.0)
    assert largest_error(condensed.U, dense.U) < ROUNDING


@pytest.mark.parametrize("group_by", ["asu", "atom"])
@pytest.mark.parametrize("solver", ["dense", "condensed"])
def test_normal_equations_are_the_jacobians(group_by, solver):
    plan = SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3))
    ranges = {"hsampling": SAMPLING, "ksampling": SAMPLING, "lsampling": SAMPLING}
    model = OnePhonon(
        made_up("P 1 21 1"),
        gnm_cutoff=8.0,
        group_by=group_by,
        springs=plan,
        solver=solver,
        **ranges,
    )
    value, jacobian = model.spring_jacobian()
    value, jacobian = value.detach().flatten(), jacobian.detach()
    jacobian = jacobian.reshape(value.numel(), -1)
    good = ~value.isnan()
    residual = torch.cos(torch.arange(len(value), dtype=torch.float64))
    weights = 1 + torch.sin(torch.arange(len(value), dtype=torch.float64)) ** 2
    columns = torch.ones(len(value), 1, dtype=torch.float64)
    matrix, vector = model.spring_normal_equations(
        residual=residual, weights=weights, columns=columns
    )
    A = torch.cat([jacobian, columns], dim=1)[good]
    # Sums of a few hundred numbers, in another order.
    torch.testing.assert_close(matrix, A.T @ (weights[good, None] * A), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(vector, A.T @ (weights * residual)[good], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("group_by", ["residue", "atom"])
def test_condensed_derivatives_by_differences(group_by):
    crystal = made_up("P 1 21 1")
    q = torch.tensor([[0.9, -0.4, 1.3], [0.2, 1.1, -0.5]], dtype=torch.float64)
    springs = torch.tensor([1.3, 0.7], dtype=torch.float64)

    def value(q, springs):
        intra, inter = springs
        options = {"gamma_intra": intra, "gamma_inter": inter, "thermal_scale": 1.0}
        options |= {"gnm_cutoff": 8.0, "group_by": group_by, "solver": "condensed"}
        return OnePhonon(crystal, q_vectors=q, engine="direct", **options)(use_data_adp=True)

    inputs = (q.requires_grad_(), springs.requires_grad_())
    # Central differences by 1e-6: rounding of intensities of 1e2 and slopes of 1e3 over the step.
    assert torch.autograd.gradcheck(value, inputs, rtol=1e-5)
    assert torch.autograd.gradgradcheck(value, inputs, rtol=1e-4, atol=1e-3)
