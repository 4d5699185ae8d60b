"""Exact gradients of sums of orders, of the whole model."""

import pytest
import torch
from torch.func import functional_call, jacfwd, jacrev, jvp, vmap

from crystals import made_up
from onephonon import OnePhonon
from onephonon.network.springs import SpringPlan

# torch 2.13 itself scripts functions when forward-mode differentiation is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

CUTOFF = 6.5

#: Central differences in numbers of order one, as in `test_gradients`. The terms of the
#: series are chosen by the values, but do not change within a step.
STEP = {"eps": 1e-6, "atol": 1e-5, "rtol": 1e-5}

#: Two float64 routes to one number, as in `test_gradients`.
ROUNDING = 1e-10

#: For crystals of few atoms, so that they still touch.
SMALL = (4.6, 5.2, 6.4, 90.0, 107.0, 90.0)

#: Away from symmetry, on a zone boundary, on an axis.
HKL = [[0.3, -0.2, 0.6], [0.5, 0.5, 0.5], [0.0, 1.25, 0.0]]

#: The average over a supercell takes no time; one test has that of the crystal.
OPTIONS = {"gnm_cutoff": CUTOFF, "mesh": (2, 2, 1), "rtol": 1e-9, "zone_average": "supercell"}


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def leaf(x):
    return double(x).detach().clone().requires_grad_()


def q_of(crystal, hkl=HKL):
    return crystal.cell.q_from_hkl(double(hkl))


def check(function, inputs, **options):
    """Gradcheck with results divided by their size, so that tolerances are relative."""
    with torch.no_grad():
        size = function(*inputs).abs()
    return torch.autograd.gradcheck(
        lambda *x: function(*x) / size, inputs, **({"fast_mode": True} | STEP | options)
    )


def same(ours, theirs, tolerance=ROUNDING):
    ours, theirs = ours.detach(), theirs.detach()
    assert ours.shape == theirs.shape
    assert float(theirs.abs().max()) > 0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


def inputs_of(crystal, model="gnm", **more):
    springs = {"gamma_intra": leaf(0.8), "gamma_inter": leaf(0.5)}
    if model == "hybrid":
        springs = {"k_par": leaf([1.1, 0.8]), "k_perp": leaf([0.2, 0.4])}
    return springs | {
        "positions": leaf(crystal.positions),
        "U": leaf(crystal.U),
        "occupancies": leaf(crystal.occupancies),
        "cell": leaf(crystal.cell.matrix),
        **more,
    }


# ---- the whole model ---------------------------------------------------------------------------

GROUPS = {
    "asu": (4, "asu"),
    "residue": (5, "residue"),
    "atom": (3, "atom"),
    "lines": (4, [0, 0, 1, 1]),
}


@pytest.mark.parametrize("orders", ["all", 2])
@pytest.mark.parametrize(
    ("model", "group"), [*(("gnm", group) for group in GROUPS), ("hybrid", "asu")]
)
def test_every_input_at_once(model, group, orders):
    n_atoms, group_by = GROUPS[group]
    crystal = made_up("P 1 21 1", n_atoms=n_atoms, cell=SMALL)
    inputs = inputs_of(crystal, model, q_vectors=leaf(q_of(crystal)), thermal_scale=leaf(0.6))

    def value(*x):
        made = OnePhonon(
            crystal, model=model, group_by=group_by, **OPTIONS, **dict(zip(inputs, x, strict=True))
        )
        return torch.cat([made(use_data_adp=adp, orders=orders) for adp in (True, False)])

    assert check(value, tuple(inputs.values()))


@pytest.mark.parametrize("average", ["crystal", "supercell"])
def test_every_single_derivative(average):
    # One direction through all inputs, as above, could hide a small wrong number; here each has
    # its own difference. The scale follows from the B-factors.
    crystal = made_up("P 1 21 1", n_atoms=3, cell=SMALL)
    inputs = inputs_of(crystal, q_vectors=leaf(q_of(crystal, HKL[:2])))
    if average == "crystal":  # the others are the same, and it takes time
        inputs = {name: inputs[name] for name in ("gamma_inter", "positions", "cell", "q_vectors")}

    def value(*x):
        options = dict(zip(inputs, x, strict=True))
        made = OnePhonon(crystal, **OPTIONS | {"zone_average": average} | options)
        return made(orders="all")

    assert check(value, tuple(inputs.values()), fast_mode=False)


