"""Amplitudes and intensities from densities on a mesh, against the direct sum."""

import pytest
import torch

from crystals import CELLS, made_up
from onephonon import InputError, OnePhonon
from onephonon.core.errors import GradientError
from onephonon.crystal.grid import check_samplings
from onephonon.crystal.symmetry import FRIEDEL
from onephonon.model.map_writing import map_rows
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes.choice import choose_engine
from onephonon.scattering.amplitudes.direct import transform
from onephonon.scattering.amplitudes.mesh.scattered import scattered_amplitudes
from onephonon.scattering.grid_symmetry import find_symmetry, row_images

#: Ranges that begin and end off integers, at 2.1 to 2.8 Å in these cells.
SAMPLINGS = ((-2.5, 2.5, 2), (-2 - 1 / 3, 3, 3), (-1.25, 3, 4))


def by_both(crystal, **options):
    """The same model by the two engines."""
    options = {"gnm_cutoff": 8.0} | options
    return [OnePhonon(crystal, engine=engine, **options) for engine in ("direct", "mesh")]


def on_grid(samplings=SAMPLINGS):
    return dict(zip(("hsampling", "ksampling", "lsampling"), samplings, strict=True))


def largest_error(got, reference):
    """Largest difference, in the reference's rms; NaN must be at the same places."""
    got, reference = got.detach(), reference.detach()
    assert torch.equal(got.isnan(), reference.isnan())
    good = ~reference.isnan()
    assert good.any()
    return float((got - reference)[good].abs().max() / reference[good].square().mean().sqrt())


def scattered_q(n, q_max=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    radius = q_max * torch.rand(n, 1, dtype=torch.float64, generator=generator)
    return radius * q / torch.linalg.vector_norm(q, dim=1, keepdim=True)


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize("group_by", ["asu", "chain"])
def test_maps_agree_within_rtol(spacegroup, group_by):
    crystal = made_up(spacegroup)
    direct, mesh = by_both(crystal, **on_grid(), group_by=group_by, rtol=1e-6, res_limit=1.8)
    for use_data_adp in (True, False):
        error = largest_error(mesh(use_data_adp=use_data_adp), direct(use_data_adp=use_data_adp))
        # Above rounding (1e-13), or the mesh was never used.
        assert 1e-13 < error < 1e-6


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize("group_by", ["asu", "atom"])
def test_lists_agree_within_rtol(spacegroup, group_by):
    crystal = made_up(spacegroup)
    direct, mesh = by_both(crystal, q_vectors=scattered_q(200), group_by=group_by, rtol=1e-6)
    assert 1e-13 < largest_error(mesh(), direct()) < 1e-6


@pytest.mark.parametrize("B", [2.0, 80.0])
@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
@pytest.mark.parametrize("spacegroup", ["P 1", "P 31 2 1"])
def test_peaks_and_their_slopes_are_within_rtol(spacegroup, rtol, B):
    crystal = made_up(spacegroup)
    crystal = crystal.with_tensors(B=torch.full((crystal.n_atoms,), B, dtype=torch.float64))
    # Next to Bragg points, in the far tail of blunt atoms, and anywhere: rms says little of these.
    # The seed whose slopes were off most while Gaussians were cut ten times higher.
    peaks = torch.randint(-3, 4, (100, 3), generator=torch.Generator().manual_seed(9))
    near = crystal.cell.q_from_hkl(peaks + 1e-3 * scattered_q(100))
    q = torch.cat([near, scattered_q(400, q_max=5.0)]).requires_grad_()
    found = []
    for model in by_both(crystal, q_vectors=q, rtol=rtol):
        value = model(use_data_adp=True)
        found.append((value.detach()[:, None], torch.autograd.grad(value.nansum(), q)[0]))
    for reference, got in zip(*found, strict=True):
        size = torch.linalg.vector_norm(reference, dim=1)
        error = torch.linalg.vector_norm(got - reference, dim=1)
        good = ~size.isnan()
        rms = size[good].square().mean().sqrt()
        assert 1e-13 < float((error / (size + rms))[good].max()) < rtol


@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-8, 1e-11])
def test_error_follows_rtol(rtol):
    crystal = made_up("P 1 21 1")
    direct, mesh = by_both(crystal, **on_grid(), rtol=rtol)
    error = largest_error(mesh(use_data_adp=True), direct(use_data_adp=True))
    # The mesh is not ten thousand times finer than asked either: that would be wasted time.
    assert 1e-4 * rtol < error < rtol
    direct, mesh = by_both(crystal, q_vectors=scattered_q(200), rtol=rtol)
    assert largest_error(mesh(use_data_adp=True), direct(use_data_adp=True)) < rtol


