"""Result of a fit: the series of models, and everything needed to interpret it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.compare.agreement import Agreement
from onephonon.crystal.reindexing import Reindexing
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon
from onephonon.network.springs import SpringPlan

from .averaging import Averaging
from .model_series import LevelFit, ModelSeries
from .objective import Objective
from .parametrization import MatrixSprings
from .settings import FitSettings
from .voxels import FitVoxels


class FitMaps(NamedTuple):
    """Maps of a fit, in the data's indices and on the data's scale.

    Parameters
    ----------
    model : DiffuseMap
        Without background.
    background : DiffuseMap
    data : DiffuseMap
        As fitted: averaged over symmetry equivalents.
    """

    model: DiffuseMap
    background: DiffuseMap
    data: DiffuseMap

    @property
    def total(self) -> DiffuseMap:
        """Model and background together, which is what the data are compared with."""
        whole = {"intensity": self.model.intensity + self.background.intensity}
        return self.model.changed("background added", whole)


@dataclass(frozen=True, eq=False)
class Fit:
    """Springs fitted to a measured map.

    Parameters
    ----------
    model : OnePhonon
        The starting model; `fitted_model` is the final one.
    data : DiffuseMap
    settings : FitSettings
    voxels : FitVoxels
    series : ModelSeries
    background : str
        Kind of background.
    absolute : bool
        Whether the data are in e^2 per cell, so that springs are in kT/Å^2. Otherwise a scale was
        fitted, and the unit of the springs follows from the mean B-factor of the file.
    reindexing : Reindexing
        From the data's indices to the model's.
    indexing : Agreement or None
        Agreement of the starting model with the data in every indexing; None if there is only one.
    messages : tuple of str
        Assumptions and decisions.
    averaging : Averaging or None
        Errors of the averages over voxels, estimated with the starting model; None for maps
        calculated at the points of a grid.
    objective : Objective
        Objective of the starting model, with the amplitudes; each level replaces parts of it.
    """

    model: OnePhonon
    data: DiffuseMap
    settings: FitSettings
    voxels: FitVoxels
    series: ModelSeries
    background: str
    absolute: bool
    reindexing: Reindexing
    indexing: Agreement | None
    messages: tuple[str, ...]
    averaging: Averaging | None
    objective: Objective

    @property
    def best(self) -> LevelFit:
        """The chosen level."""
        return self.series.best

    @property
    def unit_sigma(self) -> float:
        """Standard uncertainty of the logarithm of `unit`: that of the file's mean B-factor."""
        return 0.0 if self.absolute else self.settings.b_uncertainty

    def unit(self, level: LevelFit, x: Tensor | None = None) -> Tensor:
        """Factor that converts spring constants to kT/Å^2; differentiable in x."""
        x = level.x if x is None else x
        if self.absolute:
            return torch.ones((), dtype=x.dtype, device=x.device)
        model, parametrization = self.model, level.parametrization
        constants = parametrization.constants(parametrization.values(x))
        lattice = model.lattice.with_force_constants(constants)
        return 1 / lattice.thermal_scale

    def maps(self, level: LevelFit | None = None) -> FitMaps:
        """Model on the data's scale, background, and data as fitted, on the data's own grid.

        They are in the data's indices, with values at the voxels of the fit and their symmetry
        equivalents, and NaN elsewhere.
        """
        level = level or self.best
        what = level.voxel_results

        def put(values: NDArray[np.float64], name: str) -> DiffuseMap:
            arrays = {"intensity": self.voxels.to_map_shape(values, self.data)}
            return self.data.changed(f"{name} of a fit ({level.level.description})", arrays)

        return FitMaps(
            put(what.model, "model without background, on the data's scale,"),
            put(what.background, "background"),
            put(what.data, "data, averaged over equivalents,"),
        )

    def fitted_model(self, level: LevelFit | None = None, x: Tensor | None = None) -> OnePhonon:
        """The model with fitted springs in kT/Å^2, at thermal scale 1.

        Parameters
        ----------
        level : LevelFit, optional
            By default the chosen level.
        x : Tensor, shape (n,), optional
            Free parameters; by default the fitted ones.
        """
        level = level or self.best
        model, parametrization = self.model, level.parametrization
        plan = SpringPlan(by=parametrization.level.by, kind=parametrization.level.kind)
        made = with_springs(model, springs=plan, thermal_scale=1.0)
        x = level.x if x is None else x
        with torch.no_grad():
            unit = self.unit(level, x)
            if isinstance(parametrization, MatrixSprings):
                made.springs.set_values(unit * parametrization.stiffness(x))
            else:
                values = unit * parametrization.values(x)
                made.springs.set_values(values.reshape(-1, parametrization.n_constants))
        return made

    def fitted_lattice(
        self, level: LevelFit | None = None, x: Tensor | None = None, factor: float = 1.0
    ) -> LatticeModel:
        """The lattice with springs of a level in kT/Å^2, at thermal scale 1; differentiable in x.

        Parameters
        ----------
        level, x
            As for `fitted_model`.
        factor : float
            Multiplies all springs.
        """
        level = level or self.best
        x = level.x if x is None else x
        unit = factor * self.unit(level, x)
        made = level.parametrization.constants(level.parametrization.values(x))
        constants = replace(made, onsite=unit * made.onsite, coupling=unit * made.coupling)
        return self.model.lattice.with_force_constants(constants, 1.0)


def with_springs(model: OnePhonon, **springs: Any) -> OnePhonon:
    """A model of the same crystal, bodies and contacts with other springs, bound to no q."""
    like = model.crystal.U
    return OnePhonon(
        model.crystal,
        group_by=model.group_by,
        gnm_cutoff=model.gnm_cutoff,
        mesh=model.mesh,
        zone_average=model.zone_average,
        orders=model.orders,
        multiphonon_mesh=model.multiphonon_mesh,
        solver=model.solver,
        engine=model.engine,
        rtol=model.rtol,
        dtype=like.dtype,
        device=like.device,
        **springs,
    )
