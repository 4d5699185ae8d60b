"""Frequencies, densities of states and speeds of sound against formulas."""

import itertools
import math

import pytest
import torch

from crystals import made_up, simple_lattice
from onephonon import Crystal, InputError, OnePhonon
from onephonon.core.units import BOLTZMANN, DALTON, thermal_frequency, thermal_speed
from onephonon.crystal.brillouin_path import ZonePath
from onephonon.dynamics.spectra import (
    default_dos_mesh,
    density_of_states,
    dispersion,
    frequencies,
    sound_speeds,
)
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.dynamics.unfolding import centring, unfolded_modes

SCALE = 2.5


def model_of(crystal, **options):
    options = {"thermal_scale": SCALE, "gnm_cutoff": 6.5} | options
    return OnePhonon(crystal, **options)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def chain(first=0.45, a=6.0):
    """Two atoms in line along a; across it only atoms of a kind meet."""
    cell = (a, 3.05, 3.05, 90.0, 90.0, 90.0)
    return Crystal.from_atoms(cell, "P 1", ["C", "O"], [[0, 0, 0], [first, 0, 0]])


# ---- units ----------------------------------------------------------------------------------


def test_units_by_hand():
    # k 300 K = 4.141947e-21 J; over 1.66053906892e-27 kg it is 2.4943387e6 (m/s)^2.
    assert thermal_speed(300.0) == pytest.approx(1579.347, rel=1e-6)
    # sqrt(2.4943387e6)/1e-10 m = 1.5793476e13 1/s; over 2 pi.
    assert thermal_frequency(300.0) == pytest.approx(2.5136098, rel=1e-6)
    assert thermal_frequency(100.0) == pytest.approx(2.5136098 / math.sqrt(3.0), rel=1e-6)


def test_terahertz_of_a_chain_of_known_springs():
    # Carbon atoms on springs of 1 N/m vibrate at (1/pi) sqrt(1 N/m / m) where neighbours oppose.
    # A spring of 1 is kT/s per Å^2, so s sets what it is in N/m.
    T = 300.0
    scale = BOLTZMANN * T / 1e-20 / 1.0
    crystal = simple_lattice()
    model = model_of(crystal, gnm_cutoff=4.1, thermal_scale=scale)
    w, _ = frequencies(model, torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64))
    expected = math.sqrt(1.0 / (float(crystal.masses[0]) * DALTON)) / math.pi * 1e-12
    assert expected == pytest.approx(2.2539, rel=1e-4)
    found = (w[0] * thermal_frequency(T)).tolist()
    assert found == pytest.approx([expected] * 3, rel=1e-12)  # rounding


def test_the_model_and_its_file_agree_on_what_vibrates():
    # <u^2> of one direction is the mean of 1/w^2 over the zone, in reduced units over the mass.
    crystal = simple_lattice()
    model = OnePhonon(crystal, *[(0, 1, 4)] * 3, gnm_cutoff=4.1, zone_average="supercell")
    states = torch.cartesian_prod(*[torch.arange(4, dtype=torch.float64) / 4] * 3)
    w, _ = frequencies(model, states)
    inverse = torch.where(w > 0, 1.0 / w.clamp(min=1e-9) ** 2, 0.0)
    mean_square = float(inverse.mean() / crystal.masses[0])
    assert mean_square == pytest.approx(
        float(crystal.U[0, 0, 0]), rel=1e-12
    )  # the scale is set by it


# ---- dispersion -----------------------------------------------------------------------------


def test_alternating_chain():
    crystal = chain()
    inner, outer = 1.7, 0.6
    model = model_of(crystal, gnm_cutoff=3.4, group_by="atom", springs=None,
                     gamma_intra=inner, gamma_inter=outer)  # fmt: skip
    k = torch.zeros(7, 3, dtype=torch.float64)
    k[:, 0] = torch.linspace(0.0, 0.5, 7)
    w, share = frequencies(model, k)
    m, n = crystal.masses.tolist()
    for i, x in enumerate(k[:, 0].tolist()):
        both = (inner + outer) * (1 / m + 1 / n)
        product = 2 * inner * outer / (m * n) * (1 - math.cos(2 * math.pi * x))
        root = math.sqrt(both**2 / 4 - product)
        expected = [v for v in (both / 2 - root, both / 2 + root) for _ in range(3)]
        expected = [math.sqrt(max(v, 0.0) / SCALE) for v in expected]
        # Square roots of differences of 1e-16 near zero.
        assert w[i].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-9)
    assert w[0, :3].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(share, torch.ones_like(share), rtol=0, atol=1e-12)  # rounding


