"""Exact gradients: of the whole model, and of the sums and solves that it is made of."""

import pytest
import torch
from torch.func import functional_call, hessian, jacfwd, jacrev, jvp, vjp, vmap

from crystals import made_up, simple_lattice
from onephonon import Crystal, OnePhonon
from onephonon.dynamics import bloch
from onephonon.dynamics.solvers.dense import form as quadratic
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import assign_springs, force_constants
from onephonon.network.springs import SpringPlan
from onephonon.scattering.amplitudes import direct as transform

# torch 2.13 itself scripts functions when forward-mode differentiation is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

#: Enough for every made-up crystal to be one rigid piece.
CUTOFF = 6.5

#: Central differences of a step of 1e-6 in numbers of order one: truncated at 1e-12 of the third
#: derivative (phases turn by 2 pi x index, so 1e3 at most), rounded at 1e-14 / 1e-6 = 1e-8.
#: A missing or wrong term is 1e-3 or more of what it belongs to.
STEP = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5}

#: Two float64 routes to one number, each some 1e3 terms behind a solve of condition below 1e4.
ROUNDING = 1e-10

#: For crystals of fewer atoms, so that they still touch.
SMALL = (4.6, 5.2, 6.4, 90.0, 107.0, 90.0)

SAMPLINGS = ((0, 1, 2), (-1, 0, 1), (0.25, 1, 2))

#: Away from symmetry, on a zone boundary, beyond the first zone, on an axis.
HKL = [[0.3, -0.2, 0.6], [0.5, 0.5, 0.5], [2.3, 1.7, -0.9], [0.0, 1.25, 0.0]]


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def leaf(x):
    return double(x).detach().clone().requires_grad_()


@pytest.fixture(autouse=True)
def coarse_mesh(monkeypatch):
    """Few wavevectors in the averages over the zone: derivatives are those of any such sum."""
    monkeypatch.setattr("onephonon.dynamics.lattice_model.DEFAULT_BOX", 10.0)
    monkeypatch.setattr("onephonon.dynamics.lattice_model.CELLS_OF_FEW", 2)


def check(function, inputs, **options):
    """Gradcheck with results divided by their size, so that tolerances are relative."""
    with torch.no_grad():
        size = function(*inputs).abs()
    size = size.clamp(min=1e-3 * float(size.max()))  # what symmetry makes vanish is not divided
    return torch.autograd.gradcheck(
        lambda *x: function(*x) / size, inputs, **({"fast_mode": True} | STEP | options)
    )


def check_twice(function, inputs):
    """The same for second derivatives."""
    with torch.no_grad():
        size = function(*inputs).abs()
    size = size.clamp(min=1e-3 * float(size.max()))
    return torch.autograd.gradgradcheck(
        lambda *x: function(*x) / size, inputs, fast_mode=True, **STEP
    )


def same(ours, theirs, tolerance=ROUNDING):
    """Equal relative to the largest number."""
    ours, theirs = ours.detach(), theirs.detach()
    assert ours.shape == theirs.shape
    assert bool(torch.isfinite(theirs).all())
    assert float(theirs.abs().max()) > 0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


def tensors_of(crystal, hkl=None):
    """Leaves for everything but springs."""
    inputs = {
        "positions": leaf(crystal.positions),
        "U": leaf(crystal.U),
        "occupancies": leaf(crystal.occupancies),
        "cell": leaf(crystal.cell.matrix),
    }
    if hkl is not None:
        inputs["q_vectors"] = leaf(crystal.cell.q_from_hkl(double(hkl)))
    return inputs


def spring_leaves(model):
    if model == "hybrid":
        return {"k_par": leaf([1.1, 0.8]), "k_perp": leaf([0.2, 0.4])}
    return {"gamma_intra": leaf(0.8), "gamma_inter": leaf(0.5)}


def valid_values(model, *adps, **options):
    """Intensities of the valid points, with each of the choices of ADPs."""
    return torch.cat([model(use_data_adp=adp, **options)[model.valid] for adp in adps])


# ---- the whole model ---------------------------------------------------------------------------

GROUPS = {
    "asu": (5, "asu"),
    "chain": (5, "chain"),
    "residue": (5, "residue"),
    "atom": (5, "atom"),
    "lines": (4, [0, 0, 1, 1]),
}


@pytest.mark.parametrize("hkl", [None, HKL], ids=["grid", "list"])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("model", ["gnm", "anm", "hybrid"])
def test_every_input_at_once(model, group, hkl):
    n_atoms, group_by = GROUPS[group]
    crystal = made_up("P 1 21 1", n_atoms=n_atoms, cell=SMALL)
    inputs = spring_leaves(model) | tensors_of(crystal, hkl)

    def value(*x):
        made = OnePhonon(
            crystal,
            *SAMPLINGS,
            model=model,
            group_by=group_by,
            gnm_cutoff=CUTOFF,
            **dict(zip(inputs, x, strict=True)),
        )
        return valid_values(made, True, False)

    assert check(value, tuple(inputs.values()))


