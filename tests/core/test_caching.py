"""Results kept as long as they are true, and no longer."""

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacfwd, jvp, vmap

from crystals import made_up
from onephonon import OnePhonon
from onephonon.core.caching import ValueCache
from onephonon.network.springs import SpringPlan

# torch 2.13 itself scripts functions when forward-mode differentiation is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

CUTOFF = 6.5
SAMPLINGS = ((0, 1, 2), (-1, 0, 1), (0.25, 1, 2))


@pytest.fixture
def counted():
    """A function that counts its calls."""

    class Counted:
        calls = 0

        def __call__(self):
            self.calls += 1
            return self.calls

    return Counted()


# ---- the cache itself --------------------------------------------------------------------------


def test_the_same_tensors_are_computed_once(counted):
    cache, x = ValueCache(), torch.zeros(2)
    assert [cache.get("a", [x], counted) for _ in range(3)] == [1, 1, 1]
    assert cache.get("b", [x], counted) == 2  # by name


def test_a_tensor_changed_in_place_is_another(counted):
    cache, x, y = ValueCache(), torch.zeros(2), torch.zeros(2)
    cache.get("a", [x, y], counted)
    y.add_(1.0)
    assert cache.get("a", [x, y], counted) == 2
    assert cache.get("a", [x, y], counted) == 2


def test_values_settings_and_number_of_tensors_count(counted):
    cache, x = ValueCache(), torch.zeros(2)
    cache.get("a", [x], counted)
    assert cache.get("a", [x.clone()], counted) == 1
    assert cache.get("a", [x + 1], counted) == 2
    assert cache.get("a", [x.double()], counted) == 3
    assert cache.get("a", [x, x], counted) == 4
    assert cache.get("a", [x, x], counted, (1,)) == 5
    assert cache.get("a", [x, x], counted, (1,)) == 5
    assert cache.get("a", [], counted) == 6


def test_a_change_behind_the_version_counter_is_seen(counted):
    cache, x = ValueCache(), torch.zeros(2)
    cache.get("a", [x], counted)
    x.data.add_(1.0)
    assert cache.get("a", [x], counted) == 2


def test_inference_mode_leaves_nothing_behind(counted):
    cache, x = ValueCache(), torch.zeros(2)
    with torch.inference_mode():
        assert cache.get("a", [x], counted) == 1
    assert cache.get("a", [x], counted) == 2


def test_nothing_is_kept_while_a_graph_is_recorded(counted):
    cache, x = ValueCache(), torch.zeros(2, requires_grad=True)
    assert [cache.get("a", [x], counted) for _ in range(2)] == [1, 2]
    with torch.no_grad():
        assert [cache.get("a", [x], counted) for _ in range(2)] == [3, 3]
    assert cache.get("a", [x], counted) == 4
    with torch.no_grad():
        assert cache.get("a", [x], counted) == 3


def test_clear(counted):
    cache, x = ValueCache(), torch.zeros(2)
    cache.get("a", [x], counted)
    cache.clear()
    assert cache.get("a", [x], counted) == 2


# ---- the model's --------------------------------------------------------------------------------

QUANTITIES = ["V", "Winv", "ADP", "U", "thermal_scale", "covar"]


def make(plan=None, **options):
    crystal = made_up("P 1 21 1")
    return OnePhonon(crystal, *SAMPLINGS, gnm_cutoff=CUTOFF, springs=plan, **options)


def values_of(model):
    with torch.no_grad():
        every = {name: getattr(model, name) for name in QUANTITIES}
        return every | {"I": model(), "I, file's ADPs": model(use_data_adp=True)}


@pytest.mark.parametrize("plan", [None, SpringPlan(), SpringPlan(kind="stiffness")])
def test_a_step_in_place_makes_everything_stale(plan):
    model = make(plan)
    before = values_of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.linspace(0.1, 0.9, parameter.numel()).reshape(parameter.shape)
    after = values_of(model)
    fresh = make(plan)
    fresh.load_state_dict(model.state_dict())
    expected = values_of(fresh)
    for name, value in after.items():
        assert torch.equal(value.nan_to_num(), expected[name].nan_to_num()), name
        assert not torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


@pytest.mark.parametrize("name", ["positions", "B", "U", "occupancies", "cell", "gamma_inter"])
def test_a_callers_tensor_changed_in_place_is_seen(name):
    crystal = made_up("P 1 21 1")
    start = {
        "positions": crystal.positions,
        "B": crystal.B,
        "U": crystal.U,
        "occupancies": crystal.occupancies,
        "cell": crystal.cell.matrix,
        "gamma_inter": torch.tensor(1.0, dtype=torch.float64),
    }[name].clone()
    model = make(**{name: start})
    before = values_of(model)["I, file's ADPs"]
    again = make(**{name: start * 1.001})
    start.mul_(1.001)
    after, expected = values_of(model), values_of(again)
    assert not torch.equal(after["I, file's ADPs"].nan_to_num(), before.nan_to_num())
    for quantity in after:
        assert torch.equal(after[quantity].nan_to_num(), expected[quantity].nan_to_num()), quantity


def test_q_changed_in_place_is_seen():
    crystal = made_up("P 1 21 1")
    hkl = torch.tensor([[0.3, 0.2, 0.1], [1.2, -0.4, 2.2]], dtype=torch.float64)
    q = crystal.cell.q_from_hkl(hkl)
    model = OnePhonon(crystal, *SAMPLINGS, q_vectors=q, gnm_cutoff=CUTOFF)
    values_of(model)
    q += 0.1
    again = OnePhonon(crystal, *SAMPLINGS, q_vectors=q.clone(), gnm_cutoff=CUTOFF)
    after, expected = values_of(model), values_of(again)
    for name in after:
        assert torch.equal(after[name], expected[name]), name


