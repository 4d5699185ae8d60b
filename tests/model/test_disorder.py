"""Components of disorder in the user's model."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from crystals import made_up, split
from onephonon import Crystal, InputError, MapGrid, NetworkError, OnePhonon, read_map
from onephonon.compare import Settings, compare_model
from onephonon.compare.simulated import symmetry_of
from onephonon.disorder import (
    Atoms,
    Disorder,
    Lattice,
    Liquid,
    Rigid,
    read_ensemble,
)
from onephonon.model import voxel_average
from onephonon.refine.fit import fit_springs
from onephonon.scattering.softest import softest_intensity
from structures import DATA

#: A grid, and a mesh of ADPs that is quick.
GRID = ((-2, 2, 2), (-1, 1, 2), (-2, 2, 3))
OPTIONS = {"gnm_cutoff": 8.0, "mesh": (2, 2, 2)}

#: float64 sums of some hundred terms.
ROUNDING = 1e-11

SUM = "lattice+liquid:scope=asu,gamma=4"


def q_vectors(n=5):
    generator = torch.Generator().manual_seed(1)
    return 1.5 * torch.randn(n, 3, dtype=torch.float64, generator=generator)


def model_of(disorder, *where, crystal=None, **options):
    crystal = made_up("P 21 21 21") if crystal is None else crystal
    return OnePhonon(crystal, *where, **OPTIONS | {"disorder": disorder} | options)


@torch.no_grad()
def test_the_sum_is_that_of_separate_calculations():
    q = q_vectors()
    found = model_of("lattice:share=0.3+liquid:gamma=4,share=0.5+rigid", q_vectors=q)
    lattice = model_of(None, q_vectors=q)
    bodies, points = lattice.bodies, lattice.points
    parts = [
        0.3 * lattice(use_data_adp=True),
        Liquid(gamma=4.0, share=0.5).intensity(bodies, points, bodies.U, 1),
        # What is left of the mean U; the bodies move by their own mean, so that it is all of it.
        Rigid(share=0.2).intensity(bodies, points, bodies.U, 1),
    ]
    torch.testing.assert_close(found(), sum(parts), rtol=ROUNDING, atol=0)
    taken = found.disorder.accounts(found.bodies)
    torch.testing.assert_close(
        taken.shares, torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64), rtol=ROUNDING, atol=0
    )


@torch.no_grad()
@pytest.mark.parametrize("orders", [1, 2, "all"])
@pytest.mark.parametrize("engine", ["direct", "mesh"])
def test_grid_and_list_agree(orders, engine):
    grid = model_of(SUM + "+rigid", *GRID, engine=engine, orders=orders, rtol=1e-9)
    at_points = model_of(SUM + "+rigid", q_vectors=grid.q_grid, orders=orders, rtol=1e-9)
    found, wanted = grid(), at_points()
    assert bool(torch.isnan(found).any())  # Bragg points
    # Each side has the accuracy `rtol` of amplitudes on the mesh and of the series of orders,
    # relative to the rms; the direct sum of the first order has none.
    exact = engine == "direct" and orders == 1
    tolerance = ROUNDING if exact else 1e-8
    rms = float(wanted.nan_to_num().square().mean().sqrt())
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance * rms, equal_nan=True)


@torch.no_grad()
def test_a_lattice_of_quantum_mechanics_has_its_share():
    options = {"temperature": 100.0, "engine": "direct"}
    grid = model_of(SUM, *GRID, **options)
    found, wanted = grid(), model_of(SUM, q_vectors=grid.q_grid, **options)()
    torch.testing.assert_close(found, wanted, rtol=ROUNDING, atol=0, equal_nan=True)
    # The scale is not proportional to the share, as it is for classical motion.
    shares = grid.disorder.accounts(grid.bodies).shares
    torch.testing.assert_close(shares, torch.full_like(shares, 0.5), rtol=1e-8, atol=0)
    alone = model_of(None, **options).thermal_scale
    assert abs(float(grid.bound.of_lattice().lattice.thermal_scale / alone) - 0.5) > 1e-3


@torch.no_grad()
def test_the_lattice_alone_is_as_without_disorder():
    q = q_vectors()
    plain, named = (model_of(d, q_vectors=q) for d in (None, "lattice"))
    assert named.disorder is None
    assert type(named.bound) is type(plain.bound)
    assert torch.equal(named(), plain())


@torch.no_grad()
def test_text_and_components_are_the_same():
    q = q_vectors()
    wanted = model_of(SUM, q_vectors=q)()
    liquid = Liquid(gamma=4.0, scope="asu")
    for given in (["lattice", liquid], ("lattice+liquid:scope=asu,gamma=4",)):
        torch.testing.assert_close(model_of(given, q_vectors=q)(), wanted, rtol=ROUNDING, atol=0)
    both = Disorder((Rigid(share=0.5), Atoms()))
    text = model_of("rigid:share=0.5+atoms", q_vectors=q)()
    torch.testing.assert_close(model_of(both, q_vectors=q)(), text, rtol=ROUNDING, atol=0)


@torch.no_grad()
def test_without_lattice_no_contacts_are_needed():
    crystal = Crystal.from_atoms(
        (20.0, 21.0, 22.0, 90, 90, 90), "P 21 21 21", ["C"], [[2.0, 3.0, 4.0]], B=[10.0]
    )
    q = q_vectors()
    with pytest.raises(NetworkError):
        OnePhonon(crystal, q_vectors=q)
    model = OnePhonon(crystal, q_vectors=q, disorder="liquid:gamma=5")
    bodies = model.bodies
    wanted = Liquid(gamma=5.0).intensity(bodies, model.points, bodies.U, 1)
    torch.testing.assert_close(model(), wanted, rtol=ROUNDING, atol=0)
    assert not model.has_lattice
    for wrong in ("lattice", "thermal_scale", "V", "covar"):
        with pytest.raises(InputError, match=r"'liquid:.*gamma=5' has no lattice"):
            getattr(model, wrong)
    header = model.to_map().parameters
    assert header["disorder"] == "liquid:scope=crystal,gamma=5"
    assert "thermal_scale" not in header


@pytest.mark.parametrize("orders", [1, 2])
def test_gradients(orders):
    crystal = made_up("P 1 21 1", n_atoms=3)
    q = q_vectors(1)

    def intensity(gamma_intra, gamma, share, B):
        liquid = Liquid(gamma=gamma, share=share, scope="asu")
        model = model_of(
            ["lattice", liquid, Rigid(share=0.2)],
            crystal=crystal,
            q_vectors=q,
            gamma_intra=gamma_intra,
            B=B,
            orders=orders,
            mesh=(1, 1, 1),
            group_by="atom",
        )
        return model()

    start = [torch.tensor(x, dtype=torch.float64) for x in (0.8, 4.0, 0.3)]
    leaves = [x.requires_grad_() for x in (*start, crystal.B.clone())]
    # Central differences of numbers of some hundred: truncated at 1e-10, rounded at 1e-8.
    assert gradcheck(intensity, leaves, eps=1e-6, atol=1e-4, rtol=1e-5)


def test_gradients_on_a_grid_are_those_of_its_points():
    found = []
    for where in ("grid", "list"):
        grid = model_of(SUM, *GRID, engine="direct")
        model = grid if where == "grid" else model_of(SUM, q_vectors=grid.q_grid)
        model().nansum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    assert set(found[0]) == {"gamma_intra", "gamma_inter", "component_parameters.liquid_gamma"}
    for name, slope in found[0].items():
        torch.testing.assert_close(slope, found[1][name], rtol=1e-9, atol=0)
        assert slope != 0


def test_numbers_are_parameters_of_the_module():
    q = q_vectors()
    model = model_of(
        "lattice:share=0.2+liquid:gamma=4,scope=asu+liquid:gamma=9,share=0.1,scope=asu", q_vectors=q
    )
    names = set(model.component_parameters)
    assert names == {"lattice_share", "liquid_gamma", "liquid2_gamma", "liquid2_share"}
    with torch.no_grad():
        before = model()
        model.component_parameters["liquid_gamma"].fill_(5.0)
        assert (model() - before).abs().min() > 0
        assert "gamma=5" in model.disorder.text
    wide = Liquid(gamma=torch.tensor(4.0, dtype=torch.float64))
    assert model_of([wide], q_vectors=q).component_parameters is None


@torch.no_grad()
def test_accounts_are_read_in_a_line():
    crystal = made_up("P 21 21 21")
    model = model_of(SUM, crystal=crystal)
    text = repr(model.disorder.accounts(model.bodies))
    assert "than the file's U allows" in text
    B = float(crystal.B.mean())
    line = f"of the file's mean B of {B:.3g} Å^2: lattice {B / 2:.3g}, liquid {B / 2:.3g}, left 0"
    assert text.splitlines()[0] == line
    some = model_of("rigid:share=0.25", crystal=crystal)
    assert str(some.disorder.accounts(some.bodies)).endswith(f"left {0.75 * B:.3g}")


@torch.no_grad()
@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_maps_are_written_whole_and_name_the_disorder(tmp_path, ending):
    model = model_of(SUM, *GRID, engine="mesh")
    path = tmp_path / f"map{ending}"
    said = []
    written = model.write_map(path, stored="float64", progress=lambda *step: said.append(step))
    found = read_map(path)
    np.testing.assert_array_equal(found.intensity.reshape(-1), model().numpy())
    assert written.n_valid == int(torch.isfinite(model()).sum())
    assert found.parameters["disorder"] == "lattice+liquid:scope=asu,gamma=4"
    amounts = found.parameters["disorder_amounts"]
    assert amounts.startswith("lattice:share=0.5+liquid:scope=asu,share=0.5")
    assert found.parameters["use_data_adp"] is True
    # The lattice has half of what it has alone.
    alone = float(model_of(None).thermal_scale)
    assert found.parameters["thermal_scale"] == pytest.approx(alone / 2, rel=ROUNDING)
    with pytest.raises(InputError, match="unique: only for the lattice alone"):
        model.write_map(tmp_path / f"unique{ending}", unique=True)


@torch.no_grad()
def test_voxel_averages_are_those_of_the_sum():
    model, crystal = model_of(SUM), made_up("P 21 21 21")
    voxels = np.array([[0.5, 0.0, 1.0], [1.0, 1.0, 0.5]])
    found = voxel_average(model, voxels, (0.5, 0.5, 0.5), 2)
    node = 0.25 / np.sqrt(3)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    hkl = (voxels[:, None] + node * signs).reshape(-1, 3)
    wanted = model(crystal.cell.q_from_hkl(torch.from_numpy(hkl))).reshape(2, 8).mean(1)
    torch.testing.assert_close(found, wanted, rtol=ROUNDING, atol=0)


@torch.no_grad()
def test_ensembles_are_read_once_and_of_the_conformers(tmp_path):
    q = q_vectors()
    moved = tmp_path / "models.pdb"
    text = (DATA / "2ol9.pdb").read_text().splitlines()
    atoms = [line for line in text if line.startswith("ATOM")]
    other = [f"{line[:30]}{float(line[30:38]) + 0.3:8.3f}{line[38:]}" for line in atoms]
    head = [line for line in text if line.startswith("CRYST1")]
    models = ["MODEL        1", *atoms, "ENDMDL", "MODEL        2", *other, "ENDMDL", "END"]
    moved.write_text("\n".join(head + models))
    model = OnePhonon(DATA / "2ol9.pdb", q_vectors=q, disorder=f"ensemble:file={moved}")
    wanted = read_ensemble(moved).intensity(model.bodies, model.points, model.bodies.U, 1)
    moved.unlink()
    torch.testing.assert_close(model(), wanted, rtol=ROUNDING, atol=0)
    assert float(wanted.min()) > 0
    torch.testing.assert_close(
        model.to(torch.float32)(), wanted.float(), rtol=1e-3, atol=1e-3 * float(wanted.max())
    )

    several = split(made_up("P 1"), [("A", 0.6), ("B", 0.4)], which=[1, 2])
    model = OnePhonon(several, q_vectors=q, disorder="ensemble+atoms")
    assert model().isfinite().all()
    assert "ensemble 0, atoms" in str(model.disorder.accounts(model.bodies))


@dataclass(frozen=True)
class Lopsided(Liquid):
    """A component without the symmetry of the crystal."""

    def intensity(self, bodies, points, U, order, progress=None):
        found = super().intensity(bodies, points, U, order, progress)
        return found * (1 + 0.1 * points.q[:, 0] * points.q[:, 1])


@dataclass(frozen=True)
class Stranger:
    """A component of a user, who knows what it is."""

    liquid: Liquid
    name = "stranger"
    text = "stranger"
    parameters = MappingProxyType({})

    def with_parameters(self, values):  # noqa: ARG002
        return self

    def displacements(self, bodies):
        return self.liquid.displacements(bodies)

    def intensity(self, *arguments):
        return self.liquid.intensity(*arguments)


def test_comparisons_use_the_symmetry_of_the_sum():
    liquid = {"gamma": 4.0, "share": 0.5}
    n_operators = 8
    for given, n in (
        (SUM, n_operators),
        ("liquid:gamma=4", n_operators),
        (["lattice", Stranger(Liquid(**liquid))], n_operators),
        ([Stranger(Lopsided(**liquid))], 2),
    ):
        # The mesh has the symmetry of the crystal.
        assert len(symmetry_of(model_of(given))) == n


@torch.no_grad()
def test_a_comparison_finds_the_indexing():
    """P 31 2 1: data indexed along -a, -b, c."""
    crystal = made_up("P 31 2 1")
    model = model_of("lattice+liquid:gamma=4", crystal=crystal, mesh=(2, 2, 2))
    axes = ((-3, 3, 2), (-3, 3, 2), (-3, 3, 2))
    grid = model_of("lattice+liquid:gamma=4", *axes, crystal=crystal, mesh=(2, 2, 2))
    values = grid().numpy().reshape(grid.map_shape)[::-1, ::-1]
    data = grid.to_map(intensity=torch.from_numpy(values.copy()).reshape(-1))
    assert data.grid == MapGrid.from_sampling(*axes)
    found = compare_model(model, data, Settings(reindex="best"), average=0)
    assert len(found.trials) == 2
    assert not found.reindexing.is_identity
    assert found.trials[0].cc_anisotropic < 0.9
    assert found.overall.cc == pytest.approx(1, abs=1e-9)
    assert found.scale == pytest.approx(1, rel=1e-9)


def test_what_belongs_to_the_lattice_is_refused():
    model = model_of(SUM, q_vectors=q_vectors())
    alone = ": only for the lattice alone, but the model is the sum of disorder 'lattice"
    for call in (
        lambda: model(rank=0),
        lambda: model(hold=("scale",)),
        lambda: model.modes(),
        lambda: model.V,
        lambda: model.amplitudes(),
        lambda: softest_intensity(model, 2),
        lambda: model.spring_jacobian(),
        lambda: model.order_error,
        lambda: model.one_phonon_share(2.0),
        lambda: fit_springs(model, None),
    ):
        with pytest.raises(InputError, match=alone):
            call()
    for options in ({"use_data_adp": False}, {"use_data_adp": 0}):
        with pytest.raises(InputError, match=r"use_data_adp=False, but with disorder"):
            model(**options)
        with pytest.raises(InputError, match=r"use_data_adp=False, but with disorder"):
            model.to_map(**options)


@pytest.mark.parametrize(
    ("disorder", "message"),
    [
        ("liquidd", "component 'liquidd' does not exist"),
        ("liquid", "'liquid' lacks gamma, the correlation length in Å"),
        ("segments:n=4", "'segments:n=4' is determined by data"),
        ("liquid:kernel=free,gamma=3", "is determined by data"),
        ([], "disorder has no component"),
        (["lattice", "lattice"], "the lattice twice"),
        ([3.0], "neither a component nor text"),
        (3.0, "disorder float: give text"),
        ("lattice:share=0.9+liquid:gamma=3,share=0.8", "takes more than there is"),
    ],
)
def test_wrong_components_are_one_clear_error(disorder, message):
    with pytest.raises(InputError, match=message):
        model_of(disorder)


def test_a_lattice_of_another_model_and_unused_springs_are_refused():
    with pytest.raises(InputError, match="give the text 'lattice' in its place"):
        model_of([Lattice(model_of(None).lattice)])
    with pytest.raises(InputError, match="springs are of the lattice, which disorder"):
        model_of("liquid:gamma=3", springs=lambda features: features.distance)