def test_path_of_a_cubic_lattice():
    path = ZonePath("oP", {"Γ": (0, 0, 0), "X": (0.5, 0, 0), "R": (0.5, 0.5, 0.5)},
                    (("X", "Γ", "R"), ("X", "R")))  # fmt: skip
    model = model_of(simple_lattice(), gnm_cutoff=4.1)
    found = dispersion(model, path, n_points=40)
    assert [name for _, name in found.corners] == ["X", "Γ", "R", "X", "R"]
    for i, name in found.corners:
        assert found.k_frac[i].tolist() == list(path.points[name])
    assert found.frequencies[{n: i for i, n in found.corners}["Γ"]].tolist() == [0, 0, 0]
    mass = float(model.crystal.masses[0])
    sines = torch.sin(math.pi * found.k_frac).square().sum(1)
    expected = (4 * sines / mass / SCALE).sqrt()
    torch.testing.assert_close(found.frequencies[:, 0], expected, rtol=1e-10, atol=1e-9)
    # The way is in 1/Å, and a break takes none of it.
    lengths = [math.pi / 4, math.pi / 4 * math.sqrt(3), 0.0, math.pi / 4 * math.sqrt(2)]
    at = [float(found.distance[i]) for i, _ in found.corners]
    assert [b - a for a, b in itertools.pairwise(at)] == pytest.approx(lengths, abs=1e-12)
    assert found.piece.unique().tolist() == [0, 1]


def test_short_segments_have_points_too():
    path = ZonePath("oP", {"Γ": (0, 0, 0), "X": (0.5, 0, 0), "Y": (0.501, 0, 0)},
                    (("Γ", "X", "Y"),))  # fmt: skip
    found = dispersion(model_of(simple_lattice(), gnm_cutoff=4.1), path, n_points=80)
    (start, _), (middle, _), (end, _) = found.corners
    assert end - middle == 80 // 20
    assert middle - start == pytest.approx(80, abs=1)


def test_too_few_points_are_refused():
    model = model_of(simple_lattice(), gnm_cutoff=4.1)
    with pytest.raises(InputError, match="n_points 2"):
        dispersion(model, n_points=2)


def test_acoustic_modes_at_gamma_are_exactly_zero():
    for spacegroup in ("P 1", "C 1 2 1", "P 31 2 1"):
        model = model_of(made_up(spacegroup), group_by="residue")
        found = dispersion(model, n_points=30)
        for i, name in found.corners:
            zero = found.frequencies[i] == 0
            assert int(zero.sum()) == (3 if name == "Γ" else 0)
        assert bool((found.frequencies.diff(dim=1) >= 0).all())


@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
def test_shares_of_translation_add_up_to_the_bodies_translations(group_by):
    model = model_of(made_up("P 1 21 1"), group_by=group_by)
    k = torch.tensor([[0.21, 0.13, -0.4], [0.0, 0.0, 0.0]], dtype=torch.float64)
    _, share = frequencies(model, k)
    # V V^H is the inverse of the mass matrix, whose translations weigh 3 for each body.
    assert share.sum(1).tolist() == pytest.approx([3 * model.bodies.n_bodies] * 2, rel=1e-10)
    assert share[1, :3].tolist() == pytest.approx([1, 1, 1], abs=1e-10)


# ---- unfolding ------------------------------------------------------------------------------

