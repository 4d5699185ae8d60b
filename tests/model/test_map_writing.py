"""Maps written while they are computed: the same numbers, and nothing lost when stopped."""

from itertools import product

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from onephonon import FileError, InputError, MapFileError, MapGrid, OnePhonon, read_map
from onephonon.cli import app
from onephonon.maps.io import streaming
from onephonon.maps.io.streaming import partial_path, unfinished
from onephonon.model import map_writing

GRID = ["--h", "-3", "3", "3", "--k", "-4", "4", "2", "--l", "-6", "5", "2", "--d-min", "1.5"]


def simulate(data, path, *options):
    arguments = ["simulate", str(data / "5zck.pdb"), *GRID, "--use-data-adp", "-o", str(path)]
    return CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)


@pytest.fixture
def thin(monkeypatch):
    """Slabs of a single chunk of the file, so that there are several."""
    monkeypatch.setattr(map_writing, "SLAB_BYTES", 1)
    monkeypatch.setattr("onephonon.maps.io.hdf5.CHUNK_BYTES", 4 * 125)


@pytest.mark.usefixtures("thin")
def test_streamed_map_is_the_map(data, tmp_path):
    simulate(data, tmp_path / "direct.h5", "--engine", "direct")
    result = simulate(data, tmp_path / "mesh.h5", "--engine", "mesh", "--store", "float64")
    assert "mesh to 1e-06" in result.stderr
    assert "symmetry of order 8" in result.stderr
    direct, mesh = read_map(tmp_path / "direct.h5"), read_map(tmp_path / "mesh.h5")
    assert direct.grid == mesh.grid
    assert direct.cell == mesh.cell
    assert np.array_equal(np.isnan(direct.intensity), np.isnan(mesh.intensity))
    good = np.isfinite(direct.intensity)
    rms = np.sqrt((direct.intensity[good] ** 2).mean())
    # The default --rtol.
    assert np.abs(direct.intensity - mesh.intensity)[good].max() < 1e-6 * rms
    assert not partial_path(tmp_path / "mesh.h5").exists()


@pytest.mark.usefixtures("thin")
def test_unique_part_alone(data, tmp_path):
    simulate(data, tmp_path / "all.h5", "--engine", "mesh")
    simulate(data, tmp_path / "part.h5", "--engine", "mesh", "--unique")
    whole, part = read_map(tmp_path / "all.h5"), read_map(tmp_path / "part.h5")
    assert part.intensity.dtype == np.float32
    # Half of each axis: h and k from zero on, and l, from -6 to 5, up to zero.
    assert part.grid.origin == (0.0, 0.0, -6.0)
    assert part.grid.shape == (10, 9, 13)
    assert part.grid.step == whole.grid.step
    # P 21 21 21 has the Laue group mmm: each index may change its sign.
    expanded = np.full(whole.grid.size, np.nan, np.float32)
    reached = np.zeros(whole.grid.size, bool)
    for signs in product((1, -1), repeat=3):
        at = part.grid.index_of(whole.grid.hkl * signs).round().astype(int)
        inside = ((at >= 0) & (at < part.grid.shape)).all(1) & ~reached
        expanded[inside] = part.intensity[tuple(at[inside].T)]
        reached |= inside
    assert reached.all()
    assert np.isfinite(expanded).mean() > 0.5
    assert np.array_equal(expanded, whole.intensity.ravel(), equal_nan=True)


def model_of(structure, **options):
    ranges = ((-3, 3, 3), (-4, 4, 2), (-6, 5, 2))
    return OnePhonon(structure, *ranges, engine="mesh", res_limit=2.0, **options)


