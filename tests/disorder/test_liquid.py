"""Liquid-like motions against known numbers, the slow double sum, and their gradients."""

import math
import warnings
from dataclasses import replace

import pytest
import torch

from crystals import made_up, split
from onephonon import Crystal, InputError
from onephonon.crystal.reading.reader import read_crystal
from onephonon.disorder import Liquid
from onephonon.disorder.pair_reference import double_sum
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.points import list_points
from structures import DATA

#: The sums of the table are cut at 14 gamma, where the correlation is 1e-6; for the crystal it has
#: four decimals, for the copy seven.
TABLE_TOLERANCE = 1e-6
ROUNDING = {"crystal": 0.5e-4, "asu": 0.5e-7}

#: Both sums leave out correlations below 1e-10 only; a wrong term is 1e-3 or more.
TOLERANCE = 1e-8

#: U of the file (B/8 pi^2) in the displacements and Debye-Waller factors, gamma = 3 Å: first order
#: and all orders, in the crystal and within the copy; double sums over all pairs to 14 gamma.
TABLE = {
    "2ol9": {
        (-1 / 3, 0, 9 / 2): (141.2517, 146.6702, 91.7052750, 96.5500250),
        (4, 17 / 3, -9 / 2): (23.2221, 66.0305, 26.2054645, 68.9908561),
        (-1, 5 / 3, 1): (80.7011, 87.6343, 91.1170518, 98.0928133),
    },
    "5zck": {
        (-1 / 3, 0, 9 / 2): (175.6421, 184.4239, 265.9227811, 275.7044136),
        (-8 / 3, 6, -9 / 2): (170.9359, 331.0525, 205.1895420, 368.0853010),
        (-1, 5 / 2, 1): (397.9507, 433.4779, 355.3785335, 390.7331057),
    },
}

SIGMAS = torch.tensor([0.2, 0.3, 0.45], dtype=torch.float64)

OPTIONS = {
    "atoms": {"gamma": 0.7},
    "equal": {"gamma": 0.7, "sigma": 0.3},
    "along the axes": {"gamma": 0.7, "sigma": SIGMAS},
    "two lengths": {"gamma": 0.4, "gamma2": 0.8, "mix": 0.3, "share": 0.7},
}


def points_of(crystal, hkl):
    hkl = torch.as_tensor(hkl, dtype=torch.float64)
    return list_points(crystal.cell, crystal.cell.q_from_hkl(hkl), bragg_tolerance=0.0)


def on_the_axis():
    """Half an atom on a twofold axis, at one place with its copy; conformers at one place."""
    places = [[0.5, 0.3, 0.5], [0.7, 0.45, 0.6], [0.85, 0.2, 0.8]]
    crystal = Crystal.from_atoms(
        (6, 7, 8, 90, 95, 90), "P 1 2 1", "CNO", places, occupancies=[0.5, 1, 1], B=[9, 14, 11]
    )
    return split(crystal, [("A", 0.6), ("B", 0.4)], which={1})


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crystal = read_crystal(DATA / f"{name}.pdb", anisotropic=False)
    bodies = gather_bodies(crystal)
    points = points_of(crystal, list(TABLE[name]))
    expected = torch.tensor(list(TABLE[name].values()), dtype=torch.float64)
    cases = [(scope, order) for scope in ("crystal", "asu") for order in (1, None)]
    for column, (scope, order) in enumerate(cases):
        found = Liquid(3.0, scope=scope).intensity(bodies, points, bodies.U, order)
        atol = ROUNDING[scope]
        assert torch.allclose(found, expected[:, column], rtol=TABLE_TOLERANCE, atol=atol)


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 31 2 1", "on an axis"])
@pytest.mark.parametrize("scope", ["crystal", "asu", "body"])
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_double_sum(spacegroup, scope, options):
    crystal = on_the_axis() if spacegroup == "on an axis" else made_up(spacegroup, n_atoms=4)
    bodies = gather_bodies(crystal, "residue")
    component = Liquid(scope=scope, **OPTIONS[options])
    # Anisotropic, and more than the component gives.
    U = bodies.U + component.displacements(bodies)
    points = points_of(crystal, [[0.3, 1.2, -2.0], [2.0, -1.0, 3.0], [0.5, 4.0, 1.25]])
    motion = component.motion(bodies)
    reach = motion.correlation.reach(1e-10) if scope == "crystal" else 0.0
    for order in (1, 3, None):
        expected = double_sum(bodies, points.q, U, motion.covariance(bodies), reach, order)
        found = component.intensity(bodies, points, U, order)
        assert float(((found - expected) / expected.abs().max()).abs().max()) < TOLERANCE


def test_orders_add_up_at_every_length_of_q():
    crystal = made_up("P 1 21 1")
    bodies = gather_bodies(crystal)
    component = Liquid(2.0, scope="asu", sigma=0.5)
    U = component.displacements(bodies)
    direction = torch.tensor([[0.3, 0.7, 0.4]], dtype=torch.float64)
    lengths = torch.tensor([0.01, 20.0, 0.3, 5.0, 2.0], dtype=torch.float64)[:, None]
    points = list_points(crystal.cell, lengths * direction)
    expected = double_sum(bodies, points.q, U, component.motion(bodies).covariance(bodies), 0.0)
    found = component.intensity(bodies, points, U, None)
    assert torch.allclose(found, expected, rtol=1e-11, atol=0)
    assert float(expected[1]) > 0


