"""Joint displacements of molecules against their distance, and of atoms in contact by interface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onephonon.dynamics.joint import Joint, JointDisplacements
from onephonon.network.interfaces import WITHIN

from .style import FAINT, LINES, PAGE, caption, literal, new_figure, styled

Float64 = NDArray[np.float64]

#: Parallel parts are blue discs, perpendicular ones vermilion squares.
PARALLEL, PERPENDICULAR = (LINES[0], "o"), (LINES[1], "s")

#: At most so many interfaces are drawn, those of the most contacts.
MAX_INTERFACES = 14


@styled
def draw_joint(joint: Joint, *, title: str = "") -> Figure:
    """Draw joint displacements.

    Left, those of pairs of molecules (of bodies, where a molecule has several, in a panel of their
    own), parts parallel and perpendicular to the vector between their centroids against its length;
    filled where contacts join the two. Right, how far atoms in contact move relative to each other,
    root mean square along and across the contact, for each interface.

    Parameters
    ----------
    joint : Joint
    title : str
    """
    several = joint.has_parts
    figure = new_figure(PAGE, (0.8 if several else 0.45) * PAGE)
    if several:
        panels = figure.subplots(2, 2).ravel().tolist()
        _against_distance(panels[0], joint.molecules, "molecules")
        _against_distance(panels[1], joint.bodies, "bodies")
        _correlations(panels[2], [(joint.molecules, "molecules"), (joint.bodies, "bodies")])
        _by_interface(panels[3], joint.contacts)
    else:
        panels = figure.subplots(1, 2, width_ratios=(1.3, 1.0)).ravel().tolist()
        _against_distance(panels[0], joint.molecules, "molecules")
        _by_interface(panels[1], joint.contacts)
    _continuum(panels[0], joint)
    panels[0].legend(frameon=False)
    figure.suptitle(literal(title))
    caption(
        figure,
        [
            "Filled: in contact. At zero: each by itself, tr U / 3. By interface: root mean square "
            "of all contacts (their number); bars from the 16th to the 84th percentile."
        ],
        missing=False,
    )
    return figure


def _against_distance(panel: Axes, pairs: JointDisplacements, what: str) -> None:
    """Both parts of the joint displacements against distance."""
    distance = pairs.distance.numpy(force=True)
    touching = pairs.touching.numpy(force=True)
    parts = [x.numpy(force=True) for x in pairs.along(pairs.U)]
    many = len(distance) > 2000
    for (colour, marker), values, name in zip(
        (PARALLEL, PERPENDICULAR), parts, ("parallel", "perpendicular"), strict=True
    ):
        for chosen, face in ((touching, colour), (~touching, "none")):
            panel.plot(
                distance[chosen],
                values[chosen],
                linestyle="none",
                marker=marker,
                color=colour,
                markerfacecolor=face,
                ms=2.0 if many else 3.6,
                mew=0.6,
                alpha=0.5 if many else 1.0,
                rasterized=many,
                label=name if face == colour else None,
            )
    panel.axhline(0.0, color="0.6", lw=0.6, zorder=0)
    panel.set(xlabel=f"distance between {what} / Å", ylabel="joint displacement / Å²")
    panel.set_xlim(left=-0.02 * max(float(distance.max()), 1.0))


def _continuum(panel: Axes, joint: Joint) -> None:
    """What an elastic continuum would do at the same vectors, as short lines."""
    distance = joint.molecules.distance.numpy(force=True)
    parts = joint.molecules.along(joint.continuum)
    for values, label in zip(parts, ("elastic continuum", None), strict=True):
        shown = values.numpy(force=True)
        panel.plot(distance, shown, "_", color="0.45", ms=5.0, mew=0.7, zorder=0, label=label)
    # Close to zero the continuum diverges: the scale is that of the molecules.
    top = max(float(x.max()) for x in joint.molecules.along(joint.molecules.U))
    low = min(0.0, *(float(x.min()) for x in joint.molecules.along(joint.molecules.U)))
    panel.set_ylim(low - 0.05 * top, 1.06 * top)


def _correlations(panel: Axes, kinds: Sequence[tuple[JointDisplacements, str]]) -> None:
    """Correlations against distance."""
    for (pairs, name), colour in zip(kinds, LINES[2:], strict=False):
        distance, r = (x.numpy(force=True) for x in (pairs.distance, pairs.correlation))
        panel.plot(distance, r, ".", ms=2.5, mew=0, color=colour, label=name, rasterized=True)
    panel.axhline(0.0, color="0.6", lw=0.6, zorder=0)
    panel.set(xlabel="distance / Å", ylabel="correlation", ylim=(None, 1.05))
    panel.legend(frameon=False)


def _by_interface(panel: Axes, contacts: JointDisplacements) -> None:
    """Relative motion of atoms in contact: a row for each interface, the stiffest on top."""
    interface = np.array(contacts.operators.interface)
    parts = [
        np.sqrt(np.maximum(x.numpy(force=True), 0.0)) for x in contacts.along(contacts.relative)
    ]
    names, counts = np.unique(interface, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:MAX_INTERFACES]

    def mean_square(name: str) -> float:
        return float(sum((part[interface == name] ** 2).mean() for part in parts))

    ordered = sorted(names.tolist(), key=mean_square, reverse=True)
    for row, name in enumerate(ordered):
        here = interface == name
        for (colour, marker), part, offset in zip(
            (PARALLEL, PERPENDICULAR), parts, (0.14, -0.14), strict=True
        ):
            values = part[here]
            low, high = np.percentile(values, (16, 84))
            panel.plot([low, high], [row + offset] * 2, color=colour, lw=1.0)
            panel.plot(
                np.sqrt((values**2).mean()), row + offset, marker, color=colour, ms=3.6, mew=0
            )
    labels = [f"{literal(n)} ({(interface == n).sum()})" for n in ordered]
    panel.set_yticks(range(len(ordered)), labels)
    panel.set_ylim(-0.6, len(ordered) - 0.4)
    panel.set_xlim(left=0.0)
    panel.set_xlabel("relative rms displacement in contacts / Å")
    panel.tick_params(axis="y", length=0)
    if WITHIN in ordered:
        panel.get_yticklabels()[ordered.index(WITHIN)].set_color(FAINT)