def test_every_single_derivative():
    # One direction through all inputs, as above, could hide a small wrong number; here each has
    # its own difference.
    crystal = made_up("P 1 21 1", n_atoms=3, cell=SMALL)
    inputs = spring_leaves("gnm") | tensors_of(crystal, HKL[:2])

    def value(*x):
        options = dict(zip(inputs, x, strict=True))
        made = OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=CUTOFF, **options)
        return valid_values(made, True, False)

    assert check(value, tuple(inputs.values()), fast_mode=False)


@pytest.mark.parametrize("hkl", [None, HKL], ids=["grid", "list"])
def test_b_and_six_cell_parameters_with_coordinates_held_fractional(hkl):
    crystal = made_up("P 31 2 1", n_atoms=3)
    parameters = leaf([7.3, 7.1, 8.1, 88.0, 93.0, 118.0])  # symmetry is not a condition
    inputs = {"cell": parameters, "B": leaf([9.0, 12.0, 17.0])}
    if hkl is not None:
        inputs["q_vectors"] = leaf(crystal.cell.q_from_hkl(double(hkl)))

    def value(*x):
        options = dict(zip(inputs, x, strict=True))
        made = OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=CUTOFF, **options)
        assert torch.equal(made.crystal.positions_frac, crystal.positions_frac)
        return valid_values(made, True, False)

    # Degrees and Å^2 change the result little: their derivatives are 1e-3, and so is `atol`.
    assert check(value, tuple(inputs.values()), fast_mode=False, atol=1e-8)


SPRINGS = {
    f"{kind} by {by}": SpringPlan(by=by, kind=kind, start=start)
    for by in ("global", "copy", "interface", "residue")
    for kind, start in (("gaussian", 0.8), ("parallel", 0.8), ("hybrid", (0.8, 0.3)))
} | {
    "stiffness": SpringPlan(kind="stiffness"),
    "softplus": SpringPlan(positivity="softplus", start=0.8),
    "user's": SpringPlan(
        by=["inside", "outside"], start={"inside": 0.8, "outside": 0.5}
    ),  # labels are filled in
}


@pytest.mark.parametrize("name", SPRINGS)
def test_springs_of_every_class_and_kind(name):
    crystal = made_up("P 1 21 1")
    plan = SPRINGS[name]
    if name == "user's":
        bodies = gather_bodies(crystal)
        inside = find_contacts(bodies, CUTOFF).same_copy.tolist()
        plan = SpringPlan(by=[plan.by[0 if s else 1] for s in inside], start=plan.start)
    q = crystal.cell.q_from_hkl(double(HKL))
    model = OnePhonon(crystal, *SAMPLINGS, q_vectors=q, gnm_cutoff=CUTOFF, springs=plan)

    def value(free):
        with_springs = {"springs.free": free}
        return torch.cat(
            [
                functional_call(model, with_springs, kwargs={"use_data_adp": adp})
                for adp in (True, False)
            ]
        )

    few = model.springs.free.numel() < 20
    # With one spring for all, the thermal scale makes the derivative zero. What differences find
    # instead is the rounding of the intensity over the step: springs along contacts alone leave
    # soft directions, which raise it to 1e-12, and the result to a few 1e-6.
    assert check(value, (leaf(model.springs.free),), fast_mode=not few, atol=1e-5)


