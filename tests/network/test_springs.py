"""Springs by class and by function: who shares, where they start, how they travel."""

import pytest
import torch
from torch import nn

from crystals import made_up
from onephonon import InputError, OnePhonon
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.interfaces import WITHIN, contact_keys, find_interfaces
from onephonon.network.springs import ClassSprings, FunctionSprings, SpringPlan, classify

CUTOFF = 6.5
GROUPS = ["P 1", "P 1 21 1", "C 1 2 1", "P 21 21 21", "P 31 2 1"]
SAMPLINGS = ((0, 1, 2), (-1, 0, 1), (0.25, 1, 2))

#: Two float64 routes to one number, each some 1e3 terms behind a solve of condition below 1e4.
ROUNDING = 1e-10


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


HKL = double([[0.3, -0.2, 0.6], [0.5, 0.5, 0.5], [2.3, 1.7, -0.9], [0.0, 1.25, 0.0]])


def listed(crystal, hkl=HKL, **options):
    q = crystal.cell.q_from_hkl(hkl)
    return OnePhonon(crystal, *SAMPLINGS, q_vectors=q, **{"gnm_cutoff": CUTOFF} | options)


def intensities(*args, **options):
    model = listed(*args, **options)
    return torch.cat([model(use_data_adp=adp) for adp in (True, False)]).detach()


def assert_same(ours, theirs, tolerance=ROUNDING):
    """Relative to each number; the points are away from symmetry's zeros."""
    assert float(theirs.abs().min()) > 0
    assert float((ours / theirs - 1).abs().max()) <= tolerance


@pytest.fixture(scope="module")
def crystal():
    return made_up("P 1 21 1")


# ---- who shares ---------------------------------------------------------------------------------


