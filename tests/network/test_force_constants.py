"""Springs, the force constants they add up to, and K(k)."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crystals import CELLS, made_up, simple_lattice
from onephonon import Crystal, InputError, NetworkError, OnePhonon
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import assign_springs, force_constants

CUTOFF = 6.5

SPRINGS = {
    "gnm": {"model": "gnm", "gamma_intra": 0.7, "gamma_inter": 0.3},
    "anm": {"model": "anm", "gamma_intra": 0.7, "gamma_inter": 0.3},
    "hybrid": {"model": "hybrid", "k_par": (1.1, 0.9), "k_perp": (0.2, 0.1)},
}


def network(crystal, group_by="asu", cutoff=CUTOFF, **springs):
    bodies = gather_bodies(crystal, group_by)
    contacts = find_contacts(bodies, cutoff)
    assigned = assign_springs(contacts, **springs)
    return bodies, contacts, assigned, force_constants(bodies, contacts, assigned)


def K_at(k, crystal, group_by="asu", **springs):
    bodies, _, _, constants = network(crystal, group_by, **springs)
    return stiffness(bodies, constants, torch.as_tensor(k, dtype=torch.float64).reshape(-1, 3))


# ---- springs --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contacts():
    found = find_contacts(gather_bodies(made_up("P 1 21 1")), CUTOFF)
    assert 0 < int(found.same_copy.sum()) < found.n_contacts
    return found


def assert_exactly(tensor, contacts, intra, inter):
    assert tensor.dtype == torch.float64
    expected = [intra if same else inter for same in contacts.same_copy.tolist()]
    assert tensor.tolist() == expected


# 0.2, 0.1 and 1/3 are not single-precision numbers: 0.2 in float32 is 0.20000000298.
def test_gnm_springs_are_equal_in_all_directions(contacts):
    springs = assign_springs(contacts, "gnm", gamma_intra=0.2, gamma_inter=1 / 3)
    assert_exactly(springs.k_par, contacts, 0.2, 1 / 3)
    assert_exactly(springs.k_perp, contacts, 0.2, 1 / 3)


def test_gnm_is_the_default_with_springs_of_one(contacts):
    springs = assign_springs(contacts)
    assert_exactly(springs.k_par, contacts, 1.0, 1.0)
    assert_exactly(springs.k_perp, contacts, 1.0, 1.0)


def test_anm_springs_act_along_the_contact(contacts):
    springs = assign_springs(contacts, "anm", gamma_intra=0.2, gamma_inter=0.1)
    assert_exactly(springs.k_par, contacts, 0.2, 0.1)
    assert_exactly(springs.k_perp, contacts, 0.0, 0.0)


def test_hybrid_springs_are_free(contacts):
    springs = assign_springs(contacts, "hybrid", k_par=0.2, k_perp=(0.1, 1 / 3))
    assert_exactly(springs.k_par, contacts, 0.2, 0.2)
    assert_exactly(springs.k_perp, contacts, 0.1, 1 / 3)


def test_springs_of_the_module_keep_double_precision():
    crystal, box = made_up("P 1 21 1"), [(0, 1, 2)] * 3
    model = OnePhonon(crystal, *box, gnm_cutoff=CUTOFF, gamma_intra=0.2, gamma_inter=0.1)
    assert (model.gamma_intra.item(), model.gamma_inter.item()) == (0.2, 0.1)
    assert_exactly(model.contact_springs().k_par, model.contacts, 0.2, 0.1)
    options = {"model": "hybrid", "k_par": 0.2, "k_perp": (0.1, 0.3)}
    model = OnePhonon(crystal, *box, gnm_cutoff=CUTOFF, **options)
    assert_exactly(model.contact_springs().k_par, model.contacts, 0.2, 0.2)
    assert_exactly(model.contact_springs().k_perp, model.contacts, 0.1, 0.3)


def test_springs_carry_gradients(contacts):
    intra = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    pair = torch.tensor([0.3, 0.4], dtype=torch.float64, requires_grad=True)
    springs = assign_springs(contacts, "hybrid", k_par=(intra, 0.5), k_perp=pair)
    (springs.k_par.sum() + 2 * springs.k_perp.sum()).backward()
    n_intra = int(contacts.same_copy.sum())
    n_inter = contacts.n_contacts - n_intra
    assert intra.grad.item() == n_intra
    assert pair.grad.tolist() == [2 * n_intra, 2 * n_inter]


@pytest.mark.parametrize(
    ("springs", "message"),
    [
        ({"model": "elastic"}, r"model 'elastic' is not one of gnm, anm, hybrid"),
        ({"model": "hybrid"}, r"'hybrid' needs both k_par and k_perp"),
        ({"model": "hybrid", "k_par": 1.0}, r"'hybrid' needs both k_par and k_perp"),
        ({"model": "hybrid", "k_perp": 1.0}, r"'hybrid' needs both k_par and k_perp"),
        ({"model": "hybrid", "k_par": (1.0, 2.0, 3.0), "k_perp": 0.1}, r"k_par has 3 values"),
        ({"model": "gnm", "k_perp": 0.1}, r"'gnm' has gamma_intra and\s+gamma_inter"),
        ({"model": "anm", "k_par": 0.1}, r"'anm' has gamma_intra and\s+gamma_inter"),
    ],
)
def test_springs_that_do_not_fit_the_model(contacts, springs, message):
    with pytest.raises(InputError, match=message):
        assign_springs(contacts, **springs)
    with pytest.raises(InputError, match=message):
        OnePhonon(made_up("P 1 21 1"), *[(0, 1, 2)] * 3, gnm_cutoff=CUTOFF, **springs)


@pytest.mark.parametrize(
    ("springs", "value"),
    [
        ({"gamma_intra": -1.5}, r"-1\.5"),
        ({"gamma_inter": math.nan}, "nan"),
        ({"model": "anm", "gamma_inter": math.inf}, "inf"),
        ({"model": "hybrid", "k_par": 1.0, "k_perp": -0.1}, r"k_perp.* -0\.1"),
        ({"model": "hybrid", "k_par": (1.0, -2.5), "k_perp": 0.1}, r"k_par.* -2\.5"),
    ],
)
def test_springs_that_cannot_be(springs, value):
    with pytest.raises(InputError, match=rf"{value}.*finite and not negative"):
        OnePhonon(made_up("P 1 21 1"), *[(0, 1, 2)] * 3, gnm_cutoff=CUTOFF, **springs)


@pytest.mark.parametrize("k_par", [torch.ones(3), torch.ones(2, 2)])
def test_tensor_of_springs_of_the_wrong_shape(contacts, k_par):
    with pytest.raises(InputError, match="k_par"):
        assign_springs(contacts, "hybrid", k_par=k_par, k_perp=0.1)


# ---- K(k) -----------------------------------------------------------------------------------

K_CASES = [
    (spacegroup, group_by, springs)
    for spacegroup in ("P 1", "C 1 2 1", "P 31 2 1")
    for group_by in ("asu", "residue")
    for springs in SPRINGS
]


@pytest.mark.parametrize(("spacegroup", "group_by", "springs"), K_CASES)
def test_quadratic_form_of_K_is_the_energy_of_a_wave(spacegroup, group_by, springs):
    crystal = made_up(spacegroup)
    bodies, contacts, assigned, constants = network(crystal, group_by, **SPRINGS[springs])
    k = torch.tensor([0.31, -0.17, 0.44], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(bodies.n_dof, dtype=torch.complex128, generator=generator)
    quadratic = (x.conj() @ stiffness(bodies, constants, k[None])[0] @ x).item()

    # u_j(R) = A_j x exp(i k.R), so the far end of a contact is ahead by exp(i k.R_d).
    A = bodies.displacements().to(x.dtype)
    padded = bodies.scatter(x).reshape(bodies.n_bodies, bodies.width)
    u = torch.einsum("jxa,ja->jx", A, padded[bodies.body]).numpy()
    energy = 0.0
    matrix, r = crystal.cell.matrix.numpy(), bodies.positions.numpy()
    for c in range(contacts.n_contacts):
        i, j, d = int(contacts.i[c]), int(contacts.j[c]), contacts.cell[c].numpy()
        n = r[j] + matrix @ d - r[i]
        n = n / np.linalg.norm(n)
        ahead = np.exp(2j * np.pi * float(k.numpy() @ d))
        gap = u[i] - ahead * u[j]
        k_par, k_perp = float(assigned.k_par[c]), float(assigned.k_perp[c])
        energy += k_perp * np.vdot(gap, gap).real + (k_par - k_perp) * abs(n @ gap) ** 2
    # Some thousand terms of either sign, each rounded to 1e-16.
    assert quadratic.real == pytest.approx(energy, rel=1e-12)
    assert abs(quadratic.imag) < 1e-12 * energy


@pytest.mark.parametrize(("spacegroup", "group_by", "springs"), K_CASES)
def test_K_is_hermitian_and_positive_definite(spacegroup, group_by, springs):
    K = K_at([0.31, -0.17, 0.44], made_up(spacegroup), group_by, **SPRINGS[springs])[0]
    size = torch.linalg.matrix_norm(K, 2).item()
    assert (K - K.mH).abs().max().item() < 1e-14 * size  # rounding of the sums
    assert K.imag.abs().max().item() > 1e-3 * size  # a K that happens to be real tests nothing
    # Honest lattices stay above 1e-6 of the stiffest mode.
    assert torch.linalg.eigvalsh(K)[0].item() > 1e-6 * size


@pytest.mark.parametrize(("spacegroup", "group_by", "springs"), K_CASES)
def test_K_at_gamma_has_three_zero_modes_the_translations(spacegroup, group_by, springs):
    crystal = made_up(spacegroup)
    K = K_at([0.0, 0.0, 0.0], crystal, group_by, **SPRINGS[springs])[0]
    bodies = gather_bodies(crystal, group_by)
    values = torch.linalg.eigvalsh(K)
    # Zeros are rounding of the largest; the next is an optical mode.
    assert values[:3].abs().max().item() < 1e-13 * values[-1].item()
    assert values[3].item() > 1e-5 * values[-1].item()
    shift = torch.zeros(bodies.n_bodies, bodies.width, 3, dtype=K.dtype)
    shift[:, :3] = torch.eye(3, dtype=K.dtype)
    T = bodies.gather(shift.reshape(-1, 3), 0)
    assert (K @ T).abs().max().item() < 1e-13 * values[-1].item()


k_values = st.tuples(*[st.floats(-2, 2, allow_subnormal=False)] * 3)
steps = st.tuples(*[st.integers(-5, 5)] * 3)


@given(k_values, steps)
def test_K_is_periodic_and_its_own_conjugate_at_minus_k(k, step):
    crystal = made_up("P 1 21 1")
    k = torch.tensor(k, dtype=torch.float64)
    here, there, minus = K_at(
        torch.stack([k, k + torch.tensor(step), -k]), crystal, "residue", **SPRINGS["hybrid"]
    )
    size = here.abs().max().item()
    # A phase of k.R up to 2 pi 20 carries 1e-14.
    assert (there - here).abs().max().item() < 1e-12 * size
    assert (minus - here.conj()).abs().max().item() < 1e-12 * size


def test_gnm_resists_libration_inside_a_body_and_anm_does_not():
    crystal = made_up("P 1")
    only_intra = {"gamma_intra": 2.0, "gamma_inter": 0.0}
    resisted = K_at([0.2, 0.1, 0.3], crystal, model="gnm", **only_intra)[0].real
    free = K_at([0.2, 0.1, 0.3], crystal, model="anm", **only_intra)[0].real
    r = crystal.positions
    expected = torch.zeros(6, 6, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    for i in range(crystal.n_atoms):
        for j in range(i):
            d = r[i] - r[j]
            assert d.norm().item() < CUTOFF
            expected[3:, 3:] += 2.0 * ((d @ d) * eye - torch.outer(d, d))
    # Differences of sums of about 1e3, rounded to 1e-16 each.
    torch.testing.assert_close(resisted, expected, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(free, torch.zeros_like(free), rtol=0, atol=1e-10)


def test_springs_add_up_linearly():
    k, crystal = [0.2, -0.1, 0.4], made_up("P 1 21 1")

    def K(par, perp):
        return K_at(k, crystal, "chain", model="hybrid", k_par=par, k_perp=perp)[0]

    mixed = K((1.1, 0.9), (0.2, 0.1))
    parts = 1.1 * K((1, 0), 0) + 0.9 * K((0, 1), 0) + 0.2 * K(0, (1, 0)) + 0.1 * K(0, (0, 1))
    torch.testing.assert_close(mixed, parts, rtol=0, atol=1e-11 * mixed.abs().max().item())
    gnm = K_at(k, crystal, "chain", gamma_intra=1.1, gamma_inter=0.9)[0]
    torch.testing.assert_close(gnm, K((1.1, 0.9), (1.1, 0.9)), rtol=0, atol=0)


def test_contacts_are_summed_the_same_in_chunks(monkeypatch):
    from onephonon.network import force_constants as module

    whole = network(made_up("P 1 21 1"), "residue")[3]
    monkeypatch.setattr(module, "CONTACT_CHUNK", 7)
    parts = network(made_up("P 1 21 1"), "residue")[3]
    for name in ("onsite", "coupling"):
        ours, theirs = getattr(parts, name), getattr(whole, name)
        # The same terms in the same order; scatter-add may still group them differently.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12 * theirs.abs().max().item())


def test_atoms_that_coincide_have_no_direction():
    # An atom on a twofold axis and its copy: k_par has nothing to act along, k_perp holds them.
    crystal = Crystal.from_atoms((4, 5, 6, 90, 90, 90), "P 1 2 1", ["C"], [[0.0, 0.1, 0.0]])
    K = K_at([0.1, 0.2, 0.3], crystal, "atom", cutoff=1.0, model="hybrid", k_par=5.0, k_perp=0.5)
    expected = 0.5 * torch.kron(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.eye(3)).to(K.dtype)
    torch.testing.assert_close(K[0], expected, rtol=0, atol=0)


# ---- networks that do not hold --------------------------------------------------------------


def named_cutoff(error):
    """The cutoff that an error message recommends."""
    return float(re.search(r"smallest cutoff that \w+ \w+ is (\d+\.\d+) Å", str(error))[1])


def test_lattice_floppy_only_along_its_axes():
    # Nearest neighbours of a cubic lattice do not resist shear along an axis, though they resist
    # every wave in a general direction; face diagonals, 4 sqrt(2) = 5.657, resist all.
    def model(cutoff):
        return OnePhonon(simple_lattice(), *[(0, 1, 2)] * 3, model="anm", gnm_cutoff=cutoff)

    with pytest.raises(NetworkError, match=r"gnm_cutoff 4\.1 Å.*floppy: asymmetric unit") as error:
        model(4.1)
    # Found by bisection to 0.01 and printed with two decimals.
    assert 5.656 <= named_cutoff(error.value) <= 5.675


def dangling():
    """A frame of atoms 3 Å apart that holds itself, and an atom that touches it once."""
    frame = [(0, 0, 0), (3, 0, 0), (6, 0, 0), (0, 3, 0), (0, 6, 0), (0, 0, 3), (0, 0, 6)]
    positions = torch.tensor([*frame, (3.1, 2.9, 2.9)], dtype=torch.float64) / 9
    return Crystal.from_atoms((9, 9, 9, 90, 90, 90), "P 1", ["C"] * 7 + ["O"], positions)


def test_only_the_floppy_body_is_named():
    def model(**options):
        return OnePhonon(dangling(), *[(0, 1, 2)] * 3, group_by=[0] * 7 + [1], **options)

    touch = 4.244  # above 3 sqrt(2) within the frame, below the second contact of the atom, 4.246
    model(model="gnm", gnm_cutoff=touch)
    with pytest.raises(NetworkError, match=r"floppy: body 1 can move") as error:
        model(model="anm", gnm_cutoff=touch)
    cutoff = named_cutoff(error.value)
    model(model="anm", gnm_cutoff=cutoff)
    with pytest.raises(NetworkError, match="floppy"):
        model(model="anm", gnm_cutoff=cutoff - 0.02)


@pytest.mark.parametrize(
    "springs",
    [
        {"gamma_inter": 0.0},
        {"gamma_intra": 0.0, "gamma_inter": 0.0},
        {"model": "anm", "gamma_inter": 0.0},
        {"model": "hybrid", "k_par": 0.0, "k_perp": 0.0},
    ],
)
def test_zero_springs_raise(springs):
    def model(**options):
        return OnePhonon(made_up("P 1 21 1"), *[(0, 1, 2)] * 3, gnm_cutoff=CUTOFF, **options)

    with pytest.raises(
        NetworkError, match=r"floppy: asymmetric unit .*longer cutoff does not help"
    ):
        model(**springs)
    # The same network with weak springs instead resists every motion.
    model(**{name: value or 1e-3 for name, value in springs.items()})


def sliding_layers(k_slide):
    """Layers of single atoms; only springs of constant k_slide resist sliding along a."""
    # Cells of 4 x 4.2 x 4.4 Å: contacts along a, b, ab, c, ac and bc, by their lengths.
    constants = {
        4.0: (1, 1),
        4.2: (1, 1),
        5.8: (1, 1),
        4.4: (1, 0),
        5.946: (k_slide, 0),
        6.083: (1, 0),
    }
    lengths = torch.tensor(list(constants), dtype=torch.float64)
    values = torch.tensor(list(constants.values()), dtype=torch.float64)

    def springs(features):
        error, kind = (features.distance[:, None] - lengths).abs().min(1)
        assert error.max().item() < 1e-3  # lengths are given to three decimals
        return values[kind]

    crystal = simple_lattice((4.0, 4.2, 4.4, 90.0, 90.0, 90.0))
    return OnePhonon(crystal, *[(0, 1, 2)] * 3, gnm_cutoff=6.2, springs=springs)


def test_layers_that_slide_in_one_direction_raise():
    with pytest.raises(NetworkError, match="floppy: asymmetric unit"):
        sliding_layers(0.0)
    weak = 1e-3
    model = sliding_layers(weak)
    k = torch.tensor([[0.0, 0.0, 0.3]], dtype=torch.float64)
    K = stiffness(model.bodies, model.force_constants(), k)[0]
    values, vectors = torch.linalg.eigh(K)
    # Along a the springs ac alone, (4/5.946)^2 of each of two, resist the wave of phase 0.3.
    slide = 4 * (1 - math.cos(2 * math.pi * 0.3)) * weak * 16 / (16 + 4.4**2)
    assert values[0].item() == pytest.approx(slide, rel=1e-9)
    assert values[1].item() > 0.5
    # Exactly along a, by the mirror plane; to rounding.
    assert vectors[0, 0].abs().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("spacegroup", CELLS)
def test_zero_springs_within_a_rigid_body_are_fine(spacegroup):
    # A rigid body needs no springs inside.
    model = OnePhonon(
        made_up(spacegroup), *[(0.25, 0.5, 1)] * 3, gnm_cutoff=CUTOFF, gamma_intra=0.0
    )
    assert bool(torch.isfinite(model()).all())
