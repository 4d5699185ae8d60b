"""Reading of tables of modes' populations by frequency."""

from __future__ import annotations

import os

import torch

from onephonon.core.errors import FileError, InputError
from onephonon.core.safe_reading import check_input, reading
from onephonon.dynamics.occupation import PopulationTable, check_temperature

from .number_text import read_table

PDOS_MODES = ("thermal", "direct")


def read_populations(
    pdos_path: str | os.PathLike[str],
    pdos_mode: str = "thermal",
    temperature_k: float | None = None,
) -> PopulationTable:
    """Read a table of frequency and value for ``OnePhonon(populations=...)``.

    Parameters
    ----------
    pdos_path : path
        Text, two numbers per line separated by spaces or commas: a frequency in THz, ascending,
        and a value. # begins comments; a first line of words is a heading.
    pdos_mode : {'thermal', 'direct'}
        'direct': the value is the mean square of a mode of that frequency relative to classical
        motion, ``kT/omega^2``. 'thermal': the value, such as a density of states relative to that
        of the model, multiplies the quantum-mechanical mean square: relative to classical motion
        the factor is ``value * x coth x`` with ``x = hbar omega / 2kT``.
    temperature_k : float, optional
        T of ``x coth x``, for 'thermal' only; by default the temperature of the model.

    Returns
    -------
    PopulationTable
        Interpolated linearly between the frequencies, constant beyond the first and the last.

    Raises
    ------
    FileError
        If the file is missing or damaged, or not such a table.
    InputError
        If the mode is unknown, or a temperature is not positive or given for 'direct'.
    """
    if pdos_mode not in PDOS_MODES:
        raise InputError(f"pdos_mode {pdos_mode!r} is not one of {', '.join(PDOS_MODES)}")
    path = check_input(pdos_path, "populations")
    with reading(path, "populations"):
        values = read_table(path).values
    if values.shape[1] != 2:
        raise FileError(
            f"{path}: {values.shape[1]} columns; give two, a frequency in THz and a value"
        )
    rows = torch.from_numpy(values)
    thermal = pdos_mode == "thermal"
    if temperature_k is not None and thermal:
        temperature_k = check_temperature(temperature_k, "temperature_k")
    elif temperature_k is not None:
        raise InputError(
            f"temperature_k {temperature_k!r} is for pdos_mode 'thermal'; 'direct' factors are "
            "used as they are: leave it out"
        )
    try:
        return PopulationTable(rows[:, 0].contiguous(), rows[:, 1], thermal, temperature_k)
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