def cubic():
    """Four atoms at the corners of a tetrahedron in a cube: modes coincide by symmetry."""
    corners = double([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return Crystal.from_atoms((6, 6, 6, 90, 90, 90), "P 1", "CCCC", 0.5 + 0.13 * corners, B=8.0)


#: On a fourfold and a threefold axis and at the zone's corner, where modes coincide.
CUBIC_HKL = [[0.3, 0, 0], [1.25, 1.25, 1.25], [0.5, 0.5, 0.5], [1.3, 0.2, 0.7]]


@pytest.mark.parametrize("group_by", ["asu", "atom"])
@pytest.mark.parametrize("model", ["gnm", "anm", "hybrid"])
def test_exactly_degenerate_modes(model, group_by):
    crystal = cubic()
    inputs = spring_leaves(model) | tensors_of(crystal, CUBIC_HKL)
    options = {"model": model, "group_by": group_by, "gnm_cutoff": 5.5}

    def value(*x):
        made = OnePhonon(crystal, *SAMPLINGS, **options, **dict(zip(inputs, x, strict=True)))
        return valid_values(made, True, False)

    made = OnePhonon(crystal, *SAMPLINGS, **options, **inputs)
    w_squared = made.modes().w_squared.detach()
    assert float((w_squared.diff(dim=1) / w_squared[:, -1:]).min()) < 1e-14  # they do coincide
    assert check(value, tuple(inputs.values()))


def test_degenerate_bravais_lattice_by_hand():
    # One atom, GNM: K = 2 gamma sum_x (1 - cos 2 pi h_x) is a number times the identity, and
    # I = |G|^2 / K with |G|^2 = (f exp(-q^2 B / 16 pi^2))^2 q^2 is known with all derivatives.
    crystal = simple_lattice()
    hkl = leaf([[0.3, 0.1, 0.2], [0.25, 0.25, 0.25], [1.4, 0.0, 0.0]])
    gamma = leaf(0.7)
    q = crystal.cell.q_from_hkl(hkl)
    model = OnePhonon(
        crystal, q_vectors=q, gamma_inter=gamma, group_by="atom", gnm_cutoff=4.5, thermal_scale=1.0
    )
    value = model(use_data_adp=True)
    q2 = (q * q).sum(1)
    f = crystal.form_factors.evaluate(q2)[:, 0]
    K = 2 * gamma * (1 - torch.cos(2 * torch.pi * hkl)).sum(1)
    expected = f**2 * torch.exp(-q2 * crystal.U[0, 0, 0]) * q2 / K
    same(value, expected, 1e-12)  # a single division
    for ours, theirs in zip(
        torch.autograd.grad(value.sum(), (hkl, gamma), retain_graph=True),
        torch.autograd.grad(expected.sum(), (hkl, gamma)),
        strict=True,
    ):
        same(ours, theirs, 1e-12)


@pytest.mark.parametrize("use_data_adp", [True, False])
@pytest.mark.parametrize("model", ["gnm", "anm", "hybrid"])
def test_next_to_bragg_peaks(model, use_data_adp):
    crystal = made_up("P 1 21 1", n_atoms=4, cell=SMALL)
    near = [[1.001, 2.0, -1.0], [0.0, 0.999, 0.0], [-1.0006, 1.0004, 2.0007]]
    inputs = spring_leaves(model) | tensors_of(crystal, near)

    def value(*x):
        options = dict(zip(inputs, x, strict=True))
        made = OnePhonon(crystal, *SAMPLINGS, model=model, gnm_cutoff=CUTOFF, **options)
        assert bool(made.valid.all())
        return made(use_data_adp=use_data_adp)

    def with_fixed(names, **tolerances):
        def of_some(*x):
            return value(*(inputs | dict(zip(names, x, strict=True))).values())

        assert check(of_some, tuple(inputs[name] for name in names), **tolerances)

    # I goes as 1/k^2, k = 1e-3 1/Å, and K's condition is 1e6: I is rounded at 1e-10. The cell and
    # q move k: derivatives of 1e3 to 1e4 times I, truncated at 2 (step x 1e3)^2 of themselves.
    sharp = ["cell", "q_vectors"]
    with_fixed(sharp, eps=1e-7, atol=1e-2, rtol=1e-5)
    # The others do not: derivatives of order one, truncated at step^2 x some 100.
    with_fixed([name for name in inputs if name not in sharp], eps=1e-4, atol=1e-5, rtol=1e-5)


def test_gradient_by_q_grows_as_it_must_near_a_bragg_peak():
    # I = A/k^2 + ..., so k dI/dk = -2 I in the limit.
    crystal = made_up("P 1 21 1")
    q = leaf(crystal.cell.q_from_hkl(double([[1.001, 2.0, -1.0], [1.0001, 2.0, -1.0]])))
    value = OnePhonon(crystal, q_vectors=q, gnm_cutoff=CUTOFF)(use_data_adp=True)
    (slope,) = torch.autograd.grad(value.sum(), q)
    k = crystal.cell.q_from_hkl(double([[1e-3, 0, 0], [1e-4, 0, 0]]))
    ratio = (slope * k).sum(1) / value.detach()
    # What is left out is of the order of k times the atoms' distances: a few 1e-3 and 1e-4.
    assert float((ratio[0] + 2).abs()) < 2e-2
    assert float((ratio[1] + 2).abs()) < 2e-3


# ---- points that are not valid -----------------------------------------------------------------


@pytest.mark.parametrize("use_data_adp", [True, False])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_invalid_points_contribute_nothing(use_data_adp, batch_size):
    crystal = made_up("P 1 21 1")
    # A Bragg point, the origin, one beyond the limit; two valid q share their k with a Bragg
    # point's neighbour.
    hkl = double(
        [[1, 2, -1], [0.3, 0.2, 0.1], [0, 0, 0], [1.3, -0.8, 0.1], [9, 8, 7.3], [2, 1, 0.5]]
    )
    kept = torch.tensor([False, True, False, True, False, True])
    weights = double([1.0, 0.4, 2.0, -1.3, 5.0, 0.7])
    gradients = []
    for chosen in (torch.ones(6, dtype=torch.bool), kept):
        inputs = spring_leaves("gnm") | tensors_of(crystal, hkl[chosen])
        model = OnePhonon(
            crystal,
            *SAMPLINGS,
            gnm_cutoff=CUTOFF,
            res_limit=1.0,
            batch_size=batch_size,
            **inputs,
        )
        assert model.valid.tolist() == kept[chosen].tolist()
        value = model(use_data_adp=use_data_adp)
        assert value.isnan().tolist() == (~kept[chosen]).tolist()
        torch.nansum(value * weights[chosen]).backward()
        gradients.append({name: x.grad for name, x in inputs.items()})
    with_them, without = gradients
    assert bool((with_them["q_vectors"][~kept] == 0).all())
    with_them["q_vectors"] = with_them["q_vectors"][kept]
    for name in without:
        # Other chunks, other orders of summation.
        same(with_them[name], without[name], 1e-12)


@pytest.mark.parametrize("use_data_adp", [True, False])
def test_grid_with_bragg_points_has_the_gradient_of_the_list_of_the_others(use_data_adp):
    crystal = made_up("C 1 2 1")
    samplings = ((0, 2, 2), (0, 1, 2), (-1, 0, 1))
    options = {"gnm_cutoff": CUTOFF, "res_limit": 4.0}
    ours = spring_leaves("gnm") | tensors_of(crystal)
    grid = OnePhonon(crystal, *samplings, **options, **ours)
    assert not bool(grid.res_mask.all())
    bragg = grid.res_mask & ~grid.valid
    assert int(bragg.sum()) > 1
    torch.nansum(grid(use_data_adp=use_data_adp)).backward()
    theirs = spring_leaves("gnm") | tensors_of(crystal)
    q = 2 * torch.pi * grid.hkl_grid[grid.valid] @ torch.linalg.inv(theirs["cell"])  # hkl held
    listed = OnePhonon(crystal, *samplings, q_vectors=q, **options, **theirs)
    listed(use_data_adp=use_data_adp).sum().backward()
    for name, x in ours.items():
        same(x.grad, theirs[name].grad)


def test_nothing_valid_is_no_error():
    crystal = made_up("P 1 21 1")
    inputs = spring_leaves("gnm") | tensors_of(crystal, [[1, 2, -1], [0, 0, 0]])
    value = OnePhonon(crystal, gnm_cutoff=CUTOFF, **inputs)(use_data_adp=True)
    assert bool(value.isnan().all())
    torch.nansum(value).backward()
    assert all(x.grad is None or bool((x.grad == 0).all()) for x in inputs.values())
    assert bool((inputs["gamma_inter"].grad == 0).all())


# ---- what several q share ----------------------------------------------------------------------


@pytest.mark.parametrize("use_data_adp", [True, False])
def test_q_that_share_a_wavevector_each_get_their_own_gradient(use_data_adp):
    crystal = made_up("P 1 21 1")
    # Three q of one k, two of another, one alone: chunks repeat points to fill up.
    hkl = double([[0.3, 0.2, 0.1], [1.3, -0.8, 0.1], [0.4, 0.1, 0.2], [-1.7, 1.2, 2.1]])
    hkl = torch.cat([hkl, double([[1.4, 2.1, -0.8], [0.15, 0.0, 0.5]])])

    def gradients(hkl, weights):
        q = leaf(crystal.cell.q_from_hkl(hkl))
        springs = spring_leaves("gnm")
        model = OnePhonon(crystal, *SAMPLINGS, q_vectors=q, gnm_cutoff=CUTOFF, **springs)
        value = model(use_data_adp=use_data_adp)
        (value * weights).sum().backward()
        return model, value.detach(), q.grad, springs["gamma_inter"].grad

    weights = double([1.0, -0.5, 2.0, 0.3, 0.9, 1.7])
    model, value, slope, by_spring = gradients(hkl, weights)
    assert model.points.zone.n_k == 3
    alone = [gradients(hkl[i : i + 1], weights[i : i + 1]) for i in range(6)]
    same(value, torch.cat([v for _, v, _, _ in alone]))
    same(slope, torch.cat([g for _, _, g, _ in alone]))
    same(by_spring, torch.stack([g for _, _, _, g in alone]).sum(0))


def test_the_same_q_twice():
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(double([[0.3, 0.2, 0.1]]))
    once, twice = leaf(q), leaf(q.expand(2, 3))
    for x, weights in ((once, double([3.0])), (twice, double([1.0, 2.0]))):
        model = OnePhonon(crystal, *SAMPLINGS, q_vectors=x, gnm_cutoff=CUTOFF)
        (model(use_data_adp=True) * weights).sum().backward()
    same(twice.grad, once.grad * double([[1.0], [2.0]]) / 3)


# ---- what is asked of U ------------------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1", "P 31 2 1"])
def test_gradient_by_U_keeps_it_symmetric(spacegroup):
    # q^T U q does not tell U_xy from U_yx; a step along the gradient must not either.
    crystal = made_up(spacegroup)
    U = leaf(crystal.U)
    q = crystal.cell.q_from_hkl(double(HKL))
    OnePhonon(crystal, q_vectors=q, U=U, gnm_cutoff=CUTOFF)(use_data_adp=True).sum().backward()
    same(U.grad.mT, U.grad)


def test_occupancy_of_zero_has_a_right_gradient():
    crystal = made_up("P 1 21 1")
    occupancies = leaf([1.0, 0.0, 1.0, 0.5, 0.0])
    q = crystal.cell.q_from_hkl(double(HKL))

    def value(occupancies):
        options = {"q_vectors": q, "gnm_cutoff": CUTOFF, "occupancies": occupancies}
        return OnePhonon(crystal, *SAMPLINGS, **options)(use_data_adp=True)

    (slope,) = torch.autograd.grad(value(occupancies).sum(), occupancies)
    assert float(slope[[1, 4]].abs().min()) > 1e-3 * float(slope.abs().max())
    assert check(value, (occupancies,), fast_mode=False)


# ---- what is held ------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["springs", "positions", "q"])
def test_hold_removes_exactly_its_part_of_the_gradient(wanted):
    crystal = made_up("P 1 21 1")
    hkl = double(HKL)

    def gradient(crystal, use_data_adp=False, hold=(), **options):
        positions = leaf(crystal.positions)
        model = OnePhonon(
            crystal,
            *SAMPLINGS,
            q_vectors=leaf(crystal.cell.q_from_hkl(hkl)),
            gnm_cutoff=CUTOFF,
            positions=positions,
            springs=SpringPlan(by="interface"),
            **options,
        )
        of = {"springs": model.springs.free, "q": model.q_vectors, "positions": positions}
        value = model(use_data_adp=use_data_adp, hold=hold)
        return torch.autograd.grad(value.sum(), of[wanted])[0]

    model = OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=CUTOFF)
    with torch.no_grad():
        # Its own U as the file's: Debye-Waller factors and the mean B are the same, and constant.
        frozen = crystal.replace(U=model.U)
        scale = float(model.thermal_scale)
    both = {"adp", "scale"}
    full = gradient(crystal)
    parts = {
        "adp": gradient(crystal, hold={"adp"}),
        "scale": gradient(crystal, hold=["scale"]),
        "both": gradient(crystal, hold=both),
    }
    same(parts["adp"], gradient(frozen, use_data_adp=True))
    same(parts["both"], gradient(frozen, use_data_adp=True, thermal_scale=scale))
    same(parts["both"], gradient(frozen, use_data_adp=True, hold={"scale"}))
    # Parts add up: what goes through the ADPs is `full - parts["adp"]`, and so on.
    same(parts["adp"] + parts["scale"] - parts["both"], full)
    if wanted != "q":  # neither ADPs nor scale depend on q
        for name, part in parts.items():
            assert float((part - full).abs().max()) > 1e-3 * float(full.abs().max()), name
    else:
        same(parts["both"], full)


def test_given_thermal_scale_is_held_and_has_its_own_gradient():
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(double(HKL))
    scale = leaf(0.3)
    options = {"q_vectors": q, "gnm_cutoff": CUTOFF}
    model = OnePhonon(crystal, *SAMPLINGS, **options, thermal_scale=scale)
    value = model(use_data_adp=True)
    value.sum().backward()
    same(scale.grad, (value.sum() / scale).detach())  # I is s times the rest
    by_hand = model.gamma_inter.grad
    other = OnePhonon(crystal, *SAMPLINGS, **options, thermal_scale=0.3)
    other(use_data_adp=True, hold={"scale"}).sum().backward()
    same(by_hand, other.gamma_inter.grad)


@pytest.mark.parametrize("quantity", ["thermal_scale", "U", "ADP", "covar"])
def test_adps_covariance_and_scale_are_differentiable_in_springs_and_structure(quantity):
    crystal = made_up("P 1 21 1", n_atoms=4, cell=SMALL)
    inputs = spring_leaves("gnm") | tensors_of(crystal)

    def value(*x):
        options = dict(zip(inputs, x, strict=True))
        made = OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=CUTOFF, **options)
        return getattr(made, quantity).reshape(-1)

    if quantity == "covar":
        # Librations about a centroid depend on where it is, and the centroid is no function of
        # the positions; translations and librations of fixed bodies do on springs alone.
        x = list(inputs.values())
        assert check(lambda *springs: value(*springs, *x[2:]), tuple(x[:2]))
        return
    assert check(value, tuple(inputs.values()))


