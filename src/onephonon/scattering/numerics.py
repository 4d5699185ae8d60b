"""Options of the calculation that affect cost and accuracy, not the physics."""

from __future__ import annotations

from dataclasses import dataclass

from onephonon.core.arguments import as_real
from onephonon.core.errors import InputError

from .amplitudes.choice import check_engine, check_rtol


@dataclass(frozen=True)
class Numerics:
    """Options of the calculation of amplitudes and intensities.

    Parameters
    ----------
    engine : {'auto', 'direct', 'mesh'}
        Amplitudes by a sum over atoms, exact to rounding, or from densities on a mesh, within
        `rtol` and much faster for many q; by default the one estimated to be faster.
    rtol : float
        Accuracy of the mesh: errors of intensities are less than rtol times the sum of the
        intensity and its rms over the points.
    batch_size : int, optional
        Maximum number of q per batch.

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
    if value is not None and not (as_real(value) >= 1 and as_real(value).is_integer()):
        raise InputError(f"batch_size {value!r}: must be a whole number, at least 1, or None")
    return value
