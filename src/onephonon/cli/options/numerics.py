"""Options of the computation: device, precision, engine and accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError

from ..checks import ONE_OR_MORE, Given, Limits
from ..groups import OptionGroup

DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class DeviceOptions(OptionGroup):
    """Device of the computation."""

    panel: ClassVar[str] = "Numerics"

    device: Annotated[str, typer.Option(help="PyTorch device, such as cpu or cuda.")] = "cpu"

    def tensor_arguments(self) -> dict[str, Any]:
        """Keywords dtype and device of `OnePhonon`.

        Raises
        ------
        InputError
            If the device is not available.
        """
        import torch

        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"--device {self.device!r} is not available ({error})") from error
        return {"dtype": torch.float64, "device": torch.device(self.device)}


@dataclass(frozen=True)
class NumericsOptions(DeviceOptions):
    """Options of the computation: device, precision, engine and accuracy."""

    dtype: Annotated[
        str, typer.Option(metavar="|".join(DTYPES), help="Floating-point type of the computation.")
    ] = "float64"
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|direct|mesh",
            help="Sum over atoms (direct), transform densities on a mesh (mesh: fast, accurate to "
            "--rtol), or choose one of these (auto).",
        ),
    ] = "auto"
    rtol: Annotated[
        float,
        typer.Option(help="Accuracy of the mesh, relative to the intensity and its rms."),
        Limits(low=1e-12, high=1e-2, why="relative to the rms intensity"),
    ] = 1e-6
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of q-vectors at a time.",
            show_default="from the size of the model",
        ),
        ONE_OR_MORE,
    ] = None

    def check_together(self, given: Given) -> None:
        """Raise InputError for an accuracy of a sum that is exact."""
        if self.engine == "direct":
            given.refuse("rtol", why="only for the mesh; --engine direct is exact to rounding")

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon` that are recorded in calculated maps."""
        return {"batch_size": self.batch_size, "engine": self.engine, "rtol": self.rtol}

    def tensor_arguments(self) -> dict[str, Any]:
        """Keywords dtype and device of `OnePhonon`.

        Raises
        ------
        InputError
            If there is no such dtype, or the device is not available.
        """
        import torch

        if self.dtype not in DTYPES:
            raise InputError(f"--dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        return super().tensor_arguments() | {"dtype": getattr(torch, self.dtype)}
