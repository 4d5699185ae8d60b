"""Gradients of the fast path against central differences of the explicit supercell."""

import numpy as np
import pytest
import torch

from crystals import CELLS, made_up
from onephonon import OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.model.supercell import build_supercell
from onephonon.network.force_constants import Springs
from onephonon.network.springs import SpringPlan

#: Boxes of a few cells along one axis, as small as possible.
pytestmark = pytest.mark.filterwarnings("ignore:mesh .* is less symmetric")

#: Enough for every made-up crystal to be one rigid piece.
CUTOFF = 6.5

#: What the issue asks of gradients, relative to the gradient.
AGREEMENT = 1e-6

#: A step in numbers of order one: differences are truncated at 1e-8 of the third derivative, and
#: rounded at 1e-13 / 1e-4. Fourth-order ones are truncated at 1e-16 of the fifth derivative.
STEP = 1e-4


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def by_differences(function, n):
    """Derivatives of an array by n numbers that start at zero, by fourth-order differences."""
    columns = []
    for i in range(n):
        at = {}
        for m in (-2, -1, 1, 2):
            x = np.zeros(n)
            x[i] = m * STEP
            at[m] = function(x)
        columns.append((8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * STEP))
    return np.stack(columns, axis=-1)


def assert_agree(ours, reference, tolerance=AGREEMENT):
    """Each column of derivatives agrees, relative to its largest number and to the largest of all.

    A derivative that symmetry makes vanish is rounding of the others.
    """
    ours = np.asarray(ours)
    assert ours.shape == reference.shape
    assert np.isfinite(ours).all()
    size = np.abs(reference).max(axis=0)
    size = np.maximum(size, 1e-4 * size.max())
    assert size.min() > 0
    assert (np.abs(ours - reference) / size).max() <= tolerance


def jacobian(value, x):
    """Derivatives of every number of `value` by x, flattened, by backward passes."""
    rows = [torch.autograd.grad(v, x, retain_graph=True)[0].reshape(-1) for v in value.reshape(-1)]
    return torch.stack(rows).numpy()


def contact_rule(contacts, springs: Springs):
    """The supercell's springs, looked up contact by contact."""
    k_par, k_perp = (x.detach().tolist() for x in (springs.k_par, springs.k_perp))
    table = {}
    for c, (i, j, cell) in enumerate(
        zip(contacts.i.tolist(), contacts.j.tolist(), contacts.cell.tolist(), strict=True)
    ):
        table[i, j, *cell] = table[j, i, *(-x for x in cell)] = (k_par[c], k_perp[c])

    def rule(i, j, cell, same_copy):  # noqa: ARG001
        keys = np.column_stack([i, j, cell]).tolist()
        values = np.array([table[tuple(key)] for key in keys])
        return values[:, 0], values[:, 1]

    return rule


def reference(model, size, values=None, crystal=None):
    """The supercell of a model's crystal, with the springs of its classes."""
    crystal = crystal or model.crystal
    springs = model.springs.springs(values)
    body = model.bodies.body[: crystal.n_atoms].tolist()
    rule = contact_rule(model.contacts, springs)
    return build_supercell(crystal, body, model.gnm_cutoff, rule, size)


def mean_of(U):
    return np.trace(U, axis1=1, axis2=2).mean() / 3


# ---- springs ------------------------------------------------------------------------------------


def check_springs(model, size, hkl, *, use_data_adp, classes=None, differences=by_differences):
    """Derivatives of intensities by the logarithm of each class's springs."""
    q = model.q_grid.detach().numpy()
    free = model.springs.free
    start = model.springs.values().detach()
    columns = range(free.numel()) if classes is None else classes
    data_U = model.bodies.U.numpy()

    def value(x):
        values = start.clone().reshape(-1)
        values[list(columns)] *= torch.as_tensor(np.exp(x))
        box = reference(model, size, values.reshape(start.shape))
        scale = mean_of(model.crystal.U.numpy()) / mean_of(box.U)
        return scale * box.intensity(q, data_U if use_data_adp else scale * box.U)

    ours = model(use_data_adp=use_data_adp)
    # The two are one function to begin with.
    np.testing.assert_allclose(ours.detach().numpy(), value(np.zeros(len(columns))), rtol=1e-10)
    assert len(q) == len(hkl)
    slopes = jacobian(ours, free)[:, list(columns)]
    assert_agree(slopes, differences(value, len(columns)))