@pytest.mark.parametrize("B", [0.0, 2.0, 80.0])
@pytest.mark.parametrize("radiation", ["xray", "electron", "neutron"])
def test_sharp_and_blunt_atoms_at_all_resolutions(B, radiation):
    # Point scatterers (B = 0 for neutrons) are the hardest: nothing falls off towards the images.
    crystal = made_up("P 1", radiation=radiation)
    U = B / (8 * torch.pi**2) * torch.eye(3, dtype=torch.float64)
    crystal = crystal.replace(U=U.expand_as(crystal.U))
    for res_limit in (0.0, 2.5):
        limits = {"res_limit": res_limit, "thermal_scale": 1.0}
        direct, mesh = by_both(crystal, **on_grid(), rtol=1e-6, **limits)
        assert largest_error(mesh(use_data_adp=True), direct(use_data_adp=True)) < 1e-6


def test_strongly_anisotropic_atoms():
    crystal = made_up("P 21 21 21")
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(crystal.n_atoms, 3, 3, generator=generator, dtype=torch.float64)
    U = root @ root.mT * 0.1
    direct, mesh = by_both(crystal.replace(U=U), **on_grid(), rtol=1e-6)
    assert largest_error(mesh(use_data_adp=True), direct(use_data_adp=True)) < 1e-6


def test_bodies_longer_than_the_cell():
    crystal = made_up("P 1", n_atoms=40, cell=(4.0, 5.0, 6.0, 60.0, 110.0, 95.0))
    extent = crystal.positions.max(0).values - crystal.positions.min(0).values
    assert float(extent.max()) > 6.0
    direct, mesh = by_both(crystal, **on_grid(), rtol=1e-6)
    assert largest_error(mesh(use_data_adp=True), direct(use_data_adp=True)) < 1e-6


def test_planes_lines_and_points():
    crystal = made_up("P 1 21 1")
    for samplings in (
        ((0.5, 0.5, 2), (-3, 3, 2), (-3, 3, 2)),
        ((0.5, 0.5, 2), (0, 0, 1), (-3, 3, 5)),
        ((1.5, 1.5, 2), (0.5, 0.5, 2), (2, 2, 1)),
    ):
        direct, mesh = by_both(crystal, **on_grid(samplings), rtol=1e-6)
        assert largest_error(mesh(use_data_adp=True), direct(use_data_adp=True)) < 1e-6


def test_one_mode_and_kept_amplitudes():
    crystal = made_up("P 1 21 1")
    for points in (on_grid(), {"q_vectors": scattered_q(50)}):
        direct, mesh = by_both(crystal, **points, rtol=1e-8)
        assert largest_error(mesh(rank=2), direct(rank=2)) < 1e-6  # of one mode: others are larger
        G, kept = direct.amplitudes().detach(), mesh.amplitudes().detach()
        assert float((G - kept).abs().max() / G.abs().max()) < 1e-8
        assert largest_error(mesh(G=kept), direct(G=G)) < 1e-8


def test_float32():
    crystal = made_up("P 21 21 21")
    direct = OnePhonon(crystal, **on_grid(), gnm_cutoff=8.0, engine="direct")(use_data_adp=True)
    for points in (
        on_grid(),
        on_grid() | {"q_vectors": OnePhonon(crystal, **on_grid(), gnm_cutoff=8.0).q_grid},
    ):
        mesh = OnePhonon(
            crystal, **points, gnm_cutoff=8.0, engine="mesh", rtol=1e-5, dtype=torch.float32
        )
        got = mesh(use_data_adp=True)
        assert got.dtype == torch.float32
        good = ~got.isnan() & ~direct.isnan()
        # Single precision is good for 1e-4 (see test_model); the mesh adds little.
        assert largest_error(got[good].double(), direct[good]) < 2e-4


