"""Validation and conversion of the arguments of the model."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onephonon.core.arguments import as_real
from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal, check_finite
from onephonon.crystal.reading import read_crystal
from onephonon.crystal.solvent import with_solvent
from onephonon.crystal.zone import check_mesh
from onephonon.dynamics.occupation import (
    Occupation,
    PopulationOccupation,
    PopulationTable,
    ThermalOccupation,
    check_temperature,
)
from onephonon.dynamics.solvers.choice import check_occupied_solver
from onephonon.maps.io.populations import read_populations
from onephonon.network.bodies import Bodies
from onephonon.network.contacts import Contacts
from onephonon.network.force_constants import SPRING_MODELS, SpringValue
from onephonon.network.interface_stiffness import InterfaceStiffness
from onephonon.network.springs import ClassSprings, FunctionSprings, SpringFunction, SpringPlan
from onephonon.scattering.multiphonon.settings import Orders
from onephonon.scattering.multiphonon.settings import check_orders as check_number

#: Factors by frequency: a file, a table, or a function of a tensor of frequencies in THz.
Populations = (
    str
    | os.PathLike[str]
    | NDArray[np.float64]
    | Sequence[Sequence[float]]
    | Tensor
    | PopulationTable
    | Callable[[Tensor], Tensor]
)

#: Parts of the crystal that the caller may replace by tensors.
OVERRIDES = ("positions", "B", "U", "occupancies", "cell")


def make_springs(
    bodies: Bodies, contacts: Contacts, springs: SpringPlan | SpringFunction | nn.Module
) -> nn.Module:
    """Create a module of springs from a plan or from a function of contact features."""
    if not isinstance(springs, SpringPlan):
        return FunctionSprings(bodies, contacts, springs)
    if springs.kind == "stiffness":
        return InterfaceStiffness(bodies, contacts, springs.start)
    return ClassSprings(bodies, contacts, springs)


def make_crystal(
    source: str | os.PathLike[str] | Crystal, expand_p1: bool, options: dict[str, Any]
) -> Crystal:
    """Read a crystal, or use one already read, and add displaced solvent if requested."""
    options = dict(options)
    solvent = options.pop("solvent", 0.0), options.pop("solvent_smoothing", 0.0)
    return with_solvent(_read(source, expand_p1, options), *solvent)


def _read(
    source: str | os.PathLike[str] | Crystal, expand_p1: bool, options: dict[str, Any]
) -> Crystal:
    known = [name for name in inspect.signature(read_crystal).parameters if name != "path"]
    wrong = [name for name in options if name not in known]
    if wrong:
        raise TypeError(
            f"OnePhonon() got unexpected keyword arguments {', '.join(wrong)}; further ones are "
            f"solvent, solvent_smoothing and those of read_crystal: {', '.join(known)}"
        )
    if not isinstance(source, Crystal):
        return read_crystal(source, expand_p1=expand_p1, **options)
    if options:
        raise InputError(
            f"{', '.join(options)} apply to reading a file, but a crystal was given; "
            "give them to read_crystal"
        )
    return source if expand_p1 else source.in_p1()


def to_parameter(value: SpringValue, like: Tensor) -> Any:
    """Convert a number or a pair of numbers to a parameter; return tensors unchanged."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Sequence) and any(isinstance(v, Tensor) for v in value):
        return value
    return nn.Parameter(torch.tensor(value, dtype=like.dtype, device=like.device))


def check_resolution_limit(value: float) -> float:
    """Check a resolution limit in Å; 0 means no limit."""
    d = as_real(value)
    if not (math.isfinite(d) and d >= 0):
        raise InputError(f"res_limit {value!r} is not a resolution; give d in Å, or 0 for no limit")
    return d


def check_bragg_tolerance(value: float | None) -> float | None:
    """Check a tolerance of Bragg points in Miller indices; None for the default."""
    if value is not None and not 0 <= as_real(value) < 0.5:
        raise InputError(
            f"bragg_tolerance {value!r}: give a distance in Miller indices, 0 to less than 0.5"
        )
    return value


