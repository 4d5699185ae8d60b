"""Sums of orders against the double sum over the atoms of a supercell, and closed forms."""

import math

import pytest
import torch

from crystals import made_up, simple_lattice, split
from onephonon import Crystal, InputError, OnePhonon
from onephonon.model.supercell import build_supercell
from onephonon.model.supercell_orders import intensity_of_orders
from onephonon.model.verify import spring_rule
from structures import DATA

#: Both are float64 sums of 1e5 terms behind an inverse of condition 1e4, and differ by 1e-12 or so
#: of the largest value; the series is cut at 1e-12. A wrong term is 1e-3 or more.
TOLERANCE = 1e-10

#: The mesh engine's accuracy, of the rms intensity; in units of the largest value.
RTOL = 1e-6

CUTOFF = 6.5

ORDERS = (2, 3, "all")


def on_the_axis():
    """Half a carbon atom on a twofold axis, which is whole with its copy, and two atoms off it."""
    places = [[0.0, 0.3, 0.0], [0.2, 0.45, 0.1], [0.35, 0.2, 0.3]]
    occupancies = [0.5, 1.0, 1.0]
    return Crystal.from_atoms(
        (6, 7, 8, 90, 95, 90), "P 1 2 1", "CNO", places, occupancies=occupancies, B=[9, 14, 11]
    )


def anisotropic(spacegroup):
    """Atoms that move more along one direction of their own."""
    crystal = made_up(spacegroup)
    directions = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    U = crystal.U + 0.02 * directions[:, :, None] * directions[:, None, :]
    return crystal.replace(U=U)


def with_alternates():
    """The second atom in two conformers at different places."""
    crystal = split(made_up("P 1 21 1"), [("A", 0.6), ("B", 0.4)], which={1})
    moved = crystal.positions_frac.clone()
    moved[2] += 0.05
    return crystal.replace(positions_frac=moved)


#: Crystal, bodies, and cells of the box: even numbers have ties, three have none.
CASES = {
    "P 1, chains": (lambda: anisotropic("P 1"), "chain", (3, 2, 1)),
    "P 1, a body and an atom": (lambda: made_up("P 1"), [0, 0, 0, 0, 1], (1, 3, 2)),
    "C 2, copies": (lambda: anisotropic("C 1 2 1"), "asu", (2, 3, 1)),
    "C 2, ranges": (lambda: made_up("C 1 2 1"), "A:1 A:2-9,B", (1, 2, 2)),
    "P 21 21 21, copies": (lambda: anisotropic("P 21 21 21"), "asu", (2, 2, 1)),
    "P 21 21 21, residues": (lambda: made_up("P 21 21 21"), "residue", (1, 1, 2)),
    "P 31 2 1, copies": (lambda: anisotropic("P 31 2 1"), "asu", (2, 2, 1)),
    "P 31 2 1, atoms": (lambda: made_up("P 31 2 1", n_atoms=3), "atom", (2, 2, 1)),
    "P 61, chains": (lambda: made_up("P 61"), "chain", (1, 1, 2)),
    "on an axis, copies": (on_the_axis, "asu", (3, 2, 1)),
    "on an axis, atoms": (on_the_axis, "atom", (2, 1, 2)),
    "alternatives, residues": (with_alternates, "residue", (2, 1, 2)),
}


def supercell_of(model, size):
    numbers = model.bodies.body[: model.crystal.n_atoms].tolist()
    rule = spring_rule("gnm", float(model.gamma_intra), float(model.gamma_inter))
    return build_supercell(model.crystal, numbers, model.gnm_cutoff, rule, size)


def model_of(crystal, size, **options):
    """A model whose averages are those of a box of cells."""
    defaults = {"gamma_inter": 0.4, "gnm_cutoff": CUTOFF, "zone_average": "supercell"}
    return OnePhonon(crystal, mesh=size, **(defaults | options))


def waves_of_box(crystal, size, n=4):
    """Some hkl at which the box has a wave, none of them a Bragg point."""
    generator = torch.Generator().manual_seed(1)
    steps = torch.tensor(size)
    hkl = (torch.rand(200, 3, generator=generator) * 8 - 4) * steps
    hkl = hkl.round().double() / steps
    hkl = hkl[(hkl != hkl.round()).any(1)]
    d = 2 * math.pi / torch.linalg.vector_norm(crystal.cell.q_from_hkl(hkl), dim=1)
    return hkl[d > 2.0][:n]


def worst(found, expected):
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    assert bool(found.isfinite().all())
    return float((found - expected).abs().max() / expected.abs().max())