def test_b_factors_and_six_cell_parameters():
    crystal = made_up("P 31 2 1", n_atoms=3)
    inputs = (leaf([7.3, 7.1, 8.1, 88.0, 93.0, 118.0]), leaf([9.0, 12.0, 17.0]))

    def value(cell, B):
        options = OPTIONS | {"mesh": (1, 1, 2)}
        made = OnePhonon(crystal, q_vectors=q_of(crystal), cell=cell, B=B, **options)
        return made(orders="all")

    # Symmetry is not a condition. Degrees and Å^2 change the result little: derivatives are 1e-3.
    assert check(value, inputs, fast_mode=False, atol=1e-7)


PLANS = {
    "gaussian": SpringPlan(by="interface", start=0.8),
    "hybrid": SpringPlan(by="copy", kind="hybrid", start=(0.8, 0.3), positivity="softplus"),
    "stiffness": SpringPlan(kind="stiffness"),
}


def spring_model(plan, **options):
    crystal = made_up("P 1 21 1", n_atoms=4, cell=SMALL)
    options = OPTIONS | {"rtol": 1e-6} | options
    return OnePhonon(crystal, q_vectors=q_of(crystal), springs=plan, **options)


@pytest.mark.parametrize("orders", ["all", 2])
@pytest.mark.parametrize("name", PLANS)
def test_springs_of_a_plan(name, orders):
    model = spring_model(PLANS[name])

    def value(free):
        return functional_call(model, {"springs.free": free}, kwargs={"orders": orders})

    assert check(value, (leaf(model.springs.free),), fast_mode=name == "stiffness")


@pytest.mark.parametrize("held", [(), ("adp",), ("scale",), ("adp", "scale")])
@pytest.mark.parametrize("engine", ["direct", "mesh"])
def test_what_is_held_is_constant(engine, held):
    # The gradient is that of a model whose scale, or whose U, is given.
    crystal = made_up("P 1 21 1", n_atoms=4, cell=SMALL)
    options = OPTIONS | {"engine": engine, "rtol": 1e-6}
    samplings = ((0, 1, 2), (0, 1, 2), (0, 1, 2))
    with torch.no_grad():
        free = OnePhonon(crystal, *samplings, gamma_inter=0.5, **options)
        s, U = free.thermal_scale, free.U
    gamma = leaf(0.5)
    model = OnePhonon(crystal, *samplings, gamma_inter=gamma, **options)
    value = torch.nansum(model(orders="all", hold=held))
    (slope,) = torch.autograd.grad(value, gamma)

    def fixed(gamma):
        """The same where U is the file's, and so is the scale."""
        made = OnePhonon(crystal, *samplings, gamma_inter=gamma, **OPTIONS)
        given = OnePhonon(
            crystal.with_tensors(U=U if "adp" in held else made.U),
            *samplings,
            gamma_inter=gamma,
            thermal_scale=s if "scale" in held else made.thermal_scale,
            **options | {"engine": "direct"},
        )
        return torch.nansum(given(orders="all", use_data_adp=True))

    h = 1e-5
    with torch.no_grad():
        assert float(fixed(double(0.5))) == pytest.approx(float(value), rel=1e-5)
        difference = (fixed(double(0.5 + h)) - fixed(double(0.5 - h))) / (2 * h)
    # The mesh's accuracy and that of the series.
    assert float(slope) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.parametrize("where", ["grid", "list"])
