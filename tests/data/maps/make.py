"""How the files beside this one were written: by mdx2 1.0.5 and nexusformat 2.1.0, not by us.

Run it where both are installed (``pip install mdx2 nexusformat``), in this folder. Every
intensity is 1000 + 100 h + 10 k + l, so that a turned or shifted axis shows.
"""

import sys
import types

# mdx2 reads images through cctbx, which none of this needs.
stub = types.ModuleType("mdx2.dxtbx_machinery")
stub.Experiment = None
sys.modules["mdx2.dxtbx_machinery"] = stub

import numpy as np  # noqa: E402
from mdx2.command_line import map as mdx2_map  # noqa: E402
from mdx2.data import HKLTable  # noqa: E402
from mdx2.geometry import Crystal, Symmetry  # noqa: E402
from mdx2.io import saveobj  # noqa: E402
from nexusformat.nexus import NXdata, NXentry, NXfield, NXroot, NXsample  # noqa: E402

CELL = np.array([27.26, 31.98, 34.29, 88.53, 108.57, 111.85])
NDIV = (2, 3, 1)
rng = np.random.default_rng(1)


def intensity(h, k, l):  # noqa: E741
    return (1000 + 100 * h + 10 * k + l).astype(np.float32)


def table():
    """Rows as mdx2.merge --split randomHalf makes them, in no order; one without a value."""
    H, K, L = np.meshgrid(np.arange(-3, 4), np.arange(-4, 5), np.arange(4), indexing="ij")
    kept = rng.permutation(H.size)[:150]
    h, k, l = (x.ravel()[kept] / n for x, n in zip((H, K, L), NDIV, strict=True))  # noqa: E741
    I = intensity(h, k, l)  # noqa: E741
    columns = {
        "intensity": np.where(np.arange(150) == 7, np.float32(np.nan), I),
        "intensity_error": np.sqrt(I),
        "count": rng.integers(2, 9, 150).astype(np.int32),
    }
    for group in (0, 1):
        columns[f"group_{group}_intensity"] = I + np.float32(2 * group - 1)
        columns[f"group_{group}_count"] = columns["count"] // 2
    saveobj(HKLTable(h, k, l, ndiv=NDIV, **columns), "mdx2_merged.nxs", name="hkl_table")


def counts():
    """Rows as mdx2.reintegrate makes them: what was counted, not yet intensities."""
    h, k, l = np.meshgrid([-0.5, 0.0, 0.5], [0.0, 1 / 3], [0.0, 1.0], indexing="ij")  # noqa: E741
    h, k, l = h.ravel(), k.ravel(), l.ravel()  # noqa: E741
    I = intensity(h, k, l)  # noqa: E741
    columns = {
        "counts": np.round(I / 4 + 10).astype(np.uint32),
        "background_counts": np.full(len(h), 10, np.float32),
        "scale": np.full(len(h), 0.25, np.float32),
        "multiplicity": np.full(len(h), 2, np.int32),
    }
    columns["scale"][0] = 0
    saveobj(HKLTable(h, k, l, ndiv=NDIV, **columns), "mdx2_counts.nxs", name="hkl_table")


def geometry():
    """As mdx2.import_geometry, without what concerns the detector."""
    crystal = Crystal(
        space_group="P 1", unit_cell=CELL, orientation_matrix=np.eye(3), ub_matrix=np.eye(3)
    )
    symmetry = Symmetry(
        space_group_number=1,
        space_group_symbol="P 1",
        crystal_system="Triclinic",
        space_group_operators=np.eye(4)[None],
        laue_group_number=2,
        laue_group_symbol="P -1",
        laue_group_operators=np.stack([np.eye(3), -np.eye(3)]).astype(int),
        reciprocal_space_asu="l >= 0",
        reflection_conditions="h == h",
    )
    saveobj(crystal, "mdx2_geometry.nxs", name="crystal")
    saveobj(symmetry, "mdx2_geometry.nxs", name="symmetry", append=True)


def mdx2_maps():
    """By mdx2.map itself, from the table."""
    mdx2_map.run_map(
        mdx2_map.Parameters(
            geom="mdx2_geometry.nxs",
            hkl="mdx2_merged.nxs",
            symmetry=False,
            limits=(-1, 1, -1, 4 / 3, 0, 3),
            outfile="mdx2_map.nxs",
        )
    )


def nxrefine():
    """Axes in the order of nxrefine, l slowest, and its names of cell and axes."""
    Qh = NXfield(np.linspace(-1, 1, 5), name="Qh")
    Qk = NXfield(np.linspace(-1, 1, 7), name="Qk")
    Ql = NXfield(np.linspace(0, 3, 4), name="Ql")
    l, k, h = np.meshgrid(Ql.nxvalue, Qk.nxvalue, Qh.nxvalue, indexing="ij")  # noqa: E741
    root = NXroot(NXentry(NXsample(name="sample")))
    for name, value in zip(("a", "b", "c", "alpha", "beta", "gamma"), CELL, strict=True):
        root.entry.sample[f"unitcell_{name}"] = np.float32(value)
    root.entry.sample["space_group"] = "P 1"
    root["entry/transform"] = NXdata(NXfield(intensity(h, k, l), name="data"), [Ql, Qk, Qh])
    root["entry/transform"].set_default()
    root.save("nxrefine_transform.nxs", "w")


def edges():
    """h from high to low, l by the edges of its voxels, uncertainties as NeXus has them."""
    h, k, l = (np.linspace(1, -1, 5), np.linspace(-1, 1, 7), np.arange(5) - 0.5)  # noqa: E741
    I = intensity(*np.meshgrid(h, k, np.arange(4), indexing="ij"))  # noqa: E741
    axes = [NXfield(x, name=name) for x, name in zip((h, k, l), "hkl", strict=True)]
    root = NXroot(NXentry())
    root["entry/data"] = NXdata(
        NXfield(I, name="v"), axes, errors=NXfield(np.sqrt(I), name="errors")
    )
    root.save("nexusformat_edges.nxs", "w")


if __name__ == "__main__":
    for make in (table, counts, geometry, mdx2_maps, nxrefine, edges):
        make()