# ---- second derivatives ------------------------------------------------------------------------


def pair():
    return made_up("P 1", n_atoms=2, cell=(4.1, 4.6, 5.2, 80.0, 95.0, 100.0))


@pytest.mark.parametrize(
    ("crystal", "group_by"), [(pair(), "asu"), (pair(), "atom"), (cubic(), "asu")]
)
def test_second_derivatives_by_springs_positions_and_q(crystal, group_by):
    # Two q of one k, and one at a corner of the zone.
    hkl = [[0.3, 0.2, 0.1], [1.3, -0.8, 0.1], [0.5, 0.5, 0.5]]
    everything = spring_leaves("hybrid") | tensors_of(crystal, hkl)
    inputs = {n: everything[n] for n in ("k_par", "k_perp", "positions", "q_vectors")}

    def value(*x):
        options = dict(zip(inputs, x, strict=True)) | {"model": "hybrid", "group_by": group_by}
        made = OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=5.5, **options)
        return valid_values(made, True, False)

    assert check_twice(value, tuple(inputs.values()))


def test_second_derivatives_by_the_springs_of_classes():
    model = spring_model(SpringPlan(by="interface", kind="hybrid", start=(0.9, 0.3)))

    def value(free):
        return functional_call(model, {"springs.free": free})

    assert check_twice(value, (leaf(model.springs.free),))


