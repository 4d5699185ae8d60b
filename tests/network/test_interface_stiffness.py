"""A full stiffness for each interface between rigid copies."""

import pytest
import torch

from crystals import made_up
from onephonon import Crystal, InputError, OnePhonon
from onephonon.dynamics import stiffness_matrix as dynamics
from onephonon.network import interface_stiffness as stiffness
from onephonon.network.springs import SpringPlan

CUTOFF = 6.5
GROUPS = ["P 1", "P 1 21 1", "C 1 2 1", "P 21 21 21", "P 31 2 1", "P 61"]

#: Two float64 routes to one number, each some 1e3 terms behind a solve of condition below 1e4.
ROUNDING = 1e-9

HKL = torch.tensor(
    [[0.3, -0.2, 0.6], [0.5, 0.5, 0.5], [2.3, 1.7, -0.9], [0.2, 1.25, 0.1]], dtype=torch.float64
)


def listed(crystal, hkl=HKL, **options):
    q = crystal.cell.q_from_hkl(hkl)
    chosen = {"gnm_cutoff": CUTOFF, "thermal_scale": 1.0, "springs": SpringPlan(kind="stiffness")}
    return OnePhonon(crystal, q_vectors=q, **chosen | options)


def assert_same(ours, theirs, tolerance=ROUNDING):
    """Relative to the largest number: symmetry makes some vanish."""
    assert float(theirs.abs().max()) > 0
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def randomized(model, seed=0):
    """The model with any lower-triangular factors at all."""
    generator = torch.Generator().manual_seed(seed)
    free = model.springs.free
    with torch.no_grad():
        noise = torch.randn(free.shape, dtype=torch.float64, generator=generator)
        free.copy_(0.5 * noise.to(free))
    return model


@pytest.fixture(params=GROUPS)
def crystal(request):
    return made_up(request.param)


def test_started_from_contacts_it_is_the_anisotropic_network(crystal, monkeypatch):
    # Without the ridge an interface of few contacts has a singular matrix and no factor; all but.
    monkeypatch.setattr(stiffness, "RIDGE", 1e-9)
    plan = SpringPlan(kind="stiffness", start=0.7)
    ours = listed(crystal, springs=plan)(use_data_adp=True).detach()
    plain = listed(crystal, springs=None, model="anm", gamma_inter=0.7)
    # The ridge is 1e-9 of the stiffness; K has softer motions by its condition, below 1e3.
    assert_same(ours, plain(use_data_adp=True).detach(), 1e-6)


def test_the_ridge_is_small(crystal):
    ours = listed(crystal)(use_data_adp=True).detach()
    plain = listed(crystal, springs=None, model="anm")(use_data_adp=True).detach()
    difference = float(((ours - plain).abs() / plain.abs().max()).max())
    # A per cent of the mean, more in directions that few contacts resist.
    assert 1e-5 < difference < 0.3


def test_start_gives_the_matrices_their_size(crystal):
    one, three = (
        listed(crystal, springs=SpringPlan(kind="stiffness", start=start)).springs.values()
        for start in (1.0, 3.0)
    )
    assert_same(three.detach(), 3.0 * one.detach(), 1e-13)  # one multiplication, one factor
    assert len(one) == len(listed(crystal).springs.names)


def test_any_factors_keep_the_laue_symmetry(crystal):
    values = [
        randomized(listed(crystal, HKL @ rotation))(use_data_adp=True).detach()
        for rotation in crystal.rotations
    ]
    for value in values[1:]:
        assert_same(value, values[0])


def test_any_factors_are_positive(crystal):
    model = randomized(listed(crystal))
    S = model.springs.values().detach()
    assert_same(S.mT, S, 1e-14)
    eigenvalues = torch.linalg.eigvalsh(S)
    assert bool((eigenvalues > 0).all())
    K = dynamics.stiffness(model.bodies, model.force_constants(), HKL).detach()
    assert_same(K.mH, K, 1e-13)
    assert bool((torch.linalg.eigvalsh(K) > 0).all())
    # The upper triangle is not used.
    before = S.clone()
    with torch.no_grad():
        model.springs.free.add_(torch.ones_like(S).triu(1))
    assert torch.equal(model.springs.values().detach(), before)


