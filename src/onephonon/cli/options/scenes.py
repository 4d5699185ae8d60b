"""The option of pictures for programs that show molecules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..groups import OptionGroup
from .output import MessageOptions


@dataclass(frozen=True)
class SceneOptions(OptionGroup):
    """Whether files for ChimeraX and PyMOL are written."""

    panel: ClassVar[str] = MessageOptions.panel

    scenes: Annotated[
        bool,
        typer.Option(
            "--scenes",
            help="Also write the molecule with its neighbours, springs, interfaces, rigid-body "
            "motion and joint displacements for ChimeraX (view.cxc) and PyMOL (view.pml).",
        ),
    ] = False
