"""Made-up measurements of crystals with known springs, for tests of fits."""

from functools import cache

import numpy as np
import torch

from onephonon import DiffuseMap, MapGrid, OnePhonon, SpringPlan, read_crystal
from onephonon.model import voxel_average
from structures import DATA

ABSOLUTE = "e^2 per cell"


@cache
def peptide(code):
    """Crystal of the tests' own structures."""
    return read_crystal(DATA / f"{code}.pdb")


def starting_model(crystal, **options):
    """The starting model of a fit."""
    return OnePhonon(crystal, **options)


def sampling(crystal, d_min, per_index=(3, 3, 3)):
    """A grid over all hkl to a resolution."""
    reach = [int(1.02 * length / d_min) for length in crystal.cell.parameters[:3]]
    return [(-n, n, m) for n, m in zip(reach, per_index, strict=True)]


def true_model(crystal, axes, d_min, *, seed=1, spread=0.7, size=20.0, **options):
    """A model on a grid, its springs drawn at random, in kT/Å^2."""
    plan = options.pop("springs", SpringPlan(by="interface", kind="hybrid"))
    truth = OnePhonon(
        crystal, *axes, springs=plan, thermal_scale=1.0, res_limit=d_min, engine="direct", **options
    )
    normal = np.random.default_rng(seed).normal(0, spread, truth.springs.free.shape)
    truth.springs.set_values(torch.tensor(size * np.exp(normal)))
    return truth


def clean_map(truth, axes, average=0):
    """Intensity of a model on its grid, at the voxels' centres or averaged over them; and 1/d."""
    grid = MapGrid.from_sampling(*axes)
    with torch.no_grad():
        s = truth.q_grid.norm(dim=1).numpy().reshape(truth.map_shape) / (2 * np.pi)
        if average:
            values = voxel_average(truth, grid, order=average, use_data_adp=True)
        else:
            values = truth(use_data_adp=True)
    values = values.numpy().reshape(truth.map_shape)
    return np.where(s <= 1 / truth.res_limit, values, np.nan), s


def to_map(values, axes, crystal, sigma=None, units=ABSOLUTE, spacegroup=None):
    """A map of these values."""
    return DiffuseMap.on_grid(
        values,
        MapGrid.from_sampling(*axes),
        crystal.cell.parameters,
        spacegroup=spacegroup or crystal.spacegroup,
        sigma=sigma,
        units=units,
    )
