"""Independent rigid bodies against the double sum over atoms."""

import pytest
import torch
from torch.autograd import gradcheck

from crystals import CELLS, made_up
from double_sums import double_sum, of_bodies
from onephonon.core.errors import InputError
from onephonon.crystal.crystal import isotropic_U, mean_square
from onephonon.disorder import Rigid, rigid_motion
from onephonon.disorder.rigid_motion import fitted_motion
from onephonon.dynamics.tls import fit_tls
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import list_points

#: Two float64 sums of some hundred terms, which partly cancel.
ROUNDING = 1e-12

#: The series of librations is asked for this accuracy.
SERIES = 1e-10

#: Central differences of numbers of order one: truncated at 1e-12, rounded at 1e-16 / 1e-6.
STEP = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5}


def random(*shape, seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(*shape, dtype=torch.float64, generator=generator)


def anisotropic(crystal, seed=1):
    """The crystal with a U of its own, positive definite, for every atom."""
    a = random(crystal.n_atoms, 3, 3, seed=seed, size=0.15)
    eye = torch.eye(3, dtype=torch.float64)
    return crystal.with_tensors(U=a @ a.mT + 0.05 * eye)


def some_points(crystal, n=6, size=1.5, seed=3):
    return list_points(crystal.cell, random(n, 3, seed=seed, size=size))


GROUPS = {
    "asu": ("P 21 21 21", "asu"),
    "residue": ("P 1 21 1", "residue"),
    "mixed": ("P 31 2 1", [0, 0, 0, 1, 2]),
    "atom": ("P 1", "atom"),
}


def bodies_of(name):
    spacegroup, grouping = GROUPS[name]
    return gather_bodies(anisotropic(made_up(spacegroup)), grouping)


@pytest.mark.parametrize("order", [1, 3, None])
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("options", [{"sigma": 0.2}, {"share": 0.6}, {}])
def test_translations_are_the_double_sum(name, options, order):
    bodies = bodies_of(name)
    points = some_points(bodies.crystal)
    rigid = Rigid(**options)
    C = rigid.covariances(bodies)
    found = rigid.intensity(bodies, points, bodies.U, order)
    wanted = double_sum(bodies, of_bodies(bodies, C), points.q, order)
    torch.testing.assert_close(found, wanted, rtol=ROUNDING, atol=ROUNDING)


def test_amount_of_translations():
    bodies = bodies_of("mixed")
    eye = torch.eye(3, dtype=torch.float64)
    by_sigma = Rigid(sigma=0.2).displacements(bodies)
    torch.testing.assert_close(by_sigma, (0.04 * eye).expand_as(by_sigma))
    by_share = mean_square(Rigid(share=0.5).displacements(bodies))
    U = mean_square(bodies.U)
    for b in range(bodies.n_bodies):
        here = bodies.body == b
        torch.testing.assert_close(by_share[here], (0.5 * U[here].mean()).expand(int(here.sum())))


@pytest.mark.parametrize("order", [1, 3, None])
@pytest.mark.parametrize("name", GROUPS)
def test_translations_and_librations_are_the_double_sum(name, order):
    bodies = bodies_of(name)
    points = some_points(bodies.crystal, size=0.8)
    rigid = Rigid(motion="tls", share=0.7, numerics=Numerics(rtol=SERIES))
    C = rigid.covariances(bodies)
    found = rigid.intensity(bodies, points, bodies.U, order)
    wanted = double_sum(bodies, of_bodies(bodies, C), points.q, order)
    # The accuracy is relative to the mean intensity.
    size = float(wanted.mean())
    torch.testing.assert_close(found, wanted, rtol=0, atol=10 * SERIES * size)


@pytest.mark.parametrize("spacegroup", ["P 31 2 1", "P -1"])
def test_fitted_motion_of_a_body_that_has_one(spacegroup):
    """U of a motion gives it back, but for the trace of S, about the centroid."""
    crystal = made_up(spacegroup, n_atoms=9, cell=CELLS.get(spacegroup, CELLS["P 1"]))
    bodies = gather_bodies(crystal, "asu")
    a = random(6, 6, seed=4, size=0.2)
    block = a @ a.T + 0.01 * torch.eye(6, dtype=torch.float64)
    block[3:] *= 0.3
    block[:, 3:] *= 0.3
    trace = block[:3, 3:].trace() / 3
    block[:3, 3:] -= trace * torch.eye(3, dtype=torch.float64)
    block[3:, :3] -= trace * torch.eye(3, dtype=torch.float64)
    assert torch.linalg.eigvalsh(block).min() > 0
    n = crystal.n_atoms
    U = torch.stack(
        [of_bodies(bodies, block.expand(bodies.n_bodies, 6, 6))[j, j] for j in range(n)]
    )
    bodies = gather_bodies(crystal.with_tensors(U=U), "asu")
    C = fitted_motion(bodies)
    # The design's condition number is about 1e2.
    torch.testing.assert_close(C[0], block, rtol=1e-11, atol=1e-12)
    # Every copy has the U of its atoms, turned as they are.
    torch.testing.assert_close(
        Rigid(motion="tls").displacements(bodies), bodies.U, rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("name", GROUPS)
def test_fitted_motion_is_a_motion_with_the_mean_U(name, isotropic):
    bodies = bodies_of(name)
    if isotropic:
        crystal = bodies.crystal.with_tensors(U=isotropic_U(bodies.crystal.B))
        bodies = gather_bodies(crystal, GROUPS[name][1])
    C = fitted_motion(bodies)
    assert torch.linalg.eigvalsh(C).min() > -1e-15  # rounding of numbers below 1
    found = mean_square(Rigid(motion="tls").displacements(bodies))
    wanted = mean_square(bodies.U)
    for b in range(bodies.n_bodies):
        here = bodies.body == b
        torch.testing.assert_close(found[here].mean(), wanted[here].mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("isotropic", [True, False])
def test_fitted_motion_is_the_best_of_all_motions(monkeypatch, isotropic):
    """By ten times as many steps as are taken, where the fit without limits is no motion."""
    crystal = anisotropic(made_up("P 1", n_atoms=12), seed=4)
    if isotropic:
        crystal = crystal.with_tensors(U=isotropic_U(crystal.B))
    bodies = gather_bodies(crystal, "asu")
    fitted = fit_tls(bodies, bodies.U).tls
    assert torch.linalg.eigvalsh(rigid_motion._blocks(fitted)).min() < -1e-3

    def misfit(steps):
        monkeypatch.setattr(rigid_motion, "STEPS", steps)
        U = Rigid(motion="tls").displacements(bodies)
        difference = mean_square(U - bodies.U) if isotropic else U - bodies.U
        return float(difference.square().mean().sqrt())

    taken, best, start = misfit(rigid_motion.STEPS), misfit(10 * rigid_motion.STEPS), misfit(0)
    assert taken == pytest.approx(best, rel=0.01)
    assert best < (0.9 if isotropic else 0.995) * start


def test_a_line_does_not_librate_about_itself():
    places = [[0.1, 0.2, 0.3], [0.15, 0.25, 0.4], [0.2, 0.3, 0.5]]
    crystal = anisotropic(made_up("P 1", n_atoms=3))
    line = crystal.replace(positions_frac=torch.tensor(places, dtype=torch.float64))
    bodies = gather_bodies(line, "asu")
    along = bodies.offsets[2] / bodies.offsets[2].norm()
    libration = fitted_motion(bodies)[0, 3:, 3:] @ along
    assert libration.norm() < 1e-15
    assert fitted_motion(bodies)[0, 3:, 3:].trace() > 1e-3


@pytest.mark.parametrize("order", [1, None])
@pytest.mark.parametrize(
    ("options", "grouping"),
    [
        ({"sigma": 0.3}, [0, 0, 1, 1, 2]),
        ({"share": 0.6}, [0, 0, 1, 1, 2]),
        # A body of one atom beside others, all in one, and atoms alone.
        ({"motion": "tls", "share": 0.6}, [0, 0, 0, 0, 1]),
        ({"motion": "tls", "share": 0.6}, "asu"),
        ({"motion": "tls", "share": 0.6}, "atom"),
    ],
)
def test_gradients(monkeypatch, options, grouping, order):
    monkeypatch.setattr(rigid_motion, "STEPS", 3)  # gradients are exact for any number
    crystal = anisotropic(made_up("P 1 21 1"))
    key = "sigma" if "sigma" in options else "share"
    # The last point is a Bragg point, which must not put NaN into a gradient.
    bragg = torch.ones(1, 3, dtype=torch.float64)

    def intensity(amount, q, positions, U, occupancies, cell):
        changed = crystal.with_tensors(
            positions=positions, U=0.5 * (U + U.mT), occupancies=occupancies, cell=cell
        )
        bodies = gather_bodies(changed, grouping)
        points = list_points(changed.cell, torch.cat([q, changed.cell.q_from_hkl(bragg)]))
        rigid = Rigid(**{**options, key: 0.5}, numerics=Numerics(rtol=SERIES)).with_parameters(
            {key: amount}
        )
        found = rigid.intensity(bodies, points, bodies.U, order)
        assert found[-1].isnan()
        return found[:-1] / 10

    q, amount = random(2, 3, seed=6, size=0.8), torch.tensor(options[key], dtype=torch.float64)
    inputs = [amount, q, crystal.positions, crystal.U, crystal.occupancies, crystal.cell.matrix]
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    assert gradcheck(intensity, inputs, **STEP)


@pytest.mark.parametrize("options", [{"sigma": 0.3}, {"motion": "tls", "share": 0.6}])
def test_single_precision(options):
    double = bodies_of("mixed")
    single = gather_bodies(double.crystal.to(dtype=torch.float32), GROUPS["mixed"][1])
    points = some_points(double.crystal, size=0.8)
    wanted = Rigid(**options).intensity(double, points, double.U, None)
    points = list_points(single.crystal.cell, points.q.float())
    found = Rigid(**options).intensity(single, points, single.U, None)
    assert found.dtype == torch.float32
    # Rounding of 1e-7, times the condition number of the fit, about 1e2.
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4 * float(wanted.mean()))


def test_what_cannot_be():
    with pytest.raises(InputError, match="'rotations' is not one of translations, tls"):
        Rigid(motion="rotations")
    with pytest.raises(InputError, match=r"sigma=0.2 and share=0.5 both say"):
        Rigid(sigma=0.2, share=0.5)
    with pytest.raises(InputError, match="give share instead of sigma"):
        Rigid(motion="tls", sigma=0.2)
    with pytest.raises(InputError, match=r"sigma=-1 cannot be; give one number above 0"):
        Rigid(sigma=-1.0)
    with pytest.raises(InputError, match="has no parameter 'gamma'; there are sigma"):
        Rigid(sigma=0.2).with_parameters({"gamma": torch.tensor(1.0)})
    with pytest.raises(InputError, match=r"share=0 cannot be"):
        Rigid().with_parameters({"share": torch.tensor(0.0)})
