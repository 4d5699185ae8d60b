"""Equation (1): its numbers, its symmetries, its two modes, its gradients."""

import cmath
import math
from dataclasses import replace

import gemmi
import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import Crystal, InputError, OnePhonon
from onephonon.crystal.form_factors import FormFactors
from onephonon.crystal.zone import grid_zone_points
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import assign_springs, force_constants
from onephonon.scattering.amplitudes.direct import structure_factor, transform
from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.intensity import one_phonon_intensity
from onephonon.scattering.points import list_points
from onephonon.scattering.q_source import QSource

#: Sums of some 1e3 float64 terms behind a solve of condition below 1e4: they agree to 1e-12 or
#: better; a wrong sign, index or factor shows at 1e-3.
ROUNDING = 1e-10

#: Enough for every made-up crystal to be one rigid piece.
CUTOFF = 6.5


def relative(ours, theirs):
    """Largest relative difference; a NaN on one side only is infinite."""
    assert torch.equal(ours.isnan(), theirs.isnan())
    ours, theirs = ours[~ours.isnan()], theirs[~theirs.isnan()]
    assert len(ours)
    # Values that symmetry makes vanish are rounding of the largest.
    size = theirs.abs().clamp(min=1e-6 * theirs.abs().max().item())
    return ((ours - theirs).abs() / size).max().item()


def at(crystal, hkl, **options):
    """Intensities at a list of hkl at s = 1 with the file's U."""
    q = crystal.cell.q_from_hkl(torch.as_tensor(hkl, dtype=torch.float64))
    model = OnePhonon(crystal, q_vectors=q, **{"thermal_scale": 1.0} | options)
    with torch.no_grad():
        return model(use_data_adp=True)


