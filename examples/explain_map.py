"""How much of a diffuse map each kind of motion explains, alone and together.

Liquid-like motions with a free correlation and covariances between residues are fitted to a map,
and judged by voxels that were left out of the fit: small blocks, wide blocks, and blocks with all
voxels near them. Beside them stand what the smoothness of the map alone predicts, molecules that
move independently, liquid-like motions of one length, and the fit with the mirror image of the
molecule. Without files the data are made up: residues of crambin that move with random covariances.

    python examples/explain_map.py [--output FOLDER] [--small]
    python examples/explain_map.py --structure 1stn.pdb --data snase_diffuse.lat \
        --second snase_second_crystal.lat --d-min 2.5 --d-max 10
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from onephonon import DiffuseMap, MapGrid, OnePhonon, read_crystal, read_map
from onephonon.data import crambin_path
from onephonon.disorder import Segments, parse_disorder
from onephonon.refine import FitSettings
from onephonon.refine.components import explain
from onephonon.refine.components.segment_pairs import SegmentPrior, segment_features
from onephonon.refine.components.voxel_frame import VoxelFrame
from onephonon.viz.plot import Explained, draw_explained, save

COMPONENTS = "liquid:kernel=free+segments"


def made_up(d_min: float, noise: float = 0.2) -> tuple[OnePhonon, DiffuseMap, DiffuseMap]:
    """Two maps of residues that move with random covariances, with different noise."""
    crystal = read_crystal(crambin_path())
    reach = [int(length / d_min) for length in crystal.cell.parameters[:3]]
    grid = MapGrid.from_sampling(*[(-n, n, 1) for n in reach])
    hkl = torch.from_numpy(grid.hkl)
    frame = VoxelFrame(hkl, crystal.cell.q_from_hkl(hkl), torch.eye(3, dtype=torch.float64))
    prior = SegmentPrior(reach=12.0, smooth=4.0, motion="isotropic", functions=40)
    (features,) = segment_features(crystal, Segments.of(crystal), frame, prior)
    # A covariance of the smooth functions of the prior, positive semidefinite.
    m = int((math.sqrt(8 * features.shape[1] + 1) - 1) / 2)
    rng = np.random.default_rng(1)
    root = rng.normal(size=(m, m))
    i, j = np.triu_indices(m)
    covariance = (root @ root.T)[i, j] * np.where(i == j, 1.0, math.sqrt(2.0))
    signal = features.numpy() @ covariance * frame.q.square().sum(1).numpy()
    maps = []
    for _ in range(2):
        values = signal + rng.normal(0, noise * signal.std(), len(signal))
        shaped = values.reshape(grid.shape)
        cell = crystal.cell.parameters
        maps.append(DiffuseMap.on_grid(shaped, grid, cell, spacegroup=crystal.spacegroup))
    return OnePhonon(crystal), maps[0], maps[1]


def main(
    output: Path,
    small: bool = False,
    structure: Path | None = None,
    data: Path | None = None,
    second: Path | None = None,
    d_min: float | None = None,
    d_max: float = 12.0,
) -> dict[str, object]:
    """Fit, print and draw; returns the explanation."""
    d_min = d_min or (3.2 if small else 2.6)
    if structure is None or data is None:
        model, measured, other = made_up(d_min)
    else:
        model, measured = OnePhonon(structure), read_map(data, cell=structure)
        other = None if second is None else read_map(second, cell=structure)
    settings = FitSettings(d_min=d_min, d_max=d_max, leave_out=0.4)
    found = explain(model, measured, parse_disorder(COMPONENTS), settings, second=other)
    print(f"{'CC of voxels left out':50s}  {'  '.join(f'{way:>8s}' for way in found.ways)}")
    for m in found.models:
        held = [m.judgement.held_out.get(way) for way in found.ways]
        numbers = "  ".join(f"{x.cc:8.3f}" if x else " " * 8 for x in held)
        print(f"{m.name:50s}  {numbers}")
    if found.second is not None:
        print(f"the two maps agree with each other at {found.second.cc:.3f}")
    output.mkdir(parents=True, exist_ok=True)
    figure = draw_explained(
        [row_of(m) for m in found.models],
        ceiling=found.second.cc if found.second else math.nan,
        chosen=found.models.index(found.best),
    )
    save(figure, output / "explain_map.png", force=True)
    return {"found": found}


def row_of(m) -> Explained:
    """A model as a row of the picture."""
    held, second = m.judgement.held_out, m.judgement.second
    wide = held.get("wide")
    return Explained(
        m.name,
        m.kind in ("baseline", "control"),
        held["small"].cc,
        held["small"].error,
        wide.cc if wide else math.nan,
        wide.error if wide else math.nan,
        second["small"].cc if second else math.nan,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the picture")
    parser.add_argument("--small", action="store_true", help="lower resolution")
    for name in ("structure", "data", "second"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--d-min", type=float)
    parser.add_argument("--d-max", type=float, default=12.0)
    main(**vars(parser.parse_args()))