def leaves_of(crystal):
    tensors = {
        "positions": crystal.positions,
        "U": crystal.U,
        "occupancies": crystal.occupancies,
        "cell": crystal.cell.matrix,
        "gamma_intra": torch.tensor(1.3, dtype=torch.float64),
        "gamma_inter": torch.tensor(0.7, dtype=torch.float64),
    }
    return {name: t.detach().clone().requires_grad_() for name, t in tensors.items()}


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1", "P 31 2 1"])
@pytest.mark.parametrize("points", ["grid", "list"])
@pytest.mark.parametrize("use_data_adp", [True, False])
def test_gradients_agree_with_the_direct_sum(spacegroup, points, use_data_adp):
    crystal = made_up(spacegroup)
    weight = None
    found = []
    for engine in ("direct", "mesh"):
        leaves = leaves_of(crystal)
        wanted_inputs = dict(leaves)
        if points == "list":
            leaves["q_vectors"] = scattered_q(40).requires_grad_()
            wanted_inputs = dict(leaves)
        else:
            wanted_inputs |= on_grid()
        model = OnePhonon(
            crystal, **wanted_inputs, engine=engine, rtol=1e-8, gnm_cutoff=8.0, res_limit=2.0
        )
        intensity = model(use_data_adp=use_data_adp)
        if weight is None:
            weight = torch.rand(intensity.shape, dtype=torch.float64)
        (weight * intensity).nansum().backward()
        found.append({name: leaf.grad for name, leaf in leaves.items()})
    for name, reference in found[0].items():
        error = float((found[1][name] - reference).abs().max() / reference.abs().max())
        # A derivative brings down |q| or a width: a few times the error of the intensity.
        assert error < 1e-7, name


def test_second_derivatives_are_refused():
    crystal = made_up("P 1")
    for points in (on_grid(), {"q_vectors": scattered_q(5)}):
        leaf = crystal.positions.clone().requires_grad_()
        model = OnePhonon(crystal, **points, positions=leaf, engine="mesh", gnm_cutoff=8.0)
        with pytest.raises(GradientError, match="engine='direct'"):
            torch.autograd.grad(model(use_data_adp=True).nansum(), leaf, create_graph=True)


def test_scattered_amplitudes_of_nothing():
    bodies = gather_bodies(made_up("P 1"))
    q = torch.zeros(0, 3, dtype=torch.float64)
    assert scattered_amplitudes(bodies, q, bodies.U, 1e-6).shape == (0, 6)
    q = torch.zeros(1, 3, dtype=torch.float64)
    expected = transform(bodies, q, bodies.U)
    assert torch.allclose(scattered_amplitudes(bodies, q, bodies.U, 1e-6), expected)


def test_the_engine_is_chosen_and_says_why():
    bodies = gather_bodies(made_up("P 1", n_atoms=1000), "asu")
    atoms = gather_bodies(made_up("P 1", n_atoms=1000), "atom")
    assert choose_engine("auto", 1e-6, bodies, 1000, True).name == "direct"
    assert choose_engine("auto", 1e-6, bodies, 10_000_000, True).name == "mesh"
    assert choose_engine("auto", 1e-6, bodies, 10_000_000, False).name == "mesh"
    assert choose_engine("auto", 1e-6, atoms, 10_000_000, False).name == "direct"
    assert "1000 atoms in 1 bodies" in str(choose_engine("auto", 1e-6, bodies, 10**7, True))
    assert choose_engine("direct", 1e-6, bodies, 10**9, True).rtol == 0
    model = OnePhonon(made_up("P 1"), **on_grid(), gnm_cutoff=8.0)
    assert model.chosen_engine.name == "direct"
    model.engine = "mesh"
    assert "as requested" in str(model.chosen_engine)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"engine": "fast"}, "not one of auto"), ({"rtol": 0.0}, "1e-12"), ({"rtol": 1.0}, "rtol")],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        OnePhonon(made_up("P 1"), **on_grid(), gnm_cutoff=8.0, **options)


def test_single_precision_has_its_limit():
    model = OnePhonon(
        made_up("P 1"), **on_grid(), gnm_cutoff=8.0, engine="mesh", rtol=1e-12, dtype=torch.float32
    )
    with pytest.raises(InputError, match="float64"):
        model(use_data_adp=True)


GRIDS = {
    "P 1": ((-3, 3, 2), (-3, 3, 3), (-3, 3, 2)),
    "P 1 21 1": ((-3, 3, 2), (-3, 3, 3), (-3, 3, 2)),
    "P 21 21 21": ((-3, 3, 2), (-2, 3, 3), (-3, 1, 2)),
    "P 4/m": ((-3, 3, 2), (-3, 3, 2), (-3, 3, 1)),
    "P 4": ((-3, 3, 2), (-3, 3, 3), (-3, 3, 1)),
    "P 31 2 1": ((-3, 3, 2), (-3, 3, 2), (-2, 2, 2)),
    "P 61": ((-3, 2, 2), (-3, 3, 2), (-2, 2, 2)),
    "P 2 3": ((-2, 2, 2), (-2, 2, 2), (-2, 2, 2)),
}