# ---- torch.func over the springs ---------------------------------------------------------------


def spring_model(plan, **options):
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(double(HKL))
    return OnePhonon(crystal, *SAMPLINGS, q_vectors=q, gnm_cutoff=CUTOFF, springs=plan, **options)


PLANS = {
    "gaussian": SpringPlan(by="interface", start=0.8),
    "hybrid": SpringPlan(by="copy", kind="hybrid", start=(0.8, 0.3), positivity="softplus"),
    "stiffness": SpringPlan(kind="stiffness"),
}


@pytest.fixture(params=PLANS)
def over_springs(request):
    """A model, its free parameters, and intensities as a function of them."""
    model = spring_model(PLANS[request.param])

    def value(free, **options):
        return functional_call(model, {"springs.free": free}, kwargs=options)

    return model, model.springs.free.detach().clone(), value


@pytest.mark.parametrize("use_data_adp", [True, False])
def test_torch_func(over_springs, use_data_adp):
    model, free, of_springs = over_springs

    def value(x):
        return of_springs(x, use_data_adp=use_data_adp)

    before = model(use_data_adp=use_data_adp).detach()
    x = leaf(free)
    rows = [torch.autograd.grad(i, x, retain_graph=True)[0] for i in value(x).unbind()]
    expected = torch.stack(rows)
    same(jacrev(value)(free), expected)
    same(jacfwd(value)(free), expected)

    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(free.shape, dtype=free.dtype, generator=generator)
    at, along = jvp(value, (free,), (direction,))
    same(at, before)
    same(along, (expected * direction).flatten(1).sum(1))
    at, pull = vjp(value, free)
    same(at, before)
    weights = torch.randn(len(at), dtype=free.dtype, generator=generator)
    same(pull(weights)[0], torch.tensordot(weights, expected, 1))

    several = torch.stack([free, free + 0.1 * direction, free - 0.2 * direction])
    same(vmap(value)(several), torch.stack([value(f) for f in several]))
    each = vmap(jacrev(value))(several[:2])
    same(each[0], expected)
    same(each[1], jacfwd(value)(several[1]))
    # And the model has kept nothing of all this.
    assert torch.equal(model(use_data_adp=use_data_adp), before)


