"""Predictions from fitted springs: B-factors, TLS, dispersion, elasticity, joint ADPs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError, NetworkError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.core.units import EIGHT_PI_SQUARED, thermal_pressure
from onephonon.crystal.brillouin_path import zone_path
from onephonon.crystal.crystal import mean_square
from onephonon.dynamics.elastic import Elasticity, elasticity
from onephonon.dynamics.elastic_tables import moduli
from onephonon.dynamics.joint import MARGIN, Joint, joint_displacements
from onephonon.dynamics.joint_tables import ELEMENTS
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.dynamics.pair_covariance import Pairs, pair_covariances, separating_mesh
from onephonon.dynamics.spectra import Dispersion, dispersion, frequencies, sound_speeds
from onephonon.dynamics.tls import TLS, FittedTLS, fit_tls, model_tls, principal_rms

from .model_series import LevelFit
from .result import Fit
from .table import PERCENTILES, draw_parameters, draw_units, moved_with_unit

Float64 = NDArray[np.float64]

#: Approximate number of points of the dispersion.
PATH_POINTS = 120

#: Maximum degrees of freedom for an uncertainty band of the dispersion: beyond it each draw would
#: take too long.
MAX_DOF = 150

#: Predicted numbers that may have either sign.
SIGNED = ("elastic", "joint_parts")

#: Directions of the speeds of sound.
DIRECTIONS = ("a*", "b*", "c*")


@dataclass(frozen=True)
class Band:
    """Numbers with 68 % intervals.

    Parameters
    ----------
    value, low, high : ndarray
        At the best springs, and the 16th and 84th percentiles of draws, scaled so that their
        median is the best value (see `table.PERCENTILES`), or moved, where values may have either
        sign; NaN without draws.
    """

    value: Float64
    low: Float64
    high: Float64


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions from fitted springs, and the values of the file.

    Parameters
    ----------
    b_factors : Band, shape (n_atoms,), Å^2
        ``8 pi^2 tr(U)/3``.
    b_file : ndarray, shape (n_atoms,), Å^2
    tls : TLS
        T, L and S of the bodies of the asymmetric unit, about their centroids.
    tls_file : FittedTLS
        Best fit to the file's U.
    dispersion : Dispersion
        Reduced frequencies along the standard path, at the best springs.
    frequencies : Band, shape (n, m)
        Frequencies with intervals.
    directions : tuple of str
    speeds : Band, shape (n_directions, 3), m/s
        The slowest first.
    temperature : float
        K, at which the crystal was measured; speeds are proportional to its square root.
    n_draws : int
        Number of draws for the bands.
    n_skipped : int
        Number of draws skipped because their springs do not stabilize the crystal.
    rms : Band, shape (n_bodies, 2, 3)
        Principal root mean squares of T (Å) and L (rad) about the centroids, the largest first.
    elastic : Band, shape (6, 6), GPa
        Elastic constants, Voigt's indices.
    moduli : Band, shape (5,), GPa
        Of a polycrystal; see `elastic_tables.MODULI`.
    elasticity : Elasticity
        At the best springs.
    joint : Joint or None
        Joint displacements at the best springs; None with more than `MAX_DOF` degrees of freedom.
    neighbours : tuple of int
        Rows of ``joint.molecules`` that touch copy 1, one of each pair and its reverse.
    joint_parts : Band, shape (n_neighbours, 9)
        Their joint ADPs: U11, U22, U33, U12, U13, U23, parallel and perpendicular (Å^2), and the
        correlation.
    messages : tuple of str
        What was omitted, and why.
    """

    b_factors: Band
    b_file: Float64
    tls: TLS
    tls_file: FittedTLS
    dispersion: Dispersion
    frequencies: Band
    directions: tuple[str, ...]
    speeds: Band
    temperature: float
    n_draws: int
    n_skipped: int
    rms: Band
    elastic: Band
    moduli: Band
    elasticity: Elasticity
    joint: Joint | None
    neighbours: tuple[int, ...]
    joint_parts: Band
    messages: tuple[str, ...]


