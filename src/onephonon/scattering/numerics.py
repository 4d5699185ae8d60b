"""How intensities are computed: choices that change cost and rounding, not the physics."""

from __future__ import annotations

from dataclasses import dataclass

from onephonon.core.errors import InputError

from .amplitudes.choice import check_engine, check_rtol


@dataclass(frozen=True)
class Numerics:
    """How amplitudes and intensities are computed.

    Parameters
    ----------
    engine : {'auto', 'direct', 'mesh'}
        Amplitudes summed over the atoms, exact to rounding, or transformed from densities on a
        mesh, exact to `rtol` and much faster for many q; by default whichever suits.
    rtol : float
        Accuracy of intensities from the mesh: errors are less than rtol times the intensity
        itself and its rms over the points, added.
    batch_size : int, optional
        Maximum number of q handled at a time.

    Raises
    ------
    InputError
        If a choice is unknown or a number out of its range.
    """

    engine: str = "auto"
    rtol: float = 1e-6
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_engine(self.engine)
        object.__setattr__(self, "rtol", check_rtol(self.rtol))
        check_batch_size(self.batch_size)


def check_batch_size(value: int | None) -> int | None:
    """Check a batch size: at least one, or None."""
    if value is not None and (value < 1 or value != int(value)):
        raise InputError(f"batch_size {value}: must be a whole number, at least 1, or None")
    return value
