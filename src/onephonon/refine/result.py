"""Result of a fit: the series of models, and everything needed to interpret and repeat it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

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

from .objective import Objective
from .parametrization import MatrixSprings
from .series import Ladder, RungFit
from .settings import FitSettings
from .voxels import FitVoxels


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
    ladder : Ladder
    background : str
        Kind of background.
    absolute : bool
        Data are in e^2 per cell, so springs are directly in kT/Å^2; else a scale was fitted, and
        the unit of the springs follows from the mean B-factor.
    reindexing : Reindexing
        From the data's indices to the model's.
    indexing : Agreement or None
        Of the untuned model with the data under every indexing; None if there is only one.
    said : tuple of str
        Messages about assumptions and decisions.
    objective : Objective
        Of the untuned model, with the amplitudes; each `ladder.RungFit` replaces parts of it.
    """

    model: OnePhonon
    data: DiffuseMap
    settings: FitSettings
    voxels: FitVoxels
    ladder: Ladder
    background: str
    absolute: bool
    reindexing: Reindexing
    indexing: Agreement | None
    said: tuple[str, ...]
    objective: Objective

    @property
    def best(self) -> RungFit:
        """The chosen model."""
        return self.ladder.best

    def unit(self, rung: RungFit, x: Tensor | None = None) -> Tensor:
        """Factor that converts spring constants to kT/Å^2; differentiable in x."""
        x = rung.x if x is None else x
        if self.absolute:
            return torch.ones((), dtype=x.dtype, device=x.device)
        model, family = self.model, rung.family
        constants = family.constants(family.values(x))
        lattice = model.lattice.with_force_constants(constants)
        return 1 / lattice.thermal_scale

    def maps(self, rung: RungFit | None = None) -> tuple[DiffuseMap, DiffuseMap, DiffuseMap]:
        """Model on the data's scale, background, and data as fitted, on the data's own grid.

        At the voxels of the fit and their equivalents; NaN elsewhere. In the data's indices.
        """
        rung = rung or self.best
        what = rung.explained

        def put(values: NDArray[np.float64], name: str) -> DiffuseMap:
            arrays = {"intensity": self.voxels.spread_out(values, self.data)}
            return self.data.changed(f"{name} of a fit ({rung.rung.said})", arrays)

        return (
            put(what.model, "model, on the data's scale,"),
            put(what.background, "background"),
            put(what.data, "data, averaged over equivalents,"),
        )

    def fitted_model(self, rung: RungFit | None = None, x: Tensor | None = None) -> OnePhonon:
        """The model with fitted springs in kT/Å^2, at thermal scale 1.

        Parameters
        ----------
        rung : RungFit, optional
            By default the chosen one.
        x : Tensor, shape (n,), optional
            Free parameters other than the best.
        """
        rung = rung or self.best
        model, family = self.model, rung.family
        plan = SpringPlan(by=family.rung.by, kind=family.rung.kind)
        made = sibling(model, springs=plan, thermal_scale=1.0)
        x = rung.x if x is None else x
        with torch.no_grad():
            unit = self.unit(rung, x)
            if isinstance(family, MatrixSprings):
                made.springs.set_values(unit * family.stiffness(x))
            else:
                values = unit * family.values(x)
                made.springs.set_values(values.reshape(-1, family.n_constants))
        return made

    def fitted_lattice(self, rung: RungFit | None = None, x: Tensor | None = None) -> LatticeModel:
        """The crystal on a rung's springs in kT/Å^2, at thermal scale 1; differentiable in x.

        Parameters
        ----------
        rung, x
            As for `fitted_model`.
        """
        rung = rung or self.best
        x = rung.x if x is None else x
        unit = self.unit(rung, x)
        made = rung.family.constants(rung.family.values(x))
        constants = replace(made, onsite=unit * made.onsite, coupling=unit * made.coupling)
        return self.model.lattice.with_force_constants(constants, 1.0)


def sibling(model: OnePhonon, **springs: Any) -> OnePhonon:
    """A model of the same crystal, bodies and contacts with other springs, bound to no q."""
    like = model.crystal.U
    return OnePhonon(
        model.crystal,
        group_by=model.group_by,
        gnm_cutoff=model.gnm_cutoff,
        mesh=model.mesh,
        solver=model.solver,
        engine=model.engine,
        rtol=model.rtol,
        dtype=like.dtype,
        device=like.device,
        **springs,
    )