# ---- the supercell -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_body_in_every_lattice(case):
    make, group_by, size = CASES[case]
    crystal = make()
    q = crystal.cell.q_from_hkl(waves_of_box(crystal, size))
    model = model_of(crystal, size, group_by=group_by, q_vectors=q, rtol=1e-12, engine="direct")
    with torch.no_grad():
        box, s = supercell_of(model, size), float(model.thermal_scale)
        for by_data, U in ((True, box.file_U), (False, s * box.U)):
            first = model(use_data_adp=by_data, orders=1)
            for orders in ORDERS:
                number = None if orders == "all" else orders
                expected = intensity_of_orders(box, q.numpy(), U, number, s)
                found = model(use_data_adp=by_data, orders=orders)
                assert worst(found, expected) < TOLERANCE
                assert worst(first, expected) > 1e-2  # there is something to find


@pytest.mark.parametrize("adp", ["anisotropic", "isotropic"])
@pytest.mark.parametrize(
    ("code", "group_by", "size"),
    [("2ol9", "residue", (2, 1, 1)), ("2ol9", "asu", (1, 2, 2)), ("5wkd", "chain", (1, 2, 1)),
     ("5zck", "asu", (2, 1, 2))],
)  # fmt: skip
def test_peptides(peptide, code, group_by, size, adp):
    crystal = peptide(code) if adp == "anisotropic" else peptide(code, anisotropic=False)
    q = crystal.cell.q_from_hkl(waves_of_box(crystal, size, 2))
    model = model_of(
        crystal, size, group_by=group_by, q_vectors=q, rtol=1e-12, gnm_cutoff=4.0, engine="direct"
    )
    with torch.no_grad():
        box, s = supercell_of(model, size), float(model.thermal_scale)
        expected = intensity_of_orders(box, q.numpy(), box.file_U, None, s)
        assert worst(model(use_data_adp=True, orders="all"), expected) < TOLERANCE
        expected = intensity_of_orders(box, q.numpy(), s * box.U, 3, s)
        assert worst(model(orders=3), expected) < TOLERANCE


@pytest.mark.parametrize(
    ("engine", "solver"), [("direct", "dense"), ("direct", "condensed"), ("mesh", "condensed")]
)
@pytest.mark.parametrize("where", ["grid", "list"])
@pytest.mark.parametrize("case", ["P 31 2 1, copies", "alternatives, residues"])
def test_engines_and_solvers(case, where, engine, solver):
    make, group_by, size = CASES[case]
    crystal = make()
    grid = dict(
        zip(("hsampling", "ksampling", "lsampling"), [(-2, 2, n) for n in size], strict=True)
    )
    options = {"group_by": group_by, "engine": engine, "solver": solver, "res_limit": 3.0}
    rtol = RTOL if engine == "mesh" else 1e-12
    model = model_of(crystal, size, rtol=rtol, **options, **grid)
    valid = model.valid.clone()
    if where == "list":
        model.set_q(model.q_grid.clone())
    with torch.no_grad():
        box, s = supercell_of(model, size), float(model.thermal_scale)
        some = valid.nonzero().squeeze(1)[:: int(valid.sum()) // 5]
        q = model.q_grid[some].numpy()
        for orders in (2, "all"):
            found = model(orders=orders)
            assert torch.equal(found.isnan(), ~valid)
            number = None if orders == "all" else orders
            expected = intensity_of_orders(box, q, s * box.U, number, s)
            assert worst(found[some], expected) < (10 * RTOL if engine == "mesh" else TOLERANCE)


@pytest.mark.parametrize("average", ["crystal", "supercell"])
@pytest.mark.parametrize("orders", [2, "all"])
def test_grids_and_lists_between_the_waves_of_the_mesh(orders, average):
    crystal, mesh = anisotropic("C 1 2 1"), (2, 2, 3)
    options = {"mesh": mesh, "zone_average": average, "gnm_cutoff": CUTOFF, "rtol": RTOL}
    samplings = ((-1, 1, 3), (-0.5, 1, 4), (-1, 1, 5))
    found = []
    for engine in ("direct", "mesh"):
        grid = OnePhonon(crystal, *samplings, engine=engine, orders=orders, **options)
        listed = OnePhonon(crystal, q_vectors=grid.q_grid, engine=engine, orders=orders, **options)
        with torch.no_grad():
            valid = grid.valid
            found += [grid()[valid], listed()[valid], listed(grid.q_grid[valid])]
    for other in found[1:]:
        assert worst(other, found[0]) < 10 * RTOL


def test_orders_of_the_call_and_of_the_model_are_the_same():
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(torch.tensor([[0.3, 1.2, -0.7], [2.4, 0.0, 1.1]]).double())
    options = {"q_vectors": q, "gnm_cutoff": CUTOFF, "mesh": (2, 2, 2)}
    with torch.no_grad():
        plain = OnePhonon(crystal, **options)
        for orders in (1, 2, "3", "all"):
            model = OnePhonon(crystal, orders=orders, **options)
            assert torch.equal(model(), plain(orders=orders))
            assert torch.equal(model(orders=1), plain())
            plain_again = plain(orders="all")
            model.orders = "all"
            assert torch.equal(model(), plain_again)


def test_pairs_follow_springs_scale_and_mesh():
    # Covariances are kept from call to call: they must not be those of another model.
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(torch.tensor([[0.3, 1.2, -0.7], [2.4, 0.0, 1.1]]).double())
    options = {"q_vectors": q, "gnm_cutoff": CUTOFF, "orders": "all"}

    def fresh(mesh, gamma, scale, own=None):
        return OnePhonon(
            crystal,
            mesh=mesh,
            gamma_inter=gamma,
            thermal_scale=scale,
            multiphonon_mesh=own,
            **options,
        )()

    def same(found, expected):  # s multiplies other numbers first: rounding
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)

    scale, gamma = (torch.tensor(x, dtype=torch.float64) for x in (1.0, 0.7))
    with torch.no_grad():
        model = OnePhonon(
            crystal, mesh=(2, 2, 2), gamma_inter=gamma, thermal_scale=scale, **options
        )
        seen = [model()]
        scale.fill_(1.5)
        seen.append(model())
        same(seen[-1], fresh((2, 2, 2), 0.7, 1.5))
        gamma.fill_(0.3)
        seen.append(model())
        same(seen[-1], fresh((2, 2, 2), 0.3, 1.5))
        model.mesh = (3, 3, 3)
        seen.append(model())
        same(seen[-1], fresh((3, 3, 3), 0.3, 1.5))
        model.multiphonon_mesh = (2, 2, 3)
        seen.append(model())
        same(seen[-1], fresh((3, 3, 3), 0.3, 1.5, (2, 2, 3)))
        model.set_tensors(positions=crystal.positions * 1.001)
        seen.append(model())
    assert all(worst(a, b) > 1e-6 for a, b in zip(seen[1:], seen, strict=False))


