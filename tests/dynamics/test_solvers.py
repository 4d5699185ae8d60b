"""Solvers against matrices inverted one by one, and condensed ones against dense ones."""

import itertools

import pytest
import torch

from agreement import largest_error
from crystals import CELLS, made_up
from onephonon import GradientError, InputError, OnePhonon, SpringPlan
from onephonon.dynamics.displacements import covariance, displacement_covariance
from onephonon.dynamics.solvers import CondensedSolver, DenseSolver, choose_solver, make_solver
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import assign_springs, force_constants

#: Two samples per index, ends off the Bragg points.
SAMPLING = (-1.5, 1.5, 2)

#: Both solvers are exact; they differ by rounding times the condition of K, some 1e3 off Gamma.
ROUNDING = 1e-9


#: Off Gamma and off every symmetric place of the zone.
K_FRAC = torch.tensor([[0.13, -0.31, 0.42], [-0.45, 0.07, 0.21], [0.3, 0.2, 0.1]]).double()

SOLVERS = {"dense": DenseSolver, "condensed": CondensedSolver}


def network(spacegroup, group_by, **springs):
    bodies = gather_bodies(made_up(spacegroup), group_by)
    contacts = find_contacts(bodies, 8.0)
    return bodies, force_constants(bodies, contacts, assign_springs(contacts, **springs))


# ---- one interface ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
@pytest.mark.parametrize("m", [1, 7, 200])
def test_every_solver_applies_the_inverse(name, group_by, m):
    bodies, constants = network("P 1 21 1", group_by, model="hybrid", k_par=1.0, k_perp=0.3)
    solver = make_solver(bodies, constants, name)
    assert type(solver) is SOLVERS[name]
    generator = torch.Generator().manual_seed(0)
    G = torch.randn(3, m, bodies.n_dof, dtype=torch.complex128, generator=generator)
    v = torch.linalg.solve(stiffness(bodies, constants, K_FRAC), G.mT).mT
    form = (G.conj() * v).sum(2).real
    factored = solver.at(K_FRAC)
    value, solution = factored.solve(G)
    assert largest_error(value, form) < ROUNDING
    assert largest_error(torch.view_as_real(solution), torch.view_as_real(v)) < ROUNDING
    assert largest_error(factored.quadratic_form(G), form) < ROUNDING
    hkl = K_FRAC[:, None].expand(-1, m, 3)
    assert largest_error(solver.quadratic_form(K_FRAC, hkl, G), form) < ROUNDING
    # From lists, each member taken where it is asked for.
    points = torch.randperm(3 * m, generator=generator).reshape(3, m)
    rows = torch.empty_like(G.flatten(0, 1)).index_copy(0, points.flatten(), G.flatten(0, 1))
    every = torch.empty(3 * m, 3, dtype=torch.float64)
    every[points.flatten()] = hkl.flatten(0, 1)
    assert largest_error(solver.quadratic_form(K_FRAC, every, rows, points), form) < ROUNDING


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
def test_every_solver_averages_over_the_zone(name, group_by):
    bodies, constants = network("P 1 21 1", group_by)
    mesh, w, origin = (2, 3, 2), bodies.width, torch.zeros(1, 3, dtype=torch.int64)
    C = covariance(bodies, constants, mesh, origin, zone_average="supercell")[0]
    C = bodies.scatter(bodies.scatter(C, 0), 1).reshape(bodies.n_bodies, w, bodies.n_bodies, w)
    expected = C.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    assert largest_error(make_solver(bodies, constants, name).zone_mean(mesh), expected) < ROUNDING
    A = bodies.displacements()
    U = displacement_covariance(bodies, constants, mesh, None, name, "supercell")
    assert largest_error(U, A @ expected[bodies.body] @ A.mT) < ROUNDING


def test_solvers_are_chosen_and_say_why():
    small, large = (network("P 1 21 1", group_by) for group_by in ("asu", "atom"))
    assert str(choose_solver(*small)) == "dense (12 degrees of freedom)"
    assert str(choose_solver(*large, "condensed")) == "condensed (as requested)"
    with pytest.raises(InputError, match="solver='fast' is not one of auto, dense, condensed"):
        make_solver(*small, "fast")


def test_condensation_is_refused_inside_torch_func():
    bodies, constants = network("P 1 21 1", "atom")

    def chosen(x):
        assert choose_solver(bodies, constants).name == "dense"
        with pytest.raises(GradientError, match=r"use torch\.autograd, or solver='dense'"):
            make_solver(bodies, constants, "condensed")
        return x

    torch.func.grad(chosen)(torch.tensor(1.0))


# ---- through the model ------------------------------------------------------------------------


def not_asked_for(*_, **__):
    raise AssertionError("not the solver that was asked for")


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


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize("group_by", ["residue", "atom"])
def test_whole_maps_on_the_mesh_use_the_solver_asked_for(spacegroup, group_by, monkeypatch):
    # Three samples per index: zone points that rounding does not leave alone.
    options = {"group_by": group_by, "engine": "mesh", "lsampling": (-1.0, 1.0, 3)}
    dense, condensed = by_both(made_up(spacegroup), **options)
    # Without a graph more of the map follows by symmetry, and the solver is another method.
    for use_data_adp, graph in itertools.product((True, False), (True, False)):
        with torch.set_grad_enabled(graph):
            expected = dense(use_data_adp=use_data_adp)
            with monkeypatch.context() as only:
                for method in ("at", "quadratic_form", "zone_mean"):
                    only.setattr(DenseSolver, method, not_asked_for)
                got = condensed(use_data_adp=use_data_adp)
        assert largest_error(got, expected) < ROUNDING


@pytest.mark.parametrize("engine", ["direct", "mesh"])
@pytest.mark.parametrize("spacegroup", ["P 1", "P 21 21 21", "P 31 2 1"])
@pytest.mark.parametrize("group_by", ["residue", "atom"])
@pytest.mark.parametrize("use_data_adp", [True, False])
def test_condensed_gradients_are_the_dense_ones(spacegroup, group_by, use_data_adp, engine):
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
            engine=engine,
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
def test_normal_equations_are_the_jacobians(group_by, solver, monkeypatch):
    other = {"dense": CondensedSolver, "condensed": DenseSolver}[solver]
    monkeypatch.setattr(other, "at", not_asked_for)
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
