"""The zone's named points and paths: where they must lie, whatever the lattice and its setting."""

import itertools
import math

import gemmi
import numpy as np
import pytest
import torch

from onephonon import Crystal, InputError, UnitCell
from onephonon.crystal.brillouin_path import RECIPES, zone_path
from onephonon.crystal.standard_cell import standard_cell

#: A space group and a cell for every zone there is, and the points where -k is k.
ZONES = {
    "cP": ("P 2 3", (31, 31, 31, 90, 90, 90), "X M R X1"),
    "cF": ("F 2 3", (31, 31, 31, 90, 90, 90), "X L"),
    "cI": ("I 2 3", (31, 31, 31, 90, 90, 90), "H N"),
    "tP": ("P 41 21 2", (31, 31, 47, 90, 90, 90), "X M Z R A"),
    "tI1": ("I 4", (31, 31, 23, 90, 90, 90), "M X N"),
    "tI2": ("I 41", (31, 31, 47, 90, 90, 90), "M X N"),
    "oP": ("P 21 21 21", (21, 47, 33, 90, 90, 90), "X Y Z S U T R"),
    "oC1": ("C 2 2 21", (21, 33, 47, 90, 90, 90), "Y T Z S R"),
    "oC2": ("C 2 2 2", (33, 21, 47, 90, 90, 90), "Y T Z S R"),
    "oI1": ("I 2 2 2", (21, 33, 47, 90, 90, 90), "X S R T"),
    "oI2": ("I 21 21 21", (47, 21, 33, 90, 90, 90), "X S R T"),
    "oI3": ("I 2 2 2", (33, 47, 21, 90, 90, 90), "X S R T"),
    "oF1": ("F 2 2 2", (21, 33, 47, 90, 90, 90), "T Z Y L"),
    "oF2": ("F 2 2 2", (47, 33, 21, 90, 90, 90), "T Z Y L"),
    "oF3": ("F 2 2 2", (31, 33, 37, 90, 90, 90), "T Z Y L"),
    "hP": ("P 31 2 1", (31, 31, 47, 90, 90, 120), "A M L"),
    "hR1": ("R 3:H", (31, 31, 47, 90, 90, 120), "T L F"),
    "hR2": ("R 3 2:H", (47, 47, 31, 90, 90, 120), "T L F"),
    "mP": ("P 1 21 1", (21, 33, 47, 90, 104, 90), "Z B Y A C D E"),
    "mC1": ("C 1 2 1", (47, 21, 33, 90, 104, 90), "Y A M V L"),
    "mC2": ("C 1 2 1", (21, 47, 33, 90, 104, 90), "Y A M V L"),
    "mC3": ("C 1 2 1", (33, 34, 21, 90, 108, 90), "Y A M V L"),
    "aP": ("P 1", (27.4, 32.1, 34.5, 88.7, 108.5, 111.9), "X Y Z T U V R"),
}


def published(a, b, c, beta):
    """Sliding points by the formulas of Hinuma et al. (2017), in conventional indices."""
    A, B, C = a**2, b**2, c**2
    sine = math.sin(math.radians(beta))
    return {
        ("tI1", "Z"): (0, 0, (1 + C / A) / 2),
        ("tI1", "Z0"): (1, 0, (1 - C / A) / 2),
        ("tI2", "S0"): ((1 + A / C) / 2, 0, 0),
        ("tI2", "S"): ((1 - A / C) / 2, 0, 1),
        ("tI2", "R"): ((1 + A / C) / 2, (1 - A / C) / 2, 0),
        ("tI2", "G"): ((1 - A / C) / 2, (1 - A / C) / 2, 1),
        ("oC1", "Σ0"): ((1 + A / B) / 2, 0, 0),
        ("oC1", "E0"): ((1 - A / B) / 2, 1, 0.5),
        ("oI1", "U0"): (0, (1 - B / C) / 2, 1),
        ("oI3", "Λ0"): (0, 0, (1 + C / B) / 2),
        ("oF1", "Σ0"): ((1 + A / B + A / C) / 2, 0, 0),
        ("oF1", "C0"): ((1 - A / B + A / C) / 2, 1, 0),
        ("oF3", "G0"): (1, 0, (1 + C / B - C / A) / 2),
        ("hR1", "S0"): (2 / 3 + A / C / 2, -1 / 3 - A / C / 4, 0),
        ("hR2", "P2"): (0, 0, 1 / 2 + 2 / 3 * C / A),
        ("mC1", "C"): (0, 1 / 2 + B / A / sine**2 / 2, 0),
    }


def crystal_of(spacegroup, cell):
    return Crystal.from_atoms(cell, spacegroup, ["C"], [[0.11, 0.17, 0.23]])


