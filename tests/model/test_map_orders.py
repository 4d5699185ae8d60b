"""Maps of orders beyond the first: written as they grow, recorded, with the symmetry they have."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import InputError, MapFileError, OnePhonon, SpringPlan, read_map
from onephonon.compare import compare_model, simulate_at, symmetry_of
from onephonon.crystal import find_reindexings
from onephonon.maps.io.streaming import partial_path
from onephonon.model import map_writing, voxel_average
from onephonon.model.map_writing import map_rows
from onephonon.scattering.multiphonon.pairs import body_pairs
from onephonon.scattering.order_error import order_error
from onephonon.scattering.softest import softest_intensity

SAMPLINGS = ((-1, 1, 2), (-1, 1, 2), (-1, 1.5, 2))
OPTIONS = {"gnm_cutoff": 8.0, "mesh": (3, 3, 3), "rtol": 1e-5}

#: Mesh and truncation are each accurate to rtol, of the intensity or its rms.
CLOSE = 3e-5


@pytest.fixture
def thin(monkeypatch):
    """Slabs of a single chunk of the file, so that there are several."""
    monkeypatch.setattr(map_writing, "SLAB_BYTES", 1)
    monkeypatch.setattr("onephonon.maps.io.hdf5.CHUNK_BYTES", 4 * 30)


def model_of(spacegroup="P 1 21 1", samplings=SAMPLINGS, **options):
    return OnePhonon(made_up(spacegroup), *samplings, **{"engine": "mesh"} | OPTIONS | options)


def stop_at(step):
    """Progress that stops after a step of the map."""

    def stop(what, done, total):
        if (what, done) == ("map", step):
            assert total > step
            raise KeyboardInterrupt

    return stop


# maps written as they grow


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("orders", [2, "all"])
def test_streamed_map_is_the_sum_of_orders(tmp_path, orders):
    path, model = tmp_path / "map.h5", model_of(orders=orders)
    model.write_map(path, use_data_adp=True, stored="float64")
    found = read_map(path).intensity
    direct = model_of(orders=orders, engine="direct")
    with torch.no_grad():
        exact = direct(use_data_adp=True).reshape(model.map_shape).numpy()
        first = direct(use_data_adp=True, orders=1).reshape(model.map_shape).numpy()
    good = np.isfinite(exact)
    assert np.array_equal(good, np.isfinite(found))
    rms = np.sqrt(np.mean(exact[good] ** 2))
    assert np.abs(found - exact)[good].max() < CLOSE * rms
    assert np.nanmean(first) < 0.95 * np.nanmean(exact)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("step", [1, 3])  # rows that are computed; images by symmetry
def test_interrupted_map_ends_as_if_it_had_not_been(tmp_path, step):
    path, model = tmp_path / "map.h5", model_of(orders="all")
    with pytest.raises(KeyboardInterrupt):
        model.write_map(path, progress=stop_at(step))
    assert partial_path(path).exists()
    model_of(orders="all").write_map(path)
    model_of(orders="all").write_map(tmp_path / "again.h5")
    resumed, again = read_map(path).intensity, read_map(tmp_path / "again.h5").intensity
    assert np.isfinite(again).any()
    assert np.array_equal(resumed, again, equal_nan=True)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize(
    "other", [{"orders": 1}, {"orders": 3}, {"orders": "all", "multiphonon_mesh": (5, 3, 3)}]
)
def test_a_map_of_other_orders_is_not_continued(tmp_path, other):
    path = tmp_path / "map.h5"
    with pytest.raises(KeyboardInterrupt):
        model_of(orders="all").write_map(path, progress=stop_at(2))
    with pytest.raises(MapFileError, match=r"the orders.* changed"):
        model_of(**other).write_map(path)


@pytest.mark.usefixtures("thin")
def test_a_mesh_that_nothing_depends_on_does_not_matter(tmp_path):
    path = tmp_path / "map.h5"
    with pytest.raises(KeyboardInterrupt):
        model_of().write_map(path, progress=stop_at(2))
    model_of(multiphonon_mesh=(5, 3, 3)).write_map(path)
    assert path.exists()


def test_memory_of_moments_and_pairs_is_counted():
    first, every = model_of(), model_of(orders="all", multiphonon_mesh=(9, 9, 9))
    with torch.no_grad():
        one, rows = (map_rows(model.bound, use_data_adp=True)[0] for model in (first, every))
    blocks = rows.higher.pairs.blocks.numel() * 8
    without = replace(rows, higher=None).memory_bytes()
    assert blocks < rows.memory_bytes() - without < 10 * blocks
    density = sum(x.numel() * 8 for x in rows.amplitudes.densities.density)
    assert density < without - one.memory_bytes() < 10 * density


def test_pairs_that_do_not_fit_are_refused(monkeypatch):
    model = model_of(orders="all", multiphonon_mesh=(200, 200, 200))
    monkeypatch.setattr("onephonon.core.memory.available_memory", lambda: 10**9)
    with pytest.raises(InputError, match=r"pairs of bodies.*coarser mesh .multiphonon_mesh"):
        model.bound.pairs(model.bound.orders)


# what is recorded


@pytest.mark.parametrize("ending", [".h5", ".npz"])
def test_orders_are_recorded_with_their_errors(tmp_path, ending):
    path, model = tmp_path / f"map{ending}", model_of(multiphonon_mesh=(5, 3, 3))
    model.write_map(path, orders="all", use_data_adp=True)
    parameters = read_map(path).parameters
    error = model_of(multiphonon_mesh=(5, 3, 3), orders="all")
    expected = order_error(error.bound, use_data_adp=True)
    assert parameters["orders"] == "all"
    assert parameters["multiphonon_mesh"] == [5, 3, 3]
    assert parameters["order_error"] == pytest.approx(expected.order)
    assert parameters["multiphonon_mesh_error"] == pytest.approx(expected.mesh)
    assert 0 < expected.order < 1e-5 < expected.mesh < 0.5


def test_a_map_of_one_phonon_says_so():
    parameters = model_of().to_map().parameters
    assert parameters["orders"] == 1
    assert "multiphonon_mesh" not in parameters
    assert "order_error" not in parameters


@pytest.mark.parametrize("engine", ["mesh", "direct"])
def test_a_map_follows_the_orders_that_are_asked_for(engine):
    model = model_of(engine=engine, orders=2)
    asked, own = model.to_map(orders=3), model.to_map()
    with torch.no_grad():
        for found, orders in ((asked, 3), (own, 2)):
            expected = model(orders=orders).reshape(model.map_shape).numpy()
            assert np.array_equal(found.intensity, expected, equal_nan=True)
            assert found.parameters["orders"] == orders


# errors


def test_errors_of_orders_are_computed_once(monkeypatch):
    model = model_of(orders="all")
    first = model.order_error
    module = sys.modules[order_error.__module__]
    monkeypatch.setattr(module, "_estimate", lambda *_: None)
    assert model.order_error is first
    model.orders = 2
    assert model.order_error is None


def test_errors_where_every_point_is_masked():
    error = model_of(orders="all", res_limit=100.0).order_error
    assert math.isnan(error.order)
    assert math.isnan(error.mesh)
    assert str(error).startswith("an unknown share left out")
    assert error.n_pairs > 0


@pytest.mark.filterwarnings("ignore:.*mesh .* is less symmetric")
def test_errors_of_a_supercell_less_symmetric_than_the_crystal():
    model = model_of("P 31 2 1", zone_average="supercell", mesh=(2, 3, 2), orders="all")
    assert math.isfinite(model.order_error.mesh)


# symmetry


@pytest.mark.parametrize("spacegroup", ["P 1 21 1", "P 31 2 1"])
def test_symmetric_maps_are_filled(spacegroup):
    mesh = model_of(spacegroup, orders="all")
    with torch.no_grad():
        _, symmetry = map_rows(mesh.bound, use_data_adp=True)
        assert len(symmetry.operators) == len(mesh.crystal.laue_operators)
        exact = model_of(spacegroup, orders="all", engine="direct")(use_data_adp=True)
        found = mesh(use_data_adp=True)
    good = exact.isfinite()
    assert ((found - exact)[good].abs().max() / exact[good].square().mean().sqrt()) < CLOSE


@pytest.mark.filterwarnings("ignore:multiphonon_mesh .* is less symmetric")
def test_pairs_less_symmetric_than_the_crystal_are_noticed():
    # The first order and the ADPs have the symmetry of the crystal, the orders beyond have not.
    boxed = {"zone_average": "supercell", "mesh": (2, 2, 2)}
    uneven = boxed | {"multiphonon_mesh": (2, 3, 2)}
    crystal = made_up("P 4", cell=(7.0, 7.0, 8.0, 90.0, 90.0, 90.0))
    n = []
    with torch.no_grad():
        for how in (boxed, boxed | {"orders": "all"}, uneven, uneven | {"orders": "all"}):
            model = OnePhonon(crystal, *SAMPLINGS, **OPTIONS | how, engine="mesh")
            n.append(len(map_rows(model.bound)[1].operators))
            assert len(symmetry_of(model, q_max=5.0)) == n[-1]
        assert n == [8, 8, 8, 2]
        direct = OnePhonon(crystal, *SAMPLINGS, **OPTIONS | how, engine="direct")
        exact, found = direct(), model()
    good = exact.isfinite()
    assert ((found - exact)[good].abs().max() / exact[good].square().mean().sqrt()) < CLOSE


def test_a_mesh_less_symmetric_than_the_crystal_is_refused_by_its_name():
    model = model_of("P 31 2 1", orders="all", multiphonon_mesh=(2, 3, 2))
    with pytest.raises(
        InputError, match=r"^multiphonon_mesh \(2, 3, 2\) .*multiphonon_mesh=\(3, 3"
    ):
        model()


# what only the first order has


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(rank=0), "rank=0 belongs to the one-phonon intensity, but orders=2"),
        (lambda m: softest_intensity(m, 3), "softest=3 belongs to the one-phonon intensity"),
        (lambda m: m.to_map(rank=1), "rank=1 belongs to the one-phonon intensity"),
    ],
)
def test_modes_and_jacobians_are_of_one_phonon(call, message):
    model = model_of(orders=2, springs=SpringPlan())
    with pytest.raises(InputError, match=message):
        call(model)


# other points


def test_averages_over_voxels_follow_the_orders_of_the_model():
    model, step = model_of(orders="all"), (0.5, 0.5, 0.5)
    voxels = np.array([[1.5, -0.75, 0.5], [-2.5, 0.5, 1.5]])  # away from Bragg points
    with torch.no_grad():
        found = voxel_average(model, voxels, step, 2)
    offsets = (np.array([-1.0, 1.0]) / math.sqrt(3)) * 0.25
    nodes = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3)
    hkl = torch.from_numpy((voxels[:, None] + nodes).reshape(-1, 3))
    with torch.no_grad():
        for orders, same in (("all", True), (1, False)):
            values = model(model.crystal.cell.q_from_hkl(hkl), orders=orders).reshape(2, 8)
            # Truncated to rtol of the mean intensity; these may be some ten times less.
            off = float((values.mean(1) / found - 1).abs().max())
            assert (off < 1e-3) is same


def test_comparisons_follow_the_orders_of_the_model():
    data = model_of(orders="all").to_map()
    group, cell = data.spacegroup, data.cell
    ways = find_reindexings(cell, group)[:1]
    own, first = model_of(orders="all"), model_of()
    hkl = data.grid.hkl[:: data.grid.size // 40]
    values, asked = (
        simulate_at(model, hkl, ways, **run)[ways[0].name]
        for model, run in ((own, {}), (first, {"orders": "all"}))
    )
    at = data.grid.index_of(hkl).round().astype(int)
    expected = data.intensity[tuple(at.T)]
    good = np.isfinite(expected) & np.isfinite(values)
    assert good.sum() > 30
    rms = np.sqrt(np.mean(expected[good] ** 2))
    assert np.abs(values - expected)[good].max() < CLOSE * rms
    assert np.abs(asked - expected)[good].max() < CLOSE * rms
    assert compare_model(own, data, average=0).overall.cc > 1 - 1e-9
    assert compare_model(first, data, average=0).overall.cc < 0.999


def test_pairs_are_kept_for_other_points_of_the_same_model(monkeypatch):
    bound = model_of(orders="all").bound
    with torch.no_grad():
        kept = bound.pairs(bound.orders)
        monkeypatch.setattr("onephonon.scattering.bound_model.body_pairs", lambda *_: None)
        other = bound.at(torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64))
        assert other.pairs(other.orders) is kept


def test_expected_numbers_of_pairs_are_nearly_right():
    from onephonon.scattering.multiphonon.pairs import expected_pairs

    for mesh in ((3, 3, 3), (5, 4, 3), (9, 9, 9)):
        lattice = model_of("P 21 21 21").lattice
        n = body_pairs(lattice, mesh).n_pairs
        # Ties at half an even mesh are listed twice.
        assert 0.5 < expected_pairs(lattice.bodies, mesh) / n < 1.2