def test_only_the_first_order_has_modes_and_kept_amplitudes():
    model = OnePhonon(made_up("P 1"), q_vectors=torch.rand(2, 3).double(), gnm_cutoff=CUTOFF)
    with pytest.raises(InputError, match=r"rank=0 belongs to the one-phonon .* orders='all'"):
        model(rank=0, orders="all")
    with pytest.raises(InputError, match=r"G belongs to the one-phonon .* orders=2"):
        model(G=model.amplitudes(), orders=2)


@pytest.mark.parametrize("engine", ["direct", "mesh"])
def test_single_precision(engine):
    crystal = made_up("P 1 21 1")
    options = {"gnm_cutoff": CUTOFF, "mesh": (2, 2, 2), "orders": "all", "engine": engine}
    samplings = ((-1, 1, 2), (-1, 1, 2), (-1, 1, 3))
    with torch.no_grad():
        double = OnePhonon(crystal, *samplings, **options)
        single = OnePhonon(crystal, *samplings, dtype=torch.float32, **options)
        found, valid = single(), double.valid
    assert found.dtype == torch.float32
    # As for one phonon: 7 digits behind solves of condition 1e2 to 1e3.
    assert worst(found[valid].double(), double()[valid].detach()) < 1e-3


# ---- points that have no intensity -------------------------------------------------------------


@pytest.mark.parametrize("engine", ["direct", "mesh"])
def test_invalid_points_are_not_computed(engine):
    crystal = made_up("P 1 21 1")
    hkl = [[1, 2, -1], [0.3, 0.2, 0.1], [0, 0, 0], [9, 8, 7.3], [2, 1, 0.5]]
    q = crystal.cell.q_from_hkl(torch.tensor(hkl, dtype=torch.float64))
    options = {"gnm_cutoff": CUTOFF, "mesh": (2, 2, 2), "engine": engine, "orders": "all"}
    with torch.no_grad():
        model = OnePhonon(crystal, q_vectors=q, res_limit=1.0, **options)
        value = model()
        assert value.isnan().tolist() == [True, False, True, True, False]
        # The same without the others, which also decide nothing about the series.
        alone = OnePhonon(crystal, q_vectors=q[model.valid], res_limit=1.0, **options)()
        assert torch.allclose(value[model.valid], alone, rtol=1e-6 if engine == "mesh" else 1e-13)
        none = OnePhonon(crystal, q_vectors=q[[0, 2]], **options)()
        assert bool(none.isnan().all())
        empty = OnePhonon(crystal, q_vectors=q[:0], **options)()
        assert empty.shape == (0,)


