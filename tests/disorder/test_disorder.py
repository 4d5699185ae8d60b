"""Components together: sums, shares, and what they take of the atoms' U."""

from dataclasses import dataclass

import pytest
import torch
from torch.autograd import gradcheck

from crystals import made_up
from double_sums import double_sum, of_atoms, of_bodies
from onephonon.core.errors import InputError
from onephonon.crystal.crystal import isotropic_U, mean_square
from onephonon.disorder import Atoms, Disorder, DisorderWarning, Lattice, Rigid, rigid_motion
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.network.bodies import Bodies, gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.springs import ConstantSprings
from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.multiphonon.settings import Orders
from onephonon.scattering.points import list_points

#: Two float64 sums of some hundred terms, which partly cancel.
ROUNDING = 1e-12

#: Central differences of numbers of order one: truncated at 1e-12, rounded at 1e-16 / 1e-6.
STEP = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5}


def random(*shape, seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(*shape, dtype=torch.float64, generator=generator)


def uniform(spacegroup="P 1 21 1", B=16.0, **options):
    """A crystal of which every atom has the same B."""
    crystal = made_up(spacegroup, **options)
    return crystal.with_tensors(U=isotropic_U(torch.full_like(crystal.B, B)))


def some_points(crystal, n=6, size=1.5, seed=3):
    return list_points(crystal.cell, random(n, 3, seed=seed, size=size))


def lattice_of(crystal, **options):
    bodies = gather_bodies(crystal, "asu")
    contacts = find_contacts(bodies, 8.0)
    springs = ConstantSprings("gnm", 1.0, 0.5)
    return LatticeModel.build(bodies, contacts, springs, (2, 2, 2), **options)


@pytest.mark.parametrize("order", [1, 2, None])
def test_atoms_are_the_double_sum(order):
    bodies = gather_bodies(made_up("P 1 21 1"), "residue")
    points = some_points(bodies.crystal)
    for atoms, U in ((Atoms(share=0.4), 0.4 * bodies.U), (Atoms(), bodies.U)):
        found = atoms.intensity(bodies, points, bodies.U, order)
        wanted = double_sum(bodies, of_atoms(U), points.q, order)
        torch.testing.assert_close(found, wanted, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("order", [1, 2, 3, None])
def test_atoms_beside_bodies_have_every_order_exactly(order):
    """No other component has pairs of two bodies, and atoms meet it in each atom alone."""
    bodies = gather_bodies(uniform(), "residue")
    points = some_points(bodies.crystal)
    disorder = Disorder((Atoms(share=0.3), Rigid(share=0.5), Atoms()))
    C = of_bodies(bodies, Rigid(share=0.5).covariances(bodies)) + of_atoms(0.5 * bodies.U)
    found = disorder.intensity(bodies, points, order)
    wanted = double_sum(bodies, C, points.q, order)
    torch.testing.assert_close(found, wanted, rtol=ROUNDING, atol=ROUNDING)


@dataclass(frozen=True)
class OtherBodies(Rigid):
    """Rigid bodies that are not those of the other components."""

    of: Bodies | None = None

    def displacements(self, bodies):
        assert bodies is not self.of
        return super().displacements(self.of)

    def intensity(self, bodies, points, U, order, progress=None):
        assert bodies is not self.of
        return super().intensity(self.of, points, U, order, progress)


def test_products_of_pairs_are_all_that_is_left_out():
    """Whole copies move, and residues within them, each by half of U."""
    crystal = uniform()
    bodies, residues = gather_bodies(crystal, "asu"), gather_bodies(crystal, "residue")
    disorder = Disorder((Rigid(share=0.5), OtherBodies(share=0.5, of=residues)))
    C = of_bodies(bodies, Rigid(share=0.5).covariances(bodies))
    C = C + of_bodies(residues, Rigid(share=0.5).covariances(residues))
    directions = random(200, 3, seed=5)
    directions /= directions.norm(dim=1, keepdim=True)
    # Root mean square and mean of the error, relative to the mean intensity; without the products
    # in atoms the mean would be 8 % too small at 4 Å, and 47 % at 2 Å.
    for d, rms, mean in ((4.0, 0.0067, -0.0048), (2.0, 0.0350, 0.0098), (1.0, 0.0478, -0.0088)):
        points = list_points(crystal.cell, 2 * torch.pi / d * directions)
        first = disorder.intensity(bodies, points, 1)
        exact = double_sum(bodies, C, points.q, 1)
        torch.testing.assert_close(first, exact, rtol=ROUNDING, atol=ROUNDING)
        exact = double_sum(bodies, C, points.q)
        error = (disorder.intensity(bodies, points, None) - exact) / exact.mean()
        # The last digit given.
        assert float(error.square().mean().sqrt()) == pytest.approx(rms, abs=1e-4)
        assert float(error.mean()) == pytest.approx(mean, abs=1e-4)


def test_lattice_is_the_model():
    crystal = made_up("P 1 21 1")
    model = lattice_of(crystal)
    bodies, points = model.bodies, some_points(crystal)
    for number in (1, 2, None):
        bound = BoundModel(model, None, orders=Orders(number)).at(points)
        wanted = bound.intensity(use_data_adp=True)
        found = Lattice(model).intensity(bodies, points, bodies.U, number)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
        again = Disorder((Lattice(model),)).intensity(bodies, points, number)
        assert torch.equal(found, again)


def test_lattice_takes_its_share():
    crystal = made_up("P 1 21 1")
    model = lattice_of(crystal)
    bodies, points = gather_bodies(crystal, "residue"), some_points(crystal)
    part = Lattice(model, share=0.3)
    U = part.displacements(bodies)
    mean = bodies.mean(mean_square(U)) / bodies.mean(mean_square(bodies.U))
    assert float(mean) == pytest.approx(0.3, rel=1e-12)
    whole = Lattice(model).intensity(bodies, points, bodies.U, 1)
    found = part.intensity(bodies, points, bodies.U, 1)
    torch.testing.assert_close(found, 0.3 * whole, rtol=1e-12, atol=0)
    fixed = Lattice(lattice_of(crystal, scale=2.0))
    assert fixed.parameters == {}
    with pytest.raises(InputError, match=r"share=0.5 and a thermal scale of 2 both"):
        Lattice(fixed.model, share=0.5)
    with pytest.raises(InputError, match=r"lattice has 10 atoms in the cell, .* 6; build both"):
        part.intensity(gather_bodies(made_up("P 1 21 1", n_atoms=3)), points, U, 1)


def test_components_without_an_amount_take_what_is_left():
    crystal = uniform()
    bodies = gather_bodies(crystal, "asu")
    found = Disorder((Lattice(lattice_of(crystal), share=0.6), Rigid())).accounts(bodies)
    torch.testing.assert_close(found.shares, torch.tensor([0.6, 0.4], dtype=torch.float64))
    assert float(found.B_of_crystal) == pytest.approx(16.0)
    torch.testing.assert_close(found.left, bodies.U - found.taken.sum(0))
    assert "the share of 'rigid' is set to 0.4" in found.remarks[0]
    assert found.texts == ("lattice:share=0.6", "rigid:share=0.4")
    both = Disorder((Rigid(), Rigid(motion="tls"))).accounts(bodies)
    torch.testing.assert_close(both.shares, torch.tensor([0.5, 0.5], dtype=torch.float64))
    alone = Disorder((Rigid(),)).accounts(bodies)
    assert alone.remarks == ()
    three = Disorder((Rigid(share=0.25), Atoms())).accounts(bodies)
    torch.testing.assert_close(three.shares, torch.tensor([0.25, 0.75], dtype=torch.float64))
    assert three.left.abs().max() < 1e-15


def test_amounts_that_exceed_the_mean_are_refused():
    bodies = gather_bodies(uniform(), "asu")
    with pytest.raises(InputError) as caught:
        Disorder((Rigid(share=0.8), Atoms(share=0.5))).accounts(bodies)
    for part in ("of 16 Å^2", "'rigid:share=0.8' 12.8", "'atoms:share=0.5' 8", "together 20.8",
                 "A/UNK 1/"):  # fmt: skip
        assert part in str(caught.value)
    with pytest.raises(InputError, match=r"leaves nothing for 'rigid:motion=tls'"):
        Disorder((Rigid(share=1.0), Rigid(motion="tls"))).settled(bodies)
    with pytest.raises(InputError, match="no component"):
        Disorder(())
    with pytest.raises(InputError, match="only once"):
        Disorder((Atoms(), Atoms())).settled(bodies)


def test_atoms_that_have_less_are_counted():
    crystal = made_up("P 1 21 1")
    bodies = gather_bodies(crystal, "asu")
    disorder = Disorder((Rigid(share=0.9),))
    n = int((0.9 * crystal.B.mean() > crystal.B).sum())
    assert 0 < n < crystal.n_atoms
    with pytest.warns(
        DisorderWarning, match=f"{n} atoms? of 5 would move more, in some direction"
    ) as caught:
        disorder.check(bodies)
    assert str(crystal.labels[int(crystal.B.argmin())]) in str(caught[0].message)
    assert disorder.check(gather_bodies(uniform(), "asu")).remarks == ()


def test_gradients(monkeypatch):
    monkeypatch.setattr(rigid_motion, "STEPS", 3)  # gradients are exact for any number
    crystal = made_up("P 1", n_atoms=4)
    q = random(1, 3, seed=6, size=0.6)

    def intensity(sigma, share, q, positions, U, order):
        changed = crystal.with_tensors(positions=positions, U=0.5 * (U + U.mT))
        bodies = gather_bodies(changed, [0, 0, 0, 1])
        components = Rigid(sigma=sigma), Atoms(share=share), Rigid(motion="tls"), Atoms()
        points = list_points(changed.cell, q)
        return Disorder(components).intensity(bodies, points, order) / 10

    a = random(crystal.n_atoms, 3, 3, seed=1, size=0.15)
    U = a @ a.mT + 0.05 * torch.eye(3, dtype=torch.float64)
    inputs = [
        torch.tensor(0.2, dtype=torch.float64),
        torch.tensor(0.3, dtype=torch.float64),
        q,
        crystal.positions,
        U,
    ]
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    for order in (1, None):
        assert gradcheck(lambda *x, n=order: intensity(*x, n), inputs, **STEP)