def lattice_around_origin(crystal, max_index=5):
    """Reciprocal lattice vectors of the primitive cell by brute force, in the crystal's axes."""
    group = gemmi.SpaceGroup(crystal.spacegroup).operations()
    shifts = np.array(list(group.cen_ops)) / gemmi.Op.DEN
    hkl = np.array(list(itertools.product(range(-max_index, max_index + 1), repeat=3)))
    phases = hkl @ shifts.T
    return hkl[(np.abs(phases - np.round(phases)) < 1e-9).all(1) & hkl.any(1)]


def is_lattice_vector(crystal, k):
    shifts = np.array(list(gemmi.SpaceGroup(crystal.spacegroup).operations().cen_ops)) / 24
    phases = np.concatenate([k, shifts @ k])
    return np.abs(phases - np.round(phases)).max() < 1e-9


def test_every_recipe_is_tried():
    assert set(ZONES) == set(RECIPES)


@pytest.mark.parametrize("lattice", ZONES)
def test_points_lie_on_the_boundary_of_the_zone(lattice):
    crystal = crystal_of(*ZONES[lattice][:2])
    path = zone_path(crystal)
    assert path.lattice == lattice
    inverse = crystal.cell.inverse.numpy()
    G = lattice_around_origin(crystal) @ inverse
    for name, k in path.points.items():
        # In units of half the distance to each lattice point: 1 is on its plane, less is inside.
        farthest = (2 * G @ (np.array(k) @ inverse) / (G * G).sum(1)).max()
        # Coordinates go through an inverted matrix.
        assert farthest == pytest.approx(0.0 if name == "Γ" else 1.0, abs=1e-9), name


@pytest.mark.parametrize("lattice", ZONES)
def test_points_that_should_be_are_their_own_opposites(lattice):
    spacegroup, cell, names = ZONES[lattice]
    crystal = crystal_of(spacegroup, cell)
    points = zone_path(crystal).points
    own = {
        name
        for name, k in points.items()
        if name != "Γ" and is_lattice_vector(crystal, 2 * np.array(k))
    }
    assert own == set(names.split())
    # No two names for one wavevector, but where the lattice's symmetry relates them anyway.
    for one, other in itertools.combinations(sorted(own), 2):
        same = is_lattice_vector(crystal, np.subtract(points[one], points[other]))
        assert not same, (one, other)


@pytest.mark.parametrize(("lattice", "name"), published(1, 1, 1, 90))
def test_sliding_points_have_their_published_places(lattice, name):
    spacegroup, cell, _ = ZONES[lattice]
    found = zone_path(crystal_of(spacegroup, cell)).points[name]
    assert found == pytest.approx(
        published(*cell[:3], cell[4])[lattice, name], abs=1e-9
    )  # rounding


@pytest.mark.parametrize("lattice", ZONES)
def test_pieces_go_through_all_points_and_broken_ends_meet(lattice):
    crystal = crystal_of(*ZONES[lattice][:2])
    path = zone_path(crystal)
    assert {name for piece in path.pieces for name in piece} == set(path.points)
    inverse = crystal.cell.inverse.numpy()
    for piece in path.pieces:
        for one, other in itertools.pairwise(piece):
            step = np.subtract(path.points[one], path.points[other]) @ inverse
            assert np.linalg.norm(step) > 1e-4
    # Where a piece breaks off at a point that slides, the next goes on from an equivalent one.
    own = set(ZONES[lattice][2].split()) | {"Γ"}
    for piece, following in itertools.pairwise(path.pieces):
        ends = {piece[-1], following[0]}
        if not ends & own:
            lengths = [np.linalg.norm(np.array(path.points[name]) @ inverse) for name in ends]
            assert max(lengths) == pytest.approx(min(lengths), rel=1e-9)


@pytest.mark.parametrize(
    ("spacegroup", "cell", "lattice"),
    [
        ("I 4", (31, 31, 30.9, 90, 90, 90), "tI1"),
        ("I 4", (31, 31, 31.1, 90, 90, 90), "tI2"),
        ("C 2 2 2", (31, 31.1, 21, 90, 90, 90), "oC1"),
        ("I 2 2 2", (31, 30.9, 31.1, 90, 90, 90), "oI1"),
        # sqrt(3) a against sqrt(2) c; 1/a^2 against 1/b^2 + 1/c^2.
        ("R 3:H", (40, 40, 49.1, 90, 90, 120), "hR1"),
        ("R 3:H", (40, 40, 48.8, 90, 90, 120), "hR2"),
        ("F 2 2 2", (28.1, 40, 40, 90, 90, 90), "oF1"),
        ("F 2 2 2", (28.5, 40, 40, 90, 90, 90), "oF3"),
        ("F 2 2 2", (40, 28.1, 41, 90, 90, 90), "oF1"),
        # b against a sin(beta), and 1/b^2 against 1/a'^2 - |cos| / (a' c').
        ("C 1 2 1", (40, 38.7, 30, 90, 104, 90), "mC1"),
        ("C 1 2 1", (40, 38.9, 30, 90, 104, 90), "mC3"),
        ("C 1 2 1", (40, 47.0, 30, 90, 104, 90), "mC3"),
        ("C 1 2 1", (40, 47.3, 30, 90, 104, 90), "mC2"),
    ],
)
def test_the_zone_changes_its_shape_where_it_should(spacegroup, cell, lattice):
    assert zone_path(crystal_of(spacegroup, cell)).lattice == lattice


