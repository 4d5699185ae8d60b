"""Writing the animation of a mode as a structure with several models, PDB or mmCIF."""

from __future__ import annotations

import itertools
import os
import string
from collections.abc import Iterator
from pathlib import Path

import gemmi
import numpy as np

from onephonon.core.errors import FileError
from onephonon.core.files import replacing
from onephonon.core.memory import state_memory
from onephonon.core.text import one_line
from onephonon.crystal.cell import UnitCell

from .mode_trajectory import Block, Pattern

PDB_ENDINGS = (".pdb", ".ent")
CIF_ENDINGS = (".cif", ".mmcif")

#: Memory for each atom of each frame, bytes.
PDB_FRAME_BYTES, CIF_FRAME_BYTES = 320, 900

#: Longest chain names, letters: two columns of a PDB file; mmCIF itself has no limit.
PDB_CHAIN_NAME, CIF_CHAIN_NAME = 2, 8

#: PDB files have two columns for the name of a chain.
LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
MAX_PDB_CHAINS = len(LETTERS) + len(LETTERS) ** 2

#: Tolerance (Å) within which a cell has the conventional orientation: a along x, b in the xy
#: plane.
ROTATED_CELL = 1e-6


def write_animation(
    pattern: Pattern,
    path: str | os.PathLike[str],
    n_frames: int = 24,
    *,
    title: str = "",
    force: bool = False,
) -> None:
    """Write a mode as a structure with several models, one for each step of its period.

    The unit cell of the file is the block of cells. Every copy of a chain has a unique name; the
    first copies keep their names. B-factors are those of the structure.

    Parameters
    ----------
    pattern : Pattern
    path : path
        Ending in .pdb, .ent, .cif or .mmcif.
    n_frames : int
    title : str
    force : bool
        Overwrite.

    Raises
    ------
    FileError
        If the ending is none of these, the file cannot be written, or PDB format has too few
        names for the chains.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in PDB_ENDINGS + CIF_ENDINGS:
        raise FileError(f"{path}: an animation is written as .pdb or .cif; name the file so")
    n_atoms = len(pattern.block.positions)
    state_memory(
        (CIF_FRAME_BYTES if ending in CIF_ENDINGS else PDB_FRAME_BYTES) * n_frames * n_atoms,
        f"{path}: {n_frames} frames of {n_atoms} atoms",
        "show fewer frames, cells or atoms",
    )
    structure = gemmi.Structure()
    structure.name = pattern.block.crystal.labels[0].chain or "mode"
    structure.info["_struct.title"] = one_line(title) or "a vibration"
    to_file_axes = _set_cell(structure, pattern.block.box)
    rest = pattern.block.positions.numpy(force=True)
    longest = PDB_CHAIN_NAME if ending in PDB_ENDINGS else CIF_CHAIN_NAME
    first, names = _model_at_rest(pattern.block, longest)
    if ending in PDB_ENDINGS and names > MAX_PDB_CHAINS:
        raise FileError(
            f"{path}: PDB format has no names for {names} chains; write .cif, or fewer cells"
        )
    for number, moved in enumerate(pattern.frames(n_frames).numpy(force=True), start=1):
        model = first.clone()
        model.num = number
        for atom, place in zip(
            _atoms(model), ((rest + moved) @ to_file_axes.T).tolist(), strict=True
        ):
            atom.pos = gemmi.Position(*place)
        structure.add_model(model)
    structure.setup_entities()
    # gemmi does not notice that a disk is full, so the file is written here.
    pdb = ending in PDB_ENDINGS
    text = structure.make_pdb_string() if pdb else structure.make_mmcif_document().as_string()
    with replacing(path, force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_block(
    block: Block, path: str | os.PathLike[str], *, title: str = "", force: bool = False
) -> None:
    """Write the atoms of a block at rest as mmCIF, without a cell, in the block's own axes.

    Every copy of a chain has a unique name (`chain_names`); the first copies keep their names.

    Parameters
    ----------
    block : Block
    path : path
        Ending in .cif or .mmcif.
    title : str
    force : bool
        Overwrite.

    Raises
    ------
    FileError
        If the ending is another, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in CIF_ENDINGS:
        raise FileError(f"{path}: molecules are written as .cif; name the file so")
    state_memory(
        CIF_FRAME_BYTES * len(block.positions), f"{path}: {len(block.positions)} atoms", "show less"
    )
    structure = gemmi.Structure()
    structure.name = "molecules"
    structure.info["_struct.title"] = one_line(title) or "molecules"
    model, _ = _model_at_rest(block, CIF_CHAIN_NAME)
    for atom, place in zip(_atoms(model), block.positions.tolist(), strict=True):
        atom.pos = gemmi.Position(*place)
    structure.add_model(model)
    structure.setup_entities()
    text = structure.make_mmcif_document().as_string()
    with replacing(path, force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def chain_names(block: Block, longest: int = PDB_CHAIN_NAME) -> list[str]:
    """Chain name of every atom of a block; each copy of each chain gets a unique name.

    The first copy has the names of the crystal, if they have at most `longest` letters.
    """
    labels = block.crystal.labels
    keys = [
        (*cell, copy, labels[atom].chain)
        for cell, copy, atom in zip(
            block.cell.tolist(), block.copy.tolist(), block.atom.tolist(), strict=True
        )
    ]
    own = {label.chain for label in labels if label.chain}
    names: dict[tuple[object, ...], str] = {}
    free = (name for name in _names() if name not in own)
    for key in keys:
        if key not in names:
            is_first = key[:4] == keys[0][:4]
            # A#2 is a name of ours; those of many letters, such as PROA, have no room in PDB files.
            short = len(str(key[4])) <= longest and str(key[4]).isalnum()
            names[key] = str(key[4]) if is_first and short else next(free)
    return [names[key] for key in keys]


def _names() -> Iterator[str]:
    """A, B, ..., 9, AA, AB, ..."""
    for length in itertools.count(1):
        for letters in itertools.product(LETTERS, repeat=length):
            yield "".join(letters)


def _set_cell(structure: gemmi.Structure, box: UnitCell) -> np.ndarray:
    """Set the cell of a structure; return the rotation to the axes of the file, (3, 3)."""
    structure.cell = gemmi.UnitCell(*box.parameters)
    structure.spacegroup_hm = "P 1"
    matrix = box.numpy().matrix
    usual = np.array(structure.cell.orth.mat.tolist())
    if np.abs(usual - matrix).max() < ROTATED_CELL:
        return np.eye(3)
    return np.asarray(usual @ np.linalg.inv(matrix))


def _model_at_rest(block: Block, longest: int) -> tuple[gemmi.Model, int]:
    """A model with all atoms of a block, and its number of chains."""
    crystal = block.crystal
    occupancies, B = crystal.occupancies.tolist(), crystal.B.tolist()
    model = gemmi.Model(1)
    names = chain_names(block, longest)
    held: dict[str, gemmi.Chain] = {}
    last = None
    for index, name in zip(block.atom.tolist(), names, strict=True):
        label = crystal.labels[index]
        if name not in held:
            held[name] = model.add_chain(gemmi.Chain(name))
        key = (name, label.residue_number, label.occurrence, label.residue_name)
        if key != last:
            residue = gemmi.Residue()
            residue.name = label.residue_name
            residue.seqid = gemmi.SeqId(label.residue_number or "0")
            standard = gemmi.find_tabulated_residue(label.residue_name).is_standard()
            residue.het_flag = "A" if standard else "H"
            here, last = held[name].add_residue(residue), key
        atom = gemmi.Atom()
        atom.name = label.atom_name.partition("#")[0]  # C1#2: another atom named C1
        atom.element = gemmi.Element(label.element)
        atom.altloc = label.altloc or "\0"
        atom.occ, atom.b_iso = occupancies[index], B[index]
        here.add_atom(atom)
    return model, len(held)


def _atoms(model: gemmi.Model) -> Iterator[gemmi.Atom]:
    for chain in model:
        for residue in chain:
            yield from residue
