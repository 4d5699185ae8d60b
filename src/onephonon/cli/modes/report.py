"""Results, tables and files of ``onephonon modes``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from onephonon.core.json_files import write_json
from onephonon.core.units import EIGHT_PI_SQUARED, thermal_frequency
from onephonon.dynamics.elastic import Elasticity, elasticity, symmetry_error
from onephonon.dynamics.elastic_tables import elastic_rows, elastic_summary
from onephonon.dynamics.spectra import (
    DensityOfStates,
    Dispersion,
    density_of_states,
    dispersion,
    sound_speeds,
)
from onephonon.dynamics.tables import (
    DEGREES,
    b_rows,
    dispersion_rows,
    states_rows,
    tls_rows,
    write_rows,
)
from onephonon.dynamics.tls import (
    TLS,
    FittedTLS,
    b_factors_by_tls,
    fit_tls,
    model_tls,
    principal_rms,
)
from onephonon.model.one_phonon import OnePhonon

from ..console import SafeConsole
from ..tables import print_table
from .elasticity import show_elasticity

#: Number of modes and bodies listed in the terminal; files contain all.
N_MODES, N_BODIES = 6, 12


@dataclass(frozen=True)
class ModeReport:
    """Results of the command.

    Parameters
    ----------
    model : OnePhonon
    name : str
        Name of the structure.
    temperature : float
    dispersion : Dispersion
    states : DensityOfStates
    sound : list of dict
        Speeds in m/s along the directions of the path from Gamma.
    elastic : Elasticity
    elastic_numbers : dict
        Its moduli and speeds; see `elastic_summary`.
    tls : TLS
        Of the model.
    fitted : FittedTLS
        Fitted to the U of the file.
    B : dict of str to Tensor
        B of each atom from 'file', 'model' and 'tls'.
    """

    model: OnePhonon
    name: str
    temperature: float
    dispersion: Dispersion
    states: DensityOfStates
    sound: list[dict[str, Any]]
    elastic: Elasticity
    elastic_numbers: dict[str, Any]
    tls: TLS
    fitted: FittedTLS
    B: dict[str, Tensor]

    def show(self) -> None:
        """Print tables on the terminal."""
        console = SafeConsole()
        self._show_frequencies(console)
        console.print()
        self._show_speeds(console)
        console.print()
        show_elasticity(console, self.elastic, self.elastic_numbers, self.temperature)
        console.print()
        self._show_rigid_motion(console)
        console.print()
        file, own, fitted = (self.B[name] for name in ("file", "model", "tls"))
        console.print(
            f"B-factors: mean {float(file.mean()):.1f} Å² in the file, {float(own.mean()):.1f} in "
            f"the model; correlation over {len(file)} atoms {_correlation(file, own)}, "
            f"of the fitted T, L, S {_correlation(file, fitted)}"
        )

    def write(self, folder: Path, force: bool) -> None:
        """Write tables and pictures."""
        from onephonon.viz.plot.bfactors import draw_model_b_factors
        from onephonon.viz.plot.elasticity import draw_elasticity
        from onephonon.viz.plot.modes import draw_modes
        from onephonon.viz.plot.saving import save

        crystal, names = self.model.crystal, self.model.bodies.names
        tables = {
            "dispersion": dispersion_rows(self.dispersion, self.temperature),
            "density_of_states": states_rows(self.states, self.temperature),
            "sound_speeds": self.sound,
            "elastic": elastic_rows(self.elastic, self.temperature),
            "tls": tls_rows(names, self.tls, "model")
            + tls_rows(names, self.fitted.tls, "file", self.fitted.residual),
            "b_factors": b_rows(crystal, self.B),
        }
        for name, rows in tables.items():
            write_rows(rows, folder / f"{name}.csv", force)
        write_json(self._summary() | tables, folder / "modes.json", force)
        picture = draw_modes(
            self.dispersion, self.states, temperature=self.temperature, title=self._title()
        )
        save(picture, folder / "modes.png", force)
        picture = draw_elasticity(
            self.elastic, crystal, temperature=self.temperature, title=self._title()
        )
        save(picture, folder / "elastic.png", force)
        title = f"{self.name}: B-factors of the model and of the file"
        save(draw_model_b_factors(self.model, title=title), folder / "b_factors.png", force)

    def _title(self) -> str:
        crystal, bodies = self.model.crystal, self.model.bodies
        number = f"{bodies.n_bodies} bod{'y' if bodies.n_bodies == 1 else 'ies'}"
        return f"{self.name}: {crystal.spacegroup}, {number} in the cell"

    def _summary(self) -> dict[str, Any]:
        path = self.dispersion.path
        return {
            "structure": self.name,
            "spacegroup": self.model.crystal.spacegroup,
            "cell": list(self.model.crystal.cell.parameters),
            "temperature_K": self.temperature,
            "thermal_scale": float(self.model.thermal_scale),
            "THz_per_reduced": thermal_frequency(self.temperature),
            "mesh": list(self.model.mesh),
            "zone_average": self.model.zone_average,
            "lattice": path.lattice,
            "points": {name: list(k) for name, k in path.points.items()},
            "path": [list(piece) for piece in path.pieces],
            "dos_mesh": list(self.states.mesh),
            "dos_modes": self.states.n_modes,
            "tls_undetermined": self.fitted.undetermined(),
            "elasticity": self.elastic_numbers,
        }

    def _show_frequencies(self, console: SafeConsole) -> None:
        """Frequencies at the points of the path."""
        found = self.dispersion
        n = found.frequencies.shape[1]
        lowest = f", the lowest {N_MODES} of {n}" if n > N_MODES else ""
        title = f"{self._title()}\nfrequencies / THz at {self.temperature:g} K{lowest}"
        corners = {label: i for i, label in found.corners}
        rows = []
        for name, k in found.path.points.items():
            w = found.frequencies[corners[name], :N_MODES] * thermal_frequency(self.temperature)
            indices = " ".join(_index(x) for x in k)
            rows.append([name, indices, *(f"{x:.3f}" for x in w.tolist())])
        headings = ["point", "h k l", *(str(i) for i in range(min(n, N_MODES)))]
        print_table(console, title, headings, rows, keys=2)

    def _show_speeds(self, console: SafeConsole) -> None:
        """Speeds of sound along the directions of the path."""
        rows = [
            [row["towards"], *(f"{row[f'speed_{i}']:.0f}" for i in (1, 2, 3))] for row in self.sound
        ]
        title = f"speeds of sound at {self.temperature:g} K, m/s"
        print_table(console, title, ["from Γ towards", "slow", "", "fast"], rows)

    def _show_rigid_motion(self, console: SafeConsole) -> None:
        """Root-mean-square translation and libration, of model and file."""
        names = self.model.bodies.names
        rows = []
        for b, name in list(enumerate(names))[:N_BODIES]:
            for source, tls in (("model", self.tls), ("file", self.fitted.tls)):
                T, L = principal_rms(tls.T[b]), principal_rms(tls.L[b]) * DEGREES
                rows.append(
                    [
                        name if source == "model" else "",
                        source,
                        " ".join(f"{x:.2f}" for x in T.tolist()),
                        " ".join(f"{x:.2f}" for x in L.tolist()),
                        f"{float(tls.traceless_S()[b].norm()) * DEGREES:.3f}",
                    ]
                )
        if len(names) > N_BODIES:
            rows.append([f"... {len(names) - N_BODIES} more", "", "", "", ""])
        headings = ["body", "", "translation / Å", "libration / °", "|S| / Å°"]
        title = "rms rigid-body motion along principal axes, about centroids"
        print_table(console, title, headings, rows, keys=2)
        console.print(
            f"file: T, L and S fitted to its U; {self.fitted.undetermined()}. A negative number "
            "means a negative mean square, which is unphysical."
        )


def _index(x: float) -> str:
    """A Miller index as a fraction, or with three decimals where it depends on the cell."""
    fraction = Fraction(x).limit_denominator(4)
    return str(fraction) if abs(fraction - x) < 1e-9 else f"{x:.3f}"


def _correlation(one: Tensor, other: Tensor) -> str:
    x, y = one - one.mean(), other - other.mean()
    size = float(x.norm() * y.norm())
    return f"{float((x * y).sum()) / size:.2f}" if size > 0 else "undefined (constant)"


def make_report(
    model: OnePhonon,
    name: str,
    *,
    temperature: float,
    points: int | None,
    dos_mesh: tuple[int, int, int] | None,
    width: float | None,
    histogram: bool,
    unfold: bool,
) -> ModeReport:
    """Compute all results."""
    found = dispersion(model, n_points=points, unfold=unfold)
    states = density_of_states(
        model,
        dos_mesh,
        "histogram" if histogram else "gaussian",
        None if width is None else width / thermal_frequency(temperature),
    )
    fitted = fit_tls(model.bodies, model.crystal.U)
    elastic = elasticity(model)
    return ModeReport(
        model=model,
        name=name,
        temperature=temperature,
        dispersion=found,
        states=states,
        sound=_sound(model, found, temperature),
        elastic=elastic,
        elastic_numbers=elastic_summary(elastic, temperature, symmetry_error(model, elastic)),
        tls=model_tls(model),
        fitted=fitted,
        B={
            "file": model.crystal.B,
            "model": EIGHT_PI_SQUARED * model.ADP,
            "tls": b_factors_by_tls(model, fitted),
        },
    )


def _sound(model: OnePhonon, found: Dispersion, temperature: float) -> list[dict[str, Any]]:
    """Speeds along the segments of the path that start or end at Gamma."""
    towards: dict[str, None] = {}
    for piece in found.path.pieces:
        for one, other in itertools.pairwise(piece):
            if "Γ" in (one, other):
                towards[other if one == "Γ" else one] = None
    rows = []
    for label in towards:
        k = model.crystal.U.new_tensor(found.path.points[label])
        direction = model.crystal.cell.q_from_hkl(k)
        speeds = sound_speeds(model, direction, temperature).tolist()
        unit = (direction / direction.norm()).tolist()
        row = {"towards": label} | dict(zip("xyz", unit, strict=True))
        rows.append(row | {f"speed_{i}": v for i, v in enumerate(speeds, start=1)})
    return rows
