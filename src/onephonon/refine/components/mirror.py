"""Control: the same fit with the mirror image of the molecule.

It has the size, the composition and the distances of the molecule, and the wrong structure: what a
flexible model predicts with it, it owes to its flexibility.
"""

from __future__ import annotations

import torch

from onephonon.crystal.crystal import Crystal

#: Normal of the plane, Cartesian: no symmetry element of any Laue group is near it, for a mirror
#: plane of the Laue group would leave the intensity of a single molecule unchanged.
NORMAL = (0.48, 0.60, 0.64)


def mirror_image(crystal: Crystal) -> Crystal:
    """The crystal with each asymmetric unit reflected through a plane, in its place.

    Parameters
    ----------
    crystal : Crystal

    Returns
    -------
    Crystal
        Cell and symmetry operators are unchanged; the plane goes through the centroid.
    """
    n = crystal.positions.new_tensor(NORMAL)
    reflection = torch.eye(3).to(n) - 2 * torch.outer(n, n) / (n @ n)
    centre = crystal.positions.mean(dim=0)
    positions = centre + (crystal.positions - centre) @ reflection
    return crystal.with_tensors(positions=positions, U=reflection @ crystal.U @ reflection)