def test_moving_everything_as_one_costs_nothing(crystal):
    # Translation and rotation of the whole crystal: no force and no torque on any body, summed
    # over its neighbours in all cells.
    model = randomized(listed(crystal))
    bodies, constants = model.bodies, model.force_constants()
    origin = torch.stack(
        [(bodies.positions - bodies.offsets)[bodies.body == b][0] for b in range(bodies.n_bodies)]
    )
    matrix = crystal.cell.matrix
    generator = torch.Generator().manual_seed(1)
    shift, libration = torch.randn(2, 3, dtype=torch.float64, generator=generator)

    def motion(body, cell):
        at = origin[body] + cell.to(matrix) @ matrix.T
        arm = torch.linalg.cross(libration.expand_as(at), at)
        return torch.cat([shift + arm, libration.expand_as(at)], dim=1)

    a, b, cell = constants.a, constants.b, constants.cell
    every = torch.arange(bodies.n_bodies)
    none = torch.zeros(len(every), 3)
    force = torch.einsum("bij,bj->bi", constants.onsite, motion(every, none))
    force = force.index_add(0, a, torch.einsum("pij,pj->pi", constants.coupling, motion(b, cell)))
    force = force.index_add(0, b, torch.einsum("pij,pi->pj", constants.coupling, motion(a, -cell)))
    size = float((constants.onsite.abs().sum() * motion(every, none).abs().max()).detach())
    assert float(force.detach().abs().max()) <= 1e-13 * size
    # Turned about itself alone a body is held.
    alone = torch.cat([torch.zeros(3, dtype=torch.float64), libration]).expand(bodies.n_bodies, 6)
    held = torch.einsum("bij,bj->bi", constants.onsite, alone)
    assert float(held.detach().abs().max()) > 1e-3


def test_order_of_atoms_changes_nothing(crystal):
    order = torch.tensor([3, 0, 4, 2, 1])
    f = crystal.form_factors
    moved = crystal.replace(
        positions_frac=crystal.positions_frac[order],
        U=crystal.U[order],
        occupancies=crystal.occupancies[order],
        masses=crystal.masses[order],
        form_factors=type(f)(f.a, f.b, f.c, f.kind[order]),
        labels=tuple(crystal.labels[n] for n in order.tolist()),
    )
    here, there = listed(crystal), listed(moved)
    assert_same(there(use_data_adp=True).detach(), here(use_data_adp=True).detach())
    # The same interfaces have the same matrices: neither centre nor frame hang on the order.
    ours = dict(zip(there.springs.names, there.springs.values().detach(), strict=True))
    for name, S in zip(here.springs.names, here.springs.values().detach(), strict=True):
        assert_same(ours[name], S)


def test_any_copy_may_be_the_asymmetric_unit(crystal):
    here = listed(crystal)(use_data_adp=True).detach()
    cell = crystal.cell
    for n in range(1, crystal.n_ops):
        rotation, translation = crystal.rotations[n], crystal.translations[n]
        libration = cell.matrix @ rotation @ cell.inverse
        away = translation.new_tensor([1.0, -1.0, 2.0])
        moved = crystal.replace(
            positions_frac=crystal.positions_frac @ rotation.T + translation + away,
            U=libration @ crystal.U @ libration.T,
        )
        assert_same(listed(moved)(use_data_adp=True).detach(), here)


@pytest.mark.parametrize("group_by", ["chain", "residue", "atom"])
def test_bodies_must_be_whole_copies(group_by):
    with pytest.raises(InputError, match="group_by='asu'"):
        listed(made_up("P 1 21 1"), group_by=group_by)


def test_copies_must_be_more_than_a_line():
    line = Crystal.from_atoms(
        (4, 5, 6, 90, 90, 90), "P 1", "CC", [[0.1, 0.1, 0.1], [0.4, 0.1, 0.1]]
    )
    with pytest.raises(InputError, match="more than a line of atoms"):
        listed(line)


@pytest.mark.parametrize("start", [0.0, -1.0, float("nan")])
def test_start_must_be_positive(start):
    with pytest.raises(InputError, match="give a positive spring constant"):
        listed(made_up("P 1"), springs=SpringPlan(kind="stiffness", start=start))
