"""What cannot be right is refused, by name and with the fix, before anything is computed."""

import gzip

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from crystals import made_up
from onephonon import (
    Crystal,
    FileError,
    InputError,
    OnePhonon,
    StructureError,
    read_crystal,
)
from onephonon.cli import app
from onephonon.core.files import check_writable
from onephonon.maps.io import read_map, read_q_vectors
from onephonon.model.verify import verify
from structures import DATA

MESH = [(0, 1, 2)] * 3


def test_a_space_group_that_does_not_fit_the_cell():
    with pytest.raises(StructureError, match=r"'P 43 21 2' does not fit the cell \(25, 26, 27"):
        Crystal.from_atoms((25, 26, 27, 90, 110, 90), "P 43 21 2", ["C"], [[0.1, 0.2, 0.3]])
    # Refined cells are rounded: a tetragonal one may miss by the last digit.
    Crystal.from_atoms((25, 25.01, 27, 90, 90, 90), "P 43 21 2", ["C"], [[0.1, 0.2, 0.3]])


def test_a_cutoff_beyond_all_reason_is_refused_at_once():
    with pytest.raises(InputError, match=r"gnm_cutoff 1e\+06 Å gives about"):
        OnePhonon(made_up("P 1"), *MESH, gnm_cutoff=1e6)


def test_a_grid_beyond_all_reason_is_refused_at_once():
    with pytest.raises(InputError, match="hsampling"):
        OnePhonon(made_up("P 1"), (-1, 1, 1e9), *MESH[1:])
    with pytest.raises(InputError, match="lsampling ask for"):
        OnePhonon(made_up("P 1"), *[(-100, 100, 100)] * 3)


@pytest.mark.parametrize("scale", [-1.0, 0.0, float("nan"), torch.tensor(float("inf"))])
def test_thermal_scales_that_cannot_be(scale):
    with pytest.raises(InputError, match="thermal_scale"):
        OnePhonon(made_up("P 1"), *MESH, gnm_cutoff=6.5, thermal_scale=scale)


def test_a_single_atom_does_not_move_at_gamma_alone():
    atom = Crystal.from_atoms((4, 4, 4, 90, 90, 90), "P 1", ["C"], [[0.0, 0.0, 0.0]])
    model = OnePhonon(
        atom, (0.5, 2.5, 1), (0, 2, 1), (0, 2, 1), gnm_cutoff=4.1, zone_average="supercell"
    )
    with pytest.raises(InputError, match="Gamma alone"):
        model()


@pytest.mark.parametrize("rank", [0.0, "0", [], [0, 99], 6, -2])
def test_ranks_that_are_none(rank):
    with pytest.raises(InputError, match="rank"):
        OnePhonon(made_up("P 1"), *MESH, gnm_cutoff=6.5)(rank=rank)


def test_numpy_numbers_and_whole_q_are_taken():
    model = OnePhonon(made_up("P 1"), q_vectors=[[1, 2, 3]], gnm_cutoff=6.5)
    assert torch.equal(model(rank=np.int64(0)), model(rank=0))


def test_other_dtypes_and_misspelt_options():
    with pytest.raises(InputError, match="float16"):
        OnePhonon(made_up("P 1"), *MESH, dtype=torch.float16)
    with pytest.raises(TypeError, match=r"OnePhonon\(\) got.*hydrogen;.*hydrogens"):
        OnePhonon(DATA / "2ol9.pdb", *MESH, hydrogen=True)


def test_a_damaged_gz_and_a_negative_occupancy(tmp_path):
    packed = bytearray(gzip.compress((DATA / "5zck.pdb").read_bytes()))
    packed[200:220] = bytes(20)
    (tmp_path / "bad.pdb.gz").write_bytes(bytes(packed))
    with pytest.raises(StructureError, match=r"bad\.pdb\.gz"):
        read_crystal(tmp_path / "bad.pdb.gz")
    text = (DATA / "5zck.pdb").read_text().replace("  1.00 ", " -0.50 ", 1)
    (tmp_path / "negative.pdb").write_text(text)
    with pytest.raises(StructureError, match=r"occupancy -0\.5"):
        read_crystal(tmp_path / "negative.pdb")


def test_an_origin_shifted_by_scale_records_is_honoured(tmp_path):
    text = (DATA / "5zck.pdb").read_text()
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("CRYST1"))
    scale = [
        "SCALE1      0.207771  0.000000  0.000000        0.25000",
        "SCALE2      0.000000  0.058306  0.000000        0.00000",
        "SCALE3      0.000000  0.000000  0.033825        0.00000",
    ]
    (tmp_path / "shifted.pdb").write_text("\n".join([*lines[: at + 1], *scale, *lines[at + 1 :]]))
    shift = read_crystal(tmp_path / "shifted.pdb").positions_frac
    shift = shift - read_crystal(DATA / "5zck.pdb").positions_frac
    # SCALE carries six decimals of 1/Å over some 20 Å.
    torch.testing.assert_close(
        shift, shift.new_tensor([0.25, 0.0, 0.0]).expand_as(shift), atol=2e-5, rtol=0
    )


def test_boxes_and_numbers_that_compare_nothing():
    crystal = made_up("P 1")
    with pytest.raises(InputError, match="only Bragg points"):
        verify(crystal, size=(1, 1, 1), gnm_cutoff=6.5)
    with pytest.raises(InputError, match="n_points 0"):
        verify(crystal, n_points=0, gnm_cutoff=6.5)


def test_places_that_cannot_be_written_are_refused_before_work(tmp_path, monkeypatch):
    import os

    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(FileError, match="cannot be written"):
        check_writable(tmp_path / "map.npz")


def test_rounded_bragg_points_warn_and_can_be_masked(tmp_path):
    run = CliRunner().invoke
    grid = ["--h", "0", "1", "2", "--k", "0", "1", "2", "--l", "0", "1", "2"]
    first, second, third = (str(tmp_path / f"{x}.npz") for x in "abc")
    simulate = ["simulate", str(DATA / "5zck.pdb"), "--quiet"]
    assert run(app, [*simulate, *grid, "-o", first]).exit_code == 0
    exact = read_map(first)
    rounded = str(tmp_path / "q.txt")
    np.savetxt(rounded, exact.q_vectors, fmt="%.5f")
    with pytest.warns(UserWarning, match="7 points are within 0.001 of a Bragg point"):
        run(app, [*simulate, "--q", rounded, "-o", second])
    tolerance = ["--bragg-tolerance", "0.001"]
    assert run(app, [*simulate, "--q", rounded, *tolerance, "-o", third]).exit_code == 0
    masked = read_map(third)
    # A list has no shape; its points are in the order of the map.
    assert np.array_equal(np.isnan(masked.intensity), np.isnan(exact.intensity).ravel())


def test_maps_serve_as_lists_of_q(tmp_path):
    run = CliRunner().invoke
    grid = ["--h", "0", "1", "2", "--k", "0", "1", "2", "--l", "0", "1", "2"]
    for ending in (".h5", ".npz"):
        out = tmp_path / f"map{ending}"
        assert (
            run(app, ["simulate", str(DATA / "5zck.pdb"), *grid, "-q", "-o", str(out)]).exit_code
            == 0
        )
        q, shape = read_q_vectors(out)
        assert q.shape == (27, 3)
        assert shape == (3, 3, 3)
