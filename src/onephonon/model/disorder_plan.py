"""The components of disorder that a user wants, before they meet a lattice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.solvent import with_solvent
from onephonon.disorder.building import build_disorder
from onephonon.disorder.component import Component
from onephonon.disorder.disorder import Disorder
from onephonon.disorder.ensemble import Ensemble
from onephonon.disorder.lattice import Lattice
from onephonon.disorder.notation import ComponentSpec, disorder_text, parse_disorder
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.scattering.numerics import Numerics

#: Disorder as users give it: text, or components, each of them an object or text.
DisorderLike = str | Disorder | Sequence[str | Component]


@dataclass(frozen=True)
class DisorderPlan:
    """Components of disorder, of which those in text are made when the lattice is known.

    Parameters
    ----------
    entries : tuple of ComponentSpec or Component
        The lattice is always a `ComponentSpec`: it is that of the model.
    read : mapping of int to Ensemble
        Ensembles of files, once they are read, by their place among the entries.
    """

    entries: tuple[ComponentSpec | Component, ...]
    read: Mapping[int, Ensemble] = field(default_factory=dict)

    @classmethod
    def of(cls, disorder: DisorderLike | None) -> DisorderPlan | None:
        """Check components; None for the lattice alone, without a share.

        Raises
        ------
        InputError
            If a component does not exist, exists in fits only or is given wrongly.
        """
        if disorder is None:
            return None
        entries = tuple(_entries(disorder))
        if not entries:
            raise InputError("disorder has no component; give one or more, or None for the lattice")
        lattices = [e for e in entries if _is_lattice(e)]
        if len(lattices) > 1:
            raise InputError("disorder has the lattice twice; give it once")
        if lattices and len(entries) == 1 and lattices[0] == ComponentSpec("lattice"):
            return None
        for entry in entries:
            if isinstance(entry, ComponentSpec) and entry.name not in ("lattice", "ensemble"):
                build_disorder([entry])
        return cls(entries)

    def with_files(self, options: Mapping[str, Any]) -> DisorderPlan:
        """The same with the files of ensembles read.

        Parameters
        ----------
        options : mapping
            Of `read_crystal`, and of the displaced solvent, as for the crystal itself.

        Raises
        ------
        StructureError, InputError
            As for `read_ensemble`.
        """
        reading = {key: value for key, value in options.items() if key != "model_number"}
        solvent = reading.pop("solvent", 0.0), reading.pop("solvent_smoothing", 0.0)
        read = {}
        for i, entry in enumerate(self.entries):
            if isinstance(entry, ComponentSpec) and "file" in entry.options:
                (made,) = build_disorder([entry], reading=reading).components
                assert isinstance(made, Ensemble)
                read[i] = replace(made, crystal=with_solvent(made.crystal, *solvent))
        return replace(self, read=read)

    @property
    def has_lattice(self) -> bool:
        """Whether the lattice is one of the components."""
        return any(map(_is_lattice, self.entries))

    @property
    def text(self) -> str:
        """The components as they are written."""
        return "+".join(
            disorder_text([entry]) if isinstance(entry, ComponentSpec) else entry.text
            for entry in self.entries
        )

    def numbers(self) -> dict[str, float]:
        """Numbers of the components that were given as numbers, not as tensors.

        Returns
        -------
        dict of str to float
            By names such as 'liquid_gamma'; of a second liquid 'liquid2_gamma'.
        """
        found: dict[str, float] = {}
        for name, entry in zip(self._names(), self.entries, strict=True):
            given = entry.options if isinstance(entry, ComponentSpec) else _attributes(entry)
            found |= {
                f"{name}_{key}": float(value)
                for key, value in given.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
        return found

    def build(
        self,
        model: LatticeModel,
        numerics: Numerics,
        mesh: tuple[int, int, int] | None,
        values: Mapping[str, Tensor],
    ) -> Disorder:
        """The components of a lattice model.

        Parameters
        ----------
        model : LatticeModel
            Without the lattice only its crystal is used.
        numerics : Numerics
            Of the lattice and of the components in text.
        mesh : three int, optional
            Mesh of the lattice's covariances.
        values : mapping of str to Tensor
            Values of `numbers`, by the same names.
        """
        components: list[Component] = []
        how: dict[str, Any] = {"lattice": model, "mesh": mesh, "numerics": numerics}
        for i, (name, entry) in enumerate(zip(self._names(), self.entries, strict=True)):
            component: Component
            if i in self.read:
                component = _moved(self.read[i], model.crystal, numerics)
            elif isinstance(entry, ComponentSpec):
                (component,) = build_disorder([entry], crystal=model.crystal, **how).components
            else:
                component = entry
            own = {
                key.removeprefix(f"{name}_"): value
                for key, value in values.items()
                if key.startswith(f"{name}_")
            }
            components.append(component.with_parameters(own) if own else component)
        return Disorder(tuple(components))

    def _names(self) -> list[str]:
        """A name for each component."""
        counts: dict[str, int] = {}
        names = []
        for entry in self.entries:
            n = counts[entry.name] = counts.get(entry.name, 0) + 1
            names.append(entry.name if n == 1 else f"{entry.name}{n}")
        return names


def _is_lattice(entry: ComponentSpec | Component) -> bool:
    return isinstance(entry, ComponentSpec) and entry.name == "lattice"


def _entries(disorder: DisorderLike) -> Iterator[ComponentSpec | Component]:
    """Components one by one."""
    if isinstance(disorder, str):
        for spec in parse_disorder(disorder):
            if spec.name == "liquid" and "gamma" not in spec.options and not spec.for_fits_only:
                raise InputError(
                    f"disorder component {spec.text!r} lacks gamma, the correlation length in Å; "
                    "write for example liquid:gamma=8"
                )
            yield spec
        return
    parts = disorder.components if isinstance(disorder, Disorder) else disorder
    if not isinstance(parts, Sequence):
        raise InputError(
            f"disorder {type(disorder).__name__}: give text such as 'lattice+liquid:gamma=8', or a "
            "list of components"
        )
    for part in parts:
        if isinstance(part, str):
            yield from _entries(part)
        elif isinstance(part, Lattice):
            raise InputError(
                "disorder has a Lattice of its own, but this model has one from its springs; give "
                "the text 'lattice' in its place"
            )
        elif hasattr(part, "intensity") and hasattr(part, "displacements"):
            yield part
        else:
            raise InputError(
                f"disorder has {part!r}, which is neither a component nor text; give for example "
                "Liquid(gamma=8.0)"
            )


def _moved(ensemble: Ensemble, crystal: Crystal, numerics: Numerics) -> Ensemble:
    """An ensemble in the dtype and on the device of a crystal."""
    like = crystal.U
    states = ensemble.crystal.to(like.device, like.dtype)
    return replace(
        ensemble, crystal=states, probability=ensemble.probability.to(like), numerics=numerics
    )


def _attributes(component: Component) -> dict[str, object]:
    """Values of the parameters of a component as they were given."""
    return {key: getattr(component, key, None) for key in component.parameters}
