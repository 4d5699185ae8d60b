"""Which atoms of a structure file are used, and what is said of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np

from onephonon.core.errors import InputError, StructureError
from onephonon.core.text import counted
from onephonon.crystal.crystal import AtomLabel
from onephonon.crystal.remarks import Remark

from .conformers import Choice, choose, unique_names
from .residues import CHAIN_KINDS, NamedAtom, Residue, is_massless

CONFORMERS = ("highest", "all")

#: As model_number: all models of the file together are the crystal.
ALL_MODELS = "all"

#: Models whose atoms are this near to those of the first (median, Å) are alternatives of it.
MAX_ENSEMBLE_SPREAD = 2.0

#: Names shown in a remark before it says how many more there are.
MAX_NAMES = 6


@dataclass(frozen=True)
class SelectedAtom:
    """An atom that is used, at the occupancy at which it stands for its residue."""

    label: AtomLabel
    atom: gemmi.Atom
    occupancy: float


def choose_models(
    structure: gemmi.Structure, number: int | str | None, whole_cell: bool, path: Path
) -> tuple[list[gemmi.Model], list[Remark]]:
    """The models of the file that are read.

    Raises
    ------
    InputError
        If the number is neither a number nor 'all'.
    StructureError
        If there is no such model, or if the file holds a whole cell as several models and nobody
        said whether one or all of them are its content.
    """
    n = len(structure)
    if number == ALL_MODELS:
        if n == 1:
            return [structure[0]], []
        _check_that_models_are_copies(structure, path)
        return list(structure), [Remark("read", f"all {n} models together")]
    if number is None:
        if n > 1 and whole_cell:
            sizes = " and ".join(str(x) for x in sorted({m.count_atom_sites() for m in structure}))
            raise StructureError(
                f"{path}: the whole cell cannot be told from {n} models of {sizes} atoms; if each "
                f"is a copy, read them all with model_number={ALL_MODELS!r} (--model-number all), "
                "otherwise one of them by its number"
            )
        others = f"{n - 1} of {n} models; only the first is read"
        return [structure[0]], [Remark("ignored", others, matters=True)] if n > 1 else []
    if not isinstance(number, int) or isinstance(number, bool):
        raise InputError(f"model_number {number!r} is neither a number, counted from 1, nor 'all'")
    if not 1 <= number <= n:
        raise StructureError(
            f"{path}: there is no model {number}; the file holds {n} (model_number from 1 to {n})"
        )
    others = f"{n - 1} of {n} models; model {number} is read"
    return [structure[number - 1]], [Remark("ignored", others)] if n > 1 else []


def _check_that_models_are_copies(structure: gemmi.Structure, path: Path) -> None:
    """Refuse to join models that lie on one another, as those of an ensemble do."""
    places = [
        np.array([found.atom.pos.tolist() for found in model.all()]).reshape(-1, 3)
        for model in structure
    ]
    first = places[0]
    for number, other in enumerate(places[1:], start=2):
        n = min(len(first), len(other))
        if np.median(np.linalg.norm(first[:n] - other[:n], axis=1)) < MAX_ENSEMBLE_SPREAD:
            raise StructureError(
                f"{path}: model {number} lies on model 1, so the models are alternatives of one "
                "molecule and cannot be read together; read one of them, for example "
                "model_number=1 (--model-number 1)"
            )


def select(
    residues: Sequence[Residue],
    *,
    hydrogens: bool,
    waters: bool,
    ligands: bool,
    which: str,
    hydrogens_matter: bool = False,
) -> tuple[list[SelectedAtom], list[Remark]]:
    """Selected atoms, in the order of the file, and remarks on what was chosen and dropped.

    Parameters
    ----------
    residues : sequence of Residue
    hydrogens, waters, ligands : bool
        Whether to keep them.
    which : {'highest', 'all'}
        Conformers.
    hydrogens_matter : bool
        Whether they scatter as strongly as other atoms.
    """
    wanted = {"polymer"} | ({"water"} if waters else set()) | ({"ligand"} if ligands else set())
    kept = [residue for residue in residues if residue.kind in wanted]
    real, n_sites = _without(kept, _is_massless_site)
    n_hydrogens = 0
    if not hydrogens:
        real, n_hydrogens = _without(real, lambda _, a: a.is_hydrogen)
    choices = [choose(residue, which) for residue in real]
    selected: list[SelectedAtom] = []
    for residue, choice in zip(real, choices, strict=True):
        names = unique_names(choice.atoms, choice.altlocs)
        for named, name, occupancy, altloc in zip(
            choice.atoms, names, choice.occupancies, choice.altlocs, strict=True
        ):
            label = AtomLabel(
                residue.chain,
                residue.number,
                named.residue_name,
                name,
                named.atom.element.name,
                altloc,
                residue.occurrence,
            )
            selected.append(SelectedAtom(label, named.atom, occupancy))
    remarks = [
        *_remarks_on_kinds(residues, wanted),
        *_remarks_on_conformers(real, choices),
    ]
    if n_hydrogens:
        text = counted(n_hydrogens, "hydrogen")
        if hydrogens_matter:
            text += ", though they scatter neutrons as strongly as other atoms: keep them"
        remarks.append(Remark("dropped", text, hydrogens_matter))
    if n_sites:
        remarks.append(Remark("dropped", f"{counted(n_sites, 'massless site')} of waters"))
    return selected, remarks


def summary(selected: Sequence[SelectedAtom]) -> Remark:
    """What is read: atoms, electrons, residues, chains."""
    electrons = sum(s.occupancy * s.atom.element.atomic_number for s in selected)
    n_residues = len({s.label.residue_id for s in selected})
    chains = dict.fromkeys(s.label.chain or "_" for s in selected)
    atoms, residues = counted(len(selected), "atom"), counted(n_residues, "residue")
    of = f"{'chain' if len(chains) == 1 else 'chains'} {_listed(chains)}"
    return Remark("read", f"{atoms} with {electrons:.1f} electrons, in {residues} of {of}")


def _without(
    residues: Iterable[Residue], drops: Callable[[Residue, NamedAtom], bool]
) -> tuple[list[Residue], int]:
    """Residues without some of their atoms, and how many these were."""
    out, n = [], 0
    for residue in residues:
        atoms = tuple(a for a in residue.atoms if not drops(residue, a))
        n += len(residue.atoms) - len(atoms)
        if atoms:
            out.append(replace(residue, atoms=atoms))
    return out, n


def _is_massless_site(residue: Residue, named: NamedAtom) -> bool:
    return residue.kind == "water" and is_massless(named.atom)


# ---- remarks ---------------------------------------------------------------------------------


def _remarks_on_kinds(residues: Sequence[Residue], wanted: set[str]) -> list[Remark]:
    """What is dropped by its kind, and what is kept though it is not a standard residue."""
    remarks = []
    for kind, one, many in (
        ("water", "water", "waters"),
        ("ligand", "ligand or ion", "ligands and ions"),
    ):
        those = [residue for residue in residues if residue.kind == kind]
        if not those:
            continue
        n_atoms = sum(len(residue.atoms) for residue in those)
        text = f"{counted(n_atoms, 'atom')} of {counted(len(those), one, many)}"
        if kind == "ligand":
            text += f" ({_names(those)})"
        remarks.append(Remark("read" if kind in wanted else "dropped", text))
    modified = [residue for residue in residues if residue.modified]
    if modified:
        remarks.append(Remark("read", f"{_names(modified)} as part of the chain"))
    guessed = [residue for residue in residues if residue.guessed]
    if guessed:
        remarks.append(Remark("assumed", f"{_names(guessed)} to be water"))
    own = [r for r in residues if r.kind == "ligand" and _like_a_residue(r.name)]
    if own and "ligand" not in wanted:
        text = f"{_names(own)} to be free, not part of a chain: no bond to one"
        remarks.append(Remark("assumed", text))
    return remarks


def _remarks_on_conformers(residues: Sequence[Residue], choices: Sequence[Choice]) -> list[Remark]:
    remarks = []
    pairs = list(zip(residues, choices, strict=True))
    chosen = [choice for choice in choices if choice.is_alternative]
    if chosen:
        n_atoms = sum(choice.left_out for choice in chosen)
        remarks.append(
            Remark(
                "dropped",
                f"{counted(n_atoms, 'atom')} of other conformers of "
                f"{counted(len(chosen), 'residue')}, with their occupancies given to the highest",
            )
        )
    given = sum(choice.given for choice in choices)
    if given:
        text = "without a letter as alternatives, as they share a site with others of their name"
        remarks.append(Remark("assumed", f"{counted(given, 'atom')} {text}"))
    excess = [(r, c) for r, c in pairs if c.excess]
    if excess:
        residue, choice = max(excess, key=lambda pair: pair[1].excess)
        where = f"{residue.chain or '_'}/{residue.name} {residue.number}"
        text = (
            f"alternatives of {counted(len(excess), 'residue')} have occupancies of more than 1 in "
            f"all, {choice.excess:.2f} in {where}"
        )
        remarks.append(
            Remark("changed", f"{text}: taken as 1", True)
            if choice.is_alternative
            else Remark("read", text, True)
        )
    repeated = [(r, c) for r, c in pairs if c.repeated]
    if repeated:
        n_atoms = sum(c.repeated for _, c in repeated)
        residue = repeated[0][0]
        where = f"{residue.chain or '_'}/{residue.name} {residue.number}"
        text = (
            f"{counted(n_atoms, 'atom')} named as another of the residue, as in {where}: all kept"
        )
        remarks.append(Remark("read", text))
    return remarks


def _like_a_residue(name: str) -> bool:
    return gemmi.find_tabulated_residue(name).kind in CHAIN_KINDS


def _names(residues: Iterable[Residue]) -> str:
    """Residue names with their numbers: ``2 SO4, ZN``."""
    counts = Counter(residue.name for residue in residues)
    return _listed(f"{n} {name}" if n > 1 else name for name, n in counts.items())


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def nothing_selected_message(residues: Sequence[Residue], path: Path) -> str:
    """Explain that the selection left no atoms."""
    counts = Counter({"polymer": 0, "water": 0, "ligand": 0})
    for residue in residues:
        counts[residue.kind] += len(residue.atoms)
    return (
        f"{path}: no atoms are left of {sum(counts.values())} ({counts['polymer']} polymer, "
        f"{counts['water']} water, {counts['ligand']} ligand) after the selection; keep more with "
        "waters=True, ligands=True or hydrogens=True (--waters, --ligands, --hydrogens)"
    )