def random_hkl(n=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(n, 3, dtype=torch.float64).uniform_(-4, 4, generator=generator)


# ---- numbers --------------------------------------------------------------------------------

TABLE = [
    ("2ol9", {}, (-1 / 3, 0, 9 / 2), "13.8773819545"),
    ("2ol9", {}, (4, 17 / 3, -9 / 2), "7.8156783133"),
    ("2ol9", {}, (-1, 5 / 3, 1), "16.3142968563"),
    ("2ol9", {"anisotropic": False}, (-1 / 3, 0, 9 / 2), "14.2189294318"),
    ("2ol9", {"anisotropic": False}, (4, 17 / 3, -9 / 2), "7.6237471461"),
    ("2ol9", {"anisotropic": False}, (-1, 5 / 3, 1), "16.7500008423"),
    ("5zck", {}, (-1 / 3, 0, 9 / 2), "72.7599071725"),
    ("5zck", {}, (-8 / 3, 6, -9 / 2), "64.246898834"),
    ("5zck", {}, (-1, 5 / 2, 1), "132.8030514427"),
    ("5wkd", {}, (-1 / 2, 0, 9 / 2), "879.12004099"),
    ("5wkd", {}, (-7 / 2, 14 / 3, -3 / 2), "3.9128891938"),
    ("5wkd", {}, (-3 / 2, 5 / 3, 1), "54.252267057"),
]


def assert_digits(value, digits):
    """`value` is what was written down, up to half a unit of the last digit and a little."""
    assert abs(value.item() - float(digits)) <= 0.6 * 10.0 ** -len(digits.split(".")[1])


@pytest.mark.parametrize(("code", "options", "hkl", "digits"), TABLE)
def test_number_computed_by_independent_programs(peptide, code, options, hkl, digits):
    assert_digits(at(peptide(code, **options), [hkl])[0], digits)


@pytest.mark.parametrize(
    ("hkl", "digits"), [((-1 / 3, 0, 9 / 2), "181.2882746"), ((-8 / 3, 6, -9 / 2), "144.346782")]
)
def test_number_with_hybrid_springs(peptide, hkl, digits):
    value = at(peptide("5zck"), [hkl], model="hybrid", k_par=1.0, k_perp=0.2)
    assert_digits(value[0], digits)


def two_atom_ring():
    """Atoms on a line of period 1 Å, the line's neighbours out of reach."""
    line = Crystal.from_atoms(
        (1, 20, 20, 90, 90, 90), "P 1", ["C", "O"], [[0, 0, 0], [0.31, 0, 0]], B=0.0
    )
    none = torch.zeros(2, 1, dtype=torch.float64)
    constant = torch.tensor([6.0, 8.0], dtype=torch.float64)
    return line.replace(form_factors=FormFactors(none, none, constant, torch.tensor([0, 1])))


def test_two_atom_ring_in_one_dimension():
    # A GNM is as many independent copies of the one-dimensional problem as there are axes, and
    # q along the line asks for one of them. Forgetting the conjugate would give 2953.2259.
    # By the functions below the model, which refuses a line that nothing joins to its neighbours.
    line = two_atom_ring()
    bodies = gather_bodies(line, "atom")
    contacts = find_contacts(bodies, 0.9)  # 0.31 within the cell and 0.69 to the next
    constants = force_constants(bodies, contacts, assign_springs(contacts, gamma_inter=3.0))
    q = line.cell.q_from_hkl(torch.tensor([[1.375, 0.0, 0.0]], dtype=torch.float64))
    value = one_phonon_intensity(bodies, constants, list_points(line.cell, q), bodies.U)
    assert_digits(value[0], "4279.848611311")


# ---- G and F --------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", ["asu", "chain", "residue", "atom"])
def test_transform_is_the_plain_sum_over_atoms(group_by):
    crystal = tilted(made_up("C 1 2 1"))
    bodies = gather_bodies(crystal, group_by)
    q = crystal.cell.q_from_hkl(random_hkl(6))
    expected = np.array([slow_transform(bodies, v) for v in q.numpy()])
    # Twenty waves a body, each rounded to 1e-16 of its size.
    np.testing.assert_allclose(transform(bodies, q, bodies.U).numpy(), expected, atol=1e-12)


def tilted(crystal):
    """The crystal with displacements that differ by direction."""
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(crystal.n_atoms, 3, 3, generator=generator, dtype=torch.float64)
    return crystal.replace(U=0.03 * (a @ a.mT + torch.eye(3, dtype=torch.float64)))


def slow_transform(bodies, q):
    """G(q) written down atom by atom."""
    crystal = bodies.crystal
    table = crystal.form_factors
    s_squared = float(q @ q) / (16 * math.pi**2)
    G = np.zeros((bodies.n_bodies, bodies.width), dtype=complex)
    for n in range(bodies.n_cell_atoms):
        atom, body = n % crystal.n_atoms, int(bodies.body[n])
        kind = int(table.kind[atom])
        f = float(table.c[kind])
        for a, b in zip(table.a[kind].tolist(), table.b[kind].tolist(), strict=True):
            f += a * math.exp(-b * s_squared)
        r = bodies.positions[n].numpy()
        wave = float(crystal.occupancies[atom]) * f * cmath.exp(1j * float(q @ r))
        wave *= math.exp(-0.5 * float(q @ bodies.U[n].numpy() @ q))
        origin = bodies.positions[bodies.body == body].mean(0).numpy()
        G[body, :3] += wave * q
        for axis in range(bodies.width - 3):
            moved = np.cross(bodies.axes[body, :, axis].numpy(), r - origin)
            G[body, 3 + axis] += wave * float(moved @ q)
    return G.reshape(-1)[bodies.dof.numpy()]


def to_gemmi(crystal):
    """The crystal as gemmi holds it."""
    structure = gemmi.Structure()
    structure.cell = gemmi.UnitCell(*crystal.cell.parameters)
    structure.spacegroup_hm = crystal.spacegroup
    residue = gemmi.Residue()
    for i, label in enumerate(crystal.labels):
        atom = gemmi.Atom()
        atom.element = gemmi.Element(label.element)
        atom.pos = gemmi.Position(*crystal.positions[i].tolist())
        atom.occ = float(crystal.occupancies[i])
        U = crystal.U[i]
        atom.aniso = gemmi.SMat33f(
            *(float(U[a, b]) for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))
        )
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_cell_images()
    return structure


@pytest.mark.parametrize("radiation", ["xray", "electron", "neutron"])
@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 31 2 1"])
def test_structure_factor_at_bragg_points_is_gemmis(spacegroup, radiation):
    crystal = tilted(made_up(spacegroup, radiation=radiation, occupancies=[1, 0.5, 0.25, 1, 0.75]))
    structure = to_gemmi(crystal)
    calculator = {
        "xray": gemmi.StructureFactorCalculatorX,
        "electron": gemmi.StructureFactorCalculatorE,
        "neutron": gemmi.StructureFactorCalculatorN,
    }[radiation](structure.cell)
    hkl = [(0, 0, 0), (1, 2, -3), (-2, 1, 4), (3, -1, 1), (0, 2, 5), (4, 0, -1), (1, 3, 2)]
    theirs = [calculator.calculate_sf_from_model(structure[0], h) for h in hkl]
    bodies = gather_bodies(crystal)
    q = crystal.cell.q_from_hkl(torch.tensor(hkl, dtype=torch.float64))
    ours = structure_factor(bodies, q, bodies.U).numpy()
    # gemmi keeps coefficients and displacements in single precision (6e-8 of each of them).
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