@pytest.mark.parametrize("use_data_adp", [True, False])
def test_hessian_over_springs(use_data_adp):
    model = spring_model(PLANS["gaussian"])
    free = model.springs.free.detach().squeeze(1)
    weights = double([1.0, -0.4, 0.7, 1.9])

    def loss(x):
        springs = {"springs.free": x[:, None]}
        value = functional_call(model, springs, kwargs={"use_data_adp": use_data_adp})
        return (weights * value).sum()

    H = hessian(loss)(free)
    same(H, torch.autograd.functional.hessian(loss, free))
    same(H.mT, H)
    # A Hessian-vector product by forward over reverse.
    direction = torch.linspace(-1, 1, len(free), dtype=torch.float64)
    along = jvp(torch.func.grad(loss), (free,), (direction,))[1]
    same(along, H @ direction)
    # And by differences of the gradient: as `STEP`, relative to the largest.
    h = 1e-6
    slope = torch.func.grad(loss)
    difference = (slope(free + h * direction) - slope(free - h * direction)) / (2 * h)
    same(along, difference, 1e-7)


def test_torch_func_over_plain_constants():
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(double(HKL))
    model = OnePhonon(crystal, *SAMPLINGS, q_vectors=q, gnm_cutoff=CUTOFF)
    start = {name: x.detach() for name, x in model.named_parameters()}
    assert sorted(start) == ["gamma_inter", "gamma_intra"]

    def value(parameters):
        return functional_call(model, parameters)

    reverse, forward = jacrev(value)(start), jacfwd(value)(start)
    # Springs that are all twice as stiff have twice the scale: sum_x x dI/dx = 0.
    assert float(sum(reverse[n] * start[n] for n in start).abs().max()) < 1e-9 * float(
        reverse["gamma_inter"].abs().max()
    )
    for name in start:
        same(reverse[name], forward[name])


# ---- the Jacobian in one pass ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "group_by"),
    [
        (PLANS["gaussian"], "asu"),
        (PLANS["hybrid"], "residue"),
        (PLANS["stiffness"], "asu"),
        (SpringPlan(by="residue", kind="parallel"), "residue"),
        (SpringPlan(by="residue", kind="hybrid"), "asu"),
        (SpringPlan(by="global"), "atom"),
    ],
)
def test_spring_jacobian_is_jacrev(plan, group_by):
    model = spring_model(plan, thermal_scale=0.7, group_by=group_by)
    values = model.springs.values().detach()

    def value(values):
        springs = model.springs
        if plan.kind == "stiffness":
            constants = springs.constants(model.bodies, values)
        else:
            constants = force_constants(model.bodies, model.contacts, springs.springs(values))
        k, hkl = model.points.hkl, model.points.hkl[:, None, :]
        G = transform.transform(model.bodies, model.points.q, model.bodies.U)
        return 0.7 * quadratic.quadratic_form(model.bodies, constants, k, hkl, G[:, None])[:, 0]

    found, jacobian = model.spring_jacobian()
    same(found, model(use_data_adp=True).detach())
    same(jacobian, jacrev(value)(values).flatten(1))
    assert not jacobian.requires_grad
    again = model.spring_jacobian(G=model.amplitudes())
    same(again[0], found, 1e-13)
    same(again[1], jacobian, 1e-13)


