"""Layers of a model: its springs, interfaces, rigid-body motion and joint displacements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.dynamics.joint import JointDisplacements
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.dynamics.tls import TLS
from onephonon.network.bodies import Bodies
from onephonon.network.interfaces import WITHIN

from .neighbours import Neighbourhood, contacts_of_first_copy
from .palette import LIBRATION, NEUTRAL, PALETTE, TRANSLATION, graded
from .shapes import Colour, Layer, Rod, Tag

Float64 = NDArray[np.float64]

#: Radii of springs: the softest and the stiffest, Å.
SPRING_RADII = (0.06, 0.22)

#: Springs that differ by less than this factor are alike, and coloured by interface.
ALIKE = 1.001

#: Radius of a rod between two molecules for the interface of the most contacts, Å.
INTERFACE_RADIUS = 1.0

#: Root mean squares are drawn so many times longer, to both sides.
MAGNIFIED = 20.0

#: Radius of these rods, Å: of a few bodies, and of many.
AXIS_RADIUS, THIN_AXIS_RADIUS, MANY_BODIES = 0.4, 0.12, 12


def spring_layers(lattice: LatticeModel) -> list[Layer]:
    """Springs between copy 1 and its neighbours, and those between bodies of copy 1.

    Coloured and thick by their constant along the contact, on a logarithmic scale; where all are
    alike, or interfaces have a stiffness instead, coloured by interface.
    """
    bodies, matrix = lattice.bodies, lattice.crystal.cell.matrix.detach()
    first, second, cell, contact, interfaces = contacts_of_first_copy(lattice)
    start = bodies.positions.detach()[first]
    end = bodies.positions.detach()[second] + cell.to(matrix) @ matrix.T
    ends = _numpy(torch.stack([start, end], dim=1))
    k, about = _constants(lattice, contact)
    colours = interface_colours(interfaces)
    rods: dict[bool, list[Rod]] = {True: [], False: []}
    low, high = SPRING_RADII
    for n, (a, b) in enumerate(ends):
        name = interfaces[n]
        if k is None:
            radius, colour = 0.5 * (low + high), colours[name]
        else:
            radius, colour = low + (high - low) * k[n], graded(k[n])
        rods[name == WITHIN].append(Rod(a, b, radius, colour))
    layers = [Layer("springs", f"springs between molecules, {about}", tuple(rods[False]))]
    if rods[True]:
        text = f"springs between bodies of the molecule, {about}"
        layers.append(Layer("springs_within", text, tuple(rods[True]), shown=False))
    return layers


def _constants(lattice: LatticeModel, contact: Tensor) -> tuple[list[float] | None, str]:
    """Where the constants are between the softest and the stiffest, 0 to 1, and what they are."""
    if lattice.springs is None:
        return None, "coloured by interface (interfaces have a stiffness)"
    constants = lattice.springs.k_par.detach() * lattice.contacts.weight
    k = _numpy(constants / lattice.thermal_scale.detach())[contact.numpy(force=True)]
    k = np.maximum(k, 1e-6 * max(float(k.max()), 1e-300))
    low, high = float(k.min()), float(k.max())
    if high < ALIKE * low:
        return None, f"all {high:.3g} kT/A^2 along the contact, coloured by interface"
    scaled = np.log(k / low) / math.log(high / low)
    return (
        scaled.tolist(),
        f"{low:.3g} (dark, thin) to {high:.3g} kT/A^2 (bright, thick), log scale",
    )


def interface_colours(interfaces: Sequence[str]) -> dict[str, Colour]:
    """A colour for each interface, in the order of their names."""
    names = sorted({name for name in interfaces if name != WITHIN})
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    return colours | {WITHIN: NEUTRAL}


def interface_layer(near: Neighbourhood) -> Layer:
    """Rods between the centroids of copy 1 and its neighbours, thick by the number of contacts."""
    centres, colours = _numpy(near.centres), interface_colours(near.interfaces)
    most = max(near.n_contacts, default=1)
    rods, tags = [], []
    for n, (operator, interface) in enumerate(zip(near.operators, near.interfaces, strict=True)):
        radius = INTERFACE_RADIUS * max(math.sqrt(near.n_contacts[n] / most), 0.15)
        rods.append(Rod(centres[0], centres[n + 1], radius, colours[interface]))
        tags.append(Tag(0.35 * centres[0] + 0.65 * centres[n + 1], operator))
    about = f"interfaces between centroids, thickness by contacts (up to {most})"
    return Layer("interfaces", about, tuple(rods), tuple(tags))


def motion_layer(tls: TLS, bodies: Bodies) -> Layer:
    """Principal axes of translation and libration of the bodies of copy 1.

    Through the centres of reaction; lengths are root mean squares, magnified: of translation, and
    of libration times the body's radius of gyration.
    """
    about_reaction, names = tls.about_reaction_centre(), bodies.names
    centres, gyration = _numpy(about_reaction.origin), _radii_of_gyration(bodies)
    radius = AXIS_RADIUS if len(names) <= MANY_BODIES else THIN_AXIS_RADIUS
    rods: list[Rod] = []
    kinds = (
        (about_reaction.T, np.ones_like(gyration), TRANSLATION),
        (about_reaction.L, gyration, LIBRATION),
    )
    for tensors, factors, colour in kinds:
        for centre, tensor, factor in zip(centres, _numpy(tensors), factors, strict=True):
            rods += _principal_axes(centre, tensor, MAGNIFIED * float(factor), radius, colour)
    about = (
        "rms translation (blue), and libration times the radius of gyration (orange), about the "
        f"centre of reaction ({MAGNIFIED:g} A for 1 A)"
    )
    tags = tuple(Tag(c, n) for c, n in zip(centres, names, strict=True)) if len(names) > 1 else ()
    return Layer("motion", about, tuple(rods), tags)


def _radii_of_gyration(bodies: Bodies) -> Float64:
    """Of the bodies of copy 1, Å."""
    n = len(bodies.names)
    atoms = slice(bodies.n_cell_atoms // bodies.n_ops)
    squares, body = (
        _numpy(bodies.offsets[atoms].square().sum(1)),
        bodies.body[atoms].numpy(force=True),
    )
    return np.sqrt(np.bincount(body, squares, n) / np.bincount(body, minlength=n))


def joint_layer(near: Neighbourhood, molecules: JointDisplacements) -> Layer:
    """Principal axes of the joint ADP of copy 1 with each neighbour, at the neighbour's centroid.

    Lengths are roots of the principal values, magnified as translations are; negative ones are
    grey. Coloured by the correlation, 0 (dark) to 1 (bright).
    """
    centres = _numpy(near.centres)
    rows = {text: n for n, text in enumerate(molecules.operators.operator)}
    U, correlation = _numpy(molecules.symmetric_U), _numpy(molecules.correlation)
    rods: list[Rod] = []
    tags = []
    for n, operator in enumerate(near.operators, start=1):
        row = rows.get(operator)
        if row is None:  # farther than the pairs that were computed
            continue
        colour = graded(float(correlation[row]))
        rods += _principal_axes(centres[n], U[row], MAGNIFIED, 1.5 * AXIS_RADIUS, colour)
        tags.append(Tag(centres[n], f"{correlation[row]:.2f}"))
    about = (
        f"joint displacements with the molecule ({MAGNIFIED:g} A for 1 A, root of joint ADP), "
        "dark to bright: correlation 0 to 1"
    )
    return Layer("joint", about, tuple(rods), tuple(tags))


def _principal_axes(
    centre: Float64, tensor: Float64, factor: float, radius: float, colour: Colour
) -> list[Rod]:
    """Rods through a point along the principal axes, to the root of each value on both sides."""
    values, vectors = np.linalg.eigh(0.5 * (tensor + tensor.T))
    found = []
    for value, vector in zip(values, vectors.T, strict=True):
        half = factor * math.sqrt(abs(value)) * vector
        if float(np.linalg.norm(half)) > 1e-6:
            chosen = colour if value > 0 else NEUTRAL
            found.append(Rod(centre - half, centre + half, radius, chosen))
    return found


def _numpy(x: Tensor) -> Float64:
    return np.asarray(x.detach().cpu().double().numpy())