def test_translations_scatter_as_the_structure_factor(peptide):
    # Summed over bodies, the translational part of G is q F(q).
    crystal = peptide("5wkd")
    bodies = gather_bodies(crystal)
    q = crystal.cell.q_from_hkl(random_hkl(5))
    G = transform(bodies, q, bodies.U).reshape(len(q), -1, 6)[:, :, :3].sum(1)
    expected = q * structure_factor(bodies, q, bodies.U)[:, None]
    # 192 atoms of up to 8 e: rounding of a few 1e-13.
    torch.testing.assert_close(G, expected, rtol=0, atol=1e-10)


# ---- grid and list --------------------------------------------------------------------------

GRIDS = [
    ("2ol9", ((-2, 2, 3), (-1, 1, 2), (-2, 1, 4)), {"group_by": "chain"}),
    ("5wkd", ((-3, 1, 1), (-1, 1, 3), (0, 3, 2)), {}),
    ("P 31 2 1", ((-1.5, 2, 2), (-1, 1, 3), (0.25, 2, 4)), {"gnm_cutoff": CUTOFF}),
]


@pytest.fixture(params=GRIDS, ids=[name for name, *_ in GRIDS])
def twins(request, peptide):
    """One model on a grid, and one at the list of the grid's points."""
    name, samplings, options = request.param
    crystal = made_up(name) if " " in name else peptide(name)
    grid = OnePhonon(crystal, *samplings, **options)
    return grid, OnePhonon(crystal, *samplings, q_vectors=grid.q_grid, **options)


@pytest.mark.parametrize("use_data_adp", [True, False])
@torch.no_grad()
def test_grid_and_list_agree_at_every_point(twins, use_data_adp):
    grid, listed = twins
    assert torch.equal(grid.valid, listed.valid)
    on_grid = grid(use_data_adp=use_data_adp)
    assert torch.equal(on_grid.isnan(), ~grid.valid)
    assert relative(listed(use_data_adp=use_data_adp), on_grid) <= ROUNDING


def by_modes(model, V, Winv):
    """What users of V and Winv write down themselves: s sum_m |V_m^H G|^2 Winv_m."""
    G = transform(model.bodies, model.q_grid, model.bodies.U)
    overlap = torch.einsum("qdm,qd->qm", V.conj(), G)
    value = model.thermal_scale * (overlap.abs() ** 2 * Winv).sum(1)
    return torch.where(model.valid, value, torch.nan)


@torch.no_grad()
def test_modes_of_the_grid_injected_into_the_list(twins):
    grid, listed = twins
    index = grid_zone_points(grid.grid).index
    assert int(index.max()) + 1 == len(grid.V) < len(index)
    value = by_modes(listed, grid.V[index], grid.Winv[index])
    assert relative(value, listed(use_data_adp=True)) <= ROUNDING
    assert relative(value, grid(use_data_adp=True)) <= ROUNDING


@torch.no_grad()
def test_modes_of_the_list_are_one_for_each_q(twins):
    _, listed = twins
    value = by_modes(listed, listed.V, listed.Winv)
    assert relative(value, listed(use_data_adp=True)) <= ROUNDING


@torch.no_grad()
def test_shares_of_the_modes_sum_to_the_whole(twins):
    for model in twins:
        n_dof = model.V.shape[1]
        shares = torch.stack([model(rank=m, use_data_adp=True) for m in range(n_dof)])
        assert bool((shares[:, model.valid] >= 0).all())
        assert relative(shares.sum(0), model(use_data_adp=True)) <= ROUNDING


def test_rank_beyond_the_modes_is_an_error(twins):
    grid, _ = twins
    n_dof = grid.V.shape[1]
    for rank in (n_dof, -2):
        with pytest.raises(InputError, match=rf"rank {rank}: .* 0 to {n_dof - 1}"):
            grid(rank=rank)