# ---- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", ["asu", "atom"])
def test_order_n_grows_as_power_n_of_the_scale(group_by):
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(torch.tensor([[0.3, 1.2, -0.7], [2.4, 0.0, 1.1]]).double())

    def each(s):
        """Orders 1 to 4 with the Debye-Waller factors of the file."""
        model = OnePhonon(
            crystal, q_vectors=q, gnm_cutoff=CUTOFF, group_by=group_by, mesh=(2, 2, 2),
            thermal_scale=s, rtol=1e-12,
        )  # fmt: skip
        sums = [torch.zeros(2).double()]
        sums += [model(use_data_adp=True, orders=n).detach() for n in (1, 2, 3, 4)]
        return torch.stack(sums).diff(dim=0)

    one, other = each(8.0), each(12.0)
    powers = 1.5 ** torch.arange(1.0, 5.0, dtype=torch.float64)[:, None]
    # Differences of sums: the fourth order is 1e-4 or more of them.
    torch.testing.assert_close(other, powers * one, rtol=1e-8, atol=0)
    assert float((one[3] / one.sum(0)).abs().min()) > 1e-4


def test_nothing_moves_on_infinitely_stiff_springs():
    crystal = made_up("P 1 21 1")
    q = crystal.cell.q_from_hkl(torch.tensor([[0.3, 1.2, -0.7], [2.4, 0.0, 1.1]]).double())

    def sums(stiffness, orders):
        model = OnePhonon(
            crystal, q_vectors=q, gnm_cutoff=CUTOFF, mesh=(2, 2, 2), thermal_scale=1.0,
            gamma_intra=stiffness, gamma_inter=stiffness,
        )  # fmt: skip
        return model(orders=orders).detach()

    soft, stiff, stiffer = (sums(k, "all") for k in (1.0, 1e4, 1e6))
    assert bool((stiff < 1e-2 * soft).all())
    torch.testing.assert_close(stiffer, stiff / 100, rtol=1e-3, atol=0)
    # The second order falls as the square: 1e-4 of the first, then 1e-6.
    torch.testing.assert_close(stiffer, sums(1e6, 1), rtol=1e-4, atol=0)


def test_one_atom_in_a_cell():
    # I = f^2 exp(-2W) sum_R exp(i q.R) (exp(q^2 c(R)) - 1) with a number c(R) for each neighbour.
    crystal = simple_lattice()
    hkl = torch.tensor([[0.3, 0.1, 0.2], [1.25, 0.5, -0.25], [2.4, 0.0, 0.0]], dtype=torch.float64)
    q = crystal.cell.q_from_hkl(hkl)
    model = OnePhonon(
        crystal, q_vectors=q, group_by="atom", gnm_cutoff=4.5, mesh=(3, 3, 3), thermal_scale=0.4,
        rtol=1e-12,
    )  # fmt: skip
    with torch.no_grad():
        found = model(orders="all") - model(orders=1)
        C = model.covar[..., 0, 0]
        q2 = (q * q).sum(1)
        f = crystal.form_factors.evaluate(q2)[:, 0]
        expected = torch.zeros(3, dtype=torch.float64)
        for n, R in enumerate(torch.cartesian_prod(*[torch.arange(3)] * 3)):
            near = torch.where(R == 2, -1, R).double()
            x = q2 * C.reshape(-1)[n]
            expected += torch.cos(2 * math.pi * hkl @ near) * (torch.exp(x) - 1 - x)
        expected = f**2 * torch.exp(-q2 * C[0, 0, 0]) * expected
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("springs", [1e-9, 2e-3, 3e-3])
def test_motion_beyond_the_series_is_warned_of_or_refused(springs):
    model = OnePhonon(
        DATA / "2ol9.pdb",
        q_vectors=torch.tensor([[0.4, 1.1, 0.7]], dtype=torch.float64),
        gamma_intra=springs,
        gamma_inter=springs,
        thermal_scale=1.0,
        mesh=(2, 2, 2),
        orders="all",
    )
    if springs < 3e-3:
        with pytest.raises(InputError, match=r"orders=all: atoms move too far.*at d = 4.6 Å"):
            model()
        return
    with pytest.warns(UserWarning, match=r"series of their librations.*at d = 4.6 Å.*error"):
        model()


def test_orders_and_their_mesh_are_checked():
    for orders in (0, None, "ALL", 1.5, True):
        with pytest.raises(InputError, match="give how many orders to sum"):
            OnePhonon(DATA / "2ol9.pdb", orders=orders)
    with pytest.raises(InputError, match=r"multiphonon_mesh \(0, 1, 2\): give three"):
        OnePhonon(DATA / "2ol9.pdb", multiphonon_mesh=(0, 1, 2))
