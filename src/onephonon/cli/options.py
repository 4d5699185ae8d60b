"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Range = tuple[float, float, float]
Structure = Annotated[Path, typer.Argument(help="PDB or mmCIF file, plain or .gz.")]
GroupByOption = Annotated[
    str,
    typer.Option(
        "--group-by",
        help="What moves as one body: asu, chain, residue, atom, or ranges such as "
        "'A:1-60 A:61-129,B' (CHAIN:FIRST-LAST; a last word rest: all other atoms).",
    ),
]
ModelOption = Annotated[
    str, typer.Option("--model", help="Springs: gnm (Gaussian), anm (central) or hybrid.")
]
CutoffOption = Annotated[float, typer.Option("--cutoff", help="Longest contact, Å.")]
IntraOption = Annotated[
    float, typer.Option("--gamma-intra", help="Spring constant within a copy of the ASU.")
]
InterOption = Annotated[
    float, typer.Option("--gamma-inter", help="Spring constant between copies.")
]
ParOption = Annotated[
    float | None, typer.Option("--k-par", help="hybrid: spring constant along a contact.")
]
PerpOption = Annotated[
    float | None, typer.Option("--k-perp", help="hybrid: spring constant across a contact.")
]
HydrogensOption = Annotated[bool, typer.Option("--hydrogens", help="Keep hydrogen atoms.")]
WatersOption = Annotated[bool, typer.Option("--waters", help="Keep waters.")]
LigandsOption = Annotated[bool, typer.Option("--ligands", help="Keep ligands and ions.")]
ConformersOption = Annotated[
    str,
    typer.Option("--conformers", help="Alternative conformers: highest (occupancy) or all."),
]
IsotropicOption = Annotated[
    bool, typer.Option("--isotropic", help="Use B-factors only, no anisotropic displacements.")
]
ModelNumberOption = Annotated[
    int, typer.Option("--model-number", help="Which model of the file, from 1.")
]
RadiationOption = Annotated[
    str, typer.Option("--radiation", help="Form factors: xray, electron or neutron.")
]
SolventOption = Annotated[
    float,
    typer.Option(
        "--solvent",
        metavar="DENSITY",
        help="Electron density of the solvent that atoms displace, e/Å³: water 0.334; 0: none.",
    ),
]
SmoothingOption = Annotated[
    float,
    typer.Option("--solvent-smoothing", help="B-factor that blurs displaced solvent further, Å²."),
]
NoExpandOption = Annotated[
    bool, typer.Option("--no-expand", help="The file holds the whole cell: apply no operators.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
