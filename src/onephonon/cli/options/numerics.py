"""Where, how and how exactly a model is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError

from ..groups import OptionGroup

DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class DeviceOptions(OptionGroup):
    """Where a model is computed."""

    panel: ClassVar[str] = "Numerics"

    device: Annotated[
        str, typer.Option(help="Device of PyTorch that computes, such as cpu or cuda.")
    ] = "cpu"

    def tensor_arguments(self) -> dict[str, Any]:
        """Keywords dtype and device of `OnePhonon`.

        Raises
        ------
        InputError
            If the device cannot be used here.
        """
        import torch

        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"--device {self.device!r} cannot be used here ({error})") from error
        return {"dtype": torch.float64, "device": torch.device(self.device)}


@dataclass(frozen=True)
class NumericsOptions(DeviceOptions):
    """Where, how and how exactly a model is computed."""

    dtype: Annotated[
        str, typer.Option(metavar="|".join(DTYPES), help="Floating-point numbers computed with.")
    ] = "float64"
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|direct|mesh",
            help="Sum over the atoms (direct), transform densities on a mesh (fast, exact to "
            "--rtol), or whichever suits.",
        ),
    ] = "auto"
    rtol: Annotated[
        float,
        typer.Option(help="Accuracy of the mesh, relative to the intensity and its rms."),
    ] = 1e-6
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Largest number of q-vectors handled at a time.",
            show_default="by the model's size",
        ),
    ] = None

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon` that a calculated map records."""
        return {"batch_size": self.batch_size, "engine": self.engine, "rtol": self.rtol}

    def tensor_arguments(self) -> dict[str, Any]:
        """Keywords dtype and device of `OnePhonon`.

        Raises
        ------
        InputError
            If there is no such dtype, or the device cannot be used here.
        """
        import torch

        if self.dtype not in DTYPES:
            raise InputError(f"--dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        return super().tensor_arguments() | {"dtype": getattr(torch, self.dtype)}