# ---- what the result must not depend on -----------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
@torch.no_grad()
def test_batch_size_changes_nothing(peptide, batch_size):
    samplings = GRIDS[0][1]
    crystal = peptide("2ol9")
    value = OnePhonon(crystal, *samplings, batch_size=batch_size)(use_data_adp=True)
    # Other orders of summation: rounding.
    assert relative(value, OnePhonon(crystal, *samplings)(use_data_adp=True)) <= 1e-12


@torch.no_grad()
def test_masked_points_do_not_touch_the_others(peptide):
    samplings = GRIDS[0][1]
    crystal = peptide("2ol9")
    whole = OnePhonon(crystal, *samplings)
    limited = OnePhonon(crystal, *samplings, res_limit=4.0)
    inside = crystal.cell.resolution(whole.q_grid) >= 4.0
    assert 0 < int(inside.sum()) < len(inside)
    assert torch.equal(limited.valid, whole.valid & inside)
    expected = torch.where(inside, whole(), torch.nan)
    # The model's ADPs are the same too; points share chunks with others: rounding.
    assert relative(limited(), expected) <= 1e-12


def test_points_do_not_touch_each_other(peptide):
    hkl = random_hkl(12)
    crystal = peptide("5wkd")
    alone = torch.cat([at(crystal, h[None]) for h in hkl])
    assert relative(at(crystal, hkl), alone) <= 1e-12  # other orders of summation


def test_friedel(peptide):
    for crystal in (peptide("2ol9"), peptide("5wkd")):
        hkl = random_hkl()
        assert relative(at(crystal, -hkl), at(crystal, hkl)) <= ROUNDING


@pytest.mark.parametrize("group_by", ["asu", "residue"])
@pytest.mark.parametrize("name", ["5zck", "5wkd", "P 31 2 1", "P 61"])
def test_laue_symmetry(peptide, name, group_by):
    crystal = tilted(made_up(name)) if " " in name else peptide(name)
    options = {"gnm_cutoff": CUTOFF, "gamma_inter": 0.3, "group_by": group_by}
    hkl = random_hkl(8)
    here = at(crystal, hkl, **options)
    # The operator x -> R x turns h into h R. The identity is left out.
    for rotation in crystal.rotations[1:]:
        assert relative(at(crystal, hkl @ rotation, **options), here) <= ROUNDING
    # Turning by the transpose is another operation altogether where axes are not orthogonal.
    if name in ("P 31 2 1", "P 61"):
        assert relative(at(crystal, hkl @ crystal.rotations[1].T, **options), here) > 1e-3


@torch.no_grad()
def test_body_origin_changes_nothing(peptide):
    crystal, hkl = peptide("5wkd"), random_hkl(10)
    here = OnePhonon(crystal, q_vectors=crystal.cell.q_from_hkl(hkl))
    bodies = here.bodies
    generator = torch.Generator().manual_seed(0)
    shift = 5.0 * torch.randn(bodies.n_bodies, 3, generator=generator, dtype=torch.float64)
    moved = replace(bodies, offsets=bodies.offsets + shift[bodies.body])
    lattice = LatticeModel.build(moved, here.contacts, here.spring_source, here.mesh)
    there = BoundModel(lattice, QSource(q=here.q_vectors))
    for use_data_adp in (False, True):
        expected = here(use_data_adp=use_data_adp)
        assert relative(there.intensity(use_data_adp=use_data_adp), expected) <= ROUNDING


def test_asymmetric_unit_may_stand_in_any_cell(peptide):
    hkl = random_hkl(10)
    for crystal in (peptide("2ol9"), peptide("5wkd"), made_up("P 61")):
        options = {"gnm_cutoff": CUTOFF, "gamma_inter": 0.3}
        away = crystal.positions_frac + crystal.positions_frac.new_tensor([2.0, -1.0, 3.0])
        moved = crystal.replace(positions_frac=away)
        assert relative(at(moved, hkl, **options), at(crystal, hkl, **options)) <= ROUNDING


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 31 2 1"])
def test_each_residue_may_stand_in_any_cell(spacegroup):
    # With equal springs it does not matter which copies make up the asymmetric unit.
    hkl = random_hkl(10)
    crystal = made_up(spacegroup)
    options = {"gnm_cutoff": CUTOFF, "group_by": "residue"}
    away = crystal.positions_frac.clone()
    away[:2] += away.new_tensor([1.0, -2.0, 0.0])
    moved = crystal.replace(positions_frac=away)
    assert relative(at(moved, hkl, **options), at(crystal, hkl, **options)) <= ROUNDING


