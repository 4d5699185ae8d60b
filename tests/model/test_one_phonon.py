"""`OnePhonon`: its attributes, its two modes, what it remembers, what it refuses."""

import numpy as np
import pytest
import torch

import onephonon
from crystals import made_up
from onephonon import InputError, OnePhonon, OnePhononTorch
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.zone import grid_zone_points

CUTOFF = 6.5

#: Two samples, three samples, and an offset grid that meets no integer h.
SAMPLINGS = ((-1.25, 1.0, 2), (0, 1, 3), (-1, 1, 1))

#: The same float64 numbers by two ways.
ROUNDING = 1e-10


def on_grid(crystal=None, **options):
    # The smallest mesh, that of the samplings.
    options = {"zone_average": "supercell"} | options
    return OnePhonon(crystal or made_up("P 1 21 1"), *SAMPLINGS, gnm_cutoff=CUTOFF, **options)


def at_points(q, crystal=None, **options):
    crystal = crystal or made_up("P 1 21 1")
    return OnePhonon(crystal, q_vectors=q, gnm_cutoff=CUTOFF, **options)


def some_q(n=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.rand(n, 3, dtype=torch.float64, generator=generator) - 1.5


def test_it_has_the_name_people_know():
    assert OnePhononTorch is OnePhonon
    assert onephonon.OnePhononTorch is onephonon.OnePhonon
    assert isinstance(on_grid(), torch.nn.Module)


# ---- attributes -----------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", ["asu", "residue", None])
def test_attributes_on_a_grid(group_by):
    model = on_grid(group_by=group_by)
    crystal = model.crystal
    n, D = 5 * 4 * 3, {"asu": 12, "residue": 28, None: 30}[group_by]
    assert model.map_shape == (5, 4, 3)
    assert model.hkl_grid.shape == model.q_grid.shape == (n, 3)
    point = model.hkl_grid.reshape(5, 4, 3, 3)[2, 1, 0]
    assert point.tolist() == [-0.25, 1 / 3, -1.0]
    torch.testing.assert_close(model.q_grid, crystal.cell.q_from_hkl(model.hkl_grid))
    assert model.res_mask.shape == model.valid.shape == (n,)
    assert model.res_mask.dtype == model.valid.dtype == torch.bool
    # h: 1/4 and 3/4; k: 0, 1/3, 2/3; l: 0.
    assert model.kvec.shape == (2 * 3 * 1, 3)
    assert model.V.shape == (6, D, D)
    assert model.V.dtype == torch.complex128
    assert model.Winv.shape == (6, D)
    assert model.Amat.shape == (2, 3 * crystal.n_atoms, D // 2)
    assert model.Linv.shape == (D, D)
    assert model.covar.shape == (2, 3, 1, D, D)
    assert model.ADP.shape == (crystal.n_atoms,)
    assert model.U.shape == (crystal.n_atoms, 3, 3)
    assert model.thermal_scale.shape == ()
    value = model()
    assert value.shape == (n,)
    assert value.dtype == torch.float64


def test_attributes_of_a_list():
    q = some_q()
    model = at_points(q)
    assert model.map_shape is None
    assert torch.equal(model.q_grid, q)
    # hkl times the cell's inverse and back: rounding.
    torch.testing.assert_close(model.crystal.cell.q_from_hkl(model.hkl_grid), q, rtol=0, atol=1e-12)
    assert model.kvec.shape == (7, 3)
    assert model.V.shape == (7, 12, 12)
    assert model.Winv.shape == (7, 12)
    assert model.ADP.shape == (5,)
    assert model().shape == (7,)


def test_wavevectors_are_q_folded_into_the_first_zone():
    grid = on_grid()
    own = grid_zone_points(grid.grid).index
    for model, index in ((grid, own), (at_points(some_q()), slice(None))):
        cell = model.crystal.cell
        k = cell.hkl_from_q(model.kvec)
        assert k.abs().max().item() <= 0.5 + 1e-12  # rounding of 1/2
        lattice_vector = model.hkl_grid - k[index]
        # Whole numbers up to the rounding of hkl.
        torch.testing.assert_close(lattice_vector, lattice_vector.round(), rtol=0, atol=1e-11)


def test_modes_diagonalize_the_stiffness():
    from onephonon.dynamics.stiffness_matrix import stiffness

    for model in (on_grid(), at_points(some_q())):
        k = model.crystal.cell.hkl_from_q(model.kvec)
        K = stiffness(model.bodies, model.force_constants(), k)
        rebuilt = model.V @ torch.diag_embed(model.Winv).to(K) @ model.V.mH
        eye = torch.eye(K.shape[-1]).to(K).expand_as(K)
        # Condition of K below 1e4 times 1e-16, with a margin.
        torch.testing.assert_close(K @ rebuilt, eye, rtol=0, atol=1e-9)


def test_linv_normalizes_the_modes():
    model = on_grid()
    inverse = model.Linv.to(model.V)
    orthonormal = torch.linalg.inv(inverse).mH @ model.V  # L^H V = v
    eye = torch.eye(12).to(model.V).expand_as(orthonormal)
    torch.testing.assert_close(orthonormal.mH @ orthonormal, eye, rtol=0, atol=1e-10)


def test_U_follows_from_amat_and_covar():
    # Only with one body a copy are the columns of Amat those of the body.
    model = on_grid()
    n = model.crystal.n_atoms
    A = model.Amat[0].reshape(n, 3, 6)
    C = model.covar[0, 0, 0, :6, :6]
    torch.testing.assert_close(A @ C @ A.mT, model.U, rtol=ROUNDING, atol=0)
    trace = model.U.diagonal(dim1=1, dim2=2).sum(1) / 3
    torch.testing.assert_close(model.ADP, trace, rtol=1e-14, atol=0)


@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
def test_amat_displaces_atoms_as_rigid_bodies(group_by):
    model = on_grid(group_by=group_by)
    bodies = model.bodies
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, model.Amat.shape[2], 1, generator=generator, dtype=torch.float64)
    u = (model.Amat @ x).reshape(bodies.n_cell_atoms, 3)
    # Distances within a body do not change to first order.
    r = bodies.positions
    for i in range(bodies.n_cell_atoms):
        for j in range(i):
            if bodies.body[i] == bodies.body[j]:
                assert abs(((r[i] - r[j]) @ (u[i] - u[j])).item()) < 1e-12  # rounding
    assert u.abs().min().item() > 1e-3


def test_nothing_is_computed_before_it_is_asked_for(monkeypatch):
    from onephonon.dynamics import lattice_model

    def not_yet(*_):
        raise AssertionError("computed too early")

    for name in ("modes", "covariance", "displacement_covariance"):
        monkeypatch.setattr(lattice_model, name, not_yet)
    model = on_grid()
    _ = model.q_grid, model.valid, model.kvec, model.map_shape
    with pytest.raises(AssertionError, match="too early"):
        _ = model.V
    with pytest.raises(AssertionError, match="too early"):
        _ = model.ADP


def test_calling_the_module_is_apply_disorder():
    model = on_grid()
    assert torch.equal(model(), model.apply_disorder())
    assert torch.equal(
        model(rank=2, use_data_adp=True), model.apply_disorder(rank=2, use_data_adp=True)
    )


# ---- displacements and scale ----------------------------------------------------------------


def test_adps_do_not_depend_on_the_points_asked_for():
    one, other, grid = at_points(some_q(3)), at_points(some_q(9, seed=5)), on_grid()
    boxed = {"gnm_cutoff": CUTOFF, "zone_average": "supercell"}
    with_rates = OnePhonon(made_up("P 1 21 1"), *SAMPLINGS, q_vectors=some_q(3), **boxed)
    assert torch.equal(one.ADP, other.ADP)
    assert torch.equal(one.U, other.U)
    assert torch.equal(one.thermal_scale, other.thermal_scale)
    assert torch.equal(with_rates.ADP, grid.ADP)
    assert torch.equal(with_rates.covar, grid.covar)
    wider = OnePhonon(made_up("P 1 21 1"), *[(0, 3, n) for n in (2, 3, 1)], **boxed)
    assert torch.equal(wider.ADP, grid.ADP)
    # A box of another size is another sum; the crystal's average is the same for all grids.
    assert not torch.allclose(one.ADP, grid.ADP, rtol=1e-3)
    assert torch.equal(on_grid(zone_average="crystal").ADP, one.ADP)


@pytest.mark.parametrize("springs", [0.1, 1.0, 30.0])
def test_mean_b_is_the_files(peptide, springs):
    crystal = peptide("5wkd")
    options = {"gamma_intra": springs, "gamma_inter": 2 * springs}
    model = OnePhonon(crystal, *[(0, 1, 2)] * 3, **options)
    mean = EIGHT_PI_SQUARED * model.ADP.mean().item()
    assert mean == pytest.approx(crystal.B.mean().item(), rel=1e-12)  # rounding


def test_mean_b_is_the_files_also_where_the_mesh_is_less_symmetric_than_the_crystal():
    # Copies of one atom then move by different amounts; users see those of the first.
    crystal = made_up("P 31 2 1")
    model = OnePhonon(crystal, *[(0, 1, n) for n in (3, 2, 1)], gnm_cutoff=CUTOFF)
    every = model.thermal_scale * model.lattice.displacements_at_unit_scale()
    means = [model.ADP.mean().item(), every.diagonal(dim1=1, dim2=2).mean().item()]
    target = crystal.B.mean().item() / EIGHT_PI_SQUARED
    assert any(mean == pytest.approx(target, rel=1e-12) for mean in means)


def test_scale_may_be_given():
    one, two = on_grid(thermal_scale=1.0), on_grid(thermal_scale=2.5)
    assert (one.thermal_scale.item(), two.thermal_scale.item()) == (1.0, 2.5)
    valid = one.valid
    # One multiplication: rounding.
    torch.testing.assert_close(
        2.5 * one(use_data_adp=True)[valid], two(use_data_adp=True)[valid], rtol=1e-13, atol=0
    )
    torch.testing.assert_close(2.5 * one.ADP, two.ADP, rtol=1e-13, atol=0)
    torch.testing.assert_close(2.5 * one.covar, two.covar, rtol=1e-13, atol=0)


def test_scale_given_as_a_tensor_gets_a_gradient():
    s = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    model = on_grid(thermal_scale=s)
    model(use_data_adp=True)[model.valid].sum().backward()
    with torch.no_grad():
        expected = model(use_data_adp=True)[model.valid].sum() / 0.7
    assert s.grad.item() == pytest.approx(expected.item(), rel=1e-12)  # rounding


def test_scale_cannot_follow_from_a_b_of_zero():
    crystal = made_up("P 1 21 1")
    model = on_grid(crystal.replace(U=torch.zeros_like(crystal.U)))
    with pytest.raises(InputError, match=r"mean .* 0 .*give thermal_scale"):
        model()


def test_mode_of_displacement_changes_the_debye_waller_factor():
    model = on_grid()
    own, data = model(), model(use_data_adp=True)
    assert torch.equal(own.isnan(), data.isnan())
    assert not torch.allclose(own[model.valid], data[model.valid], rtol=1e-3)
    # A crystal whose file holds the model's U knows no difference.
    with torch.no_grad():
        crystal = model.crystal.replace(U=model.U)
    same = on_grid(crystal, thermal_scale=model.thermal_scale.item())
    torch.testing.assert_close(same()[model.valid], own[model.valid], rtol=ROUNDING, atol=0)


# ---- inputs ---------------------------------------------------------------------------------


def test_crystal_may_come_from_a_path(data, peptide):
    samplings = [(0, 1, 2)] * 3
    for path in (data / "2ol9.pdb", str(data / "2ol9.pdb")):
        value = OnePhonon(path, *samplings)().nan_to_num()
        assert torch.equal(value, OnePhonon(peptide("2ol9"), *samplings)().nan_to_num())
    options = {"anisotropic": False, "waters": True}
    model = OnePhonon(data / "2ol9.pdb", *samplings, **options)
    assert model.crystal.n_atoms == peptide("2ol9", **options).n_atoms > peptide("2ol9").n_atoms


@pytest.mark.parametrize("source", ["path", "crystal"])
def test_whole_cell_in_p1(data, peptide, source):
    given = data / "5wkd.pdb" if source == "path" else peptide("5wkd")
    model = OnePhonon(given, *[(0, 1, 1)] * 3, expand_p1=False, gnm_cutoff=26.5)
    assert model.crystal.n_ops == 1
    assert model.V.shape[1] == 6


def test_q_vectors_may_be_numpy_or_single_precision():
    q = some_q()
    expected = at_points(q)()
    assert torch.equal(at_points(q.numpy())(), expected)
    single = at_points(q.to(torch.float32))
    assert single.q_grid.dtype == torch.float64
    # q rounded to 1e-7 moves a steep intensity by some 1e-5.
    torch.testing.assert_close(single(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("use_data_adp", [True, False])
def test_single_precision_is_close(peptide, use_data_adp):
    crystal = peptide("2ol9")
    samplings = [(-2, 2, 2), (-1, 1, 2), (-2, 2, 2)]
    double = OnePhonon(crystal, *samplings)
    single = OnePhonon(crystal, *samplings, dtype=torch.float32)
    value, expected = single(use_data_adp=use_data_adp), double(use_data_adp=use_data_adp)
    assert value.dtype == torch.float32
    assert single.V.dtype == torch.complex64
    assert single.ADP.dtype == torch.float32
    assert torch.equal(single.valid, double.valid)
    assert torch.equal(value.isnan(), expected.isnan())
    # Rounding of 6e-8 times the condition of K, up to 1e3 here.
    torch.testing.assert_close(
        value[single.valid].double(), expected[double.valid], rtol=1e-3, atol=1e-5
    )


def test_hybrid_springs_between_gnm_and_anm():
    gnm, anm = on_grid(), on_grid(model="anm")
    for reference, k_perp in ((gnm, 1.0), (anm, 0.0)):
        model = on_grid(model="hybrid", k_par=1.0, k_perp=k_perp)
        torch.testing.assert_close(
            model()[model.valid], reference()[model.valid], rtol=ROUNDING, atol=0
        )
        assert model.k_perp.item() == k_perp
        assert {name for name, _ in model.named_parameters()} == {"k_par", "k_perp"}
    assert {name for name, _ in gnm.named_parameters()} == {"gamma_intra", "gamma_inter"}


def test_masses_do_not_enter_the_intensity():
    crystal = made_up("P 1 21 1")
    heavy = crystal.replace(masses=crystal.masses * torch.arange(1, 6))
    here, there = on_grid(crystal), on_grid(heavy)
    torch.testing.assert_close(there()[here.valid], here()[here.valid], rtol=ROUNDING, atol=0)
    assert not torch.allclose(there.Winv, here.Winv, rtol=1e-3)


def test_empty_list_of_q():
    model = at_points(torch.zeros(0, 3))
    assert model().shape == (0,)
    assert model.valid.shape == (0,)
    assert model.V.shape == (0, 12, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hsampling": (0, 1, 2)}, "ksampling, lsampling missing; give all three"),
        ({"hsampling": (0, 1, 2), "q_vectors": torch.zeros(1, 3)}, "ksampling, lsampling missing"),
        ({"q_vectors": torch.zeros(3)}, r"q_vectors has shape \(3,\).*\(N, 3\)"),
        ({"q_vectors": torch.zeros(3, 2)}, r"q_vectors has shape \(3, 2\)"),
        ({"q_vectors": torch.zeros(3, 3, dtype=torch.int64)}, "dtype torch.int64; give real"),
        ({"q_vectors": torch.zeros(3, 3, dtype=torch.complex128)}, "complex128; give real"),
        (
            {"q_vectors": np.array([[0, 0, 1.0], [0, np.nan, 0]])},
            r"q_vectors\[1\] = .*nan.* is not finite",
        ),
        ({"q_vectors": some_q(), "res_limit": -1.0}, "res_limit -1.0 is not a resolution"),
        ({"q_vectors": some_q(), "res_limit": float("nan")}, "res_limit nan"),
        ({"q_vectors": some_q(), "batch_size": 0}, "batch_size 0: must be"),
        ({"q_vectors": some_q(), "group_by": "helix"}, "group_by 'helix' is not one of asu, chain"),
        (
            {"q_vectors": some_q(), "group_by": [0, 1]},
            "group_by has 2 numbers, the crystal 5 atoms",
        ),
        ({"q_vectors": some_q(), "waters": True}, "waters apply to reading .* read_crystal"),
    ],
)
def test_arguments_that_contradict_each_other(arguments, message):
    with pytest.raises(InputError, match=message):
        OnePhonon(made_up("P 1 21 1"), gnm_cutoff=CUTOFF, **arguments)


def test_without_q_the_model_is_computed_where_it_is_called():
    model, q = OnePhonon(made_up("P 1 21 1"), gnm_cutoff=CUTOFF), some_q()
    assert model.n_points == 0
    with pytest.raises(InputError, match=r"nothing to compute: give hsampling.* or call the model"):
        model()
    assert torch.equal(model(q), at_points(q)())
    bound = at_points(some_q(3, seed=5))
    assert torch.equal(bound(q, use_data_adp=True), at_points(q)(use_data_adp=True))
    assert bound.n_points == 3  # and stays bound to its own
    with pytest.raises(InputError, match="first argument is q; give rank=2"):
        model(2)


def test_q_given_in_the_call_gets_a_gradient():
    q = some_q().requires_grad_()
    here, there = some_q().requires_grad_(), None
    OnePhonon(made_up("P 1 21 1"), gnm_cutoff=CUTOFF)(q).sum().backward()
    at_points(here)().sum().backward()
    there = here.grad
    torch.testing.assert_close(q.grad, there, rtol=1e-12, atol=0)  # rounding


def test_settings_are_checked_whenever_they_are_set():
    model = at_points(some_q())
    for name, wrong in (
        ("res_limit", -1.0),
        ("batch_size", 0),
        ("engine", "fast"),
        ("solver", "quick"),
        ("rtol", 2.0),
        ("mesh", (2, 2)),
        ("model", "springs"),
        ("bragg_tolerance", 5.0),
    ):
        before = getattr(model, name)
        with pytest.raises(InputError, match=name if name != "model" else "not one of"):
            setattr(model, name, wrong)
        assert getattr(model, name) == before
    with torch.no_grad():
        model.gamma_inter.fill_(-1.0)
    with pytest.raises(InputError, match=r"gamma_inter = -1.0; spring constants must be finite"):
        model()
    for name in ("gnm_cutoff", "group_by", "contacts"):
        with pytest.raises(AttributeError, match=f"{name} cannot be changed: .*when the model is"):
            setattr(model, name, 5.0)


def test_arrays_take_the_place_of_tensors_and_errors_arrive_as_themselves():
    crystal = made_up("P 1 21 1")
    B = crystal.B.numpy() * 1.5
    expected = on_grid(B=torch.as_tensor(B))()
    assert torch.equal(on_grid(B=B)().nan_to_num(), expected.nan_to_num())
    with pytest.raises(InputError, match=r"B has shape \(28,\)"):
        on_grid(B=np.ones(28))
    with pytest.raises(InputError, match="B is not an array of numbers"):
        on_grid(B="high")
    model = on_grid()
    model._atoms = None  # whatever breaks inside an attribute
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'bodies'"):
        _ = model.crystal


def test_unknown_argument_is_an_error(data):
    with pytest.raises(TypeError, match="hydrogen"):
        OnePhonon(data / "2ol9.pdb", *SAMPLINGS, hydrogen=True)


# ---- gradients and memory -------------------------------------------------------------------


def test_gradient_arrives_in_the_callers_own_tensor():
    intra = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    inter = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    model = on_grid(gamma_intra=intra, gamma_inter=inter, thermal_scale=1.0)
    assert list(model.parameters()) == []
    value = model(use_data_adp=True)[model.valid].sum()
    value.backward()
    # I is homogeneous of degree -1 in the springs.
    total = (intra * intra.grad + inter * inter.grad).item()
    assert total == pytest.approx(-value.item(), rel=ROUNDING)
    assert 0.0 not in (intra.grad.item(), inter.grad.item())


def test_gradient_arrives_in_the_modules_parameters():
    model = on_grid(thermal_scale=1.0)
    value = model(use_data_adp=True)[model.valid].sum()
    value.backward()
    total = sum((p * p.grad).item() for p in model.parameters())
    assert total == pytest.approx(-value.item(), rel=ROUNDING)


def test_numbers_are_never_made_to_require_a_gradient_in_place():
    inter, q = torch.tensor(0.4, dtype=torch.float64), some_q()
    model = at_points(q, gamma_inter=inter)
    model()
    assert not inter.requires_grad
    assert not q.requires_grad


def everything(model):
    with torch.no_grad():
        return [model(), model(use_data_adp=True), model(rank=0), model.V, model.Winv,
                model.ADP, model.covar, model.thermal_scale]  # fmt: skip


def assert_as_fresh(model, fresh):
    for ours, theirs in zip(everything(model), everything(fresh), strict=True):
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())


@pytest.mark.parametrize("own", [True, False])
def test_memory_is_not_stale_after_an_optimizer_step(own):
    inter = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    model = on_grid(gamma_inter=0.4 if own else inter)
    before = everything(model)
    leaf = model.gamma_inter if own else inter
    optimizer = torch.optim.SGD([leaf], lr=1.0)
    leaf.grad = torch.tensor(-0.3, dtype=torch.float64)
    optimizer.step()
    assert leaf.item() == pytest.approx(0.7, rel=1e-15)
    after = everything(model)
    assert not any(torch.allclose(a, b, equal_nan=True) for a, b in zip(after, before, strict=True))
    assert_as_fresh(model, on_grid(gamma_inter=leaf.item()))


def test_memory_is_not_stale_after_a_change_of_q():
    q = some_q()
    model = at_points(q)
    everything(model)
    model.q_vectors.mul_(0.9)
    assert_as_fresh(model, at_points(0.9 * some_q()))


def test_state_of_a_module_may_be_loaded():
    model, other = on_grid(gamma_inter=0.4), on_grid(gamma_inter=0.8)
    everything(model)
    model.load_state_dict(other.state_dict())
    assert_as_fresh(model, other)


def test_remembered_results_carry_no_gradient_and_new_ones_do():
    model = on_grid()
    everything(model)
    assert model.ADP.requires_grad
    assert model().requires_grad
    with torch.no_grad():
        assert not model.ADP.requires_grad


def test_progress_is_told_to_the_end():
    seen = []
    on_grid()(progress=lambda *step: seen.append(step))
    whats = list(dict.fromkeys(what for what, _, _ in seen))
    assert {"zone mesh", "intensity"} <= set(whats)
    for what in whats:
        steps = [(done, total) for each, done, total in seen if each == what]
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps)
