"""The crystal on its springs, without any q."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch

from crystals import made_up
from onephonon import LatticeModel, OnePhonon
from onephonon.dynamics.lattice_model import default_mesh, lattice_of
from onephonon.dynamics.spectra import density_of_states, dispersion, sound_speeds
from onephonon.dynamics.tls import model_tls
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import Springs
from onephonon.network.springs import ConstantSprings, SpringPlan

CUTOFF = 6.5
MESH = (2, 3, 2)


def lattice(springs=None, **options):
    bodies = gather_bodies(made_up("P 1 21 1"), "asu")
    springs = springs or ConstantSprings("gnm", 1.0, 0.5)
    return LatticeModel.build(bodies, find_contacts(bodies, CUTOFF), springs, MESH, **options)


def model(**options):
    crystal = made_up("P 1 21 1")
    return OnePhonon(crystal, gnm_cutoff=CUTOFF, gamma_inter=0.5, mesh=MESH, **options)


def test_it_is_what_a_model_without_q_holds():
    ours, theirs = lattice(), model().lattice
    for name in ("U", "ADP", "covar", "thermal_scale"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert str(ours.contact_table()) == str(theirs.contact_table())


def test_it_is_frozen():
    with pytest.raises(FrozenInstanceError):
        lattice().mesh = (3, 3, 3)


def test_spectra_and_tensors_take_it_or_a_model_that_holds_it():
    ours, theirs = lattice(), model()
    assert lattice_of(ours) is ours
    assert torch.equal(model_tls(ours).T, model_tls(theirs).T)
    assert torch.equal(dispersion(ours).frequencies, dispersion(theirs).frequencies)
    assert torch.equal(density_of_states(ours).density, density_of_states(theirs).density)
    along = (1.0, 0.0, 0.0)
    assert torch.equal(sound_speeds(ours, along, 300.0), sound_speeds(theirs, along, 300.0))


def test_a_fixed_scale_multiplies_displacements():
    one, two = lattice(scale=1.0), lattice(scale=torch.tensor(2.0, dtype=torch.float64))
    assert two.thermal_scale.item() == 2.0
    torch.testing.assert_close(two.U, 2 * one.U, rtol=1e-15, atol=0)  # one multiplication
    assert torch.equal(one.displacements_at_unit_scale(), two.displacements_at_unit_scale())


def test_other_springs_are_another_lattice():
    first = lattice(SpringPlanSprings())
    ones = torch.ones_like(first.contacts.distance)
    stiff = first.with_springs(Springs(4 * ones, 4 * ones))
    unit = first.with_springs(Springs(ones, ones))
    # The file's mean B fixes the scale, which is as many times larger.
    torch.testing.assert_close(stiff.thermal_scale, 4 * unit.thermal_scale, rtol=1e-13, atol=0)
    assert first.spring_classes is not None
    assert stiff.spring_classes is None  # they belonged to the springs before
    assert stiff.bodies is first.bodies


class SpringPlanSprings:
    """A source of springs with classes, by interface."""

    def contact_springs(self, bodies, contacts):
        return self._module(bodies, contacts).springs()

    def classes(self):
        return self.made.classes()

    def force_constants(self, *_):
        raise AssertionError("springs of contacts are summed up")

    def _module(self, bodies, contacts):
        from onephonon.network.springs import ClassSprings

        self.made = ClassSprings(bodies, contacts, SpringPlan())
        return self.made


def test_results_are_kept_and_carry_the_graph_they_were_made_with():
    gamma = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    made = lattice(ConstantSprings("gnm", 1.0, gamma))
    with torch.no_grad():
        assert not made.displacements_at_unit_scale().requires_grad
    with_graph = made.displacements_at_unit_scale()
    assert with_graph.requires_grad
    assert made.displacements_at_unit_scale() is with_graph
    (slope,) = torch.autograd.grad(made.ADP.sum() * made.thermal_scale, gamma)
    step = 1e-6
    around = []
    for value in (0.5 - step, 0.5 + step):
        other = lattice(ConstantSprings("gnm", 1.0, torch.tensor(value, dtype=torch.float64)))
        around.append(float(other.ADP.sum() * other.thermal_scale))
    # A central difference: step squared times the third derivative.
    assert slope.item() == pytest.approx((around[1] - around[0]) / (2 * step), rel=1e-7)


def test_results_made_in_inference_mode_are_not_kept():
    gamma = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    made = lattice(ConstantSprings("gnm", 1.0, gamma))
    with torch.inference_mode():
        assert made.displacements_at_unit_scale().is_inference()
    made.ADP.sum().backward()
    assert gamma.grad is not None


def test_the_default_mesh_stands_for_60_angstrom_and_some_cells():
    crystal = made_up("P 1 21 1")
    a, b, c = crystal.cell.parameters[:3]
    expected = tuple(math.ceil(60.0 / x) for x in (a, b, c))
    assert default_mesh(crystal, 12) == expected
    assert OnePhonon(crystal, gnm_cutoff=CUTOFF).mesh == expected
    # Cells of 60.01/12 Å have 12, not 13: a mesh does not depend on the last digits of a cell.
    large = made_up("P 61", cell=(60.0 / 12 - 1e-5, 60.0 / 12 - 1e-5, 80.0, 90.0, 90.0, 120.0))
    assert default_mesh(large, 150) == (12, 12, 5)
    assert default_mesh(large, 151) == (12, 12, 3)
