"""Checks of the values of options, declared beside the options, before anything is read.

A check is a further entry of the annotation of an option:
``name: Annotated[float, typer.Option(help=...), POSITIVE]``.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from onephonon.core.errors import FileError, InputError


@runtime_checkable
class Check(Protocol):
    """A check of the value of an option."""

    def check(self, option: str, value: Any) -> None:
        """Raise an error that names the option if the value cannot be."""


@dataclass(frozen=True)
class Limits:
    """Smallest and largest value of a number, or of each of several.

    Parameters
    ----------
    low, high : float
    why : str
        What the number is, for the message: "in Å".
    above, below : bool
        Whether `low` and `high` themselves are excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    why: str = ""
    above: bool = False
    below: bool = False

    def check(self, option: str, value: Any) -> None:
        """Raise InputError for a number outside the limits, or one that is not finite."""
        for number in value if isinstance(value, tuple | list) else (value,):
            inside = math.isfinite(number) and self.low <= number <= self.high
            if (
                not inside
                or (self.above and number == self.low)
                or (self.below and number == self.high)
            ):
                raise InputError(f"{option} {shown(value)}: {self._wanted(value)}")

    def _wanted(self, value: Any) -> str:
        each = "each must be" if isinstance(value, tuple | list) and len(value) > 1 else "must be"
        ends = []
        if not math.isinf(self.low):
            ends.append(
                f"above {_bound(self.low)}" if self.above else f"{_bound(self.low)} or more"
            )
        if not math.isinf(self.high):
            ends.append(
                f"below {_bound(self.high)}" if self.below else f"at most {_bound(self.high)}"
            )
        wanted = " and ".join(ends) or "a finite number"
        return f"{each} {wanted}" + (f", {self.why}" if self.why else "")


@dataclass(frozen=True)
class Counts:
    """Numbers of points or cells along three axes.

    Parameters
    ----------
    most : int
        Largest product.
    """

    most: int

    def check(self, option: str, value: Any) -> None:
        """Raise InputError for a number below 1, or for more points than anyone has use for."""
        ONE_OR_MORE.check(option, value)
        total = math.prod(value)
        if total > self.most:
            raise InputError(
                f"{option} {shown(value)}: {total:.3g} in all; give at most {self.most:,}"
            )


@dataclass(frozen=True)
class Sampling:
    """(min, max, samples per index) of an axis."""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError if the numbers are not finite, not in order, or sample nothing."""
        low, high, n = value
        if not all(map(math.isfinite, value)):
            raise InputError(f"{option} {shown(value)}: MIN, MAX and N must be finite numbers")
        if low > high:
            raise InputError(f"{option} {shown(value)}: MAX is below MIN; swap them")
        if not n > 0:
            raise InputError(f"{option} {shown(value)}: N, samples per index, must be above 0")


@dataclass(frozen=True)
class Cell:
    """Six parameters of a unit cell."""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError if they span no cell."""
        lengths, angles = value[:3], value[3:]
        if not all(math.isfinite(x) and x > 0 for x in lengths):
            raise InputError(f"{option} {shown(value)}: A, B and C must be above 0, in Å")
        if not all(0 < x < 180 for x in angles):
            raise InputError(
                f"{option} {shown(value)}: α, β and γ must be above 0 and below 180 degrees"
            )
        if sum(angles) >= 360 or 2 * max(angles) >= sum(angles):
            raise InputError(
                f"{option} {shown(value)}: no cell has these angles: each must be below the sum of "
                "the other two, and all three together below 360 degrees"
            )


@dataclass(frozen=True)
class Ascending:
    """Two numbers of which the first is the lower."""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError if they are not finite and in order."""
        low, high = value
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"{option} {shown(value)}: two numbers, the first the lower")


@dataclass(frozen=True)
class Reads:
    """A file that is read, or a folder of files."""

    folder: bool = False

    def check(self, option: str, value: Any) -> None:
        """Raise FileError for anything else, if it is there."""
        _check_named(option, value)
        kind = _kind(value)
        if kind == "a folder" and not self.folder:
            raise FileError(f"{value} is a folder; name a file in it")
        if kind not in ("", "a folder"):
            raise FileError(f"{value} is {kind}, not a file; save its content to a file first")


@dataclass(frozen=True)
class Writes:
    """A file that is written, or a folder of files."""

    folder: bool = False

    def check(self, option: str, value: Any) -> None:
        """Raise FileError for what can never be written."""
        _check_named(option, value)
        kind = _kind(value)
        if kind == "a folder" and not self.folder:
            raise FileError(f"{option} {value} is a folder; name a file in it")
        if self.folder and value.is_file():
            raise FileError(f"{option} {value} is a file; name a folder for the results")
        if kind not in ("", "a folder"):
            raise FileError(f"{option} {value} is {kind}; name a file")


READS = Reads()
READS_FOLDER = Reads(folder=True)
WRITES = Writes()
WRITES_FOLDER = Writes(folder=True)

FINITE = Limits()
POSITIVE = Limits(low=0, above=True)
NOT_NEGATIVE = Limits(low=0)
ONE_OR_MORE = Limits(low=1)

#: Shells of resolution; as `onephonon.maps.isotropic.MAX_SHELLS`, which starts slowly.
SHELLS = Limits(low=1, high=1000)


@dataclass(frozen=True)
class Given:
    """The options that are on the command line, whatever their values.

    Parameters
    ----------
    spellings : dict of str to str
        By the name of the parameter: ``{"d_min": "--d-min"}``.
    """

    spellings: Mapping[str, str] = field(default_factory=dict)

    def among(self, *names: str) -> str:
        """Those of some parameters, as text; empty if there are none."""
        return ", ".join(self.spellings[name] for name in names if name in self.spellings)

    def refuse(self, *names: str, why: str) -> None:
        """Raise InputError if one of these options, which would be ignored, was given."""
        found = self.among(*names)
        if found:
            raise InputError(f"{found}: {why}")


def shown(value: Any) -> str:
    """A value as on the command line."""
    if isinstance(value, tuple | list):
        return " ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_text(option: str, value: Any) -> None:
    """Raise InputError for text with bytes that are no characters, as from another encoding."""
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{option} {value!r}: holds bytes that are no text in this encoding")


def _bound(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _check_named(option: str, path: Path) -> None:
    if str(path) == "-":
        raise FileError(
            f"{option} -: standard input and output are neither read nor written; name a file"
        )


def _kind(path: Path) -> str:
    """What is at a path that is no plain file; empty for a file that could be read or made."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "")
