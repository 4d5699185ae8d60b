"""Options for reading a structure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..checks import READS, Given, Limits
from ..groups import OptionGroup

if TYPE_CHECKING:
    from onephonon.crystal.crystal import Crystal

#: File name endings of structures; all other files are maps.
STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")

StructureFile = Annotated[
    Path, typer.Argument(metavar="STRUCTURE", help="PDB or mmCIF file, plain or .gz."), READS
]


def is_structure(path: Path) -> bool:
    """Whether the ending of a file is that of a structure, plain or compressed."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(STRUCTURES)


@dataclass(frozen=True)
class StructureOptions(OptionGroup):
    """Options for reading a structure."""

    panel: ClassVar[str] = "Structure"

    hydrogens: Annotated[bool, typer.Option("--hydrogens", help="Keep hydrogen atoms.")] = False
    riding_hydrogens: Annotated[
        bool,
        typer.Option(
            "--riding-hydrogens",
            help="Keep hydrogen atoms, and add those that amino acids lack, by geometry, with the "
            "displacements and occupancies of their parent atoms.",
        ),
    ] = False
    waters: Annotated[bool, typer.Option("--waters", help="Keep water molecules.")] = False
    ligands: Annotated[bool, typer.Option("--ligands", help="Keep ligands and ions.")] = False
    conformers: Annotated[
        str,
        typer.Option(
            metavar="highest|all",
            help="Alternative conformers to keep: the one of highest occupancy, which stands for "
            "the residue at the sum of their occupancies, or all.",
        ),
    ] = "highest"
    isotropic: Annotated[
        bool,
        typer.Option(
            "--isotropic", help="Ignore anisotropic displacements of the file and use B-factors."
        ),
    ] = False
    model_number: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Read this model of the file, counted from 1; all: all of them together, for "
            "copies that are stored as models.",
            show_default="the first",
        ),
    ] = ""
    whole_cell: Annotated[
        bool,
        typer.Option(
            "--whole-cell", help="Apply no symmetry: the file contains the whole unit cell."
        ),
    ] = False
    ncs: Annotated[
        str,
        typer.Option(
            metavar="apply|ignore",
            help="Copies by non-crystallographic symmetry that the file declares and does not "
            "hold (MTRIX): make them, or not.",
        ),
    ] = "apply"
    radiation: Annotated[
        str,
        typer.Option(
            metavar="KIND", help="Radiation of the form factors: xray, electron or neutron."
        ),
    ] = "xray"
    solvent: Annotated[
        float,
        typer.Option(
            metavar="DENSITY",
            help="Electron density of the solvent displaced by the atoms, in e/Å³: 0.334 for "
            "water, 0 for none.",
        ),
        Limits(low=0, high=100, why="in electrons per Å³"),
    ] = 0.0
    solvent_smoothing: Annotated[
        float,
        typer.Option(metavar="B", help="Additional B-factor of the displaced solvent, in Å²."),
        Limits(low=0, why="in Å²"),
    ] = 0.0

    def check_together(self, given: Given) -> None:
        """Raise InputError for a smoothing of no solvent."""
        if not self.solvent:
            given.refuse("solvent_smoothing", why="only for --solvent DENSITY; add it")

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        solvent = {"solvent": self.solvent, "solvent_smoothing": self.solvent_smoothing}
        return self._reading_arguments() | solvent

    def read_crystal(self, file: Path) -> Crystal:
        """Read a structure, with the displaced solvent.

        Raises
        ------
        StructureError, InputError
            As in `onephonon.read_crystal` and `with_solvent`.
        """
        from onephonon.crystal.reading import read_crystal
        from onephonon.crystal.solvent import with_solvent

        crystal = read_crystal(file, **self._reading_arguments())
        return with_solvent(crystal, self.solvent, self.solvent_smoothing)

    def _model_number(self) -> int | str | None:
        try:
            return int(self.model_number) if self.model_number else None
        except ValueError:
            return self.model_number

    def _reading_arguments(self) -> dict[str, Any]:
        return {
            "expand_p1": not self.whole_cell,
            "hydrogens": "riding" if self.riding_hydrogens else self.hydrogens,
            "waters": self.waters,
            "ligands": self.ligands,
            "conformers": self.conformers,
            "anisotropic": not self.isotropic,
            "model_number": self._model_number(),
            "ncs": self.ncs,
            "radiation": self.radiation,
        }
