"""Every order of the reference: known numbers, closed forms, sampled displacements."""

import math

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import InputError
from onephonon.model import supercell_orders
from onephonon.model.supercell import Supercell, build_supercell
from onephonon.model.supercell_orders import intensity_by_order, intensity_of_orders
from onephonon.model.verify import spring_rule

#: The same float64 sum of some 1e5 terms in another order, or a closed form of it.
ROUNDING = 1e-12

CUTOFF = 6.5


def box_of(crystal, size, bodies=None, cutoff=CUTOFF, gammas=(1.0, 1.0)):
    bodies = [0] * crystal.n_atoms if bodies is None else bodies
    return build_supercell(crystal, bodies, cutoff, spring_rule("gnm", *gammas), size)


def scale_of(box):
    """The thermal scale that gives the mean B of the file."""
    return np.trace(box.file_U, axis1=1, axis2=2).mean() / np.trace(box.U, axis1=1, axis2=2).mean()


def q_of(crystal, hkl):
    return crystal.cell.q_from_hkl(torch.tensor(hkl, dtype=torch.float64)).numpy()


# ---- known numbers --------------------------------------------------------------------------

#: Heavy polymer atoms, one rigid body per copy, cutoff 4 Å, springs 1, ADPs and Debye-Waller
#: factors of the box, s from the mean B of the file. Computed independently of this package:
#: code, box, s, and for each hkl the sum of all orders and orders 1 to 4.
KNOWN = [
    (
        "2ol9",
        (3, 3, 2),
        2.0286949799,
        {
            (1 / 3, 0, 3 / 2): (
                59.3919470882, 59.2249849583, 0.1666096917, 0.0003517741, 0.0000006631,
            ),
            (-1, 5 / 3, 1): (
                37.6955916565, 32.3303814091, 4.9353105539, 0.4069981117, 0.0219107837,
            ),
            (4, 17 / 3, -9 / 2): (
                49.8019240023, 14.0405274632, 14.2032243991, 10.7909142506, 5.9902376944,
            ),
        },
    ),
    (
        "5zck",
        (3, 2, 2),
        2.1566476750,
        {
            (-1 / 3, 0, 9 / 2): (
                160.4502942380, 155.5204998852, 4.8478307618, 0.0809996034, 0.0009550102,
            ),
            (-8 / 3, 6, -9 / 2): (
                214.5890621234, 103.9193310254, 70.1589081051, 28.7039811503, 8.8824457993,
            ),
            (-1, 5 / 2, 1): (
                313.2716751892, 287.5539899376, 24.1011454495, 1.5379039659, 0.0755633352,
            ),
        },
    ),
    (
        "5wkd",
        (2, 3, 2),
        10.7162654299,
        {
            (-1 / 2, 0, 9 / 2): (
                10818.8582041, 8627.9067466, 1871.3867074, 280.8102318, 34.6894051,
            ),
            (-3 / 2, 5 / 3, 1): (
                968.2628596020, 421.6554904435, 338.2583916102, 147.3384093910, 46.4462803711,
            ),
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "size", "s", "values"), KNOWN, ids=[k[0] for k in KNOWN])
def test_known_numbers(peptide, code, size, s, values):
    crystal = peptide(code)
    box = box_of(crystal, size, cutoff=4.0)
    scale = scale_of(box)
    # Ten decimals are given.
    assert scale == pytest.approx(s, rel=0, abs=0.6e-10)
    q, U = q_of(crystal, list(values)), scale * box.U
    every = intensity_of_orders(box, q, U, scale=scale)
    single = intensity_by_order(box, q, U, 4, scale)
    expected = np.array(list(values.values()))
    # Numbers have ten decimals, in one row of 5wkd seven: half of the last is 1e-9 of the smallest
    # number there.
    np.testing.assert_allclose(np.column_stack([every, single]), expected, rtol=1e-9, atol=0.6e-10)


# ---- the definition -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["asu", "residue", "atom"])
def box(request):
    crystal = made_up("P 1 21 1")
    bodies = {"asu": [0] * 5, "residue": [0, 0, 1, 2, 3], "atom": range(5)}[request.param]
    return box_of(crystal, (3, 2, 1), bodies, gammas=(1.0, 0.4))


def some_q(box, n=6):
    rng = np.random.default_rng(1)
    hkl = rng.integers(-6, 7, size=(n, 3)) / np.array(box.size)
    return q_of(box.crystal, hkl.tolist())


def test_it_is_the_sum_over_all_pairs_of_atoms_of_the_box(box):
    # Every pair in the whole box, one at a time; that the first cell is enough is not assumed.
    s, width = scale_of(box), box.basis.shape[2]
    q = some_q(box, 1)[0]
    f = box.form_factors(q[None])[0]
    expected = 0.0
    for j in range(len(box.atom)):
        for k in range(len(box.atom)):
            rows = slice(width * box.body[j], width * (box.body[j] + 1))
            columns = slice(width * box.body[k], width * (box.body[k] + 1))
            C = s * box.basis[j] @ box.covariance[rows, columns] @ box.basis[k].T
            W = sum(q @ box.file_U[box.atom[x]] @ q / 2 for x in (j, k))
            phase = math.cos(q @ (box.positions[k] - box.positions[j]))
            ff = f[box.atom[j]] * f[box.atom[k]]
            expected += ff * phase * math.exp(-W) * math.expm1(q @ C @ q)
    value = intensity_of_orders(box, q[None], box.file_U, scale=s)
    assert value[0] == pytest.approx(expected / box.n_cells, rel=ROUNDING)


def test_first_order_is_one_phonon(box):
    q, s = some_q(box), scale_of(box)
    expected = s * box.intensity(q, box.file_U)
    for value in (
        intensity_of_orders(box, q, box.file_U, 1, s),
        intensity_by_order(box, q, box.file_U, 3, s)[:, 0],
    ):
        np.testing.assert_allclose(value, expected, rtol=ROUNDING)


def test_orders_add_up_to_all(box):
    q, s = some_q(box), scale_of(box)
    # q^T C q is 8 at most here, and 8^41 / 41! is 1e-16 of exp(8).
    single = intensity_by_order(box, q, box.file_U, 40, s)
    every = intensity_of_orders(box, q, box.file_U, scale=s)
    np.testing.assert_allclose(single.sum(1), every, rtol=ROUNDING)
    three = intensity_of_orders(box, q, box.file_U, 3, s)
    np.testing.assert_allclose(single[:, :3].sum(1), three, rtol=ROUNDING)
    assert (np.abs(three / every - 1) > 1e-3).any()  # or the comparison would say little


def test_order_n_grows_with_power_n_of_the_scale(box):
    q = some_q(box)
    at_1, at_2 = (intensity_by_order(box, q, box.file_U, 4, s) for s in (1.0, 2.0))
    np.testing.assert_allclose(at_2, at_1 * 2.0 ** np.arange(1, 5), rtol=ROUNDING)


def test_nothing_moves_on_infinitely_stiff_springs(box):
    q = some_q(box)
    soft, stiff, stiffer = (
        intensity_of_orders(box, q, s * box.U, scale=s) for s in (1.0, 1e-5, 1e-6)
    )
    assert (np.abs(stiff) < 1e-3 * np.abs(soft)).all()
    # Then only the first order is left, which is proportional to s.
    np.testing.assert_allclose(stiffer, stiff / 10, rtol=1e-3)


def test_atoms_are_summed_in_blocks(box, monkeypatch):
    q, s = some_q(box), scale_of(box)
    whole = intensity_of_orders(box, q, box.file_U, scale=s)
    for size in (1, 3 * box.basis.shape[2] * len(box.atom)):
        monkeypatch.setattr(supercell_orders, "BLOCK", size)
        blocks = intensity_of_orders(box, q, box.file_U, scale=s)
        np.testing.assert_allclose(blocks, whole, rtol=ROUNDING)


def test_no_order_and_q_between_the_waves_are_refused(box):
    with pytest.raises(InputError, match="orders 0: the first order is 1"):
        intensity_of_orders(box, some_q(box), box.U, 0)
    with pytest.raises(InputError, match=r"whole hkl \* size"):
        intensity_of_orders(box, np.array([[0.1, 0.2, 0.3]]), box.U)


# ---- closed forms ---------------------------------------------------------------------------


def independent(body, sigma, size=(2, 1, 2)):
    """A box by hand, whose bodies move by sigma (Å) along each axis, independent of each other."""
    crystal = made_up("P 1")
    n_bodies, n_cells = max(body) + 1, math.prod(size)
    cells = np.array(list(np.ndindex(size))) @ crystal.cell.matrix.numpy().T
    positions = (crystal.positions.numpy() + cells[:, None]).reshape(-1, 3)
    atom = np.tile(np.arange(crystal.n_atoms), n_cells)
    every = (n_bodies * np.arange(n_cells)[:, None] + np.array(body)).reshape(-1)
    # Translations, orthonormal over the atoms of a body.
    members = np.bincount(body)
    basis = np.eye(3) / np.sqrt(members[np.array(body)[atom]])[:, None, None]
    variance = np.repeat(members * np.array(sigma) ** 2, 3)
    covariance = np.kron(np.eye(n_cells), np.diag(variance))
    shares = np.ones(crystal.n_atoms)
    return Supercell(size, positions, atom, every, basis, covariance, shares, crystal)


def test_independent_atoms():
    sigma = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    box = independent([0, 1, 2, 3, 4], sigma)
    q = some_q(box)
    f, two_W = box.form_factors(q), (q**2).sum(1)[:, None] * sigma**2
    every = intensity_of_orders(box, q, box.U)
    np.testing.assert_allclose(every, (f**2 * -np.expm1(-two_W)).sum(1), rtol=ROUNDING)
    single = intensity_by_order(box, q, box.U, 4)
    for n in range(1, 5):
        expected = (f**2 * np.exp(-two_W) * two_W**n / math.factorial(n)).sum(1)
        np.testing.assert_allclose(single[:, n - 1], expected, rtol=ROUNDING)


def test_independent_translations_of_rigid_bodies():
    sigma = [0.2, 0.35]
    body = [0, 0, 1, 1, 1]
    box = independent(body, sigma)
    q = some_q(box)
    f = box.form_factors(q)
    wave = f * np.exp(1j * q @ box.positions[:5].T)
    expected = np.zeros(len(q))
    for b in (0, 1):
        F = wave[:, np.array(body) == b].sum(1)  # without a Debye-Waller factor
        expected += np.abs(F) ** 2 * -np.expm1(-(q**2).sum(1) * sigma[b] ** 2)
    np.testing.assert_allclose(intensity_of_orders(box, q, box.U), expected, rtol=ROUNDING)


# ---- sampled displacements ------------------------------------------------------------------

#: Boxes drawn from the Gaussian: standard errors are about 3 %.
SAMPLES = 1000

#: A difference of more standard errors happens once in 16 000 comparisons.
SIGMAS = 4.0


def test_variance_of_sampled_structure_factors():
    """Guinier: I = <|F|^2> - |<F>|^2 over structures with the covariance of the box."""
    crystal = made_up("P 1 21 1")
    box = box_of(crystal, (3, 2, 1), [0, 0, 1, 1, 1], gammas=(1.0, 0.4))
    scale = scale_of(box)
    hkl = [[1 / 3, 2, 3], [-2, 5 / 2, 1], [7 / 3, -1, 2], [-4 / 3, -7 / 2, 4], [2, 1, -3]]
    q = q_of(crystal, hkl)

    values, vectors = np.linalg.eigh(scale * box.covariance)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    motions = np.random.default_rng(0).normal(size=(SAMPLES, len(values))) @ root.T
    width = box.basis.shape[2]
    of_atoms = motions.reshape(SAMPLES, -1, width)[:, box.body]
    moved = box.positions + np.einsum("jxa,sja->sjx", box.basis, of_atoms)
    f = box.form_factors(q)[:, box.atom]
    F = np.stack([np.exp(1j * moved @ q[i]) @ f[i] for i in range(len(q))])

    apart = np.abs(F - F.mean(1, keepdims=True)) ** 2 / box.n_cells
    sampled = apart.sum(1) / (SAMPLES - 1)
    error = apart.std(1) / math.sqrt(SAMPLES)
    U = scale * box.U
    every = intensity_of_orders(box, q, U, scale=scale)
    single = intensity_by_order(box, q, U, 2, scale)
    assert (np.abs(sampled - every) < SIGMAS * error).all()
    # Known to 3 %: without the second order, a fifth or more here, it would not agree at any q.
    assert (error < 0.035 * every).all()
    assert (np.abs(sampled - (every - single[:, 1])) > SIGMAS * error).all()