#: How much of these grids has to be computed: 1/2 by inversion, more by the point group.
SHARES = {"P 1": 0.6, "P 1 21 1": 0.33, "P 21 21 21": 0.34, "P 4/m": 0.33, "P 61": 0.5}


@pytest.mark.parametrize("spacegroup", GRIDS)
def test_symmetry_leads_every_point_to_an_equivalent_one(spacegroup):
    grid = check_samplings(*GRIDS[spacegroup])
    crystal = made_up(
        spacegroup,
        cell=(8.0, 8.0, 8.0, 90.0, 90.0, 120.0 if spacegroup in ("P 31 2 1", "P 61") else 90.0),
    )
    operators = crystal.laue_operators
    symmetry = find_symmetry(operators, grid)
    assert symmetry.n_points < 0.7 * len(grid.hkl) * (1 if len(symmetry.operators) > 1 else 2)
    if spacegroup in SHARES:
        assert symmetry.n_points <= SHARES[spacegroup] * len(grid.hkl)
    hkl = torch.from_numpy(grid.hkl).reshape(*grid.shape, 3)
    every = {tuple(R.reshape(-1).tolist()) for R in operators}
    assert {tuple(R.reshape(-1).tolist()) for R in symmetry.operators} <= every
    inside = torch.zeros(grid.shape, dtype=torch.bool)
    inside[symmetry.region] = True
    for row in range(grid.shape[0]):
        reached = torch.zeros(grid.shape[1:], dtype=torch.bool)
        for here, image in row_images(symmetry, row):
            assert inside[image.unbind(1)].all()
            assert not (here & reached).any()
            reached |= here
            # hkl of the image is hkl times one of the operators.
            moved = torch.einsum(
                "nx,oxy->noy", hkl[row][here], torch.from_numpy(operators).double()
            )
            away = (moved - hkl[image.unbind(1)][:, None]).abs().sum(2)
            assert (away.min(1).values < 1e-9).all()


def test_lattices_of_points_that_symmetry_does_not_keep():
    operators = made_up("P 4", cell=(8.0, 8.0, 8.0, 90.0, 90.0, 90.0)).laue_operators
    # 2 and 3 samples per index: a fourfold axis takes points between points.
    assert (
        len(find_symmetry(operators, check_samplings((-3, 3, 2), (-3, 3, 3), (-3, 3, 2))).operators)
        == 4
    )
    # A grid off the integers has not even an inversion.
    odd = check_samplings((-3.13, 3, 2), (-3, 3, 2), (-3, 3, 2))
    assert len(find_symmetry(FRIEDEL, odd).operators) == 1


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1", "C 1 2 1", "P 31 2 1", "P 61"])
def test_symmetric_maps_are_filled(spacegroup):
    samplings = ((-2, 2, 2), (-2, 2, 2), (-2, 2.5, 2))
    direct, mesh = by_both(made_up(spacegroup), **on_grid(samplings), rtol=1e-7)
    with torch.no_grad():
        symmetry = map_rows(mesh.bound, use_data_adp=True)[1]
        assert not symmetry.whole
        assert len(symmetry.operators) == len(mesh.crystal.laue_operators)
        got = mesh(use_data_adp=True)
    assert largest_error(got, direct(use_data_adp=True)) < 1e-7


@pytest.mark.filterwarnings("ignore:mesh .* is less symmetric")
def test_symmetry_is_used_only_where_there_is_one():
    # A supercell less symmetric than the crystal gives copies different ADPs.
    hexagonal = made_up("P 31 2 1")
    uneven = ((-2, 2, 2), (-2, 2, 4), (-2, 2, 2))
    boxed = on_grid(uneven) | {"zone_average": "supercell"}
    model = OnePhonon(hexagonal, **boxed, gnm_cutoff=8.0, engine="mesh")
    with torch.no_grad():
        _, symmetry = map_rows(model.bound, use_data_adp=False)
        assert len(symmetry.operators) == 2
    direct, mesh = by_both(hexagonal, **boxed, rtol=1e-6)
    with torch.no_grad():
        assert largest_error(mesh(), direct()) < 1e-6
