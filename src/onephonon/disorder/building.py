"""Components of disorder from their text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.scattering.numerics import Numerics

from .atoms import Atoms
from .component import Component
from .disorder import Disorder
from .ensemble_states import ensemble_of_conformers, read_ensemble
from .lattice import Lattice
from .notation import ComponentSpec, OptionValue
from .rigid import Rigid


def build_disorder(
    specs: Sequence[ComponentSpec],
    *,
    crystal: Crystal | None = None,
    lattice: LatticeModel | Callable[[], LatticeModel] | None = None,
    mesh: tuple[int, int, int] | None = None,
    numerics: Numerics | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Disorder:
    """Build the components that text names, as they are needed without a fit.

    Parameters
    ----------
    specs : sequence of ComponentSpec
        From `parse_disorder`.
    crystal : Crystal, optional
        Whose alternative conformers an ensemble without a file has.
    lattice : LatticeModel or callable, optional
        The model of the component 'lattice', or a function that builds it if it is needed.
    mesh : three int, optional
        Mesh of the lattice's covariances, for orders beyond the first.
    numerics : Numerics, optional
    reading : mapping, optional
        Options of `read_crystal` for the file of an ensemble.

    Raises
    ------
    InputError
        If a component exists in fits only, or needs what was not given, or an option cannot be.
    """
    fits_only = [spec.text for spec in specs if spec.for_fits_only]
    if fits_only:
        raise InputError(
            f"disorder {'+'.join(fits_only)!r} is determined by data: it is for `onephonon fit`; "
            "to simulate give liquid with gamma, or rigid"
        )
    how = numerics or Numerics()
    components: list[Component] = []
    for spec in specs:
        options = dict(spec.options)
        if spec.name == "lattice":
            if lattice is None:
                raise InputError("disorder 'lattice' needs a lattice model; give one")
            model = lattice if isinstance(lattice, LatticeModel) else lattice()
            components.append(Lattice(model, mesh=mesh, numerics=how, **_any(options)))
        elif spec.name == "ensemble":
            components.append(_ensemble(options, crystal, how, dict(reading or {})))
        elif spec.name == "atoms":
            components.append(Atoms(**_any(options)))
        elif spec.name == "rigid":
            components.append(Rigid(numerics=how, **_any(options)))
        else:
            components.append(_liquid(options, how))
    return Disorder(tuple(components))


def _liquid(options: dict[str, OptionValue], numerics: Numerics) -> Component:
    from .liquid import Liquid

    options.pop("kernel", None)  # the exponential one; others exist in fits only
    liquid: Component = Liquid(**_any(options), numerics=numerics)
    return liquid


def _ensemble(
    options: dict[str, OptionValue],
    crystal: Crystal | None,
    numerics: Numerics,
    reading: dict[str, Any],
) -> Component:
    """An ensemble of the models of a file, or of the conformers of the crystal."""
    file, conformers = options.get("file"), str(options.get("conformers", "independent"))
    coherent = str(options.get("coherent", "asu"))
    if file is not None:
        if "conformers" in options:
            raise InputError(
                f"ensemble: file={file} and conformers={conformers} exclude each other; models "
                "of a file, or the conformers of the crystal: give one of them"
            )
        return read_ensemble(str(file), coherent=coherent, numerics=numerics, **reading)
    if crystal is None:
        raise InputError("ensemble: give the file of its models, file=, or a crystal")
    return ensemble_of_conformers(
        crystal, conformers=conformers, coherent=coherent, numerics=numerics
    )


def _any(options: Mapping[str, OptionValue]) -> dict[str, Any]:
    return dict(options)