def test_points_that_are_not_valid():
    crystal = made_up()
    bodies = gather_bodies(crystal)
    points = points_of(crystal, [[1.0, 0.0, 2.0], [0.5, 1.0, 2.0], [1.5, 0.0, 2.0]])
    points = replace(points, valid=torch.tensor([False, True, True]))
    gamma = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    found = Liquid(gamma).intensity(bodies, points, bodies.U, 1)
    assert found.isnan().tolist() == [True, False, False]
    found[1:].sum().backward()
    assert bool(gamma.grad.isfinite())
    none = replace(points, valid=torch.zeros(3, dtype=torch.bool))
    assert bool(Liquid(2.0).intensity(bodies, none, bodies.U, 1).isnan().all())


@pytest.mark.parametrize("scope", ["crystal", "asu"])
@pytest.mark.parametrize("amount", ["share", "sigma", "sigma_x"])
def test_gradients(scope, amount):
    # Atoms at one place among them: of the two conformers, and of the atom on the axis.
    crystal = on_the_axis()
    start = {"share": torch.tensor(0.7), "sigma": torch.tensor(0.3), "sigma_x": SIGMAS}[amount]
    q = crystal.cell.q_from_hkl(torch.tensor([[0.3, 1.2, -2.0], [1.0, -0.5, 0.7]]).double())
    key = "sigma" if amount == "sigma_x" else amount

    def intensity(positions, U, occupancies, cell, q, value, gamma, gamma2, mix):
        changed = crystal.with_tensors(positions=positions, U=U, occupancies=occupancies, cell=cell)
        bodies = gather_bodies(changed)
        component = Liquid(gamma, scope, gamma2=gamma2, mix=mix, **{key: value})
        points = list_points(changed.cell, q)
        return component.intensity(bodies, points, bodies.U, None)

    numbers = [torch.tensor(x, dtype=torch.float64) for x in (0.5, 0.3, 0.4)]
    tensors = (crystal.positions, crystal.U, crystal.occupancies, crystal.cell.matrix, q)
    inputs = [x.detach().clone().requires_grad_() for x in (*tensors, start.double(), *numbers)]
    # A step that leaves atoms at one place: beyond `COINCIDENT` the distance has its cusp.
    assert torch.autograd.gradcheck(intensity, inputs, eps=4e-7)


def test_second_derivatives():
    crystal = made_up(n_atoms=2)
    bodies = gather_bodies(crystal)
    points = points_of(crystal, [[0.5, 1.0, 2.0]])

    def intensity(sigma, gamma):
        return Liquid(gamma, sigma=sigma).intensity(bodies, points, bodies.U, None)

    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.3, 0.5)]
    assert torch.autograd.gradgradcheck(intensity, inputs)


def test_atoms_at_rest_have_finite_gradients():
    crystal = made_up(n_atoms=3)
    U = crystal.U.clone()
    U[1] = 0
    U.requires_grad_()
    bodies = gather_bodies(crystal.replace(U=U))
    points = points_of(crystal, [[0.5, 1.0, 2.0]])
    Liquid(1.0, scope="asu").intensity(bodies, points, bodies.U, None).sum().backward()
    assert bool(U.grad.isfinite().all())


def test_parameters_and_text():
    component = Liquid(8, scope="asu", sigma=0.25)
    assert component.text == "liquid:scope=asu,sigma=0.25,gamma=8"
    assert list(component.parameters) == ["sigma", "gamma"]
    changed = component.with_parameters({"gamma": torch.tensor(5.0, dtype=torch.float64)})
    assert (float(changed.gamma), changed.sigma) == (5.0, 0.25)
    assert list(Liquid(8, gamma2=30, mix=0.2).parameters) == ["share", "gamma", "gamma2", "mix"]
    three = Liquid(8, sigma=SIGMAS).with_parameters({"sigma_y": torch.tensor(0.9).double()})
    assert three.sigma.tolist() == pytest.approx([0.2, 0.9, 0.45])


def test_displacements():
    bodies = gather_bodies(made_up("P 31 2 1"))
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(Liquid(3, sigma=0.3).displacements(bodies), 0.09 * eye)
    mean = bodies.U.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    assert torch.allclose(Liquid(3, share=0.4).displacements(bodies), 0.4 * mean * eye)
    along = Liquid(3, sigma=SIGMAS).displacements(bodies)
    assert torch.allclose(along[0], torch.diag(SIGMAS.square()))
    # The other copies move along turned axes, by the same amounts.
    assert torch.allclose(torch.linalg.eigvalsh(along), SIGMAS.square().expand(len(along), 3))
    assert not torch.allclose(along[-1], along[0])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"gamma": 0}, "gamma=0"),
        ({"gamma": -2.0}, "gamma=-2"),
        ({"gamma": math.nan}, "gamma=nan"),
        ({"gamma": 3, "share": 1.5}, "share=1.5"),
        ({"gamma": 3, "share": 0.5, "sigma": 0.3}, "sigma=0.3 and share=0.5"),
        ({"gamma": 3, "scope": "molecule"}, "molecule"),
        ({"gamma": 3, "amplitude": "own"}, "own"),
        ({"gamma": 3, "amplitude": "equal"}, "needs sigma"),
        ({"gamma": 3, "amplitude": "atoms", "sigma": 0.3}, "sigma=0.3"),
        ({"gamma": 3, "gamma2": 9}, "gamma2 without mix"),
        ({"gamma": 3, "mix": 0.5}, "mix without gamma2"),
        ({"gamma": 3, "gamma2": 9, "mix": 1.5}, "mix=1.5"),
        ({"gamma": 3, "sigma": torch.ones(2)}, "shape"),
    ],
)
def test_invalid_input(options, named):
    with pytest.raises(InputError, match=named):
        Liquid(**options)


def test_unknown_parameter():
    with pytest.raises(InputError, match="no parameter 'sigma'"):
        Liquid(3).with_parameters({"sigma": torch.tensor(0.3)})