@pytest.mark.parametrize(
    "springs",
    [
        {"gamma_intra": 0.7, "gamma_inter": 0.3},
        {"model": "anm", "gamma_intra": 0.7, "gamma_inter": 0.3},
        {"model": "hybrid", "k_par": 1.1, "k_perp": 0.2},
    ],
)
def test_springs_twice_as_stiff_halve_the_intensity(springs):
    crystal, hkl = made_up("P 1 21 1"), random_hkl(10)
    doubled = {k: 2 * v if k != "model" else v for k, v in springs.items()}
    once = at(crystal, hkl, gnm_cutoff=CUTOFF, **springs)
    assert relative(2 * at(crystal, hkl, gnm_cutoff=CUTOFF, **doubled), once) <= ROUNDING


def test_spring_scale_cancels_when_the_scale_follows_from_b():
    crystal, hkl = made_up("P 1 21 1"), random_hkl(10)
    q = crystal.cell.q_from_hkl(hkl)
    options = {"q_vectors": q, "gnm_cutoff": CUTOFF}
    once = OnePhonon(crystal, **options)()
    stiff = OnePhonon(crystal, **options, gamma_intra=9.0, gamma_inter=9.0)()
    assert relative(stiff, once) <= ROUNDING


# ---- missing points and gradients -----------------------------------------------------------


@pytest.mark.parametrize("rank", [-1, 0, 3])
@pytest.mark.parametrize("use_data_adp", [True, False])
def test_missing_points_are_nan_and_keep_out_of_gradients(rank, use_data_adp):
    crystal = made_up("P 1")
    hkl = torch.tensor(
        [[0, 0, 0], [1, 2, -1], [0.3, 0.2, 0.1], [1.2, -0.4, 2.2], [9.1, 8.2, 7.3], [2, 1, 0.5]],
        dtype=torch.float64,
    )
    q = crystal.cell.q_from_hkl(hkl).requires_grad_()
    gamma = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    model = OnePhonon(crystal, q_vectors=q, gnm_cutoff=CUTOFF, gamma_inter=gamma, res_limit=1.0)
    value = model(rank=rank, use_data_adp=use_data_adp)
    assert value.isnan().tolist() == [True, True, False, False, True, False]
    assert value.isnan().tolist() == (~model.valid).tolist()
    assert model.res_mask.tolist() == [True, True, True, True, False, True]
    value[model.valid].sum().backward()
    assert bool(torch.isfinite(gamma.grad))
    assert float(gamma.grad) != 0.0
    assert bool(torch.isfinite(q.grad).all())
    assert (q.grad != 0).any(1).tolist() == model.valid.tolist()


def test_gradient_of_nansum_is_that_of_the_valid_points():
    crystal = made_up("P 1")
    gradients = []
    for add in (torch.nansum, lambda value: value[~value.isnan()].sum()):
        model = OnePhonon(crystal, *[(0, 2, 2)] * 3, gnm_cutoff=CUTOFF)
        add(model()).backward()
        gradients.append(model.gamma_inter.grad)
    assert float(gradients[0]) == float(gradients[1]) != 0.0


def test_gradients_against_finite_differences():
    crystal = made_up("P 1", n_atoms=4)
    q = crystal.cell.q_from_hkl(random_hkl(3)) / 3

    def value(q, gamma_intra, gamma_inter, frac, U, occupancies, cell):
        varied = crystal.replace(
            positions_frac=frac, U=(U + U.mT) / 2, occupancies=occupancies,
            cell=replace(crystal.cell, matrix=cell),
        )  # fmt: skip
        model = OnePhonon(
            varied, q_vectors=q, group_by="chain", gnm_cutoff=CUTOFF,
            gamma_intra=gamma_intra, gamma_inter=gamma_inter,
        )  # fmt: skip
        model.mesh = (2, 1, 1)
        return torch.cat([model(), model(use_data_adp=True)])

    inputs = (
        q, torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64),
        crystal.positions_frac, crystal.U, crystal.occupancies.clone(), crystal.cell.matrix,
    )  # fmt: skip
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    # gradcheck's own tolerances suit steps of 1e-6 in float64.
    assert torch.autograd.gradcheck(value, leaves)
