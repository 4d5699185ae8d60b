"""Maps computed from a model, as files keep them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .terminal import progress

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.model.one_phonon import OnePhonon


def map_header(model: OnePhonon, parameters: dict[str, Any]) -> dict[str, Any]:
    """What the file of a calculated map holds beside its values."""
    from onephonon import __version__

    scale = float(model.thermal_scale.detach())
    mesh = {"thermal_scale": scale, "mesh": list(model.mesh), "engine": str(model.chosen_engine)}
    return {
        "cell": model.crystal.cell.parameters,
        "spacegroup": model.crystal.spacegroup,
        "units": "e^2 per cell",
        "parameters": parameters | mesh,
        "version": __version__,
    }


def compute_intensity(model: OnePhonon, quiet: bool, **how: Any) -> Any:
    """Intensities at a model's points; `how` goes to `OnePhonon`'s call."""
    import torch

    with torch.no_grad(), progress(quiet) as report:
        return model(**how, progress=report)


def compute_softest(model: OnePhonon, n: int, use_data_adp: bool, quiet: bool) -> Any:
    """Intensities of the softest modes; what the others have is printed, also when quiet."""
    from onephonon.scattering.softest import softest_intensity

    with progress(quiet) as report:
        found = softest_intensity(model, n, use_data_adp, report)
    typer.echo(
        f"{n} softest of {model.bodies.n_dof} modes: {100 * found.neglected:.2f} % of the summed "
        f"intensity is neglected, at most {100 * found.neglected_most:.2f} % at one q"
    )
    if found.n_split:
        typer.echo(
            f"at {found.n_split} wavevectors {n} modes end within a set of equal frequencies: "
            "their share is an arbitrary part of the set's"
        )
    return found.intensity


def as_map(
    model: OnePhonon,
    intensity: Any,
    parameters: dict[str, Any],
    *,
    list_shape: tuple[int, int, int] | None = None,
    stored: str = "float64",
) -> DiffuseMap:
    """Intensities at a model's points as a map.

    Parameters
    ----------
    model : OnePhonon
    intensity : Tensor, shape (N,)
    parameters : dict
        What it was made with.
    list_shape : three int, optional
        Of the map that a list of q-vectors makes up.
    stored : {'float64', 'float32'}
    """
    import torch

    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.maps.lists import gridded
    from onephonon.model.streaming import map_grid

    def array(x: Any) -> Any:
        return x.detach().to("cpu", torch.float64).numpy()

    header = map_header(model, parameters)
    values = array(intensity).astype(stored)
    if model.grid is not None:
        return DiffuseMap.on_grid(values, map_grid(model), **header)
    listed = DiffuseMap.at_points(array(model.q_grid), values, list_shape=list_shape, **header)
    return listed if list_shape is None else gridded(listed, list_shape)


def write_and_report(diffuse: DiffuseMap, output: Path, force: bool, quiet: bool) -> None:
    """Write a map, and print how much is in it."""
    import numpy as np

    from onephonon.maps.io.choice import write_map

    write_map(diffuse, output, force)
    if not quiet:
        n = int(np.isfinite(diffuse.intensity).sum())
        typer.echo(f"wrote {output}: {n} intensities of {diffuse.intensity.size} points")
