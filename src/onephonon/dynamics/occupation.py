"""Occupation of the modes: mean-square displacements other than those of classical motion.

In classical motion a mode of frequency omega has the mean square ``kT / omega^2`` (of its
coordinate times the root of the mass). An occupation multiplies this by a factor g. In quantum
mechanics

    ``hbar / (2 omega) coth(hbar omega / 2kT) = kT / omega^2 g``,  ``g = x coth x``,
    ``x = hbar omega / 2kT``

(Willis & Pryor, Thermal Vibrations in Crystallography, 1975): 1 for soft modes, x for
stiff ones, which keep their zero-point motion. Factors depend on absolute frequencies, so springs
must be absolute: in units of ``kT/s`` with the temperature T and the thermal scale s. With ``w^2``
the eigenvalues of ``D = L^-1 K L^-H``, the squared frequency in ``kT/(Å^2 Da)`` is ``w^2 / s``
(see `spectra`), and the covariance of displacements

    ``C(k) = s L^-H [g(D / s) / D] L^-1 = s g(0) K^-1 + L^-H e(D / s) L^-1``,
    ``e(y) = (g(y) - g(0)) / y``, with y the squared reduced frequency.

All that diverges at Gamma is in the first term, which is classical. The excess e is bounded for
quantum occupation: at Gamma it is ``hbar^2 / (12 kT Da)`` (in Å^2 Da, for masses in Da), the same
for all three translations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onephonon.core.arguments import MAX_TEMPERATURE, as_real
from onephonon.core.errors import GradientError, InputError
from onephonon.core.tensors import inside_functorch
from onephonon.core.units import quantum_length, thermal_frequency

#: Number of terms of the series of x coth x below x = 1: the last is 1e-19 of the first.
N_TERMS = 18

#: Squared frequencies below this fraction of the largest one at a wavevector are those of
#: translations of the whole crystal, with rounding.
AT_REST = {torch.float64: 1e-10, torch.float32: 1e-5}


@dataclass(frozen=True, eq=False)
class Occupation(ABC):
    """Mean squares of modes relative to classical motion, at a temperature.

    Parameters
    ----------
    temperature : float
        In K. It sets the unit of the reduced frequencies.
    """

    temperature: float

    @property
    @abstractmethod
    def at_rest(self) -> Tensor | float:
        """Factor of a mode of frequency zero, g(0)."""

    @abstractmethod
    def excess(self, squared: Tensor) -> Tensor:
        """``(g - g(0)) / y`` at squared reduced frequencies y (..., D), kT/(Å^2 Da).

        Differentiable in y and in the tensors of the occupation; finite at zero. The last
        dimension holds the modes of one wavevector.
        """

    def factor(self, squared: Tensor) -> Tensor:
        """Factor g at squared reduced frequencies (..., D), kT/(Å^2 Da)."""
        return self.at_rest + squared * self.excess(squared)

    @property
    def tensors(self) -> list[Tensor]:
        """Tensors that the factors depend on."""
        return []

    @property
    def is_constant(self) -> bool:
        """Whether the factors depend on nothing but `tensors` and numbers."""
        return True


@dataclass(frozen=True, eq=False)
class ThermalOccupation(Occupation):
    """Quantum occupation at thermal equilibrium, ``g = x coth x`` with ``x = hbar omega / 2kT``."""

    def __str__(self) -> str:
        return f"quantum at {self.temperature:g} K"

    @property
    def at_rest(self) -> float:
        """1: modes of frequency zero are classical."""
        return 1.0

    def excess(self, squared: Tensor) -> Tensor:
        """``(x coth x - 1) / y``; at zero ``hbar^2 / (12 kT Da)``."""
        a = quantum_length(self.temperature) ** 2
        return a * _coth_excess(a * squared)


@dataclass(frozen=True, eq=False)
class PopulationTable:
    """A table of factors by frequency, interpolated linearly and constant beyond its ends.

    Parameters
    ----------
    frequencies : Tensor, shape (n,), THz
        Ascending, not negative. Constants.
    values : Tensor, shape (n,)
        Finite, not negative. The table is differentiable in them.
    thermal : bool
        Whether the values multiply x coth x, instead of classical motion.
    temperature : float, optional
        That of x coth x, in K; by default that of the model.

    Raises
    ------
    InputError
        If frequencies or values are not such.
    """

    frequencies: Tensor
    values: Tensor
    thermal: bool = False
    temperature: float | None = None

    def __post_init__(self) -> None:
        f, values = self.frequencies.detach(), self.values.detach()
        if f.ndim != 1 or f.shape != values.shape or not len(f):
            raise InputError(
                f"populations: {tuple(f.shape)} frequencies and {tuple(values.shape)} values; give "
                "pairs of a frequency in THz and a factor, shape (n, 2)"
            )
        if not (bool(torch.isfinite(f).all()) and bool(torch.isfinite(values).all())):
            raise InputError("populations: a frequency or factor is not finite; leave it out")
        if float(f[0]) < 0 or not bool((f[1:] > f[:-1]).all()):
            raise InputError(
                "populations: frequencies must ascend from 0 THz or above, each once; sort the "
                "table and remove repeated lines"
            )
        check_factors(values, f)
        if self.temperature is not None:
            object.__setattr__(self, "temperature", check_temperature(self.temperature))

    @classmethod
    def of(
        cls,
        table: Tensor
        | np.ndarray[tuple[int, int], np.dtype[np.float64]]
        | Sequence[Sequence[float]],
    ) -> PopulationTable:
        """From rows of a frequency in THz and a factor relative to classical motion, (n, 2)."""
        try:
            rows = table if isinstance(table, Tensor) else torch.as_tensor(np.asarray(table, float))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"populations: not an array of numbers ({error}); give rows of a frequency in THz "
                "and a factor, shape (n, 2)"
            ) from error
        if rows.ndim != 2 or rows.shape[1] != 2:
            raise InputError(
                f"populations: a table of shape {tuple(rows.shape)}; give rows of a frequency in "
                "THz and a factor, shape (n, 2)"
            )
        return cls(rows[:, 0].detach().contiguous(), rows[:, 1])

    def __call__(self, frequency: Tensor) -> Tensor:
        """Interpolated values at frequencies in THz, of any shape."""
        known, values = self.frequencies.to(frequency), self.values.to(frequency)
        if len(known) == 1:
            return values.expand(frequency.shape)
        above = torch.searchsorted(known, frequency.detach().contiguous()).clamp(1, len(known) - 1)
        low, high = known[above - 1], known[above]
        share = ((frequency - low) / (high - low)).clamp(0.0, 1.0)
        return values[above - 1] + share * (values[above] - values[above - 1])


@dataclass(frozen=True, eq=False)
class PopulationOccupation(Occupation):
    """Factors by frequency from a table or a function.

    Their excess may diverge at frequency zero, as ``1/omega`` if they rise linearly from there:
    zone averages integrate it around Gamma (`gamma_cell.bounded_correction`).

    Parameters
    ----------
    temperature : float
        In K.
    of_frequency : PopulationTable or callable
        From a tensor of frequencies in THz to the factors relative to classical motion, or
        relative to x coth x in a table that says so.
    """

    of_frequency: PopulationTable | Callable[[Tensor], Tensor]

    def __str__(self) -> str:
        kind = "table" if isinstance(self.of_frequency, PopulationTable) else "function"
        return f"by a {kind} of frequency at {self.temperature:g} K"

    @property
    def at_rest(self) -> Tensor:
        """Factor at frequency zero."""
        found = self._direct(torch.zeros(1, dtype=torch.float64))[0]
        if not bool(torch.isfinite(found.detach())):
            raise InputError(
                f"populations: the factor at 0 THz is {float(found.detach()):g}, and there are "
                "acoustic modes of any low frequency; give a finite one"
            )
        check_factors(found.detach(), torch.zeros_like(found))
        return found

    def excess(self, squared: Tensor) -> Tensor:
        """``(g - g(0)) / y``, with zero where y is zero."""
        least = AT_REST[squared.dtype] * squared.detach().amax(-1, keepdim=True)
        moving = squared > least
        y = torch.where(moving, squared, 1.0)
        frequency = y.sqrt() * thermal_frequency(self.temperature)
        factor = self._direct(frequency)
        check_factors(factor.detach()[moving], frequency.detach()[moving])
        rise = factor - self.at_rest.to(y)
        return torch.where(moving, rise / y, 0.0)

    def _direct(self, frequency: Tensor) -> Tensor:
        """Factors relative to classical motion at frequencies in THz."""
        table = self.of_frequency
        found = torch.as_tensor(table(frequency)).to(frequency)
        if found.shape != frequency.shape:
            raise InputError(
                f"populations: the function returned shape {tuple(found.shape)} for frequencies of "
                f"shape {tuple(frequency.shape)}; return one factor for each"
            )
        if not (isinstance(table, PopulationTable) and table.thermal):
            return found
        own = table.temperature or self.temperature
        x = frequency / thermal_frequency(own) * quantum_length(own)
        return found * (1.0 + x * x * _coth_excess(x * x))

    @property
    def tensors(self) -> list[Tensor]:
        """The values of a table, or the parameters of a module."""
        if isinstance(self.of_frequency, PopulationTable):
            return [self.of_frequency.values]
        if isinstance(self.of_frequency, torch.nn.Module):
            return list(self.of_frequency.parameters())
        return []

    @property
    def is_constant(self) -> bool:
        """False for functions, which may depend on anything."""
        return isinstance(self.of_frequency, PopulationTable)


def check_factors(factors: Tensor, frequencies: Tensor) -> None:
    """Raise InputError for a factor that is negative or not finite, naming it and its THz."""
    wrong = ~(torch.isfinite(factors) & (factors >= 0)).reshape(-1)
    if bool(wrong.any()):
        first = int(wrong.to(torch.int8).argmax())
        raise InputError(
            f"populations: the factor at {float(frequencies.reshape(-1)[first]):.4g} THz is "
            f"{float(factors.reshape(-1)[first]):.4g}, but mean squares are finite and not "
            "negative; give 0 or more"
        )


def check_temperature(temperature: float, name: str = "temperature") -> float:
    """Check a temperature in K: a positive number, at most `MAX_TEMPERATURE`."""
    kelvin = as_real(temperature)
    if not 0 < kelvin <= MAX_TEMPERATURE:
        raise InputError(
            f"{name} {temperature!r}: give a positive number of kelvin, at most "
            f"{MAX_TEMPERATURE:,.0f}"
        )
    return kelvin


def refuse_functorch() -> None:
    """Raise GradientError inside a transform of torch.func, such as grad or vmap."""
    if inside_functorch():
        raise GradientError(
            "temperature and populations are not supported inside torch.func (grad, vmap, jvp): "
            "frequencies need eigenvalues, whose derivatives are of torch.autograd; use "
            ".backward() or torch.autograd.grad"
        )


def _series() -> list[float]:
    """Coefficients of ``(x coth x - 1) / x^2`` in powers of x^2.

    ``2 (-1)^j zeta(2j + 2) / pi^(2j + 2)``: Gradshteyn & Ryzhik, 1.411.
    """
    numbers = np.arange(1000.0, 0.0, -1.0)
    zetas = [math.pi**2 / 6, math.pi**4 / 90]
    zetas += [float((numbers ** (-2.0 * n)).sum()) for n in range(3, N_TERMS + 1)]
    return [2 * (-1) ** j * zeta / math.pi ** (2 * j + 2) for j, zeta in enumerate(zetas)]


SERIES = _series()


def _coth_excess(x_squared: Tensor) -> Tensor:
    """``(x coth x - 1) / x^2``, 1/3 at zero; smooth, also for slightly negative x^2."""
    small = x_squared < 1.0
    y = torch.where(small, x_squared, 0.0)
    total = torch.full_like(y, SERIES[-1])
    for c in reversed(SERIES[:-1]):
        total = total * y + c
    y = torch.where(small, 1.0, x_squared)
    x = y.sqrt()
    return torch.where(small, total, (x / torch.tanh(x) - 1.0) / y)
