"""Electron densities from files of structure factors and maps."""

import gemmi
import numpy as np
import pytest
import torch

from crystals import made_up
from densities import structure_factor_file
from onephonon import InputError, MapFileError
from onephonon.crystal import read_electron_density
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes import structure_factor

#: float32 in the files.
SINGLE = 1e-6

D_MIN = 1.3


@pytest.fixture(scope="module")
def crystal():
    return made_up("P 21 21 21", n_atoms=6)


def structure_factors(crystal, hkl):
    bodies = gather_bodies(crystal)
    q = crystal.cell.q_from_hkl(torch.as_tensor(hkl, dtype=torch.float64))
    return structure_factor(bodies, q, bodies.U).numpy()


def mtz(crystal, *columns):
    return structure_factor_file(crystal, D_MIN, *columns)


def check(density, crystal, factor=1.0):
    hkl = torch.tensor([[1, 2, 3], [-1, 2, 3], [0, -2, 1], [4, 0, 0], [-2, -3, -1]])
    got = density.structure_factors(hkl).numpy()
    expected = factor * structure_factors(crystal, hkl)
    assert np.abs(got - expected).max() < SINGLE * 100 * np.abs(expected).max()


def test_map_coefficients_are_preferred_to_measured_amplitudes(tmp_path, crystal):
    path = tmp_path / "refined.mtz"
    mtz(crystal, ("FWT", "PHWT"), ("FP", "PHIC")).write_to_file(str(path))
    density = read_electron_density(path)
    check(density, crystal)
    assert density.source == "refined.mtz (FWT, PHWT)"
    assert density.d_min == pytest.approx(D_MIN, rel=0.02)
    check(read_electron_density(path, "FP, PHIC"), crystal, 2.0)


def test_measured_amplitudes_with_phases_of_the_model(tmp_path, crystal):
    path = tmp_path / "data.mtz"
    mtz(crystal, ("FP", "PHIC")).write_to_file(str(path))
    check(read_electron_density(path), crystal)


def test_structure_factors_in_mmcif(tmp_path, crystal):
    path = tmp_path / "sf.cif"
    text = gemmi.MtzToCif().write_cif_to_string(mtz(crystal, ("FWT", "PHWT")))
    path.write_text(text)
    check(read_electron_density(path), crystal)


def test_a_map(tmp_path, crystal):
    """Of the whole cell, and of an asymmetric unit."""
    file = mtz(crystal, ("FWT", "PHWT"))
    for whole in (True, False):
        ccp4 = gemmi.Ccp4Map()
        ccp4.grid = file.transform_f_phi_to_map("FWT", "PHWT", sample_rate=4.0)
        ccp4.update_ccp4_header(2, True)
        if not whole:
            ccp4.set_extent(gemmi.find_asu_brick(ccp4.grid.spacegroup).get_extent())
        path = tmp_path / f"{whole}.ccp4"
        ccp4.write_ccp4_map(str(path))
        check(read_electron_density(path), crystal)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "no columns with the names that refinement programs give"),
        ("FX", "give the names of two"),
        ("FX,PHIX", "has no column PHIX; its columns are H, K, L, FX, PX"),
    ],
)
def test_columns_that_are_not_there(tmp_path, crystal, columns, message):
    path = tmp_path / "odd.mtz"
    mtz(crystal, ("FX", "PX")).write_to_file(str(path))
    with pytest.raises(InputError, match=message):
        read_electron_density(path, columns)


def test_files_of_another_kind(tmp_path):
    wrong = tmp_path / "model.pdb"
    wrong.write_text("nothing")
    with pytest.raises(InputError, match=r"is read from \.mtz.*not from \.pdb"):
        read_electron_density(wrong)
    damaged = tmp_path / "damaged.mtz"
    damaged.write_bytes(b"MTZ then nothing")
    with pytest.raises(MapFileError, match="MTZ file"):
        read_electron_density(damaged)
    unmerged = tmp_path / "model.cif"
    unmerged.write_text("data_x\n_cell.length_a 10\n")
    with pytest.raises(MapFileError, match=r"model\.cif: it has no merged structure factors"):
        read_electron_density(unmerged)