def test_kept_results_are_not_computed_again():
    averages = []  # progress of the zone average is reported once for each that is computed

    def progress(what, done, total):
        if what == "zone mesh" and done == total:
            averages.append(what)

    model = make()
    with torch.no_grad():
        for _ in range(3):
            model(progress=progress)
            _ = model.ADP, model.thermal_scale
        assert len(averages) == 1
        model.gamma_inter.mul_(1.5)
        model(progress=progress)
    assert len(averages) == 2


def test_one_forward_pass_gathers_bodies_and_sums_springs_once(monkeypatch):
    from onephonon.dynamics import lattice_model
    from onephonon.model import crystal_source

    calls = []

    def counted(name, function):
        return lambda *x: calls.append(name) or function(*x)

    for module, name in (
        (crystal_source, "gather_bodies"),
        (lattice_model, "force_constants"),
    ):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    positions = made_up("P 1 21 1").positions.clone().requires_grad_()
    model = make(positions=positions)
    calls.clear()
    model()
    assert sorted(calls) == ["force_constants", "gather_bodies"]


@pytest.mark.parametrize("use_data_adp", [True, False])
def test_two_calls_two_backward_passes(use_data_adp):
    crystal = made_up("P 1 21 1")
    leaves = {
        "positions": crystal.positions.clone().requires_grad_(),
        "B": crystal.B.clone().requires_grad_(),
        "occupancies": crystal.occupancies.clone().requires_grad_(),
        "cell": crystal.cell.matrix.clone().requires_grad_(),
    }
    model = make(SpringPlan(), **leaves)
    every = {**leaves, "free": model.springs.free}
    gradients = []
    for _ in range(2):
        value = model(use_data_adp=use_data_adp)
        value[model.valid].sum().backward()
        gradients.append({name: x.grad.clone() for name, x in every.items()})
        for x in every.values():
            x.grad = None
        with torch.no_grad():  # a look in between disturbs nothing
            model(use_data_adp=use_data_adp)
    for name in every:
        assert bool(torch.isfinite(gradients[0][name]).all()), name
        assert torch.equal(gradients[0][name], gradients[1][name]), name


def test_a_graph_recorded_after_a_look_without_one():
    model = make(SpringPlan())
    with torch.no_grad():
        _ = model.ADP, model.V, model()
    value = model.ADP.sum()
    assert value.requires_grad
    value.backward()
    assert float(model.springs.free.grad.abs().max()) > 0


# ---- inside torch.func --------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["grad", "hessian", "jvp", "jacfwd", "vmap"])
@pytest.mark.parametrize("use_data_adp", [True, False])
def test_a_first_call_inside_a_transform_leaves_nothing_behind(transform, use_data_adp):
    # What is computed inside a transform of torch.func belongs to it.
    model = make(SpringPlan(by="copy"))
    free = model.springs.free.detach()

    def loss(x):
        springs = {"springs.free": x}
        value = functional_call(model, springs, kwargs={"use_data_adp": use_data_adp})
        return value[valid].sum()

    valid = make().valid
    {
        "grad": lambda: grad(loss)(free),
        "hessian": lambda: hessian(loss)(free),
        "jvp": lambda: jvp(loss, (free,), (free + 1,)),
        "jacfwd": lambda: jacfwd(loss)(free),
        "vmap": lambda: vmap(loss)(torch.stack([free, free + 1])),
    }[transform]()
    ours, theirs = values_of(model), values_of(make(SpringPlan(by="copy")))
    for name in ours:
        assert torch.equal(ours[name].nan_to_num(), theirs[name].nan_to_num()), name
    # And another transform afterwards.
    slope = grad(loss)(free)
    model(use_data_adp=use_data_adp)[valid].sum().backward()
    torch.testing.assert_close(slope, model.springs.free.grad, rtol=1e-12, atol=0)  # rounding


# ---- optimizers ---------------------------------------------------------------------------------


def target_and_model(plan):
    truth = make(plan)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        free = truth.springs.free
        free += 0.3 * torch.randn(free.shape, dtype=free.dtype, generator=generator)
        target = truth(use_data_adp=True)
    return target, truth, make(plan)


def misfit(model, target):
    value = model(use_data_adp=True)[model.valid]
    return ((value / target[model.valid]).log() ** 2).mean()


@pytest.mark.parametrize("plan", [SpringPlan(by="copy"), SpringPlan(kind="stiffness")])
def test_adam_goes_downhill(plan):
    target, _, model = target_and_model(plan)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = misfit(model, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_lbfgs_recovers_the_springs():
    target, truth, model = target_and_model(SpringPlan(by="copy"))
    # The file's B sets the scale, so only ratios of springs are there to be found.
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=50, line_search_fn="strong_wolfe", tolerance_grad=1e-12,
        tolerance_change=1e-14,
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        loss = misfit(model, target)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert misfit(model, target).item() < 1e-9 * first.item()
    ours, theirs = (torch.diff(m.springs.free.detach(), dim=0) for m in (model, truth))
    # A misfit of 1e-9 of the first: 3e-5 of the way that was to go, some 0.3.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_positions_and_b_factors_are_refined_in_place():
    crystal = made_up("P 1 21 1")
    target = make()(use_data_adp=True).detach()
    positions = (crystal.positions + 0.02).requires_grad_()
    B = (1.1 * crystal.B).requires_grad_()
    model = make(positions=positions, B=B)
    optimizer = torch.optim.Adam([{"params": [positions], "lr": 2e-3}, {"params": [B], "lr": 5e-2}])
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = misfit(model, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
