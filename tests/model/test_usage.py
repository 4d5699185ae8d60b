"""How people use the model beyond a first call: loops, other dtypes, other q, saved states."""

import pytest
import torch

from crystals import made_up
from onephonon import InputError, OnePhonon, SpringPlan, UnitCell
from onephonon.network import labelling, start_values
from onephonon.scattering.sampling import halos

CUTOFF = 6.5
MESH = [(0, 1, 2)] * 3


@pytest.fixture(scope="module")
def crystal():
    return made_up("P 1 21 1")


@pytest.fixture(scope="module")
def q(crystal):
    hkl = torch.tensor([[0.3, 0.2, 0.4], [1.2, -0.7, 0.1], [0.25, 2.1, -0.6]], dtype=torch.float64)
    return crystal.cell.q_from_hkl(hkl)


def model_at(crystal, q, **options):
    return OnePhonon(crystal, *MESH, q_vectors=q, gnm_cutoff=CUTOFF, **options)


@pytest.mark.parametrize("move", [False, True])
def test_a_leaf_of_another_dtype_is_followed(crystal, q, move):
    B = crystal.B.float().requires_grad_()
    model = model_at(crystal, q, B=B)
    if move:
        model.to(torch.float32)
    before = model(use_data_adp=True)
    with torch.no_grad():
        B.mul_(2)
    after = model(use_data_adp=True)
    assert bool((after != before).all())
    for _ in range(2):  # a leaf serves many backward passes
        model(use_data_adp=True).sum().backward()
    assert B.grad is not None


def test_callers_tensors_are_no_parameters(crystal, q):
    given = torch.nn.Parameter(q.clone())
    scale = torch.nn.Parameter(torch.tensor(2.0, dtype=q.dtype))
    model = model_at(crystal, given, thermal_scale=scale, B=torch.nn.Parameter(crystal.B))
    assert {n for n, _ in model.named_parameters()} == {"gamma_intra", "gamma_inter"}
    model().sum().backward()
    assert given.grad is not None
    assert scale.grad is not None


def test_parameters_set_from_a_vector_are_seen(crystal, q):
    model = model_at(crystal, q, springs=SpringPlan(by="interface"))
    with torch.no_grad():
        model()
        vector = torch.nn.utils.parameters_to_vector(model.parameters())
        torch.nn.utils.vector_to_parameters(vector + torch.arange(len(vector)), model.parameters())
        fresh = model_at(crystal, q, springs=SpringPlan(by="interface"))
        fresh.load_state_dict(model.state_dict())
        assert torch.equal(model(), fresh())
        assert torch.equal(model.ADP, fresh.ADP)


def test_settings_changed_afterwards_count(crystal, q):
    model = model_at(crystal, q)
    boxed = {"gnm_cutoff": CUTOFF, "zone_average": "supercell"}
    with torch.no_grad():
        whole = model()
        model.res_limit = 3.0
        assert torch.equal(model().isnan(), ~model.res_mask)
        assert bool(model().isnan().any())
        model.res_limit = 0.0
        model.mesh = (3, 2, 1)
        model.zone_average = "supercell"
        other = OnePhonon(crystal, (0, 1, 3), (0, 1, 2), (0, 1, 1), q_vectors=q, **boxed)
        assert torch.equal(model(), other())
        assert bool((model() != whole).all())
        model.set_q(q[1:])
        # Fewer q at a time are multiplied in another order: the last digits may differ.
        assert torch.allclose(model(), other()[1:], rtol=1e-13)
    with pytest.raises(AttributeError):
        model.group_by = "atom"


def test_inference_mode_then_training(crystal, q):
    with torch.inference_mode():
        inside = OnePhonon(crystal, *MESH, gnm_cutoff=CUTOFF)
        seen = inside()
    model = model_at(crystal, q)
    model.to(torch.float64)
    with torch.inference_mode():
        model()
    model().sum().backward()
    assert model.gamma_inter.grad is not None
    assert seen.shape == (27,)


def test_amplitudes_of_other_points_are_refused(crystal, q):
    kept = model_at(crystal, q).amplitudes()
    with pytest.raises(InputError, match="G has shape"):
        model_at(crystal, q[:2])(G=kept)


def test_halos_follow_the_cell(crystal):
    sample = halos(crystal.cell, [[1, 2, 3], [2, 0, 1]], (3, 3, 3))

    def slope(requested):
        cell = crystal.cell.matrix.clone().requires_grad_()
        model = OnePhonon(crystal, *MESH, q_vectors=requested, gnm_cutoff=CUTOFF, cell=cell)
        model(use_data_adp=True)[sample.valid].sum().backward()
        first = cell.grad.clone()
        with torch.no_grad():
            cell[0, 0] += 1e-6
        up = model(use_data_adp=True)[sample.valid].sum()
        with torch.no_grad():
            cell[0, 0] -= 2e-6
        down = model(use_data_adp=True)[sample.valid].sum()
        return float(first[0, 0]), float((up - down).detach()) / 2e-6

    # Central differences of step 1e-6 of a sum near 1e4: rounded at 1e-12/1e-6, truncated less.
    for requested in (sample.points(), sample.q):
        exact, difference = slope(requested)
        assert exact == pytest.approx(difference, rel=1e-5)
    assert sample.shape == (2, 3, 3, 3)
    direct = OnePhonon(crystal, *MESH, q_vectors=sample, gnm_cutoff=CUTOFF)
    assert bool((direct().isnan() == ~sample.valid).all())