@pytest.mark.parametrize(
    ("one", "extra", "other"),
    [("P 2 3", "X1", "P 4 3 2"), ("F 2 3", "W2", "F 4 3 2"), ("P 31", "H2", "P 61")],
)
def test_a_piece_more_where_symmetry_does_not_make_it_superfluous(one, extra, other):
    cell = (31, 31, 47, 90, 90, 120) if one == "P 31" else (31, 31, 31, 90, 90, 90)
    assert extra in zone_path(crystal_of(one, cell)).points
    assert extra not in zone_path(crystal_of(other, cell)).points


def settings():
    """One lattice in two descriptions: the matrix takes the first cell's axes to the second's."""
    mC = crystal_of("C 1 2 1", ZONES["mC1"][1])
    yield mC, "I 1 2 1", [[-1, 0, 0], [0, 1, 0], [-1, 0, 1]]
    yield mC, "A 1 2 1", [[0, 0, 1], [0, -1, 0], [1, 0, 0]]
    yield mC, "B 1 1 2", [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    mP = crystal_of("P 1 21 1", ZONES["mP"][1])
    yield mP, "P 1 1 21", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    oC = crystal_of("C 2 2 21", ZONES["oC1"][1])
    yield oC, "A 21 2 2", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    hR = crystal_of("R 3:H", ZONES["hR1"][1])
    yield hR, "R 3:R", (np.array([[2, -1, -1], [1, 1, -2], [1, 1, 1]]) / 3).tolist()
    tP = crystal_of("P 4 21 2", ZONES["tP"][1])
    yield tP, "C 4 2 21", [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("case", list(settings()), ids=lambda case: case[1])
def test_the_path_does_not_depend_on_the_setting(case):
    crystal, setting, change = case
    matrix = crystal.cell.matrix @ torch.tensor(change, dtype=torch.float64)
    other = Crystal.from_atoms(UnitCell(matrix), setting, ["C"], [[0.1, 0.2, 0.3]])
    one, two = zone_path(crystal), zone_path(other)
    assert one.lattice == two.lattice
    assert one.pieces == two.pieces
    shortest = {}
    for path, own in ((one, crystal), (two, other)):
        for name, k in path.points.items():
            length = float(
                torch.linalg.vector_norm(own.cell.q_from_hkl(torch.tensor(k, dtype=torch.float64)))
            )
            shortest.setdefault(name, []).append(length)
    for name, (first, second) in shortest.items():
        assert first == pytest.approx(second, rel=1e-9), name  # rounding


def test_the_lattice_of_every_space_group():
    expected = {"A": "C", "B": "C"}
    cells = {
        "triclinic": (27, 32, 35, 88, 108, 111),
        "monoclinic": (21, 33, 47, 90, 104, 90),
        "orthorhombic": (21, 33, 47, 90, 90, 90),
        "tetragonal": (31, 31, 47, 90, 90, 90),
        "trigonal": (31, 31, 47, 90, 90, 120),
        "hexagonal": (31, 31, 47, 90, 90, 120),
        "cubic": (41, 41, 41, 90, 90, 90),
    }
    for number in range(1, 231):
        group = gemmi.find_spacegroup_by_number(number)
        system, centring = group.crystal_system_str(), group.centring_type()
        letter = "h" if system == "trigonal" else {"triclinic": "a"}.get(system, system[0])
        found = standard_cell(crystal_of(group.xhm(), cells[system])).lattice
        assert found == letter + expected.get(centring, centring), group.xhm()


def test_points_by_name():
    path = zone_path(crystal_of(*ZONES["oI1"][:2]))
    assert path.find("gamma") == path.find("Γ") == (0, 0, 0)
    assert path.find("SIGMA_0") == path.find("sigma0") == path.points["Σ0"]
    with pytest.raises(InputError, match=r"no point 'Q'.*Γ"):
        path.find("Q")