def test_spring_jacobian_by_chain_rule_and_with_invalid_points():
    crystal = made_up("P 1 21 1")
    plan = SpringPlan(by="interface", kind="hybrid", start=(0.8, 0.3))
    options = {"gnm_cutoff": CUTOFF, "springs": plan, "thermal_scale": 1.3, "res_limit": 4.0}
    for batch_size in (None, 3):
        model = OnePhonon(crystal, *SAMPLINGS, **options, batch_size=batch_size)
        assert 0 < int(model.valid.sum()) < len(model.valid)
        value, jacobian = model.spring_jacobian()
        assert torch.equal(value.isnan(), ~model.valid)
        assert torch.equal(jacobian.isnan().any(1), ~model.valid)
        weights = torch.linspace(-1, 1, len(value), dtype=torch.float64)
        torch.nansum(model(use_data_adp=True) * weights).backward()
        by_value = torch.nansum(jacobian * weights[:, None], 0).reshape(-1, 2)
        # The logarithm is what is free: d/dlog x = x d/dx.
        same(model.springs.free.grad, by_value * model.springs.values().detach())


# ---- kept amplitudes ---------------------------------------------------------------------------


def test_kept_amplitudes_give_the_same_gradient_by_springs():
    model = spring_model(PLANS["hybrid"], thermal_scale=1.0)
    (expected,) = torch.autograd.grad(model(use_data_adp=True).sum(), model.springs.free)
    G = model.amplitudes().detach()
    (ours,) = torch.autograd.grad(model(G=G).sum(), model.springs.free)
    same(ours, expected, 1e-13)


def test_kept_amplitudes_carry_gradients():
    crystal = made_up("P 1 21 1")
    gradients = []
    for keep in (True, False):
        inputs = tensors_of(crystal, [*HKL, [1, 2, 0]])
        model = OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=CUTOFF, **inputs)
        value = model(G=model.amplitudes()) if keep else model(use_data_adp=True)
        torch.nansum(value).backward()
        gradients.append({name: x.grad for name, x in inputs.items()})
    for name in gradients[0]:
        same(gradients[0][name], gradients[1][name])


# ---- the sums by hand --------------------------------------------------------------------------

WAVE_INPUTS = ("q", "f", "r", "u", "occ", "weight")


def wave_inputs():
    """Two bodies of three atoms and four weights, one atom empty, four q of three kinds."""
    generator = torch.Generator().manual_seed(4)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    occ = double([1.0, 0.0, 0.5, 1.0, 0.3, 0.0])
    inputs = (random(4, 3), random(4, 3), random(6, 3), 0.1 * random(6, 6), occ, random(2, 3, 4))
    return inputs, torch.tensor([0, 2, 1, 1, 0, 2])


