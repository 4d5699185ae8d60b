"""The command ``onephonon displacements``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onephonon.core.errors import InputError
from onephonon.core.files import make_folder
from onephonon.viz.scenes.names import FILES as SCENE_FILES

from ..app import command
from ..checks import WRITES_FOLDER
from ..disorder import show_disorder
from ..models import build_model, lattice_alone, model_arguments, show_zone_average
from ..options.disorder import DisorderOptions
from ..options.displacements import DisplacementOptions
from ..options.network import NetworkOptions
from ..options.output import OutputOptions
from ..options.scenes import SceneOptions
from ..options.springs import SpringOptions
from ..options.structure import StructureFile, StructureOptions
from ..remarks import show_bodies, show_remarks
from ..terminal import echo, progress
from .options import PairOptions

#: Files written into the folder --output; that of bodies only where a molecule has several.
BODIES = "bodies.csv"
FILES = ("molecules.csv", BODIES, "atom_pairs.csv", "joint.json", "joint.png")


@command(
    "onephonon displacements model.pdb -o joint",
    "onephonon displacements model.pdb --group-by residue --within 15 -o joint",
    "onephonon displacements model.pdb -o joint --scenes",
)
def displacements(
    file: StructureFile,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for tables and picture; created if missing."),
        WRITES_FOLDER,
    ] = None,
    writing: OutputOptions,
    scenes: SceneOptions,
    pairs: PairOptions,
    structure: StructureOptions,
    network: NetworkOptions,
    springs: SpringOptions,
    disorder: DisorderOptions,
    displacements: DisplacementOptions,
) -> None:
    """Show how neighbours move together: joint ADPs of molecules, bodies and atoms in contact.

    Of two molecules, the covariance of their displacements; of bodies, 6 x 6 for translations and
    librations. Tables have an operator and cell offset for each pair, so that they can be joined
    with tables of contacts and with joint ADPs from data.
    """
    import torch

    from onephonon.dynamics.joint import joint_displacements

    from .report import show_joint, write_joint, write_scene_files

    names = (*FILES, *(SCENE_FILES if scenes.scenes else ()))
    if scenes.scenes and output is None:
        raise InputError("--scenes writes files into a folder; add --output FOLDER")
    writing.check(*([] if output is None else [make_folder(output) / name for name in names]))
    arguments = model_arguments(network, springs, disorder, displacements, structure)
    model = build_model(file, arguments)
    show_disorder(model, writing.quiet)
    model = lattice_alone(model, file, arguments)
    show_remarks(model.crystal, file.name, writing.quiet)
    show_bodies(model.bodies, network.group_by, writing.quiet)
    show_zone_average(model, writing.quiet)
    with torch.no_grad(), progress(writing.quiet) as shown:
        joint = joint_displacements(model, pairs.within, progress=shown)
    if not writing.quiet:
        show_joint(joint, file.name)
    if output is not None:
        written = write_joint(joint, output, file.name, writing.force)
        if scenes.scenes:
            written += write_scene_files(model, output, joint, file.name, writing.force)
        if not writing.quiet:
            echo(f"wrote {', '.join(written)} to {output}")
