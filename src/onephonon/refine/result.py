"""What a fit found: the ladder, and everything needed to read and repeat it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.compare.agreement import Agreement
from onephonon.crystal.crystal import mean_square
from onephonon.crystal.reindexing import Reindexing
from onephonon.dynamics.displacements import displacement_covariance
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon
from onephonon.network.springs import SpringPlan

from .objective import Objective
from .parametrization import MatrixSprings
from .series import Ladder, RungFit
from .settings import FitSettings
from .voxels import FitVoxels

#: A q to build models with that will be asked for others.
ANYWHERE = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Fit:
    """Springs fitted to a measured map.

    Parameters
    ----------
    model : OnePhonon
        The model the fit began with; `fitted_model` is the one it ended with.
    data : DiffuseMap
    settings : FitSettings
    voxels : FitVoxels
    ladder : Ladder
    background : str
        Kind of background.
    absolute : bool
        Data are in e^2 per cell, so springs are in kT/Å^2 by themselves; else a scale was fitted,
        and the springs' unit follows from the mean B-factor.
    reindexing : Reindexing
        From the data's indices to the model's.
    indexing : Agreement or None
        Of the untuned model with the data under every way of indexing; None if there is one.
    said : tuple of str
        What was assumed and decided.
    objective : Objective
        Of the untuned model, with the amplitudes; `ladder.RungFit` says what rungs replace in it.
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
        """The rung to believe."""
        return self.ladder.best

    def unit(self, rung: RungFit, x: Tensor | None = None) -> Tensor:
        """What spring constants are multiplied by to be in kT/Å^2; differentiable in x."""
        x = rung.x if x is None else x
        if self.absolute:
            return torch.ones((), dtype=x.dtype, device=x.device)
        model, family = self.model, rung.family
        constants = family.constants(family.values(x))
        U = displacement_covariance(model.bodies, constants, model.mesh, None, model.solver)
        return mean_square(U).mean() / mean_square(model.crystal.U).mean()

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
        """The model with a rung's springs in kT/Å^2, at thermal scale 1.

        Parameters
        ----------
        rung : RungFit, optional
            By default the one to believe.
        x : Tensor, shape (n,), optional
            Other free numbers than the best.
        """
        rung = rung or self.best
        model, family = self.model, rung.family
        plan = SpringPlan(by=family.rung.by, kind=family.rung.kind)
        made = sibling(model, springs=plan, thermal_scale=1.0)
        put_springs(made, self, rung, rung.x if x is None else x)
        return made


def sibling(model: OnePhonon, **springs: Any) -> OnePhonon:
    """A model of the same crystal, bodies and contacts with other springs."""
    like = model.crystal.U
    made = OnePhonon(
        model.crystal,
        group_by=model.group_by,
        gnm_cutoff=model.gnm_cutoff,
        q_vectors=ANYWHERE,
        solver=model.solver,
        engine=model.engine,
        rtol=model.rtol,
        dtype=like.dtype,
        device=like.device,
        **springs,
    )
    made.mesh = model.mesh
    return made


def put_springs(model: OnePhonon, fit: Fit, rung: RungFit, x: Tensor) -> None:
    """Give a model of `Fit.fitted_model` other free numbers of the same rung."""
    family = rung.family
    with torch.no_grad():
        unit = fit.unit(rung, x)
        if isinstance(family, MatrixSprings):
            model.springs.set_values(unit * family.stiffness(x))
        else:
            values = unit * family.values(x)
            model.springs.set_values(values.reshape(-1, family.n_constants))