def on_lattice(size, hkl):
    """Such indices as the box has."""
    return np.round(np.array(hkl) * size) / size


def listed(crystal, size, hkl, **options):
    q = crystal.cell.q_from_hkl(double(on_lattice(size, hkl)))
    samplings = [(0, 0, n) for n in size]  # the mesh of the ADPs is the box
    return OnePhonon(crystal, *samplings, q_vectors=q, zone_average="supercell", **options)


@pytest.mark.parametrize("use_data_adp", [True, False])
def test_springs_of_every_interface_of_a_peptide(peptide, use_data_adp):
    size, hkl = (3, 1, 1), [[0.3, 2, -4], [-8 / 3, 6, -5], [1 / 3, 0, 0], [5.7, -3, 2]]
    model = listed(peptide("5zck"), size, hkl, springs=SpringPlan(by="interface"))
    assert len(model.springs.names) > 4
    check_springs(model, size, hkl, use_data_adp=use_data_adp)


def test_springs_along_and_across_contacts_of_moving_residues(peptide):
    size, hkl = (3, 1, 1), [[1 / 3, 2, -4], [-8 / 3, 6, -5], [5 / 3, 0, 0]]
    plan = SpringPlan(by="copy", kind="hybrid", start={"intra": (2.0, 0.7), "inter": (1.0, 0.2)})
    model = listed(peptide("5zck"), size, hkl, springs=plan, group_by="residue")
    check_springs(model, size, hkl, use_data_adp=False)


def second_order(function, n):
    """Central differences from two values: enough where a class is one of many."""
    columns = []
    for i in range(n):
        x = np.zeros(n)
        x[i] = STEP
        columns.append((function(x) - function(-x)) / (2 * STEP))
    return np.stack(columns, axis=-1)


def test_springs_of_every_interface_of_crambin():
    size, hkl = (3, 1, 1), [[1 / 3, 2, -4], [-8 / 3, 6, -5], [28 / 3, -3, 2]]
    plan = SpringPlan(by="interface")
    model = listed(read_crystal(crambin_path()), size, hkl, springs=plan)
    assert len(model.springs.names) > 4
    check_springs(model, size, hkl, use_data_adp=True, differences=second_order)


# ---- structure ----------------------------------------------------------------------------------

SIZE = (3, 1, 1)
POINTS = [[1 / 3, 0, 2], [-4 / 3, 1, 1], [2 / 3, -1, 0]]


def structure(spacegroup, **tensors):
    plan = SpringPlan(by="copy", kind="hybrid", start={"intra": (1.5, 0.6), "inter": (0.8, 0.3)})
    crystal = made_up(spacegroup)
    return OnePhonon(
        crystal,
        *[(0, 0, n) for n in SIZE],
        # q follows the cell as a grid's would.
        q_vectors=crystal.with_tensors(**tensors).cell.q_from_hkl(double(POINTS)),
        gnm_cutoff=CUTOFF,
        zone_average="supercell",
        springs=plan,
        group_by="asu" if spacegroup == "P 31 2 1" else "chain",  # six copies are enough
        **tensors,
    )


def slow_intensities(model, crystal):
    """Of another crystal with the model's contacts and springs, at the same indices."""
    box = reference(model, SIZE, crystal=crystal)
    q = crystal.cell.q_from_hkl(double(POINTS)).numpy()
    scale = mean_of(crystal.U.numpy()) / mean_of(box.U)
    rotations = (crystal.cell.matrix @ crystal.rotations @ crystal.cell.inverse).numpy()
    data_U = np.concatenate([r @ crystal.U.numpy() @ r.T for r in rotations])
    return scale * np.concatenate([box.intensity(q, U) for U in (data_U, scale * box.U)])


