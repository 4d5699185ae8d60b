"""Control: the same fit with the mirror image of the molecule.

It has the size, the composition and the packing distances of the molecule, and the wrong structure:
what a flexible model predicts with it, it owes to its flexibility.
"""

from __future__ import annotations

import torch

from onephonon.crystal.crystal import Crystal


def mirror_image(crystal: Crystal) -> Crystal:
    """The crystal with each asymmetric unit reflected through a plane, in its place.

    Parameters
    ----------
    crystal : Crystal

    Returns
    -------
    Crystal
        Cell and symmetry operators are unchanged; the plane goes through the centroid, across the
        x axis.
    """
    reflection = torch.diag(crystal.positions.new_tensor([-1.0, 1.0, 1.0]))
    centre = crystal.positions.mean(dim=0)
    positions = centre + (crystal.positions - centre) @ reflection
    return crystal.with_tensors(positions=positions, U=reflection @ crystal.U @ reflection)