def test_points_of_another_cell_are_refused(crystal):
    longer = UnitCell(crystal.cell.matrix * 1.01)
    with pytest.raises(InputError, match="another"):
        model_at(crystal, halos(longer, [[1, 2, 3]], (2, 2, 2)).points())


def test_springs_of_a_function_follow_the_distances(crystal, q):
    def law(features):
        return 50.0 * features.distance**-4

    x = crystal.positions.clone().requires_grad_()
    model = model_at(crystal, q, positions=x, springs=law, thermal_scale=1.0)
    model(use_data_adp=True).sum().backward()
    step = torch.zeros_like(x)
    step[1, 0] = 1e-5
    moved = []
    for sign in (1, -1):
        at = (crystal.positions + sign * step).detach()
        rebuilt = model_at(crystal, q, positions=at, springs=law, thermal_scale=1.0)
        moved.append(float(rebuilt(use_data_adp=True).sum()))
    # Step 1e-5 Å: truncated at 1e-10 relative, rounded at 1e-15/1e-5.
    assert float(x.grad[1, 0]) == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-6)


def test_a_state_of_other_classes_is_refused(crystal, q):
    saved = model_at(crystal, q, springs=SpringPlan(by="copy")).state_dict()
    n = model_at(crystal, q).contacts.n_contacts
    renamed = SpringPlan(by=["x" if s else "y" for s in model_at(crystal, q).contacts.same_copy])
    assert n > 0
    with pytest.raises(InputError, match="other classes"):
        model_at(crystal, q, springs=renamed).load_state_dict(saved)


def test_a_table_gives_labels_and_values_back(crystal, q):
    plan = SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3))
    model = model_at(crystal, q, springs=plan)
    model.springs.set_values([[1.0 + i, 0.1 + 0.1 * i] for i in range(len(model.springs.names))])
    table = model.contact_table()
    again = SpringPlan(by=labelling(table), kind="hybrid", start=start_values(table, "hybrid"))
    # exp(log(x)) is x to rounding.
    torch.testing.assert_close(model_at(crystal, q, springs=again)(), model(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["hybrid", "stiffness"])
def test_jacobian_is_that_of_the_model_with_its_scale(crystal, q, kind):
    model = model_at(crystal, q, springs=SpringPlan(by="interface", kind=kind))
    value, jacobian = model.spring_jacobian()
    springs = model.springs
    expected = []
    for i in range(len(q)):
        (slope,) = torch.autograd.grad(model(use_data_adp=True)[i], springs.free)
        expected.append(slope)
    # By the chain rule through the free parameters.
    (chain,) = torch.autograd.functional.jacobian(springs.from_free, (springs.free.detach(),))
    by_free = torch.tensordot(
        jacobian.reshape(len(q), *springs.values().shape), chain, springs.values().ndim
    )
    torch.testing.assert_close(value, model(use_data_adp=True).detach(), rtol=1e-10, atol=0)
    size = float(torch.stack(expected).abs().max())
    # The same sums in another order; entries cancel to below rounding of the largest.
    torch.testing.assert_close(by_free, torch.stack(expected), rtol=1e-8, atol=1e-10 * size)


def test_empty_lists(crystal, q):
    model = model_at(crystal, q[:0])
    assert model().shape == (0,)
    assert model.amplitudes().shape == (0, model.bodies.n_dof)


def test_set_tensors_exchanges_B_for_U(crystal, q):
    model = model_at(crystal, q, B=crystal.B)
    model.set_tensors(U=2 * crystal.U)
    other = model_at(crystal, q, U=2 * crystal.U)
    assert torch.equal(model(use_data_adp=True), other(use_data_adp=True))
    with pytest.raises(InputError, match="weights"):
        model.set_tensors(weights=q)


@pytest.mark.filterwarnings("ignore:.*lie on another")
def test_gradients_to_be_differentiated_again_keep_no_waves(q):
    crystal = made_up("P 1 21 1", n_atoms=40)
    many = q.repeat(200, 1) + torch.linspace(0, 0.1, 600, dtype=q.dtype)[:, None]
    B = crystal.B.clone().requires_grad_()
    model = model_at(crystal, many, B=B)
    sizes = []

    def record(t):
        sizes.append(t.numel())
        return t

    loss = model(use_data_adp=True).sum()
    with torch.autograd.graph.saved_tensors_hooks(record, lambda t: t):
        torch.autograd.grad(loss, [B, model.gamma_inter], create_graph=True)
    # Kept are things of the size q x degrees of freedom, here 12, not q x atoms, here 80.
    assert model.bodies.n_dof == 12
    assert model.bodies.n_cell_atoms == 80
    assert max(size for size in sizes if size % 600 == 0) <= 600 * 12


def test_repr_says_what_is_modelled(crystal, q):
    shown = repr(model_at(crystal, q))
    assert "P 1 21 1, 5 atoms, 2 bodies, 12 degrees of freedom" in shown
    assert "3 q" in shown