def randomized(springs, seed=0):
    """The module with springs drawn between 0.3 and 3."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        free = torch.empty_like(springs.free).uniform_(-1.2, 1.1, generator=generator)
        springs.free.copy_(free)
    return springs


@pytest.mark.parametrize("by", ["global", "copy", "interface", "residue"])
@pytest.mark.parametrize("spacegroup", GROUPS)
def test_any_springs_of_classes_keep_the_laue_symmetry(spacegroup, by):
    # Symmetry-related contacts share one value, or turning q as the crystal turns would show it.
    crystal = made_up(spacegroup)
    plan = SpringPlan(by=by, kind="hybrid", start=(1.0, 0.5))
    values = []
    for rotation in crystal.rotations:
        model = listed(crystal, HKL @ rotation, springs=plan, thermal_scale=1.0)
        randomized(model.springs)
        values.append(model(use_data_adp=True).detach())
    for value in values[1:]:
        assert_same(value, values[0])


def test_springs_that_differ_between_copies_break_the_laue_symmetry():
    # The test above can fail.
    crystal = made_up("P 1 21 1")
    values = []
    for rotation in crystal.rotations:
        model = listed(crystal, HKL @ rotation, thermal_scale=1.0, springs=SpringPlan())
        randomized(model.springs)
        odd = torch.arange(model.contacts.n_contacts) % 2
        model.springs.contact_class = (model.springs.contact_class + odd) % len(model.springs.free)
        values.append(model(use_data_adp=True).detach())
    assert float((values[1] / values[0] - 1).abs().max()) > 1e-3


def test_number_of_classes(crystal):
    bodies = gather_bodies(crystal)
    contacts = find_contacts(bodies, CUTOFF)
    labels = {
        by: classify(bodies, contacts, by) for by in ("global", "copy", "interface", "residue")
    }
    count = {by: len(set(x)) for by, x in labels.items()}
    n_interfaces = len(find_interfaces(bodies, contacts).names)
    assert count["global"] == 1
    assert count["copy"] == 2
    assert count["interface"] == n_interfaces > 3
    assert count["residue"] > count["interface"]
    # Each grouping splits the one before it, except within a copy.
    for coarse, fine in (("global", "copy"), ("copy", "interface"), ("interface", "residue")):
        pairs = set(zip(labels[fine], labels[coarse], strict=True))
        assert len(pairs) == count[fine]
    same = contacts.same_copy.tolist()
    for by in ("interface", "residue"):
        assert all((x == WITHIN) == s for x, s in zip(labels[by], same, strict=True))


def test_residue_classes_name_both_residues_and_the_operator(crystal):
    model = listed(crystal, springs=SpringPlan(by="residue"))
    for row in model.contact_table():
        if row.operator == WITHIN:
            assert row.spring_class == WITHIN
            continue
        residues = {atom.rsplit("/", 1)[0] for atom in (row.atom_1, row.atom_2)}
        ends, operator = row.spring_class[:-1].split(" (")
        assert set(ends.split(" - ")) == residues
        assert operator == row.operator


def test_labels_of_ones_own(crystal):
    bodies = gather_bodies(crystal)
    contacts = find_contacts(bodies, CUTOFF)
    labels = ["long" if d > 5.0 else "short" for d in contacts.distance.tolist()]
    # Equal distances may round apart between copies: none is that near.
    assert float((contacts.distance - 5.0).abs().min()) > 1e-6
    springs = ClassSprings(bodies, contacts, SpringPlan(by=labels, start={"long": 0.2, "short": 2}))
    k = springs.springs().k_par.tolist()
    assert {(label, round(x, 12)) for label, x in zip(labels, k, strict=True)} == {
        ("long", 0.2),
        ("short", 2.0),
    }


def test_labels_by_contact(crystal):
    by_interface = listed(crystal, springs=SpringPlan(by="interface"))
    table = {row.key: row.spring_class for row in by_interface.contact_table()}
    model = listed(crystal, springs=SpringPlan(by=table))
    assert model.springs.names == by_interface.springs.names
    assert torch.equal(model.springs.contact_class, by_interface.springs.contact_class)
    key = next(iter(table))
    del table[key]
    with pytest.raises(InputError, match=f"no label, {key[0]} - {key[1]} - ".replace("+", r"\+")):
        listed(crystal, springs=SpringPlan(by=table))


def test_labels_that_break_the_symmetry(crystal):
    bodies = gather_bodies(crystal)
    contacts = find_contacts(bodies, CUTOFF)
    keys = contact_keys(bodies, contacts, find_interfaces(bodies, contacts))
    labels = ["one"] * len(keys)
    shared = next(c for c, key in enumerate(keys) if keys.count(key) > 1)
    labels[shared] = "other"
    with pytest.raises(InputError, match="symmetry-related contacts share one label"):
        ClassSprings(bodies, contacts, SpringPlan(by=labels))
    with pytest.raises(InputError, match=f"{len(keys) - 1} labels were given for {len(keys)}"):
        ClassSprings(bodies, contacts, SpringPlan(by=labels[1:]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "atoms"}, "by 'atoms': not one of global, copy, interface, residue"),
        ({"kind": "anm"}, "kind 'anm': not one of gaussian"),
        ({"positivity": "square"}, "positivity 'square': not one of log, softplus"),
        ({"kind": "stiffness", "by": "residue"}, "set by='interface'"),
    ],
)
def test_plans_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        SpringPlan(**options)


# ---- what they are -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "start", "plain"),
    [
        ("gaussian", {"intra": 0.7, "inter": 0.3}, {"gamma_intra": 0.7, "gamma_inter": 0.3}),
        (
            "parallel",
            {"intra": 0.7, "inter": 0.3},
            {"model": "anm", "gamma_intra": 0.7, "gamma_inter": 0.3},
        ),
        (
            "hybrid",
            {"intra": (0.7, 0.1), "inter": (0.3, 0.2)},
            {"model": "hybrid", "k_par": (0.7, 0.3), "k_perp": (0.1, 0.2)},
        ),
    ],
)
@pytest.mark.parametrize("group_by", ["asu", "residue"])
def test_classes_are_the_models_own_springs(crystal, kind, start, plain, group_by):
    plan = SpringPlan(by="copy", kind=kind, start=start)
    ours = intensities(crystal, springs=plan, group_by=group_by)
    assert_same(ours, intensities(crystal, group_by=group_by, **plain))


@pytest.mark.parametrize("by", ["global", "interface", "residue"])
def test_finer_classes_of_equal_springs_change_nothing(crystal, by):
    plan = SpringPlan(by=by, start=0.4)
    assert_same(
        intensities(crystal, springs=plan),
        intensities(crystal, gamma_intra=0.4, gamma_inter=0.4),
    )


# ---- where they start ----------------------------------------------------------------------------


@pytest.mark.parametrize("positivity", ["log", "softplus"])
def test_positivity_gives_the_start_back(crystal, positivity):
    bodies = gather_bodies(crystal)
    contacts = find_contacts(bodies, CUTOFF)
    names = ClassSprings(bodies, contacts, SpringPlan()).names
    # softplus is inverted over all sizes, large and small.
    start = dict(zip(names, [1e-8, 1e-3, 1.0, 30.0, 1e4], strict=False)) | {"default": 0.1}
    springs = ClassSprings(bodies, contacts, SpringPlan(start=start, positivity=positivity))
    values = springs.values().detach().squeeze(1)
    expected = double([start.get(name, 0.1) for name in springs.names])
    # An exponential and its inverse; log(1e-8) is 18 times less exact than what it stands for.
    torch.testing.assert_close(values, expected, rtol=1e-14, atol=0)
    assert bool((springs.from_free(double([-30.0, 0.0, 30.0])) > 0).all())


def test_start_is_in_the_models_dtype(crystal):
    model = listed(crystal, springs=SpringPlan(start=0.2))
    assert model.springs.free.dtype == torch.float64
    # 0.2 in single precision is 0.20000000298.
    torch.testing.assert_close(
        model.springs.values(), torch.full_like(model.springs.free, 0.2), rtol=1e-15, atol=0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.0}, "must be positive"),
        ({"start": -1.0}, "must be positive"),
        ({"start": float("nan")}, "must be positive"),
        ({"start": float("inf")}, "must be positive"),
        ({"kind": "hybrid", "start": (1.0, 0.0)}, "use kind 'parallel'"),
        ({"kind": "hybrid", "start": (1.0, 0.1, 0.2)}, "kind 'hybrid' has 2 constants"),
        ({"start": (1.0, 0.1)}, "kind 'gaussian' has 1 constants"),
        ({"start": {"inter": 1.0}, "by": "copy"}, "no value for class 'intra' and no 'default'"),
    ],
)
def test_starts_that_cannot_be(crystal, options, message):
    with pytest.raises(InputError, match=message):
        listed(crystal, springs=SpringPlan(**options))


# ---- functions of the contacts -------------------------------------------------------------------


class Decay(nn.Module):
    """Springs that fall off with distance, and by kind of residue."""

    def __init__(self):
        super().__init__()
        self.range = nn.Parameter(double(3.0))
        self.strength = nn.Embedding(1, 2, dtype=torch.float64)
        nn.init.constant_(self.strength.weight, 0.5)

    def forward(self, contact):
        decay = torch.exp(-contact.distance / self.range)[:, None]
        return decay * self.strength(contact.residue_types).prod(1)


def test_gradient_reaches_the_weights_of_a_module(crystal):
    rule = Decay()
    model = listed(crystal, springs=rule, thermal_scale=1.0)
    assert sorted(n for n, _ in model.named_parameters()) == [
        "springs.function.range",
        "springs.function.strength.weight",
    ]
    value = model(use_data_adp=True)
    value.sum().backward()
    # All springs scale with the squared strength, and I with their inverse, at s = 1.
    by_strength = (rule.strength.weight.grad * rule.strength.weight.detach()).sum()
    assert_same(by_strength, -2 * value.sum().detach())

    def at(x):
        with torch.no_grad():
            rule.range.fill_(x)
            return model(use_data_adp=True).sum()

    h = 1e-5  # truncated at 1e-10 of a third derivative of order one, rounded at 1e-12 / 1e-5
    difference = (at(3.0 + h) - at(3.0 - h)) / (2 * h)
    assert_same(rule.range.grad, difference, 1e-6)


def test_function_that_knows_the_copies_is_the_plain_model(crystal):
    def rule(contact):
        return torch.where(contact.same_copy, *contact.distance.new_tensor([0.7, 0.3]))

    ours = intensities(crystal, springs=rule)
    assert_same(ours, intensities(crystal, gamma_intra=0.7, gamma_inter=0.3))
    column = intensities(crystal, springs=lambda c: rule(c)[:, None])
    assert_same(column, ours)


def test_function_of_two_constants_is_the_hybrid_model(crystal):
    ours = intensities(crystal, springs=lambda c: double([0.7, 0.2]).expand(len(c.distance), 2))
    assert_same(ours, intensities(crystal, model="hybrid", k_par=0.7, k_perp=0.2))


def test_function_may_look_at_the_interface(crystal):
    by_class = listed(crystal, springs=SpringPlan(), thermal_scale=1.0)
    values = randomized(by_class.springs).values().detach().squeeze(1)
    names = by_class.springs.names

    def rule(contact):
        order = torch.tensor([names.index(name) for name in contact.interface_names])
        return values[order][contact.interface]

    model = listed(crystal, springs=rule, thermal_scale=1.0)
    assert isinstance(model.springs, FunctionSprings)
    assert_same(model(use_data_adp=True).detach(), by_class(use_data_adp=True).detach())
    ours = {row.key: (row.k_par, row.k_perp) for row in model.contact_table()}
    theirs = {row.key: (row.k_par, row.k_perp) for row in by_class.contact_table()}
    assert ours == theirs
    with pytest.raises(InputError, match="give springs=SpringPlan"):
        model.spring_jacobian()


@pytest.mark.parametrize(
    "rule",
    [
        lambda c: c.distance[:3],
        lambda c: c.distance.new_ones(len(c.distance), 3),
        lambda c: c.distance.new_tensor(1.0),
    ],
)
def test_function_of_the_wrong_shape(crystal, rule):
    with pytest.raises(InputError, match=r"the spring function returned shape \(.*\) for 208 cont"):
        listed(crystal, springs=rule)


def test_function_of_impossible_springs(crystal):
    with pytest.raises(InputError, match=r"springs: 208 contacts have k_par = -1"):
        listed(crystal, springs=lambda c: -torch.ones_like(c.distance))


# ---- parameters of a module ----------------------------------------------------------------------

MODULES = {
    "plain": {},
    "hybrid": {"model": "hybrid", "k_par": (1.0, 0.8), "k_perp": 0.3},
    "classes": {"springs": SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3))},
    "residues": {"springs": SpringPlan(by="residue", positivity="softplus")},
    "stiffness": {"springs": SpringPlan(kind="stiffness")},
    "function": {"springs": Decay},
}


def make(crystal, name, **options):
    chosen = dict(MODULES[name])
    if name == "function":
        chosen["springs"] = Decay()
    return listed(crystal, **chosen, **options)


@pytest.mark.parametrize("name", MODULES)
def test_state_dict_brings_the_intensities_back(crystal, name, tmp_path):
    model = make(crystal, name)
    with torch.no_grad():
        for n, parameter in enumerate(model.parameters()):
            parameter.mul_(1.1 + 0.1 * n).add_(0.05)
    expected = model(use_data_adp=True).detach()
    other = make(crystal, name)
    assert float((other(use_data_adp=True).detach() - expected).abs().max()) > 0
    file = tmp_path / "springs.pt"
    torch.save(model.state_dict(), file)
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(use_data_adp=True).detach(), expected)
    assert torch.equal(other().detach(), model().detach())


@pytest.mark.parametrize("by", ["copy", "interface", "residue"])
def test_order_of_classes_does_not_hang_on_the_last_decimal(crystal, by):
    # A state_dict holds numbers without names: rebuilt at coordinates refined a little further,
    # or in another dtype, the model must count its classes in the same order.
    plan = SpringPlan(by=by)
    names = listed(crystal, springs=plan).springs.names
    assert listed(crystal, springs=plan, dtype=torch.float32).springs.names == names
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        noise = torch.randn(5, 3, dtype=torch.float64, generator=generator)
        moved = crystal.replace(positions_frac=crystal.positions_frac + 1e-4 * noise)
        model = listed(moved, springs=plan)
        assert model.contacts.n_contacts == 208  # none crossed the cutoff
        assert model.springs.names == names


def test_tensors_of_the_caller_are_no_parameters(crystal):
    gamma = double(0.8).requires_grad_()
    model = listed(crystal, gamma_inter=gamma)
    assert [n for n, _ in model.named_parameters()] == ["gamma_intra"]
    model().sum().backward()
    assert gamma.grad is not None


#: Largest relative differences that single precision may make to I and to its gradient. Measured
#: for these models: 1.9e-5 and 6.3e-5 (hybrid springs and stiffness; 1.1e-6 for Gaussian ones).
#: They come from rounding at 6e-8 of K and of q.r, times K's condition of some 100. Five times
#: the measured is left to other machines.
SINGLE, SINGLE_SLOPE = 1e-4, 3e-4


@pytest.mark.parametrize("name", MODULES)
def test_single_precision(crystal, name):
    model = make(crystal, name)
    expected = {adp: model(use_data_adp=adp).detach() for adp in (True, False)}
    (slope,) = torch.autograd.grad(model().sum(), [next(model.parameters())])
    assert model.to(torch.float32) is model
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert model.q_grid.dtype == model.V.real.dtype == model.ADP.dtype == torch.float32
    for adp, value in expected.items():
        ours = model(use_data_adp=adp)
        assert ours.dtype == torch.float32
        assert_same(ours.detach().double(), value, SINGLE)
    (ours,) = torch.autograd.grad(model().sum(), [next(model.parameters())])
    assert ours.dtype == torch.float32
    size = float(slope.abs().max())
    assert float((ours.double() - slope).abs().max()) <= SINGLE_SLOPE * size


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"function"}))
def test_made_in_single_precision(crystal, name):
    expected, made = make(crystal, name), make(crystal, name, dtype=torch.float32)
    assert all(p.dtype == torch.float32 for p in made.parameters())
    ours = made(use_data_adp=True).detach()
    assert_same(ours.double(), expected(use_data_adp=True).detach(), SINGLE)


def test_single_precision_there_and_back(crystal):
    model = make(crystal, "classes")
    expected = model(use_data_adp=True).detach()
    model.to(torch.float32).to(torch.float64)
    # What was lost stays lost, and no more than that.
    assert_same(model(use_data_adp=True).detach(), expected, SINGLE)
    assert model.q_grid.dtype == torch.float64
