"""Pairs of bodies: that every one is counted once, at its shortest images, and the symmetry."""

import math

import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon
from onephonon.dynamics.displacements import copy_separations
from onephonon.scattering.amplitudes import DirectEngine
from onephonon.scattering.multiphonon.pair_sums import pair_sums
from onephonon.scattering.multiphonon.pairs import body_pairs

CUTOFF = 6.5

#: Sums of some 1e2 shares of 1/2, 1/4 and 1/8: exact; covariances behind inverses of condition 1e4.
ROUNDING = 1e-11

CASES = [
    ("P 1", "chain", (2, 3, 1)),
    ("P 1", "asu", (4, 2, 2)),
    ("P 1 21 1", "residue", (2, 1, 3)),
    ("C 1 2 1", "asu", (3, 3, 2)),
    ("P 21 21 21", "asu", (2, 3, 2)),
    ("P 31 2 1", "chain", (2, 2, 2)),
]


def lattice_of(spacegroup, group_by, mesh, average="crystal", **options):
    defaults = {"gnm_cutoff": CUTOFF, "thermal_scale": 1.3, "gamma_inter": 0.4}
    options = defaults | options
    model = OnePhonon(
        made_up(spacegroup), group_by=group_by, mesh=mesh, zone_average=average, **options
    )
    return model.lattice


def directed(pairs):
    """Weight and covariance of each directed pair: a pair and its reverse have half of each."""
    found = {}
    for (a, b, row), weight, C in zip(
        pairs.index.tolist(), pairs.weight.tolist(), pairs.blocks, strict=True
    ):
        R = tuple(pairs.cells[row].tolist())
        for key, block in (((a, b, R), C), ((b, a, tuple(-x for x in R)), C.mT)):
            share, _ = found.get(key, (0.0, None))
            found[key] = share + 0.5 * weight, block
    return found


