"""Options of averages over voxels, and of the indexing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from onephonon.core.errors import InputError

from ..checks import Given, Limits
from ..groups import OptionGroup

#: Orders of averages over voxels.
ORDER = Limits(low=0, high=20, why="2 or more, or 0 for the centres")


@dataclass(frozen=True)
class IndexingOptions(OptionGroup):
    """How the indices of data and model belong together."""

    panel: ClassVar[str] = "Indexing"

    reindex: Annotated[
        str,
        typer.Option(
            metavar="auto|best|none|OP",
            help="Indexing of the data: auto changes it if another that the lattice allows is "
            "clearly better, best uses the best, none keeps it; or an operator such as k,h,-l "
            "(the indices of the model in terms of those of the data).",
        ),
    ] = "auto"


@dataclass(frozen=True)
class VoxelOptions(IndexingOptions):
    """How a model is averaged over the voxels of data, and indexed."""

    panel: ClassVar[str] = "Voxels and indexing"

    average: Annotated[
        int | None,
        typer.Option(
            metavar="ORDER",
            help="Average the model over each voxel with this many nodes per axis (2 or more), or "
            "evaluate it at the voxel centres (0).",
            show_default="2 for voxels of half an index or more, else 0",
        ),
        ORDER,
    ] = None
    leave_out: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Exclude from the average the part of a voxel within this fraction of the "
            "distance from its Bragg point to its faces, for data whose Bragg peaks were removed.",
        ),
        Limits(low=0, high=1, below=True, why="a fraction of the distance to the faces"),
    ] = 0.0

    def check_together(self, given: Given) -> None:
        """Raise InputError for averages over one node, or a part of no average."""
        super().check_together(given)
        if self.average == 1:
            raise InputError("--average 1: give 2 or more nodes per axis, or 0 for voxel centres")
        if self.average == 0 and self.leave_out:
            raise InputError(
                f"--leave-out {self.leave_out:g}: only for averages over voxels; give --average 2 "
                "or more"
            )