def check_spring_model(model: str) -> str:
    """Check the name of a network model."""
    if model not in SPRING_MODELS:
        raise InputError(f"model {model!r} is not one of {', '.join(SPRING_MODELS)}")
    return model


def check_tensors(tensors: dict[str, Any]) -> dict[str, Tensor]:
    """Check the arrays that replace parts of the crystal; tensors are returned unchanged."""
    unknown = [name for name in tensors if name not in OVERRIDES]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: not one of {', '.join(OVERRIDES)}")
    found = {}
    for name, value in tensors.items():
        if value is None:
            continue
        try:
            found[name] = value if isinstance(value, Tensor) else torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{name} is not an array of numbers ({error})") from error
        check_finite(name, found[name])
    return found


def check_orders(orders: int | str) -> int | str:
    """Check the orders to sum: a number, or 'all'."""
    return Orders(check_number(orders)).name


def check_multiphonon_mesh(mesh: Sequence[int] | None) -> tuple[int, int, int] | None:
    """Check the mesh of the covariances for orders beyond the first; None for that of the ADPs."""
    return None if mesh is None else check_mesh(mesh, "multiphonon_mesh")


def check_scale(scale: float | Tensor) -> float | Tensor:
    """Check a thermal scale: positive and finite; a tensor is returned unchanged."""
    one = scale.reshape(()) if isinstance(scale, Tensor) and scale.numel() == 1 else scale
    value = as_real(one)
    if not (math.isfinite(value) and value > 0):
        given = f"{value:g}" if isinstance(scale, Tensor) else repr(scale)
        raise InputError(f"thermal_scale {given}: give a positive number, kT in springs' units")
    return scale


def check_density_alone(engine: str, lattice_alone: bool) -> None:
    """Check that nothing else is given that says what scatters.

    Raises
    ------
    InputError
        If an engine for atoms is requested, or components of disorder, which move atoms.
    """
    if engine != "auto":
        raise InputError(
            f"engine={engine!r} computes amplitudes of atoms, but those of a measured density are "
            "wanted; leave it out"
        )
    if not lattice_alone:
        raise InputError(
            "disorder beyond the lattice moves atoms, not a measured density; leave out disorder "
            "or density"
        )


def make_occupation(
    temperature: float | None, populations: Populations | None, solver: str
) -> Occupation | None:
    """Occupation of the modes; None for classical motion.

    Parameters
    ----------
    temperature : float, optional
        In K.
    populations : path, array (n, 2), rows, Tensor (n, 2), PopulationTable or callable, optional
    solver : str
        Must not be 'condensed' unless motion is classical.
    """
    if temperature is None:
        if populations is not None:
            raise InputError(
                "populations are given by frequency in THz, which springs in units of kT determine "
                "at a known temperature only; give temperature"
            )
        return None
    check_occupied_solver(solver)
    kelvin = check_temperature(temperature)
    if populations is None:
        return ThermalOccupation(kelvin)
    if isinstance(populations, str | os.PathLike):
        populations = read_populations(populations, "direct")
    elif isinstance(populations, Tensor | np.ndarray | list | tuple):
        populations = PopulationTable.of(populations)
    elif not callable(populations):
        raise InputError(
            f"populations {type(populations).__name__}: give a file, an array of shape (n, 2) or a "
            "function of frequencies"
        )
    made = PopulationOccupation(kelvin, populations)
    with torch.no_grad():
        made.factor(torch.linspace(0.0, 1.0, 3, dtype=torch.float64))
    return made


def check_dtype(dtype: torch.dtype) -> torch.dtype:
    """Check a dtype: float64 or float32."""
    if dtype not in (torch.float64, torch.float32):
        raise InputError(f"dtype {dtype}: must be torch.float64 or torch.float32")
    return dtype