@pytest.mark.parametrize(("spacegroup", "group_by", "mesh"), CASES)
@torch.no_grad()
def test_every_pair_is_counted_once(spacegroup, group_by, mesh):
    lattice = lattice_of(spacegroup, group_by, mesh)
    pairs = body_pairs(lattice)
    n, each = pairs.bodies.n_bodies, pairs.bodies.n_bodies // pairs.bodies.n_ops
    assert len(set(map(tuple, pairs.index.tolist()))) == pairs.n_pairs
    assert float(pairs.weight.sum()) == pytest.approx(n * n * math.prod(mesh), rel=1e-12)
    assert int(pairs.own.sum()) == n
    assert bool((pairs.weight[pairs.own] == 1).all())
    shares = {}
    apart = copy_separations(pairs.bodies)
    images_of_mesh = torch.cartesian_prod(*[torch.arange(-3, 4)] * 3) * torch.tensor(mesh)
    for (a, b, R), (share, _) in directed(pairs).items():
        # One body with one of each class of cells modulo the mesh, ...
        key = a, b, tuple(x % m for x, m in zip(R, mesh, strict=True))
        shares.setdefault(key, []).append(share)
        # ... of which the one at the shortest vector between the copies.
        v = apart[a // each, b // each] + torch.tensor(R) + images_of_mesh
        lengths = torch.linalg.vector_norm(v @ pairs.bodies.crystal.cell.matrix.T, dim=1)
        own = len(lengths) // 2
        assert float(lengths[own] - lengths.min()) < 1e-4
        assert share == 1.0 / int((lengths < lengths.min() + 1e-4).sum())
    assert len(shares) == n * n * math.prod(mesh)
    for images in shares.values():
        assert images == [1.0 / len(images)] * len(images)


@pytest.mark.parametrize("average", ["crystal", "supercell"])
@pytest.mark.parametrize(("spacegroup", "group_by", "mesh"), CASES)
@torch.no_grad()
def test_covariances_are_those_of_the_displacements(spacegroup, group_by, mesh, average):
    lattice = lattice_of(spacegroup, group_by, mesh, average)
    pairs, bodies = body_pairs(lattice), lattice.bodies
    # With librations about Cartesian axes, u_j = t + l x rho; the bodies' own axes give the same.
    own = bodies.displacements()
    cartesian = own.clone()
    if bodies.width > 3:
        eye = torch.eye(3, dtype=own.dtype).expand(len(own), 3, 3)
        cartesian[:, :, 3:] = torch.linalg.cross(
            eye, bodies.offsets[:, :, None].expand_as(eye), dim=1
        )
    C = lattice.thermal_scale * lattice.covariance(pairs.cells)
    C = bodies.scatter(bodies.scatter(C, -1), -2).unflatten(1, (-1, bodies.width))
    C = C.unflatten(3, (-1, bodies.width))
    size = float(pairs.blocks[pairs.own][:, :3, :3].abs().max())
    for (a, b, row), block in list(zip(pairs.index.tolist(), pairs.blocks, strict=True))[::7]:
        j, k = (int((bodies.body == x).nonzero()[-1]) for x in (a, b))
        found = cartesian[j] @ block @ cartesian[k].mT
        expected = own[j] @ C[row, a, :, b] @ own[k].mT
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("average", ["crystal", "supercell"])
@pytest.mark.parametrize(("spacegroup", "group_by", "mesh"), CASES)
@torch.no_grad()
def test_a_pair_and_its_reverse(spacegroup, group_by, mesh, average):
    # C_ba(-R) = C_ab(R)^T is assumed for the pairs that are not listed.
    lattice = lattice_of(spacegroup, group_by, mesh, average)
    cells = body_pairs(lattice).cells
    there, back = lattice.covariance(cells), lattice.covariance(-cells)
    if average == "crystal":
        # Images that share are averaged, and each pair of copies has its own.
        torch.testing.assert_close(back, there.mT, rtol=0, atol=1e-9 * float(there.abs().max()))
    else:
        torch.testing.assert_close(back, there.mT, rtol=0, atol=1e-12 * float(there.abs().max()))


def rotated_hkl(crystal, n=6):
    generator = torch.Generator().manual_seed(2)
    hkl = 3 * torch.randn(n, 3, dtype=torch.float64, generator=generator)
    operators = torch.as_tensor(crystal.laue_operators, dtype=torch.float64)
    return torch.einsum("nx,oxy->noy", hkl, operators)


@pytest.mark.parametrize("average", ["crystal", "supercell"])
@pytest.mark.parametrize(
    ("spacegroup", "group_by", "mesh"),
    [("P 1 21 1", "residue", (2, 1, 3)), ("C 1 2 1", "asu", (3, 3, 2)),
     ("C 1 2 1", "atom", (2, 2, 2)), ("P 21 21 21", "asu", (2, 3, 2)),
     ("P 31 2 1", "chain", (2, 2, 2)), ("P 61", "asu", (3, 3, 1))],
)  # fmt: skip
@torch.no_grad()
def test_sums_have_the_laue_symmetry(spacegroup, group_by, mesh, average):
    lattice = lattice_of(spacegroup, group_by, mesh, average)
    crystal = lattice.crystal
    hkl = rotated_hkl(crystal)
    flat = hkl.reshape(-1, 3)
    q = crystal.cell.q_from_hkl(flat)
    pairs = body_pairs(lattice)
    degree = 3 if pairs.bodies.width > 3 else 0
    mu = DirectEngine().moments(pairs.bodies, q, pairs.bodies.U, degree, 1.0)
    degrees = torch.full((pairs.n_pairs,), degree)
    found = pair_sums(pairs, q, flat, mu, 1.0, degrees, 3).reshape(hkl.shape[:2])
    spread = (found - found[:, :1]).abs().max()
    # The window of the acoustic sum has the symmetry of the mesh up to 1e-9.
    assert float(spread / found.abs().max()) < (1e-8 if average == "crystal" else ROUNDING)


@torch.no_grad()
def test_a_mesh_of_its_own():
    lattice = lattice_of("P 1", "asu", (2, 2, 2))
    pairs = body_pairs(lattice, (3, 1, 2))
    assert float(pairs.weight.sum()) == 6.0
    expected = lattice_of("P 1", "asu", (3, 1, 2)).covariance(pairs.cells) * 1.3
    torch.testing.assert_close(pairs.blocks[:, :3, :3], expected[pairs.index[:, 2], :3, :3])