@pytest.mark.parametrize("orders", ["all", 2])
def test_mesh_against_direct(where, orders):
    found = []
    for engine in ("direct", "mesh"):
        crystal = made_up("P 1 21 1")
        inputs = inputs_of(crystal)
        samplings = ((0, 1, 2), (-1, 0, 3), (-1, 1, 2))
        model = OnePhonon(
            crystal, *samplings, engine=engine, res_limit=2.5, **OPTIONS | {"rtol": 1e-6}, **inputs
        )
        if where == "list":
            model.set_q(model.q_grid.detach().clone().requires_grad_())
            inputs["q_vectors"] = model.q_vectors
        value = model(orders=orders)
        assert bool(value.isnan().any())
        weight = torch.linspace(0.5, 1.5, len(value), dtype=torch.float64)
        slopes = torch.autograd.grad(torch.nansum(weight * value), list(inputs.values()))
        found.append(dict(zip(inputs, slopes, strict=True)))
    for name, expected in found[0].items():
        # A few times the accuracy of 1e-6.
        same(found[1][name], expected, 2e-5)


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_invalid_points_contribute_nothing(batch_size):
    crystal = made_up("P 1 21 1")
    hkl = double([[1, 2, -1], [0.3, 0.2, 0.1], [0, 0, 0], [9, 8, 7.3], [2, 1, 0.5]])
    kept = torch.tensor([False, True, False, False, True])
    gradients = []
    for chosen in (torch.ones(5, dtype=torch.bool), kept):
        inputs = inputs_of(crystal, q_vectors=leaf(q_of(crystal, hkl[chosen])))
        model = OnePhonon(crystal, res_limit=1.0, batch_size=batch_size, **OPTIONS, **inputs)
        value = model(orders="all")
        assert value.isnan().tolist() == (~kept[chosen]).tolist()
        torch.nansum(value).backward()
        gradients.append({name: x.grad for name, x in inputs.items()})
    with_them, without = gradients
    assert bool((with_them["q_vectors"][~kept] == 0).all())
    with_them["q_vectors"] = with_them["q_vectors"][kept]
    for name in without:
        # Other batches, other orders of summation.
        same(with_them[name], without[name], 1e-12)


# ---- second derivatives and torch.func ---------------------------------------------------------


@pytest.mark.parametrize("group_by", ["asu", "atom"])
def test_second_derivatives(group_by):
    crystal = made_up("P 1 21 1", n_atoms=3, cell=SMALL)
    inputs = (leaf(0.5), leaf(crystal.positions), leaf(crystal.U), leaf(q_of(crystal, HKL[:2])))

    def value(gamma, positions, U, q):
        made = OnePhonon(
            crystal, gamma_inter=gamma, positions=positions, U=U, q_vectors=q, group_by=group_by,
            **OPTIONS | {"rtol": 1e-6},
        )  # fmt: skip
        return made(use_data_adp=True, orders="all") / 100

    assert torch.autograd.gradgradcheck(
        value, inputs, fast_mode=True, eps=1e-6, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("orders", ["all", 2])
@pytest.mark.parametrize("use_data_adp", [True, False])
def test_torch_func(use_data_adp, orders):
    model = spring_model(PLANS["gaussian"])
    free = model.springs.free.detach().clone()

    def value(x):
        options = {"use_data_adp": use_data_adp, "orders": orders}
        return functional_call(model, {"springs.free": x}, kwargs=options)

    before = model(use_data_adp=use_data_adp, orders=orders).detach()
    x = leaf(free)
    rows = [torch.autograd.grad(i, x, retain_graph=True)[0] for i in value(x).unbind()]
    expected = torch.stack(rows)
    same(jacrev(value)(free), expected)
    same(jacfwd(value)(free), expected)
    direction = torch.linspace(-1, 1, free.numel(), dtype=torch.float64).reshape(free.shape)
    at, along = jvp(value, (free,), (direction,))
    same(at, before)
    same(along, (expected * direction).flatten(1).sum(1))


@pytest.mark.parametrize("orders", ["all", 2])
def test_vmap(orders):
    model = spring_model(PLANS["gaussian"])
    free = model.springs.free.detach().clone()

    def value(x):
        return functional_call(model, {"springs.free": x}, kwargs={"orders": orders})

    # The softest needs the most terms, and all get as many: within the accuracy of the series.
    several = torch.stack([free + 1.0, free, free - 0.7])
    found = vmap(value)(several)
    same(found, torch.stack([value(f) for f in several]), 1e-6)
    each = vmap(jacrev(value))(several)
    same(each, torch.stack([jacrev(value)(f) for f in several]), 1e-5)