def check_structure(spacegroup, name, start, directions):
    """Derivatives along a few directions of one input, with the file's and the model's ADPs."""
    x = start.clone().requires_grad_()
    model = structure(spacegroup, **{name: x})
    value = torch.cat([model(use_data_adp=adp) for adp in (True, False)])
    along = jacobian(value, x) @ directions.reshape(len(directions), -1).T.numpy()
    still = structure(spacegroup)

    def moved(amounts):
        changed = start + torch.tensordot(torch.as_tensor(amounts), directions, 1)
        return slow_intensities(still, still.crystal.with_tensors(**{name: changed}))

    # The two are one function to begin with.
    np.testing.assert_allclose(value.detach().numpy(), moved(np.zeros(len(directions))), rtol=1e-10)
    assert_agree(along, by_differences(moved, len(directions)))


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


CASES = [
    ("P 1", "positions"),
    ("P 1 21 1", "positions"),
    ("P 31 2 1", "positions"),
    ("P 1", "U"),
    ("P 31 2 1", "U"),
    ("P 1 21 1", "B"),
    ("P 1 21 1", "occupancies"),
]


@pytest.mark.parametrize(("spacegroup", "name"), CASES)
def test_structure(spacegroup, name):
    crystal = made_up(spacegroup)
    n = crystal.n_atoms
    if name == "U":
        a = random(n, 3, 3, seed=1)
        start = crystal.U + 0.01 * a @ a.mT
        directions = random(2, n, 3, 3)
        directions = 0.05 * (directions + directions.mT)
    else:
        start, size = {
            "positions": (crystal.positions, 1.0),
            "B": (crystal.B, 10.0),
            "occupancies": (double([1.0, 0.5, 0.0, 0.8, 1.0]), 1.0),
        }[name]
        directions = size * random(2, *start.shape)
    check_structure(spacegroup, name, start, directions)


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1"])
def test_cell(spacegroup):
    # Any strain: the box asks nothing of the metric. Copies' displacements are turned by
    # A R A^-1 in both.
    start = made_up(spacegroup).cell.matrix
    check_structure(spacegroup, "cell", start, random(2, 3, 3))


def test_six_cell_parameters():
    start = double(CELLS["P 1"])
    check_structure("P 1", "cell", start, torch.eye(6, dtype=torch.float64))


# ---- q -------------------------------------------------------------------------------------------

#: Weights of f(x + m h) - f(x - m h), m = 1 to 5, in the tenth-order central difference.
TENTH_ORDER = (5 / 6, -5 / 21, 5 / 84, -5 / 504, 1 / 1260)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_q(axis):
    # A box has only its own q, so differences need a long one, and their step is its spacing,
    # 1/40 of an index. Phases turn by 2 pi times an atom's fraction of the axis, 0.16 x 0.7 rad a
    # step, and the nearest pole of I is 14 steps away: the tenth-order difference is truncated
    # at (1/14)^10 x some hundreds of the derivative, and rounded at 1e-12.
    size = [1, 1, 1]
    size[axis] = 40
    crystal = made_up("P 1", n_atoms=4, cell=(4.1, 4.6, 5.2, 80.0, 95.0, 100.0))
    hkl = np.array([[1.0, 2.0, -1.0], [-1.0, 0.0, 2.0], [2.0, -1.0, 0.0]])
    hkl[:, axis] = [0.35, -1.6, 2.4]
    stencil = np.zeros((2 * len(TENTH_ORDER), 3))
    stencil[:, axis] = [s * (m + 1) / 40 for m in range(5) for s in (1, -1)]
    options = {"gnm_cutoff": CUTOFF, "springs": SpringPlan(), "thermal_scale": 1.0}
    q = crystal.cell.q_from_hkl(double(hkl)).requires_grad_()
    model = OnePhonon(crystal, q_vectors=q, **options)
    (by_q,) = torch.autograd.grad(model(use_data_adp=True).sum(), q)
    ours = 2 * np.pi * by_q.numpy() @ crystal.cell.inverse.numpy()[axis]

    box = reference(model, tuple(size))
    every = crystal.cell.q_from_hkl(double(hkl[:, None] + stencil)).numpy()
    values = box.intensity(every.reshape(-1, 3), model.bodies.U.numpy())
    values = values.reshape(len(hkl), -1, 2)
    slopes = 40 * ((values[:, :, 0] - values[:, :, 1]) @ np.array(TENTH_ORDER))
    assert np.abs(ours / slopes - 1).max() <= AGREEMENT
