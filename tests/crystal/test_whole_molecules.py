"""Molecules that were torn by periodic wrapping."""

import warnings

import numpy as np
import pytest
import torch

from onephonon import OnePhonon, read_crystal
from onephonon.crystal.reading.whole_molecules import make_whole
from pdb_text import alanine, atom_line, write_pdb

Q = torch.tensor([[-0.31, -0.71, -0.73], [0.26, 0.32, -0.05], [-1.48, 0.38, 0.71], [0.8, 0.7, 0.5]])

#: Axes of the cell of `CRYST1` in Å.
AXES = np.array([[7.0, 0.0, 0.0], [0.0, 8.0, 0.0], [-0.784, 0.0, 8.966]])


def moved(lines, shifts):
    """Records with some atoms moved by whole cells."""
    out = []
    for i, line in enumerate(lines):
        x = np.array([float(line[a : a + 8]) for a in (30, 38, 46)])
        x += np.array(shifts.get(i, (0, 0, 0))) @ AXES
        out.append(line[:30] + "".join(f"{v:8.3f}" for v in x) + line[54:])
    return out


def intensity(path, **options):
    with torch.no_grad():
        model = OnePhonon(path, q_vectors=Q, thermal_scale=1.0, gnm_cutoff=9.0, **options)
        return model(use_data_adp=True).numpy()


#: Two bonded residues across the boundary at x = 7 Å.
PEPTIDE = [*alanine(1, (1.0, 4.0, 4.0)), *alanine(2, (4.8, 4.0, 4.0))]


@pytest.mark.parametrize(
    "shifts",
    [
        {3: (-1, 0, 0)},  # one atom
        {1: (0, 1, 0), 4: (0, 0, 2)},  # two, into other cells
        {6: (-1, 0, 0), 7: (-1, 0, 0), 8: (-1, 0, 0), 9: (-1, 0, 0)},  # most of a residue
        dict.fromkeys(range(5, 10), (0, 1, -1)),  # a residue
        {3: (1, 0, 0)} | dict.fromkeys(range(5, 10), (0, 1, -1)),
    ],
)
@pytest.mark.parametrize("whole_cell", [False, True])
def test_torn_molecules_are_put_together(tmp_path, shifts, whole_cell):
    whole = write_pdb(tmp_path / "whole.pdb", *PEPTIDE)
    torn = write_pdb(tmp_path / "torn.pdb", *moved(PEPTIDE, shifts))
    with pytest.warns(UserWarning, match=r"\d atoms? moved by lattice translations to bonded ones"):
        crystal = read_crystal(torn, expand_p1=not whole_cell)
    expected = read_crystal(whole, expand_p1=not whole_cell).positions
    # As a body may be in any cell: up to one lattice vector; coordinates have three decimals.
    d = crystal.positions - expected
    torch.testing.assert_close(d, d[:1].expand_as(d), rtol=0, atol=2e-3)
    if {0, 1, 2}.isdisjoint(shifts):
        torch.testing.assert_close(crystal.positions, expected, rtol=0, atol=2e-3)


def test_intensity_of_a_torn_molecule_is_that_of_the_whole_one(tmp_path):
    cubic = "CRYST1    7.000    8.000    9.000  90.00  90.00  90.00 P 1           1"
    whole = write_pdb(tmp_path / "whole.pdb", *PEPTIDE, cryst1=cubic)
    lines = moved(PEPTIDE, {9: (0, 1, 0), 8: (-1, 0, 0)})
    torn = write_pdb(tmp_path / "torn.pdb", *lines, cryst1=cubic)
    with pytest.warns(UserWarning, match="torn at the boundary"):
        ours = intensity(torn)
    # Whole numbers of cells, in the decimals of the file exactly: rounding.
    np.testing.assert_allclose(ours, intensity(whole), rtol=1e-11)


@pytest.mark.parametrize(
    "lines",
    [
        PEPTIDE,
        # A gap in the chain, a missing side chain: nothing tells where the rest belongs.
        [*PEPTIDE[:5], *alanine(9, (-1.0, 13.0, 8.0))],
        [*PEPTIDE[:4], atom_line("CG", at=(5, 7, 8))],
        # Two molecules that touch across the boundary are not torn.
        [*PEPTIDE[:5], *alanine(1, (-3.8, 4.0, 4.0), chain="B")],
    ],
)
def test_whole_molecules_stay_where_they_are_bit_by_bit(tmp_path, lines):
    path = write_pdb(tmp_path / "whole.pdb", *lines)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crystal = read_crystal(path)
    given = crystal.positions_frac.numpy()
    kept, remarks = make_whole(given, crystal.labels, crystal.cell.numpy().matrix)
    assert kept is given
    assert remarks == []
