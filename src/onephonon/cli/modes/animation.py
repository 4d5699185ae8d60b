"""Animation of one mode."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from onephonon.core.errors import InputError

from .options import AnimationOptions

if TYPE_CHECKING:
    from onephonon.model.one_phonon import OnePhonon


def write_mode_animation(
    model: OnePhonon, name: str, file: Path, kelvin: float, wanted: AnimationOptions, force: bool
) -> str:
    """Write the animation, and describe what it shows."""
    from onephonon.core.units import thermal_frequency
    from onephonon.viz.trajectory.mode_trajectory import mode_pattern
    from onephonon.viz.trajectory.nmd import write_nmd
    from onephonon.viz.trajectory.structure_files import write_animation

    k = _wavevector(wanted.at, model)
    numbers = wanted.modes or (0 if any(k) else 3,)
    how = wanted.pattern_arguments()
    patterns = [mode_pattern(model, k, number, **how) for number in numbers]
    one = patterns[0]
    where = ", ".join(f"{x:.4g}" for x in k)
    title = f"mode {', '.join(map(str, numbers))} of {name} at k = ({where})"
    if file.suffix.lower() == ".nmd":
        write_nmd(patterns, file, title=title, force=force)
    else:
        write_animation(one, file, wanted.frames, title=title, force=force)
    block = " x ".join(str(n) for n in one.block.cells)
    nu = ", ".join(f"{p.frequency * thermal_frequency(kelvin):.3g}" for p in patterns)
    size = f"up to {one.largest:.2g} Å"
    if one.thermal > 0:
        size += f" ({one.thermal:.2g} times the thermal amplitude)"
    ends = "" if one.repeats else "; the wave does not repeat in this block"
    return f"{title}, {nu} THz, {block} cells, {len(one.displacements)} atoms, {size}{ends}"


def _wavevector(text: str, model: OnePhonon) -> tuple[float, float, float]:
    """Wavevector of a named point of the path, or of three numbers."""
    from onephonon.crystal.brillouin_path import zone_path

    try:
        numbers = [float(Fraction(x)) for x in text.replace(",", " ").split()]
    except (ValueError, ArithmeticError):
        try:
            return zone_path(model.crystal).find(text)
        except InputError as error:
            raise InputError(f"--at {text!r}: {error}") from error
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise InputError(f'--at {text!r}: give a point of the path or three numbers, "0 1/2 0"')
    return numbers[0], numbers[1], numbers[2]
