"""Names of the files of a scene; imports nothing, for the command line."""

STRUCTURE, CHIMERAX = "molecules.cif", "view.cxc"
PYMOL, SHAPES = "view.pml", "view_shapes.py"

#: Files of the layers; springs are links between markers, which can be selected.
LAYER_FILES = {
    "springs": "springs.cmm",
    "springs_within": "springs_within.cmm",
    "interfaces": "interfaces.bild",
    "motion": "motion.bild",
    "joint": "joint.bild",
}

#: All files that may be written.
FILES = (STRUCTURE, CHIMERAX, PYMOL, SHAPES, *LAYER_FILES.values())
