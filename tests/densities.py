"""Electron densities of made-up crystals: sums of Gaussians, whose transforms are known."""

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