def predict(
    fit: Fit,
    level: LevelFit | None = None,
    temperature: float = 295.0,
    n_draws: int = 40,
    seed: int = 0,
    progress: ProgressLike | None = None,
    draws: Tensor | None = None,
) -> Predictions:
    """Predict from the springs of a level, with bands from draws of the posterior distribution.

    Parameters
    ----------
    fit : Fit
    level : LevelFit, optional
        By default the chosen level.
    temperature : float
        K, at which the crystal was measured.
    n_draws : int
        Number of draws; 0 for no bands.
    seed : int
        Random seed of the draws.
    progress : Progress or callable, optional
    draws : Tensor, shape (n_draws, n), optional
        Free parameters to use in place of random draws.

    Raises
    ------
    InputError
        If the temperature is not positive, or if the number of draws is negative.
    """
    if not temperature > 0:
        raise InputError(f"temperature {temperature:g} K is not positive; give it in kelvin")
    if draws is not None:
        n_draws = len(draws)
    if n_draws < 0:
        raise InputError(f"n_draws {n_draws} is negative; give 0 or more")
    level, progress = level or fit.best, Progress.of(progress)
    with torch.no_grad():
        model = fit.fitted_lattice(level)
        path = zone_path(model.crystal)
        n_segments = sum(len(piece) - 1 for piece in path.pieces)
        found = dispersion(model, path, max(PATH_POINTS, n_segments))
        tls = model_tls(model)
        banded = model.bodies.n_dof <= MAX_DOF
        k_frac = found.k_frac if banded else found.k_frac[:0]
        joint = joint_displacements(model, progress=progress) if banded else None
        near = None if joint is None else _Neighbours.of(model, joint)
        best = _numbers(model, tls, found.frequencies, temperature, near)
        drawn, n_skipped = [], 0
        drawn_x = draw_parameters(fit, level, n_draws, seed) if draws is None else draws
        factors = draw_units(fit, n_draws, seed)
        for i, x in enumerate(drawn_x):
            progress.step("predictions", i, n_draws)
            try:
                x = moved_with_unit(level, x, factors[i])
                lattice = fit.fitted_lattice(level, x, factors[i])
                drawn.append(_at(lattice, k_frac, temperature, near))
            except (InputError, NetworkError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
                n_skipped += 1
        if n_draws:
            progress.step("predictions", n_draws, n_draws)
        solid = elasticity(model)
    crystal = model.crystal
    band = {name: _band(name, value, drawn) for name, value in best.items()}
    return Predictions(
        b_factors=band["b_factors"],
        b_file=_numpy(EIGHT_PI_SQUARED * mean_square(crystal.U)),
        tls=tls,
        tls_file=fit_tls(model.bodies, crystal.U),
        dispersion=found,
        frequencies=band["frequencies"],
        directions=DIRECTIONS,
        speeds=band["speeds"],
        temperature=temperature,
        n_draws=len(drawn),
        n_skipped=n_skipped,
        rms=band["rms"],
        elastic=band["elastic"],
        moduli=band["moduli"],
        elasticity=solid,
        joint=joint,
        neighbours=() if near is None else near.rows,
        joint_parts=band["joint_parts"],
        messages=_messages(model, banded, n_draws, n_skipped),
    )


@dataclass(frozen=True)
class _Neighbours:
    """Molecules that touch copy 1, one of each pair and its reverse.

    Parameters
    ----------
    rows : tuple of int
        Rows of ``joint.molecules``.
    pairs : Pairs
        Copy 1 with them, and with itself last.
    along : Tensor, shape (n, 3)
        Unit vectors between the centroids.
    mesh : three int
        Coarser than that of all pairs: each draw averages over it.
    """

    rows: tuple[int, ...]
    pairs: Pairs
    along: Tensor
    mesh: tuple[int, int, int]

    @classmethod
    def of(cls, model: LatticeModel, joint: Joint) -> _Neighbours:
        """From the joint displacements of all molecules."""
        molecules = joint.molecules
        # Of a pair and its reverse, the one whose operator names the interface.
        names = zip(molecules.operators.operator, molecules.operators.interface, strict=True)
        touching = molecules.touching.tolist()
        rows = [n for n, (own, name) in enumerate(names) if own == name and touching[n]]
        itself = molecules.cell.new_zeros(1, 3)
        second = torch.cat([molecules.second[rows], itself[:, 0]])
        cell = torch.cat([molecules.cell[rows], itself])
        pairs = Pairs(torch.zeros_like(second), second, cell, whole_copies=True)
        along = molecules.vector[rows] / molecules.distance[rows, None]
        mesh = separating_mesh(model, [pairs], margin=MARGIN)
        return cls(tuple(rows), pairs, along, mesh)

    def parts(self, model: LatticeModel) -> Tensor:
        """Joint ADPs, their parts and the correlation, shape (n, 9)."""
        (U,) = pair_covariances(model, [self.pairs], self.mesh)
        U = 0.5 * (U + U.mT)
        trace = U.diagonal(dim1=1, dim2=2).sum(1)
        parallel = torch.einsum("nx,nxy,ny->n", self.along, U[:-1], self.along)
        across = 0.5 * (trace[:-1] - parallel)
        elements = [U[:-1, i, j] for _, i, j in ELEMENTS]
        # All copies have the same mean square.
        return torch.stack([*elements, parallel, across, trace[:-1] / trace[-1]], dim=1)


def _at(
    model: LatticeModel,
    k_frac: Tensor,
    temperature: float,
    near: _Neighbours | None,
) -> dict[str, Float64]:
    """All predicted numbers at drawn springs."""
    w = frequencies(model, k_frac)[0] if len(k_frac) else None
    numbers = _numbers(model, model_tls(model), w, temperature, near)
    if not all(np.isfinite(part).all() for part in numbers.values()):
        raise NetworkError("the drawn springs do not stabilize the crystal")
    return numbers


def _numbers(
    model: LatticeModel,
    tls: TLS,
    w: Tensor | None,
    temperature: float,
    near: _Neighbours | None,
) -> dict[str, Float64]:
    """Predicted numbers by name, frequencies unless None."""
    axes = model.crystal.cell.q_from_hkl(torch.eye(3).to(model.crystal.U))
    elastic, unit = elasticity(model), thermal_pressure(temperature)
    numbers = {
        "b_factors": EIGHT_PI_SQUARED * model.ADP,
        "rms": torch.stack([principal_rms(tls.T), principal_rms(tls.L)], dim=1),
        "speeds": torch.stack([sound_speeds(model, axis, temperature) for axis in axes]),
        "elastic": unit * elastic.voigt,
        "moduli": unit * moduli(elastic),
        "joint_parts": model.crystal.U.new_zeros(0, 9) if near is None else near.parts(model),
    }
    if w is not None:
        numbers["frequencies"] = w
    return {name: _numpy(x) for name, x in numbers.items()}


def _band(name: str, best: Float64, drawn: list[dict[str, Float64]]) -> Band:
    """Best values with intervals from the draws."""
    parts = [numbers[name] for numbers in drawn if name in numbers]
    if not parts:
        none = np.full_like(best, np.nan)
        return Band(best, none, none)
    low, middle, high = np.percentile(np.stack(parts), PERCENTILES, axis=0)
    if name in SIGNED:
        return Band(best, best + (low - middle), best + (high - middle))
    moved = np.where(middle > 0, best / np.where(middle > 0, middle, 1.0), 1.0)
    return Band(best, moved * low, moved * high)


def _messages(model: LatticeModel, banded: bool, n_draws: int, n_skipped: int) -> tuple[str, ...]:
    """Messages about what was omitted."""
    messages = []
    if not banded and n_draws:
        messages.append(
            "dispersion has no band, and joint displacements are left out: the cell has "
            f"{model.bodies.n_dof} degrees of freedom, more than {MAX_DOF}"
        )
    if model.bodies.width == 3:
        messages.append("bodies are single atoms, for which L and S are not defined")
    if n_skipped:
        messages.append(
            f"{n_skipped} of {n_draws} draws were skipped: their springs do not stabilize "
            "the crystal"
        )
    return tuple(messages)


def _numpy(x: Tensor) -> Float64:
    return np.asarray(x.detach().cpu().double().numpy())
