"""Components of disorder written out plainly, for tests of fits, and maps made up of them."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from crystals import made_up
from fits import sampling, to_map
from onephonon import MapGrid, OnePhonon
from onephonon.crystal.crystal import mean_square
from onephonon.disorder.component import Parameter
from onephonon.network.bodies import gather_bodies
from onephonon.refine import FitSettings
from onephonon.refine.components import ComponentTerm, lattice_term, prepare
from onephonon.scattering.amplitudes.direct import DirectEngine


@dataclass(frozen=True, eq=False)
class PlainLiquid:
    """Liquid-like motions within each copy of the asymmetric unit, by the sum over all pairs."""

    gamma: torch.Tensor
    name: str = "liquid"

    @property
    def text(self):
        return f"liquid:scope=asu,gamma={float(self.gamma.detach()):g}"

    @property
    def parameters(self):
        return {"gamma": Parameter("gamma", self.gamma, "Å", "length", 0.0, float("inf"))}

    def with_parameters(self, values):
        return replace(self, **values)

    def displacements(self, bodies):
        U = mean_square(bodies.U)
        return U[:, None, None] * torch.eye(3, dtype=U.dtype)

    def intensity(self, bodies, points, U, order, progress=None):  # noqa: ARG002
        assert order == 1
        atoms = gather_bodies(bodies.crystal, None)
        q = points.q
        G = DirectEngine("test").at(atoms, q, U).reshape(len(q), -1, 3)
        # Single atoms: G is q times the wave.
        square = q.square().sum(1)
        wave = torch.einsum("qjx,qx->qj", G, q.to(G)) / square[:, None]
        wave = wave * mean_square(U).sqrt()
        far = torch.cdist(atoms.positions, atoms.positions)
        same = atoms.copy[:, None] == atoms.copy
        kernel = torch.where(same, torch.exp(-far / self.gamma), 0.0)
        pairs = torch.einsum("qj,jk,qk->q", wave.conj(), kernel.to(wave), wave).real
        return torch.where(points.valid, square * pairs, torch.nan)


def liquid(gamma=2.0):
    return PlainLiquid(torch.tensor(gamma, dtype=torch.float64))


#: Resolution and sampling of the maps: a thousand unique voxels in a few hundred halos.
D_MIN, PER_INDEX = 1.5, (3, 3, 3)


@cache
def blank_problem(spacegroup="P 1 21 1", average=0):
    """Voxels of a map without content."""
    crystal = made_up(spacegroup)
    model = OnePhonon(crystal, gnm_cutoff=7.0, engine="direct")
    axes = sampling(crystal, D_MIN, PER_INDEX)
    shape = MapGrid.from_sampling(*axes).shape
    noise = np.random.default_rng(0).normal(size=shape)
    data = to_map(noise, axes, crystal, np.ones(shape), units="")
    settings = FitSettings(
        voxels="all", d_min=D_MIN, average=average, background="isotropic", knots=5
    )
    return prepare(model, data, settings)


def terms_of(problem, gamma=2.0, level="interface"):
    """Lattice and liquid at the voxels of a problem."""
    return (
        lattice_term(problem.model, problem.forward, level),
        ComponentTerm(liquid(gamma), problem.forward),
    )


@cache
def shapes(spacegroup="P 1 21 1", spread=1.0, gamma=2.0):
    """Lattice with unequal springs, and liquid, each for a share of 1, at the voxels."""
    lattice, other = terms_of(blank_problem(spacegroup), gamma)
    springs = spread * torch.linspace(-1, 1, lattice.n + 1, dtype=torch.float64)
    with torch.no_grad():
        x = lattice.ratios.T @ springs
        return lattice.intensity(x), other.intensity(x.new_zeros(1)), x


def made_up_problem(amplitudes, *, noise=0.05, seed=0, spacegroup="P 1 21 1", **truth):
    """A map of lattice and liquid with these amplitudes, a background, and noise."""
    blank = blank_problem(spacegroup)
    one, other, _ = shapes(spacegroup, **truth)
    clean = (amplitudes[0] * one + amplitudes[1] * other).numpy()
    mean = clean.mean()
    clean = clean + mean * (1 + np.cos(3 * blank.voxels.s))
    sigma = np.full(len(clean), noise * mean)
    data = clean + sigma * np.random.default_rng(seed).normal(size=len(clean))
    return replace(blank, voxels=replace(blank.voxels, data=data, sigma=sigma))
