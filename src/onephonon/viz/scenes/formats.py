"""Layers as text: BILD and marker files, and files of ChimeraX and PyMOL that show them.

- BILD: https://www.cgl.ucsf.edu/chimerax/docs/user/formats/bild.html
- markers: https://www.cgl.ucsf.edu/chimerax/docs/user/markers.html
- compiled graphics objects of PyMOL: https://pymolwiki.org/index.php/CGO_Shapes
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import numpy as np

from onephonon.core.text import one_line, word

from .shapes import Colour, Layer, Rod, Tag


def bild_text(layer: Layer) -> str:
    """A layer in BILD format."""
    lines = [f".comment {one_line(layer.about)}"]
    colour: Colour | None = None
    for rod in layer.rods:
        if rod.colour != colour:
            colour = rod.colour
            lines.append(f".color {_numbers(colour)}")
        lines.append(f".cylinder {_ends(rod)} {rod.radius:.3f}")
    return "\n".join(lines) + "\n"


def marker_text(layer: Layer) -> str:
    """A layer as markers at the ends of its rods, with links, in XML."""
    lines = [f"<marker_set name={quoteattr(one_line(layer.name))}>"]
    links = []
    numbers: dict[tuple[float, ...], int] = {}

    def marker(at: np.ndarray, rod: Rod) -> int:
        key = tuple(np.round(at, 3).tolist())
        if key not in numbers:
            numbers[key] = len(numbers) + 1
            x, y, z = (f"{v:.3f}" for v in at)
            lines.append(
                f'<marker id="{numbers[key]}" x="{x}" y="{y}" z="{z}" {_rgb(rod.colour)} '
                f'radius="{rod.radius:.3f}"/>'
            )
        return numbers[key]

    for rod in layer.rods:
        one, other = marker(rod.start, rod), marker(rod.end, rod)
        if one != other:
            links.append(
                f'<link id1="{one}" id2="{other}" {_rgb(rod.colour)} radius="{rod.radius:.3f}"/>'
            )
    return "\n".join([*lines, *links, "</marker_set>"]) + "\n"


def chimerax_text(
    structure: str, layers: Sequence[tuple[Layer, str]], tags: Sequence[tuple[str, str]]
) -> str:
    """A command file that opens a structure and the files of layers.

    Parameters
    ----------
    structure : str
        Name of the file.
    layers : sequence of (Layer, name of its file)
    tags : sequence of (str, str)
        Residues of the structure, as ChimeraX specifies them within a model, and text.
    """
    lines = [
        f"open {structure} id 1",
        "hide #1 atoms",
        "cartoon #1",
        "color #1 lightgray",
    ]
    for number, (layer, file) in enumerate(layers, start=2):
        lines += [f"# {one_line(layer.about)}", f"open {file} id {number}"]
        if not layer.shown:
            lines.append(f"hide #{number} models")
    lines += [
        f'label #1{residue} residues text "{_plain(text)}" height 3' for residue, text in tags
    ]
    return "\n".join([*lines, "view"]) + "\n"


def pymol_text(
    structure: str, shapes: str, layers: Sequence[Layer], remarks: Sequence[str] = ()
) -> str:
    """A command file of PyMOL that loads a structure and runs the file of the layers' shapes.

    Parameters
    ----------
    structure, shapes : str
        Names of the files.
    layers : sequence of Layer
    remarks : sequence of str
        Lines for the head of the file.
    """
    lines = [f"# {one_line(remark)}" for remark in remarks]
    lines += [
        f"load {structure}, molecules",
        "hide everything, molecules",
        "show cartoon, molecules",
        "show sticks, molecules and not polymer",
        "color grey80, molecules",
        f"run {shapes}",
    ]
    for layer in layers:
        name = word(layer.name)
        lines.append(f"# {name}: {one_line(layer.about)}")
        lines += [_pseudoatom(f"{name}_tags", tag) for tag in layer.tags]
        if layer.tags:
            lines.append(f"hide nonbonded, {name}_tags")
        if not layer.shown:
            lines.append(f"disable {name}")
    return "\n".join([*lines, "orient molecules"]) + "\n"


def pymol_shapes(layers: Sequence[Layer]) -> str:
    """A Python file for PyMOL that makes an object of the shapes of every layer.

    In a file of its own, since PyMOL writes every line of a command file to its log.
    """
    lines = ["from pymol import cgo, cmd"]
    for layer in layers:
        lines += ["", f"# {one_line(layer.about)}", "rods = ["]
        for rod in layer.rods:
            colour = ", ".join(f"{x:.3f}" for x in rod.colour)
            ends = _ends(rod).replace(" ", ", ")
            lines.append(f"    cgo.CYLINDER, {ends}, {rod.radius:.3f}, {colour}, {colour},")
        lines += ["]", f"cmd.load_cgo(rods, {word(layer.name)!r})"]
    return "\n".join(lines) + "\n"


def _pseudoatom(name: str, tag: Tag) -> str:
    x, y, z = (f"{v:.3f}" for v in tag.position)
    return f'pseudoatom {name}, pos=[{x}, {y}, {z}], label="{_plain(tag.text)}"'


def _plain(text: str) -> str:
    """Text without quotes and backslashes, which end it or begin something."""
    return one_line(text).replace('"', "'").replace("\\", "/")


def _ends(rod: Rod) -> str:
    return _numbers((*rod.start.tolist(), *rod.end.tolist()))


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{x:.3f}" for x in values)


def _rgb(colour: Colour) -> str:
    return " ".join(f'{name}="{x:.3f}"' for name, x in zip("rgb", colour, strict=True))
