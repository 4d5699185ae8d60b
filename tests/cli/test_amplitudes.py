"""`--amplitudes`: a measured density in place of atoms."""

import gemmi
import pytest
import torch

from agreement import largest_error
from commands import run_command
from densities import structure_factor_file
from onephonon import InputError, read_crystal, read_map
from structures import DATA

GRID = ("--h", "-2", "2", "2", "--k", "0", "2", "2", "--l", "0", "2", "2", "--d-min", "2")


@pytest.fixture(scope="module")
def density(tmp_path_factory):
    """Structure factors of the atoms of 5ZCK."""
    path = tmp_path_factory.mktemp("density") / "5zck.mtz"
    crystal = read_crystal(DATA / "5zck.pdb")
    structure_factor_file(crystal, 0.9, ("FWT", "PHWT")).write_to_file(str(path))
    return path


def test_simulate_from_the_density_of_the_atoms(tmp_path, density):
    maps = []
    # The map has no F(000): its mean is zero, and empty space is at minus the mean density.
    crystal = read_crystal(DATA / "5zck.pdb")
    volume = gemmi.UnitCell(*crystal.cell.parameters).volume
    level = -4 * 185.0 / volume
    for more in ((), ("--amplitudes", density, "--solvent-level", str(level))):
        path = tmp_path / f"{len(more)}.npz"
        run_command("simulate", DATA / "5zck.pdb", *GRID, "--use-data-adp", *more, "-o", path)
        maps.append(read_map(path))
    values = [torch.as_tensor(m.intensity) for m in maps]
    # The envelope of the molecule, over all images that touch, ends within the tails of its atoms.
    assert largest_error(values[1], values[0]) < 0.03
    assert maps[1].parameters["amplitudes"] == "5zck.mtz"
    assert maps[1].parameters["engine"].startswith("density")


def test_options_that_would_be_ignored(tmp_path, density):
    out = tmp_path / "x.npz"
    base = ("simulate", DATA / "5zck.pdb", *GRID, "-o", out)
    for more, message in (
        (("--amplitude-columns", "F,P"), "--amplitude-columns: only for a measured density"),
        (("--amplitudes", density, "--engine", "mesh"), "--engine: not for --amplitudes"),
        (("--amplitudes", density, "--disorder", "rigid"), "--disorder: not for --amplitudes"),
    ):
        with pytest.raises((InputError, AssertionError), match=message):
            run_command(*base, *more)
    assert not out.exists()