def test_sums_of_waves_are_what_they_are_called():
    (q, f, r, u, occ, weight), kind = wave_inputs()
    expected = torch.zeros(4, 2, 4, dtype=torch.complex128)
    for n in range(6):
        xx, yy, zz, yz, xz, xy = u[n].tolist()
        U = double([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        wave = f[:, kind[n]] * occ[n] * torch.exp(-0.5 * torch.einsum("qx,xy,qy->q", q, U, q))
        wave = wave * torch.exp(1j * (q @ r[n]))
        expected[:, n // 3] += wave[:, None] * weight[n // 3, n % 3]
    same(transform._BodySums.apply(q, f, r, u, occ, weight, kind), expected, 1e-13)


@pytest.mark.parametrize("wanted", [*((name,) for name in WAVE_INPUTS), WAVE_INPUTS])
def test_sums_of_waves_by_hand_and_by_torch(wanted):
    inputs, kind = wave_inputs()
    generator = torch.Generator().manual_seed(7)
    pull = torch.randn(4, 2, 4, dtype=torch.complex128, generator=generator)
    gradients = []
    for function in (transform._BodySums.apply, transform._sum_waves):
        leaves = [leaf(x) if n in wanted else x for n, x in zip(WAVE_INPUTS, inputs, strict=True)]
        wanted_inputs = [x for x in leaves if x.requires_grad]
        gradients.append(torch.autograd.grad(function(*leaves, kind), wanted_inputs, pull))
    for ours, theirs in zip(*gradients, strict=True):
        same(ours, theirs, 1e-13)  # a dozen terms each


def test_sums_of_waves_forward_and_second_derivatives():
    inputs, kind = wave_inputs()
    leaves = tuple(leaf(x) for x in inputs)

    def sums(*x):
        return torch.view_as_real(transform._BodySums.apply(*x, kind))

    assert check(sums, leaves)
    assert check_twice(sums, leaves)
    for i in range(len(inputs)):
        tangents = [x if i == n else torch.zeros_like(x) for n, x in enumerate(inputs)]
        ours = jvp(lambda *x: transform._BodySums.apply(*x, kind), inputs, tuple(tangents))[1]
        theirs = jvp(lambda *x: transform._sum_waves(*x, kind), inputs, tuple(tangents))[1]
        same(ours, theirs, 1e-13)


# ---- the solve by hand -------------------------------------------------------------------------

FORM_INPUTS = ("onsite", "coupling", "hkl", "G")


def form_inputs(group_by):
    """Force constants, three k with two q each, and G at random."""
    bodies = gather_bodies(made_up("P 1 21 1"), group_by)
    contacts = find_contacts(bodies, CUTOFF)
    springs = assign_springs(contacts, "hybrid", k_par=1.0, k_perp=0.3)
    constants = force_constants(bodies, contacts, springs)
    generator = torch.Generator().manual_seed(2)
    k = double([[0.3, 0.2, 0.1], [0.5, 0.5, 0.0], [-0.4, 0.1, 0.25]])
    hkl = k[:, None] + torch.tensor([[0, 0, 0], [2, -1, 3]])
    G = torch.randn(3, 2, bodies.n_dof, dtype=torch.complex128, generator=generator)
    inputs = (constants.onsite, constants.coupling, hkl, G)
    return inputs, k, (constants.a, constants.b, constants.cell, bodies.dof)


@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
@pytest.mark.parametrize("wanted", [*((name,) for name in FORM_INPUTS), FORM_INPUTS])
def test_quadratic_form_by_hand_and_by_torch(wanted, group_by):
    inputs, k, layout = form_inputs(group_by)
    pull = double([[1.0, -0.3], [0.4, 2.0], [0.0, -1.1]])

    def by_hand(*x):
        return quadratic._QuadraticForm.apply(*x, k, *layout)[0]

    def by_torch(*x):
        return quadratic._by_torch(*x, *layout)

    values, gradients = [], []
    for function in (by_hand, by_torch):
        leaves = [
            x.detach().clone().requires_grad_(n in wanted)
            for n, x in zip(FORM_INPUTS, inputs, strict=True)
        ]
        value = function(*leaves)
        values.append(value.detach())
        wanted_inputs = [x for x in leaves if x.requires_grad]
        gradients.append(torch.autograd.grad(value, wanted_inputs, pull))
    same(*values)
    for ours, theirs in zip(*gradients, strict=True):
        same(ours, theirs)


def test_quadratic_form_in_chunks_of_pairs(monkeypatch):
    inputs, k, layout = form_inputs("residue")

    def gradients():
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        value = quadratic._QuadraticForm.apply(*leaves, k, *layout)[0]
        return torch.autograd.grad(value.sum(), leaves)

    whole = gradients()
    monkeypatch.setattr(quadratic, "NUMBERS_AT_A_TIME", 1)  # one k at a time
    monkeypatch.setattr(bloch, "DENSE_NUMBERS", 0)  # and pair by pair,
    monkeypatch.setattr(bloch, "GATHERED_AT_A_TIME", 7 * 2 * 6)  # 7 pairs at a time
    for ours, theirs in zip(gradients(), whole, strict=True):
        same(ours, theirs, 1e-13)  # other orders of summation


def test_quadratic_form_forward_and_second_derivatives():
    (onsite, coupling, hkl, G), k, layout = form_inputs("asu")
    leaves = (leaf(onsite), leaf(coupling), leaf(hkl), leaf(torch.view_as_real(G)))

    def form(onsite, coupling, hkl, G):
        # Blocks that keep K Hermitian, or it has no factor; k that follows hkl, one q to each.
        onsite = 0.5 * (onsite + onsite.mT)
        hkl, G = hkl.reshape(-1, 1, 3), torch.view_as_complex(G).reshape(6, 1, -1)
        return quadratic._QuadraticForm.apply(
            onsite, coupling, hkl, G, hkl[:, 0].detach(), *layout
        )[0]

    assert check(form, leaves)
    assert check_twice(form, leaves)
    inputs = (onsite, coupling, hkl, G)
    for i in range(len(inputs)):
        tangents = [x if i == n else torch.zeros_like(x) for n, x in enumerate(inputs)]
        ours = jvp(
            lambda *x: quadratic._QuadraticForm.apply(*x, k, *layout)[0], inputs, tuple(tangents)
        )[1]
        theirs = jvp(lambda *x: quadratic._by_torch(*x, *layout), inputs, tuple(tangents))[1]
        same(ours, theirs)


# ---- what is kept for the backward pass --------------------------------------------------------


def largest_saved(compute):
    """Numbers in the largest tensor that autograd keeps."""
    largest = 0

    def pack(x):
        nonlocal largest
        largest = max(largest, x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        value = compute()
    assert value.requires_grad
    return largest


@pytest.mark.parametrize("use_data_adp", [True, False])
@pytest.mark.parametrize("batch_size", [None, 10_000])
def test_no_table_of_atoms_by_q_is_kept(use_data_adp, batch_size, monkeypatch):
    crystal = made_up("P 1", n_atoms=40, cell=(8.0, 9.0, 10.0, 85.0, 95.0, 100.0))
    generator = torch.Generator().manual_seed(0)
    hkl = torch.rand(10_000, 3, dtype=torch.float64, generator=generator) + 0.1
    inputs = spring_leaves("gnm") | tensors_of(crystal, hkl)
    model = OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=CUTOFF, batch_size=batch_size, **inputs)

    def compute():
        return model(use_data_adp=use_data_adp)

    # A body has six degrees of freedom, so G has 60 000 numbers; the table would have 400 000.
    assert largest_saved(compute) < 10_000 * 40
    # The measure does see such a table where one is kept.
    monkeypatch.setattr(
        transform._BodySums, "apply", staticmethod(transform._sum_waves), raising=False
    )
    if batch_size:
        assert largest_saved(compute) >= 2000 * 40
