"""The objective of a fit against dense linear algebra, differences and other optimizers."""

import gc
import weakref
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.optimize
import torch

from crystals import made_up
from fits import clean_map, peptide, sampling, starting_model, to_map, true_model
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal import Reindexing
from onephonon.model import voxel_average
from onephonon.refine import (
    FitSettings,
    Loss,
    make_parametrization,
    minimize_objective,
    select_voxels,
)
from onephonon.refine import forward as forward_module
from onephonon.refine.fit import make_objective
from onephonon.refine.forward import COPIES, make_forward
from onephonon.refine.optimize import Minimizer, Quadratic
from onephonon.refine.parametrization import find_levels, parametrization_basis

D_MIN = 4.0

#: Two float64 routes to one number through normal equations of condition below 1e6.
ROUNDING = 1e-9

CASES = [
    (background, loss, scaled)
    for background in ("isotropic", "halo", "none")
    for loss, scaled in (("squares", True), ("squares", False), ("soft_l1", True))
]


@cache
def whole_problem(background="isotropic", loss="squares", scaled=True, level="hybrid"):
    """An objective with noisy data of other springs, a background and a few outliers."""
    crystal = peptide("5zck")
    axes = sampling(crystal, D_MIN)
    clean, s = clean_map(true_model(crystal, axes, D_MIN), axes)
    mean = np.nanmean(clean)
    rng = np.random.default_rng(3)
    sigma = mean * rng.uniform(0.05, 0.2, clean.shape)
    values = 1.7 * clean + mean * (1 + np.cos(6 * s)) + sigma * rng.normal(size=clean.shape)
    values += 20 * sigma * (rng.uniform(size=clean.shape) < 0.02)
    settings = FitSettings(voxels="all", background=background, loss=loss, knots=5, held_out=0.2)
    model = starting_model(crystal)
    data = to_map(values, axes, crystal, sigma)
    voxels = select_voxels(data, crystal, Reindexing(np.eye(3)), settings)
    objective, kind = make_objective(model, data, voxels, settings, absolute=not scaled)
    assert kind == background
    parametrization = make_parametrization(
        find_levels((level,))[0], model.bodies, model.contacts, 20.0
    )
    changes = {
        "parametrization": parametrization,
        "basis": parametrization_basis(parametrization),
        "prior": 0.3,
        "dispersion": 2.0,
    }
    return voxels, replace(objective, **changes)


def problem(*case, **options):
    return whole_problem(*case, **options)[1]


