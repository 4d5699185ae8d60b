"""Writing of scenes."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from onephonon.core.files import check_writable, replacing
from onephonon.dynamics.joint import Joint
from onephonon.dynamics.lattice_model import HasLattice, LatticeModel, lattice_of
from onephonon.dynamics.tls import model_tls

from ..trajectory.structure_files import write_block
from .formats import bild_text, chimerax_text, marker_text, pymol_shapes, pymol_text
from .layers import interface_layer, joint_layer, motion_layer, spring_layers
from .names import CHIMERAX, LAYER_FILES, PYMOL, SHAPES, STRUCTURE
from .neighbours import Neighbourhood, find_neighbours
from .shapes import Layer


def write_scenes(
    model: LatticeModel | HasLattice,
    folder: str | os.PathLike[str],
    joint: Joint | None = None,
    *,
    title: str = "",
    force: bool = False,
) -> list[Path]:
    """Write what a model says of its molecules for programs that show molecules.

    ``molecules.cif`` has the molecule as in the structure and the neighbours that touch it, in the
    coordinates of the model; ``view.cxc`` (ChimeraX) and ``view.pml`` (PyMOL), opened in this
    folder, show it with springs, interfaces, axes of translation and libration, and joint
    displacements.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon
    folder : path
        Exists.
    joint : Joint, optional
        Joint displacements to be shown.
    title : str
        Of the structure.
    force : bool
        Overwrite existing files.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    FileError
        If a file exists and `force` is not set, or cannot be written.
    """
    lattice, folder = lattice_of(model), Path(folder)
    with torch.no_grad():
        near = find_neighbours(lattice)
        layers = [*spring_layers(lattice), interface_layer(near)]
        layers.append(motion_layer(model_tls(lattice), lattice.bodies))
        if joint is not None:
            layers.append(joint_layer(near, joint.molecules))
    files = [(layer, LAYER_FILES[layer.name]) for layer in layers]
    names = [STRUCTURE, CHIMERAX, PYMOL, SHAPES, *(file for _, file in files)]
    paths = {name: check_writable(folder / name, force) for name in names}
    write_block(near.block, paths[STRUCTURE], title=title, force=force)
    texts = {
        CHIMERAX: chimerax_text(STRUCTURE, files, _labels(near)),
        PYMOL: pymol_text(STRUCTURE, SHAPES, layers, [title, *_chain_remarks(near)]),
        SHAPES: pymol_shapes(layers),
    }
    texts |= {file: _layer_text(layer, file) for layer, file in files}
    for name, text in texts.items():
        with replacing(paths[name], force) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(paths.values())


def _layer_text(layer: Layer, file: str) -> str:
    return marker_text(layer) if file.endswith(".cmm") else bild_text(layer)


def _chain_remarks(near: Neighbourhood) -> list[str]:
    """Which chains are which copy."""
    operators = ("x,y,z", *near.operators)
    return [f"chain {', '.join(c)}: {o}" for c, o in zip(near.chains, operators, strict=True)]


def _labels(near: Neighbourhood) -> list[tuple[str, str]]:
    """The residue nearest to the centroid of each neighbour, and the neighbour's operator."""
    labels, n = near.block.crystal.labels, len(near.block.crystal.labels)
    positions = near.block.positions.reshape(-1, n, 3)
    away = torch.linalg.vector_norm(positions - near.centres[:, None], dim=2)
    found = []
    for number, operator in enumerate(near.operators, start=1):
        atom = int(away[number].argmin())
        first = [label.chain for label in labels]
        chain = near.chains[number][list(dict.fromkeys(first)).index(labels[atom].chain)]
        found.append((f"/{chain}:{labels[atom].residue_number}", operator))
    return found
