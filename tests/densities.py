"""Electron densities of made-up crystals: sums of Gaussians, whose transforms are known."""

import gemmi
import numpy as np
import torch

from onephonon.crystal import ElectronDensity
from onephonon.crystal.electron_density import density_of_structure_factors
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes import structure_factor


def density_of_atoms(crystal, d_min, samples=3.0, factor=1.0):
    """The density of a crystal from its structure factors to d_min."""
    bodies = gather_bodies(crystal, "asu")
    matrix = crystal.cell.matrix.detach()
    lengths = torch.linalg.vector_norm(matrix, dim=0)
    shape = [int(n) for n in torch.ceil(samples * lengths / d_min)]
    axes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in shape]
    hkl = torch.cartesian_prod(*axes)
    q = crystal.cell.q_from_hkl(hkl.to(matrix)).detach()
    inside = torch.linalg.vector_norm(q, dim=1) <= 2 * torch.pi / d_min
    F = torch.zeros(len(q), dtype=torch.complex128)
    F[inside] = structure_factor(bodies, q[inside], bodies.U).detach().to(F)
    return density_of_structure_factors(
        factor * F.reshape(shape).numpy(), crystal.cell, d_min, "made-up density"
    )


def noise(crystal, shape, seed=0):
    """A density without any symmetry, at full resolution of its grid."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape, generator=generator, dtype=torch.float64)
    widest = ElectronDensity(values, crystal.cell, 100.0).finest_resolvable()
    return ElectronDensity(values, crystal.cell, widest, "noise")


def structure_factor_file(crystal, d_min, *columns):
    """An MTZ file of the asymmetric unit with pairs of columns, of 1, 2, ... times the density."""
    bodies = gather_bodies(crystal)
    cell = gemmi.UnitCell(*(float(x) for x in crystal.cell.parameters))
    group = gemmi.SpaceGroup(crystal.spacegroup)
    hkl = gemmi.make_miller_array(cell, group, d_min)
    q = crystal.cell.q_from_hkl(torch.as_tensor(hkl, dtype=torch.float64))
    F = structure_factor(bodies, q, bodies.U).numpy()[:, None]
    file = gemmi.Mtz(with_base=True)
    file.spacegroup = group
    file.set_cell_for_all(cell)
    file.add_dataset("made up")
    values = [hkl]
    for n, (amplitude, phase) in enumerate(columns):
        file.add_column(amplitude, "F")
        file.add_column(phase, "P")
        values += [np.abs(F) * (1 + n), np.degrees(np.angle(F))]
    file.set_data(np.hstack(values).astype(np.float32))
    return file