def random_x(objective, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(objective.parametrization.n, generator=generator, dtype=torch.float64)


def differences(function, x, h=3e-3):
    """Jacobian by five-point differences, which err by h^4/30 = 3e-12 of fifth derivatives."""
    weights = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    with torch.no_grad():
        columns = [
            sum(w * function(x + k * h * unit) for k, w in weights.items()) / h
            for unit in torch.eye(len(x), dtype=x.dtype)
        ]
    return torch.stack(columns, dim=1)


def dense_background(objective):
    """All columns, each group's apart."""
    columns, group = objective.background.columns.numpy(), objective.background.group.numpy()
    n, w = columns.shape
    whole = np.zeros((n, objective.background.n_groups, w))
    whole[np.arange(n), group] = columns
    whole = whole.reshape(n, -1)
    return whole[:, np.abs(whole).max(0) > 0] if w else whole.reshape(n, 0)


def parts(objective, x):
    """Intensity, used voxels, sigma, data and background's columns as arrays."""
    parametrization = objective.parametrization
    with torch.no_grad():
        intensity = objective.forward.intensity(
            parametrization.constants(parametrization.values(x))
        ).numpy()
    arrays = (objective.used, objective.sigma, objective.data)
    return (intensity, *(a.numpy() for a in arrays), dense_background(objective))


@pytest.mark.parametrize(
    ("background", "scaled"), [(b, s) for b, kind, s in CASES if kind == "squares"]
)
def test_scale_and_background_are_those_of_dense_least_squares(background, scaled):
    objective = problem(background, "squares", scaled)
    x = random_x(objective)
    at = objective.evaluate(x)
    intensity, used, sigma, data, B = parts(objective, x)
    fixed = 0.0 if scaled else intensity
    columns = np.column_stack([intensity, B]) if scaled else B
    w = used / sigma
    solved, *_ = np.linalg.lstsq(w[:, None] * columns, w * (data - fixed), rcond=None)
    scale = solved[0] if scaled else 1.0
    assert at.scale == pytest.approx(scale, rel=ROUNDING)
    size = np.abs(data).mean()
    expected = B @ (solved[1:] if scaled else solved)
    np.testing.assert_allclose(at.background.numpy()[used], expected[used], atol=ROUNDING * size)
    if background == "halo":
        # A held-out halo has a background of its own, found where it is, given the scale.
        out = ~used
        own, *_ = np.linalg.lstsq(
            (out / sigma)[:, None] * B, (out / sigma) * (data - scale * intensity), rcond=None
        )
        expected = np.where(used, expected, B @ own)
    elif background == "isotropic":
        assert np.abs(expected[~used]).min() > 0.01 * size  # goes on below the held-out voxels
    found = at.background.numpy()
    np.testing.assert_allclose(found, expected, atol=ROUNDING * size)
    np.testing.assert_allclose(
        at.residual.numpy(), data - scale * intensity - expected, atol=ROUNDING * size
    )
    chi2 = float((((data - scale * intensity - expected) / sigma) ** 2)[used].sum())
    penalty = 0.3 * 2.0 * float(x @ x)
    assert at.objective == pytest.approx(chi2 + penalty, rel=ROUNDING)


@pytest.mark.parametrize("background", ["isotropic", "halo", "none"])
def test_a_robust_loss_finds_what_scipy_finds(background):
    objective = problem(background, "soft_l1", True)
    x = random_x(objective)
    at = objective.evaluate(x)
    intensity, used, sigma, data, B = parts(objective, x)
    columns = (np.column_stack([intensity, B]) / sigma[:, None])[used]
    columns = columns[:, np.abs(columns).max(0) > 0]
    # Columns of one length: scipy's steps see no scale then.
    columns /= np.linalg.norm(columns, axis=0)
    y = (data / sigma)[used]
    start, *_ = np.linalg.lstsq(columns, y, rcond=None)
    found = scipy.optimize.least_squares(
        lambda c: y - columns @ c,
        start,
        jac=lambda _: -columns,
        loss="soft_l1",
        f_scale=objective.loss.outlier,
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-12,
    )
    chi2 = at.objective - float(objective.penalty(x))
    # Both sit at the bottom of a valley, where errors count squared.
    assert chi2 == pytest.approx(2 * found.cost, rel=1e-10)
    # Gauss and Newton's last steps leave some 1e-6 of a residual.
    np.testing.assert_allclose(
        (at.residual.numpy() / sigma)[used], y - columns @ found.x, atol=1e-4
    )


def test_soft_l1_is_quadratic_then_linear():
    loss = Loss("soft_l1", 3.0)
    z = torch.tensor([1e-6, 1.0, 9.0, 1e8], dtype=torch.float64, requires_grad=True)
    value = loss.value(z)
    expected = 2 * 9 * (torch.sqrt(1 + z / 9) - 1)
    # The plain formula loses digits where z is small.
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-14)
    (slope,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(loss.weight(z), slope, rtol=1e-12, atol=0)
    assert float(value[0].detach()) == pytest.approx(1e-6, rel=1e-6)
    assert float(value[3].detach()) == pytest.approx(2 * 3.0 * 1e4, rel=1e-3)
    plain = Loss()
    assert bool((plain.value(z) == z).all())
    assert bool((plain.weight(z) == 1).all())


@pytest.mark.parametrize(("background", "loss", "scaled"), CASES)
def test_gradients_are_finite_differences_and_each_others(background, loss, scaled):
    objective = problem(background, loss, scaled)
    x = random_x(objective)
    at, gradient = objective.gradient(x)
    h = 1e-4
    for seed in range(3):
        move = random_x(objective, 10 + seed)
        ends = [objective.evaluate(x + sign * h * move).objective for sign in (1, -1)]
        # Central differences err by h^2 = 1e-8, rounding by 1e-16/h of the objective.
        expected = (ends[0] - ends[1]) / (2 * h)
        assert float(gradient @ move) == pytest.approx(expected, rel=1e-6)
    slopes = objective.slopes(at)
    ridge = objective.prior * objective.dispersion
    theirs = -2 * slopes.gradient + 2 * ridge * x
    # The largest component sets the rounding; a robust loss ends its rounds at 1e-10.
    np.testing.assert_allclose(gradient, theirs, atol=1e-8 * float(gradient.abs().max()))


@pytest.mark.parametrize(
    ("background", "loss", "scaled", "level"),
    [(*case, "hybrid") for case in CASES] + [("isotropic", "squares", True, "stiffness")],
)
def test_slopes_are_the_schur_complement_of_all_columns(background, loss, scaled, level):
    objective = problem(background, loss, scaled, level=level)
    parametrization, x = objective.parametrization, random_x(objective)
    at = objective.evaluate(x)
    J = differences(
        lambda v: objective.forward.intensity(parametrization.constants(parametrization.values(v))),
        x,
    ).numpy()
    intensity, used, _, _, B = parts(objective, x)
    w = at.weight.numpy() * used
    linear = np.column_stack([intensity, B]) if scaled else B
    J = at.scale * J
    cross = linear.T @ (w[:, None] * J)
    inner = linear.T @ (w[:, None] * linear)
    size = np.sqrt(np.where(inner.diagonal() > 0, inner.diagonal(), 1))
    inverse = np.linalg.pinv(inner / size[:, None] / size, rcond=1e-11) / size[:, None] / size
    H = J.T @ (w[:, None] * J) - cross.T @ inverse @ cross
    g = J.T @ (w * at.residual.numpy())
    slopes = objective.slopes(at)
    np.testing.assert_allclose(
        slopes.hessian, H, atol=ROUNDING * np.abs(J.T @ (w[:, None] * J)).max()
    )
    # What scale and background leave is orthogonal to them, to the last round of reweighting.
    np.testing.assert_allclose(slopes.gradient, g, atol=1e-8 * np.abs(g).max())


@pytest.mark.parametrize("background", ["isotropic", "halo", "none"])
def test_held_out_voxels_have_no_influence(background):
    objective = problem(background, "soft_l1", True)
    x = random_x(objective)
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(size=len(objective.data)))
    worse = replace(
        objective,
        data=torch.where(objective.used, objective.data, 1e3 * noise),
        sigma=torch.where(objective.used, objective.sigma, 1e-3 + noise.abs()),
    )
    assert 50 < objective.n_used < len(objective.data) - 30
    (at, g), (at_worse, g_worse) = objective.gradient(x), worse.gradient(x)
    # The outliers held out may ask for more rounds of reweighting, which end at 1e-10.
    assert at_worse.objective == pytest.approx(at.objective, rel=1e-9)
    assert at_worse.scale == pytest.approx(at.scale, rel=1e-9)
    np.testing.assert_allclose(g_worse, g, atol=1e-8 * float(g.abs().max()))
    ours, theirs = objective.slopes(at), worse.slopes(at_worse)
    np.testing.assert_allclose(theirs.hessian, ours.hessian, atol=1e-8 * float(ours.hessian.max()))
    used = objective.used
    size = float(at.residual[used].abs().max())
    np.testing.assert_allclose(at_worse.residual[used], at.residual[used], atol=1e-8 * size)
    assert float(at_worse.loss[~used].sum()) > 10 * float(at.loss[~used].sum())