CENTRED = {
    "C 1 2 1": ((9.1, 5.3, 7.2, 90.0, 104.0, 90.0), [[1, 0, 0]]),
    "I 2 2 2": ((8.1, 7.3, 9.2, 90.0, 90.0, 90.0), [[1, 0, 0]]),
    "F 2 2 2": ((10.1, 11.3, 12.2, 90.0, 90.0, 90.0), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "R 3:H": ((9.3, 9.3, 8.1, 90.0, 90.0, 120.0), [[1, 0, 0], [0, 1, 0]]),
}


@pytest.mark.parametrize("spacegroup", CENTRED)
@pytest.mark.parametrize("n_atoms", [2, 3])
def test_folded_modes_are_those_at_k_and_at_what_folds_into_it(spacegroup, n_atoms):
    # Two atoms are bodies on a line, with five degrees of freedom.
    cell, extinct = CENTRED[spacegroup]
    model = model_of(made_up(spacegroup, n_atoms=n_atoms, cell=cell))
    k = torch.tensor([[0.17, -0.31, 0.23], [0.0, 0.0, 0.0]], dtype=torch.float64)
    whole, _ = frequencies(model, k, unfold=False)
    parts = [frequencies(model, k)[0]]
    parts += [frequencies(model, k + torch.tensor(G, dtype=k.dtype))[0] for G in extinct]
    assert parts[0].shape[1] == whole.shape[1] // (len(extinct) + 1)
    assert parts[0][1, :3].tolist() == [0, 0, 0]
    assert bool((parts[1] > 0).all())
    # Rounding of w^2 over w; w is near 1.
    torch.testing.assert_close(torch.cat(parts, 1).sort(1).values, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spacegroup", CENTRED)
def test_unfolded_modes_are_modes_of_the_whole_cell(spacegroup):
    model = model_of(made_up(spacegroup, cell=CENTRED[spacegroup][0]))
    bodies, constants = model.bodies, model.force_constants()
    k = torch.tensor([[0.17, -0.31, 0.23], [1.2, 0.4, 0.1]], dtype=torch.float64)
    found = unfolded_modes(bodies, constants, k)
    M = torch.block_diag(*bodies.mass_matrix()).to(found.V.dtype)
    K = stiffness(bodies, constants, k)
    # Rounding times masses up to 1e3.
    torch.testing.assert_close(
        K @ found.V, M @ found.V * found.w_squared[:, None], rtol=0, atol=1e-9
    )
    eye = torch.eye(found.V.shape[2], dtype=found.V.dtype).expand(2, -1, -1)
    torch.testing.assert_close(found.V.mH @ M @ found.V, eye, rtol=0, atol=1e-10)


def test_partners_by_centring():
    bodies = model_of(made_up("F 2 2 2", cell=CENTRED["F 2 2 2"][0])).bodies
    shifts, partner, cells = centring(bodies)
    assert shifts.shape == (4, 3)
    assert sorted(partner.flatten().tolist()) == list(range(16))
    n = bodies.crystal.n_atoms
    positions = bodies.positions.reshape(16, n, 3)
    matrix = bodies.crystal.cell.matrix
    for row, whole in zip(partner.tolist(), cells, strict=True):
        for copy, shift, R in zip(row, shifts, whole, strict=True):
            moved = positions[row[0]] + (shift - R) @ matrix.T
            torch.testing.assert_close(positions[copy], moved, rtol=0, atol=1e-12)  # rounding


# ---- density of states ----------------------------------------------------------------------


@pytest.mark.parametrize("group_by", ["asu", "atom"])
@pytest.mark.parametrize("width", [None, 0.003, 0.1])
def test_gaussians_integrate_to_the_number_of_modes(group_by, width):
    model = model_of(made_up("C 1 2 1", n_atoms=3), group_by=group_by)
    states = density_of_states(model, (3, 4, 2), width=width)
    total = float(torch.trapezoid(states.density, states.frequencies))
    # Beyond six standard deviations; at the narrowest a step is a third of one.
    assert total == pytest.approx(model.bodies.n_dof, rel=1e-6)
    assert states.n_modes == model.bodies.n_dof
    part = float(torch.trapezoid(states.translation, states.frequencies))
    assert part == pytest.approx(3 * model.bodies.n_bodies, rel=1e-6)
    assert bool((states.translation <= states.density * (1 + 1e-9)).all())


def test_histogram_counts_every_mode():
    model = model_of(made_up("P 1 21 1"), group_by="chain")
    states = density_of_states(model, (3, 2, 2), "histogram", n=37)
    step = float(states.frequencies[1] - states.frequencies[0])
    assert states.width == pytest.approx(step)
    assert float(states.density.sum()) * step == pytest.approx(model.bodies.n_dof, rel=1e-12)


def test_second_moment_of_a_cubic_lattice():
    # The mean of w^2 is the onsite stiffness over the mass, 6 springs / m; broadening adds its
    # own variance.
    model = model_of(simple_lattice(), gnm_cutoff=4.1)
    states = density_of_states(model, (6, 6, 6), width=0.01, n=600)
    moment = float(torch.trapezoid(states.density * states.frequencies**2, states.frequencies)) / 3
    expected = 6.0 / float(model.crystal.masses[0]) / SCALE + 0.01**2
    assert moment == pytest.approx(expected, rel=1e-6)  # tails


@pytest.mark.parametrize(
    "wrong", [{"mesh": (2, 0, 1)}, {"broadening": "none"}, {"width": 0.0}, {"n": 1}]
)
def test_wrong_choices_are_refused(wrong):
    model = model_of(simple_lattice(), gnm_cutoff=4.1)
    with pytest.raises(InputError, match="|".join(str(v).strip("()") for v in wrong.values())):
        density_of_states(model, **wrong)


def test_default_mesh_follows_the_cell():
    cell = made_up("C 1 2 1").cell
    small, large = default_dos_mesh(cell, 6), default_dos_mesh(cell, 600)
    assert small[1] > small[2] > small[0] > 1  # the shortest axis has the longest reciprocal
    assert math.prod(large) < math.prod(small)


# ---- sound ----------------------------------------------------------------------------------


def test_sound_in_an_alternating_chain():
    crystal = chain()
    inner, outer = 1.7, 0.6
    model = model_of(crystal, gnm_cutoff=3.4, group_by="atom", gamma_intra=inner,
                     gamma_inter=outer)  # fmt: skip
    speeds = sound_speeds(model, [1.0, 0.0, 0.0], 300.0)
    # Springs in series: w^2 = k^2 a^2 inner outer / ((inner + outer) (m + n)).
    mass = float(crystal.masses.sum())
    squared = 36.0 * inner * outer / (inner + outer) / mass / SCALE
    expected = math.sqrt(squared) * 1579.347
    assert speeds.tolist() == pytest.approx([expected] * 3, rel=1e-6)  # digits of the unit


def test_sound_in_an_isotropic_network():
    # Equal central springs to first and second neighbours of a cubic lattice: C11 = 3 g/a and
    # C12 = C44 = g/a, so C11 - C12 = 2 C44 and sound is as fast in all directions.
    crystal = simple_lattice()
    model = model_of(crystal, model="anm", gnm_cutoff=5.7, group_by="atom")
    slow = 4.0 / math.sqrt(float(crystal.masses[0]) * SCALE) * thermal_speed(200.0)
    for direction in ([1, 0, 0], [1, 1, 0], [1, 1, 1], [0.3, -0.8, 0.2], [-2, 0.1, 5]):
        speeds = sound_speeds(model, direction, 200.0).tolist()
        assert speeds == pytest.approx([slow, slow, slow * math.sqrt(3.0)], rel=1e-12)


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1", "C 1 2 1"])
@pytest.mark.parametrize("group_by", ["asu", "residue"])
def test_sound_is_the_slope_of_the_acoustic_branches(spacegroup, group_by):
    model = model_of(made_up(spacegroup), group_by=group_by)
    direction = torch.tensor([0.4, -0.5, 0.77], dtype=torch.float64)
    direction = direction / direction.norm()
    step = 1e-4  # 1/Å
    k = model.crystal.cell.hkl_from_q(step * direction[None])
    w, _ = frequencies(model, k)
    slope = w[0, :3] / step * thermal_speed(300.0)
    # Branches bend as k^2 r^2 with r of some 10 Å; rounding of w^2 is 1e-16/1e-7.
    torch.testing.assert_close(sound_speeds(model, direction, 300.0), slope, rtol=1e-5, atol=0)


def test_speeds_have_gradients_in_springs():
    with torch.enable_grad():
        gamma = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        model = model_of(made_up("P 1 21 1"), gamma_inter=gamma)
        (slope,) = torch.autograd.grad(sound_speeds(model, [0, 1, 0], 300.0).sum(), gamma)
    ends = [
        float(
            sound_speeds(model_of(made_up("P 1 21 1"), gamma_inter=0.7 + d), [0, 1, 0], 300).sum()
        )
        for d in (1e-5, -1e-5)
    ]
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)  # truncation


def test_no_direction_and_no_temperature():
    model = model_of(simple_lattice(), gnm_cutoff=4.1)
    with pytest.raises(InputError, match="not all zero"):
        sound_speeds(model, [0, 0, 0], 300.0)
    with pytest.raises(InputError, match="temperature -3 K"):
        sound_speeds(model, [1, 0, 0], -3.0)