def stop_at(step, error=KeyboardInterrupt):
    """Progress that raises after a step of the map."""

    def stop(what, done, total):
        if (what, done) == ("map", step):
            assert total > step
            raise error

    return stop


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("step", [2, 5])  # rows that are computed; images by symmetry
def test_interrupted_run_is_resumed_where_it_stopped(data, tmp_path, caplog, monkeypatch, step):
    path = tmp_path / "map.h5"
    model = model_of(data / "5zck.pdb")
    with pytest.raises(KeyboardInterrupt) as stopped:
        model.write_map(path, use_data_adp=True, progress=stop_at(step))
    assert f"{step} of 7 steps" in stopped.value.__notes__[0]
    assert "repeat the same command" in stopped.value.__notes__[0]
    assert [item.name for item in tmp_path.iterdir()] == ["map.h5.partial"]
    written = []
    whole = streaming.UnfinishedMap.step

    def counted(self, rows, values, n):
        whole(self, rows, lambda: written.append(n) or values(), n)

    monkeypatch.setattr(streaming.UnfinishedMap, "step", counted)
    with caplog.at_level("INFO"):
        found = model.write_map(path, use_data_adp=True)
    assert f"{step} of 7 steps are already done" in caplog.text
    assert written == list(range(step, 7))
    model.write_map(tmp_path / "again.h5", use_data_adp=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["again.h5", "map.h5"]
    resumed, again = read_map(path).intensity, read_map(tmp_path / "again.h5").intensity
    assert np.array_equal(resumed, again, equal_nan=True)
    assert found.n_points == resumed.size
    assert found.n_valid == np.isfinite(resumed).sum()


def edited(data, path, change):
    """A structure under the same name whose atoms were changed."""
    import gemmi

    structure = gemmi.read_structure(str(data / "5zck.pdb"))
    for residue in structure[0][0]:
        for atom in residue:
            change(atom)
    path.parent.mkdir(exist_ok=True)
    structure.write_pdb(str(path))
    return path


def unchanged(_):
    pass


def moved(atom):
    atom.pos.x += 0.02


def thinner(atom):
    atom.occ *= 0.5


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize(
    ("change", "options", "named"),
    [
        (moved, {}, "the positions of atoms"),
        (thinner, {}, "the occupancies"),
        (None, {"gamma_inter": 2.0}, "the springs"),
        (None, {"gnm_cutoff": 9.0}, "the contacts"),
        (None, {"rtol": 1e-5}, "the numerics"),
        (None, {"zone_average": "supercell"}, "the zone average"),
        (None, {"bragg_tolerance": 0.2}, "the points"),
    ],
)
def test_a_map_of_other_content_is_not_continued(data, tmp_path, change, options, named):
    path, structure = tmp_path / "map.h5", tmp_path / "in" / "model.pdb"
    how = {"use_data_adp": True, "parameters": {"structure": "model.pdb"}}
    model = model_of(edited(data, structure, unchanged))
    with pytest.raises(KeyboardInterrupt):
        model.write_map(path, progress=stop_at(2), **how)
    before = partial_path(path).read_bytes()
    if change is not None:
        edited(data, structure, change)
    with pytest.raises(MapFileError, match=f"another calculation .*{named}.* changed"):
        model_of(structure, **options).write_map(path, **how)
    assert partial_path(path).read_bytes() == before
    model_of(structure, **options).write_map(path, force=True, **how)
    model_of(structure, **options).write_map(tmp_path / "new.h5", **how)
    found, expected = read_map(path).intensity, read_map(tmp_path / "new.h5").intensity
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.usefixtures("thin")
def test_a_copy_of_the_structure_continues(data, tmp_path):
    path = tmp_path / "map.h5"
    with pytest.raises(KeyboardInterrupt):
        model_of(data / "5zck.pdb").write_map(path, progress=stop_at(2))
    copy = tmp_path / "copy.pdb"
    copy.write_bytes((data / "5zck.pdb").read_bytes())
    model_of(copy).write_map(path)
    assert path.exists()


OPTIONS = {"dtype": "float32", "cell": (10.0, 10.0, 10.0, 90.0, 90.0, 90.0)}


def begin(path, parameters, force=False):
    grid = MapGrid((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (4, 3, 2))
    return unfinished(path, grid, parameters=parameters, force=force, **OPTIONS)


def ones():
    return np.ones((2, 3, 2))


def stopped(path, parameters):
    """Leave a map with one of two steps done."""

    def stop():
        with begin(path, parameters) as growing:
            growing.plan(2)
            growing.step(slice(0, 2), ones, 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop()


def test_unfinished_map_of_something_else_is_not_continued(tmp_path):
    path = tmp_path / "map.h5"
    stopped(path, {"a": 1, "b": 1})
    with pytest.raises(MapFileError, match=r"another calculation \(a changed\)"):
        begin(path, {"a": 2, "b": 1}).__enter__()
    with h5py.File(partial_path(path)) as file:  # what tells readers that it is unfinished
        assert file.attrs["steps_done"] == 1
        assert file.attrs["n_steps"] == 2
    with begin(path, {"a": 1, "b": 1}) as growing:
        assert growing.steps_done == 1
        growing.step(slice(0, 2), lambda: np.zeros((2, 3, 2)), 0)  # is there already
        growing.step(slice(2, 4), lambda: np.full((2, 3, 2), 5.0), 1)
        assert growing.count() == 24
    values = read_map(path).intensity
    assert (values[:2] == 1).all()
    assert (values[2:] == 5).all()
    with h5py.File(path) as file:
        assert not dict(file.attrs)
        assert "row_sums" not in file
    with pytest.raises(FileError, match="exists"), begin(path, {"a": 1}):
        pass


def test_a_map_with_missing_steps_does_not_get_its_name(tmp_path):
    path = tmp_path / "map.h5"

    def ends_early():
        with begin(path, {}) as growing:
            growing.plan(2)
            growing.step(slice(0, 2), ones, 0)

    with pytest.raises(FileError, match="only 1 of 2 steps"):
        ends_early()
    assert not path.exists()


def test_rows_that_were_not_written_whole_are_found(tmp_path):
    path = tmp_path / "map.h5"
    stopped(path, {})
    with h5py.File(partial_path(path), "r+") as file:
        file["intensity"][1, 2, 1] = np.nan
    with pytest.raises(MapFileError, match=r"damaged \(rows 0 to 3 are incomplete"):
        begin(path, {}).__enter__()


def test_a_second_writer_is_refused_also_with_force(tmp_path):
    path = tmp_path / "map.h5"
    with begin(path, {}) as growing:
        growing.step(slice(0, 2), ones, 0)
        for parameters in ({}, {"a": 1}):
            with pytest.raises(FileError, match="is being written by another"):
                begin(path, parameters, force=True).__enter__()
        growing.step(slice(2, 4), ones, 1)
    assert (read_map(path).intensity == 1).all()
    assert [item.name for item in tmp_path.iterdir()] == ["map.h5"]


def test_a_file_of_another_program_is_not_renamed(tmp_path):
    path = tmp_path / "map.h5"

    def replaced():
        with begin(path, {}) as growing:
            partial_path(path).unlink()
            partial_path(path).write_bytes(b"of another program")
            growing.step(slice(0, 2), ones, 0)

    with pytest.raises(FileError, match="removed or replaced"):
        replaced()
    assert not path.exists()
    assert partial_path(path).read_bytes() == b"of another program"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "map.h5"

    def finish(force):
        with begin(path, {}, force) as growing:
            growing.step(slice(0, 4), lambda: np.ones((4, 3, 2)), 0)
            path.write_bytes(b"mine")

    with pytest.raises(FileError, match="exists"):
        finish(force=False)
    assert path.read_bytes() == b"mine"
    with begin(path, {}, force=True) as growing:  # nothing was lost
        assert growing.steps_done == 1
    assert (read_map(path).intensity == 1).all()


def test_force_starts_anew(tmp_path):
    path = tmp_path / "map.h5"
    partial_path(path).write_bytes(b"damaged")
    with pytest.raises(MapFileError, match="damaged"), begin(path, {}):
        pass
    with begin(path, {}, force=True) as growing:
        assert growing.steps_done == 0
    assert np.isnan(read_map(path).intensity).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unique", "--engine", "direct"], "--unique"),
        (["--store", "int8"], "float32"),
        (["--engine", "fast"], "not one of"),
        (["--rtol", "2", "--engine", "mesh"], "1e-12"),
    ],
)
def test_invalid_options(data, tmp_path, options, message):
    with pytest.raises(Exception, match=message):
        simulate(data, tmp_path / "map.h5", *options)
    assert list(tmp_path.iterdir()) == []


def test_a_model_becomes_a_map_that_says_what_it_is(data):
    model = OnePhonon(data / "5zck.pdb", (-1, 1, 2), (0, 2, 3), (-0.5, 1, 2), res_limit=2.0)
    made = model.to_map(use_data_adp=True, parameters={"structure": "5zck.pdb"})
    assert made.cell == pytest.approx(model.crystal.cell.parameters, rel=1e-15)
    assert made.spacegroup == "P 21 21 21"
    assert made.units == "e^2 per cell"
    assert made.grid == model.grid
    expected = model(use_data_adp=True).detach().reshape(model.map_shape).numpy()
    assert np.array_equal(made.intensity, expected, equal_nan=True)
    told = made.parameters
    assert (told["structure"], told["use_data_adp"], told["rank"]) == ("5zck.pdb", True, -1)
    assert told["mesh"] == list(model.mesh)
    assert told["zone_average"] == "crystal"
    assert told["thermal_scale"] == pytest.approx(model.thermal_scale.item(), rel=1e-15)


def test_a_list_becomes_a_list_or_the_map_that_it_runs_along(data):
    on_grid = OnePhonon(data / "5zck.pdb", (-1, 1, 2), (0, 2, 3), (-0.5, 1, 2))
    q = on_grid.q_grid.detach()
    listed = OnePhonon(data / "5zck.pdb", q_vectors=q, mesh=on_grid.mesh)
    as_list = listed.to_map()
    assert as_list.grid is None
    assert np.array_equal(as_list.q_vectors, q.numpy())
    as_map = listed.to_map(list_shape=on_grid.map_shape)
    assert as_map.grid.matches(on_grid.grid)
    theirs = on_grid.to_map().intensity
    good = np.isfinite(theirs)
    # hkl from q and back: rounding, next to nothing beside Bragg points half an index away.
    np.testing.assert_allclose(as_map.intensity[good], theirs[good], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unique": True}, "unique is for whole maps from the mesh"),
        ({"stored": "int8"}, "neither float32 nor float64"),
    ],
)
def test_maps_that_cannot_be_written(data, tmp_path, options, message):
    model = OnePhonon(data / "5zck.pdb", (-1, 1, 2), (0, 1, 2), (0, 1, 2), engine="direct")
    with pytest.raises(InputError, match=message):
        model.write_map(tmp_path / "map.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_everything_that_determines_a_map_is_compared():
    """A new field of a model either enters `inputs_of`, or is named here as derived or unused."""
    from dataclasses import fields

    from onephonon.dynamics.lattice_model import LatticeModel
    from onephonon.scattering.bound_model import BoundModel
    from onephonon.scattering.numerics import Numerics

    compared = {
        "bodies",
        "contacts",
        "springs",
        "mesh",
        "zone_average",
        "fixed_scale",
        "solver",
        "occupation",
    }
    derived = {"force_constants", "spring_classes", "_results"}
    assert {field.name for field in fields(LatticeModel)} == compared | derived
    compared = {"lattice", "source", "numerics", "res_limit", "bragg_tolerance", "orders"}
    assert {field.name for field in fields(BoundModel)} == compared | {"cache", "shared"}
    assert {field.name for field in fields(Numerics)} == {"engine", "rtol", "batch_size"}