@pytest.mark.parametrize(
    ("spacegroup", "matrix"),
    [
        ("P 21 21 21", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        # New indices -h-k, k, -l: the data's boxes lie askew in the model's axes.
        ("P 61", [[-1, -1, 0], [0, 1, 0], [0, 0, -1]]),
    ],
)
@pytest.mark.parametrize("leave_out", [0.0, 0.3])
def test_voxel_averages_are_those_of_compare(spacegroup, matrix, leave_out):
    crystal = made_up(spacegroup)
    model = starting_model(crystal, gnm_cutoff=6.5, thermal_scale=1.0, engine="direct")
    axes = [(-3, 3, 1), (-3, 3, 1), (-3, 3, 2)]
    rng = np.random.default_rng(0)
    data = to_map(rng.uniform(1, 2, (7, 7, 13)), axes, crystal)
    settings = FitSettings(
        voxels="all", average=2, leave_out=leave_out, bragg_radius=0.0, held_out=0.3
    )
    reindexing = Reindexing(np.array(matrix, dtype=float))
    voxels = select_voxels(data, crystal, reindexing, settings)
    objective, _ = make_objective(model, data, voxels, settings, absolute=True)
    values = objective.parametrization.values(torch.zeros(1, dtype=torch.float64))
    constants = objective.parametrization.constants(values)
    ours = objective.forward.intensity(constants).detach()
    # Its own way there: the model's springs, all alike, at all nodes of the data's own boxes.
    model = starting_model(
        crystal,
        gnm_cutoff=6.5,
        gamma_intra=objective.parametrization.start,
        gamma_inter=objective.parametrization.start,
        thermal_scale=1.0,
    )
    own = voxels.hkl @ np.linalg.inv(reindexing.operator)
    with torch.no_grad():
        theirs = voxel_average(
            model,
            own,
            (1, 1, 0.5),
            2,
            leave_out=leave_out,
            matrix=reindexing.matrix,
            use_data_adp=True,
        )
    np.testing.assert_allclose(ours, theirs, rtol=ROUNDING)
    assert np.unique(np.rint(2 * voxels.hkl[:, 2]) % 2).size == 2  # Bragg points and between
    # Parts of any size give the same, and their slopes are those of differences.
    parametrization = make_parametrization(
        find_levels(("hybrid",))[0], model.bodies, model.contacts, 1.0
    )
    v = parametrization.values(random_x(replace(objective, parametrization=parametrization)))
    jacobian = differences(lambda u: objective.forward.intensity(parametrization.constants(u)), v)
    for part, intensity, slopes in objective.forward.slopes(
        parametrization_basis(parametrization), v
    ):
        np.testing.assert_allclose(slopes, jacobian[part], atol=1e-9 * float(jacobian.abs().max()))
        whole = objective.forward.intensity(parametrization.constants(v)).detach()
        np.testing.assert_allclose(intensity, whole[part], rtol=ROUNDING)


def test_amplitudes_do_not_depend_on_the_parts():
    voxels, objective = whole_problem()
    small = make_forward(
        starting_model(peptide("5zck")), voxels, nodes_at_a_time=37, amplitudes_at_a_time=100
    )
    assert len(small.parts) > 10
    assert small.n_nodes == voxels.n
    x = random_x(objective)
    other = replace(objective, forward=small)
    ours, theirs = other.evaluate(x), objective.evaluate(x)
    np.testing.assert_allclose(ours.intensity, theirs.intensity, rtol=ROUNDING)
    H, expected = other.slopes(ours).hessian, objective.slopes(theirs).hessian
    np.testing.assert_allclose(H, expected, atol=ROUNDING * float(expected.abs().max()))


@cache
def averaged_problem():
    """An objective whose voxels are averages, in a new indexing, and what made it."""
    crystal = made_up("P 61")
    model = starting_model(crystal, gnm_cutoff=6.5, thermal_scale=1.0, engine="direct")
    axes = [(-3, 3, 1), (-3, 3, 1), (-3, 3, 2)]
    data = to_map(np.random.default_rng(0).uniform(1, 2, (7, 7, 13)), axes, crystal)
    settings = FitSettings(
        voxels="all", average=2, bragg_radius=0.0, held_out=0.3, background="isotropic", knots=3
    )
    matrix = np.array([[-1.0, -1, 0], [0, 1, 0], [0, 0, -1]])
    voxels = select_voxels(data, crystal, Reindexing(matrix), settings)
    objective, _ = make_objective(model, data, voxels, settings, absolute=True)
    parametrization = make_parametrization(
        find_levels(("hybrid",))[0], model.bodies, model.contacts, 1.0
    )
    basis = parametrization_basis(parametrization)
    return model, voxels, replace(objective, parametrization=parametrization, basis=basis)


def point_problem():
    """The same at the centres of voxels."""
    voxels, objective = whole_problem()
    return starting_model(peptide("5zck"), engine="direct"), voxels, objective


@pytest.mark.parametrize("made", [averaged_problem, point_problem])
def test_amplitudes_that_are_too_large_are_computed_at_each_evaluation(made):
    model, voxels, objective = made()
    n_bytes = 16 * model.bodies.n_dof * objective.forward.n_nodes
    messages = []
    stored, small = (
        replace(objective, forward=make_forward(model, voxels, Messages(messages), max_bytes=n))
        for n in (n_bytes, n_bytes - 1)
    )
    assert all(part.G is not None for part in stored.forward.parts)
    assert all(part.G is None for part in small.forward.parts)
    assert len(small.forward.parts) >= 5
    assert "about" in messages[0]
    assert "not stored but computed at each step in" in messages[-1]
    # The same sums over atoms, so rounding alone; slopes and gradients are sums that cancel.
    x = random_x(objective)
    ours, theirs = small.evaluate(x), stored.evaluate(x)
    np.testing.assert_allclose(ours.intensity, theirs.intensity, rtol=ROUNDING)
    for one, other in (
        (small.slopes(ours).hessian, stored.slopes(theirs).hessian),
        (small.slopes(ours).gradient, stored.slopes(theirs).gradient),
        (small.gradient(x)[1], stored.gradient(x)[1]),
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING * float(other.abs().max()))


def test_one_voxel_that_does_not_fit_is_refused():
    model, voxels, _ = averaged_problem()
    most = int(voxels.averaging.n_nodes(voxels.hkl, voxels.order).max())
    enough = COPIES * 16 * model.bodies.n_dof * most
    assert make_forward(model, voxels, max_bytes=enough).n == voxels.n
    with pytest.raises(InputError, match=r"one voxel need .* freedom at .* take larger bodies"):
        make_forward(model, voxels, max_bytes=enough - 1)


class Messages(Progress):
    """Keeps messages in a list."""

    def __init__(self, kept):
        self.kept = kept

    def message(self, text):
        self.kept.append(text)


def test_only_the_amplitudes_of_one_part_exist_at_a_time(monkeypatch):
    # Also in the backward pass, which would otherwise keep them all.
    model, voxels, objective = averaged_problem()
    n_bytes = 16 * model.bodies.n_dof * objective.forward.n_nodes
    forward = make_forward(model, voxels, max_bytes=n_bytes - 1)
    alive = weakref.WeakSet()
    most, plain = [], forward_module.amplitudes_at

    def counted(*arguments):
        gc.collect()
        most.append(len(alive))
        made = plain(*arguments)
        alive.add(made)
        return made

    monkeypatch.setattr(forward_module, "amplitudes_at", counted)
    replace(objective, forward=forward).gradient(random_x(objective))
    assert len(most) == 2 * len(forward.parts)  # computed again in the backward pass
    assert max(most) <= 1


@pytest.mark.parametrize(("background", "loss"), [("isotropic", "squares"), ("halo", "soft_l1")])
def test_both_optimizers_reach_the_same_minimum(background, loss):
    objective = problem(background, loss, True)
    start = torch.zeros(objective.parametrization.n, dtype=torch.float64)
    one = Minimizer(objective).levenberg_marquardt(start)
    two = Minimizer(objective).lbfgs(start)
    assert one.converged
    assert two.converged
    # Each stops within a thousandth of what one standard uncertainty costs.
    assert one.at.objective == pytest.approx(two.at.objective, abs=1e-2 * objective.dispersion)
    info = objective.slopes(one.at).hessian / objective.dispersion
    sigma = torch.linalg.inv(info + objective.prior * torch.eye(len(info))).diagonal().sqrt()
    assert float(((one.at.x - two.at.x) / sigma).abs().max()) < 0.1
    _, gradient = objective.gradient(one.at.x)
    # A step by one sigma changes the objective by the dispersion at least.
    assert float((gradient * sigma).abs().max()) < 0.2 * objective.dispersion
    assert one.at.objective < 0.9 * objective.evaluate(start).objective


def test_steps_avoid_undetermined_directions():
    Q = torch.linalg.qr(random_x(problem()).outer(random_x(problem(), 1)) + torch.eye(12))[0]
    values = torch.tensor([0.0, 1e-15, *range(1, 11)], dtype=torch.float64)
    along = torch.ones(12, dtype=torch.float64)
    quadratic = Quadratic(Q @ torch.diag(values) @ Q.T, Q @ along)
    expected = torch.where(values > 1e-12, along / values, 0.0)
    np.testing.assert_allclose(Q.T @ quadratic.step(0.0), expected, atol=1e-9)
    root = quadratic.root()
    # A sphere in what is known, nothing in the rest.
    square = root.T @ quadratic.hessian @ root
    np.testing.assert_allclose(torch.linalg.eigvalsh(square), [0, 0, *[1] * 10], atol=1e-9)


def test_undetermined_springs_do_no_harm():
    objective = replace(problem(), prior=0.0)
    names = objective.parametrization.names
    assert objective.fit_scale
    dead = names.index("within along")  # a rigid body's own contacts cannot be stretched
    x = random_x(objective)
    moved = x.clone()
    moved[dead] += 3.0
    one, two = objective.evaluate(x), objective.evaluate(moved)
    np.testing.assert_allclose(two.intensity, one.intensity, rtol=ROUNDING)
    H = objective.slopes(one).hessian
    assert float(H[dead].abs().max()) < ROUNDING * float(H.abs().max())
    found = minimize_objective(objective, x)
    assert found.converged
    assert bool(torch.isfinite(found.at.x).all())
    assert found.at.x[dead] == pytest.approx(float(x[dead]), abs=1e-6)
    # The scale knows the common factor of all springs: a second direction left alone.
    values = torch.linalg.eigvalsh(objective.slopes(found.at).hessian)
    assert int((values < 1e-8 * values[-1]).sum()) == 2
    fixed = minimize_objective(objective, moved)
    assert fixed.at.objective == pytest.approx(found.at.objective, abs=1e-2 * objective.dispersion)
