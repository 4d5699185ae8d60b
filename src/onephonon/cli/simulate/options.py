"""Options of the points, of the modes and of the stored map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError

from ..checks import NOT_NEGATIVE, ONE_OR_MORE, READS, Limits, Sampling
from ..groups import OptionGroup

if TYPE_CHECKING:
    from onephonon.scattering.multiphonon.settings import Orders


@dataclass(frozen=True)
class PointOptions(OptionGroup):
    """Where the intensity is computed: on a grid, or at a list of q-vectors."""

    panel: ClassVar[str] = "Points: a grid, or a list of q-vectors"

    h: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--h", metavar="MIN MAX N", help="First and last h, and samples per index."),
        Sampling(),
    ] = None
    k: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--k", metavar="MIN MAX N", help="First and last k, and samples per index."),
        Sampling(),
    ] = None
    l: Annotated[  # noqa: E741
        tuple[float, float, float] | None,
        typer.Option("--l", metavar="MIN MAX N", help="First and last l, and samples per index."),
        Sampling(),
    ] = None
    q: Annotated[
        Path | None,
        typer.Option(
            "--q",
            metavar="FILE",
            help="Compute at the q-vectors of a file (.npy, .npz, .h5 or text; 1/Å, 2π included) "
            "instead of on a grid; map_shape in an .npz is copied.",
        ),
        READS,
    ] = None
    d_min: Annotated[
        float,
        typer.Option(
            help="Finest resolution, in Å; points beyond it are masked.", show_default="no limit"
        ),
        NOT_NEGATIVE,
    ] = 0.0
    bragg_tolerance: Annotated[
        float | None,
        typer.Option(
            help="Mask points whose Miller indices are all this close to integers.",
            show_default="1e-6",
        ),
        Limits(
            low=0, high=0.5, below=True, why="as no index is farther than 0.5 from a whole number"
        ),
    ] = None

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon` that are recorded in calculated maps."""
        return {"res_limit": self.d_min, "bragg_tolerance": self.bragg_tolerance}

    def read(self) -> tuple[dict[str, Any], tuple[int, int, int] | None]:
        """Samplings or q-vectors for `OnePhonon`, and the `map_shape` of a list.

        Raises
        ------
        InputError
            If options contradict each other, or one is missing.
        """
        ranges = {"h": self.h, "k": self.k, "l": self.l}
        ranges_set = [f"--{axis}" for axis, value in ranges.items() if value is not None]
        if self.q is not None:
            if ranges_set:
                raise InputError(
                    f"{', '.join(ranges_set)} and --q exclude each other; give ranges or a list "
                    "of q"
                )
            return self._read_list(self.q)
        if len(ranges_set) < 3:
            raise InputError(
                "give --h, --k and --l (MIN MAX N each), or --q with a file of q-vectors"
            )
        return {f"{axis}sampling": value for axis, value in ranges.items()}, None

    @staticmethod
    def _read_list(file: Path) -> tuple[dict[str, Any], tuple[int, int, int] | None]:
        import torch

        from onephonon.maps.io.qlist import read_q_vectors

        q_vectors, shape = read_q_vectors(file)
        return {"q_vectors": torch.from_numpy(q_vectors)}, shape


@dataclass(frozen=True)
class ModeOptions(OptionGroup):
    """Selection of modes."""

    panel: ClassVar[str] = "Modes"

    rank: Annotated[
        int,
        typer.Option(help="Compute only this mode, counted from 0; -1: all modes."),
        Limits(low=-1, why="the number of a mode, or -1 for all"),
    ] = -1
    softest: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Compute only the N softest modes at each wavevector, for models of many bodies; "
            "prints the neglected fraction.",
            show_default="all",
        ),
        ONE_OR_MORE,
    ] = None

    @property
    def every(self) -> bool:
        """Whether all modes are summed."""
        return self.rank == -1 and self.softest is None

    def check_orders(self, orders: Orders) -> None:
        """Raise InputError if some modes are selected of more than one phonon."""
        if not self.every and not orders.first_only:
            which = f"--rank {self.rank}" if self.softest is None else f"--softest {self.softest}"
            raise InputError(
                f"{which}: modes can be selected of one phonon only; leave it out, or --orders "
                f"{orders.name}"
            )

    def arguments(self) -> dict[str, Any]:
        """Arguments of the calculation, as recorded in calculated maps.

        Raises
        ------
        InputError
            If both options are given.
        """
        if self.softest is None:
            return {"rank": self.rank}
        if self.rank != -1:
            raise InputError("--softest and --rank both select modes; give only one")
        return {"rank": self.rank, "softest": self.softest}


@dataclass(frozen=True)
class MapFileOptions(OptionGroup):
    """Storage of the map."""

    panel: ClassVar[str] = "Map file"

    unique: Annotated[
        bool,
        typer.Option("--unique", help="Write only the symmetry-independent part of the map."),
    ] = False
    store: Annotated[
        str | None,
        typer.Option(
            metavar="float32|float64",
            help="Floating-point type in the file.",
            show_default="float32 for the mesh, else float64",
        ),
    ] = None

    def stored(self, default: str) -> str:
        """Floating-point type of the values in the file.

        Raises
        ------
        InputError
            If it is neither float32 nor float64.
        """
        if self.store not in (None, "float32", "float64"):
            raise InputError(f"--store {self.store!r} is neither float32 nor float64")
        return self.store or default
