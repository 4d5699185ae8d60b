"""Components from their text."""

import pytest

from crystals import made_up, split
from onephonon.core.errors import InputError
from onephonon.disorder import build_disorder, parse_disorder
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.springs import ConstantSprings


def lattice():
    bodies = gather_bodies(made_up("P 1"), "asu")
    springs = ConstantSprings("gnm", 1.0, 0.5)
    return LatticeModel.build(bodies, find_contacts(bodies, 8.0), springs, (2, 2, 2))


@pytest.mark.parametrize(
    "text",
    [
        "lattice",
        "lattice:share=0.7+rigid:motion=tls+atoms",
        "rigid:sigma=0.2",
        "ensemble",
        "ensemble:conformers=letter,coherent=cell+atoms:share=0.5",
    ],
)
def test_what_was_written_is_built(text):
    crystal = split(made_up("P 1"), [("A", 0.5), ("B", 0.5)], which=(1,))
    built = build_disorder(parse_disorder(text), crystal=crystal, lattice=lattice)
    assert built.text == text


def test_lattice_is_built_only_if_it_is_needed():
    def never():
        raise AssertionError

    assert build_disorder(parse_disorder("rigid+atoms"), lattice=never).text == "rigid+atoms"


def test_liquid():
    text = "liquid:scope=asu,gamma=8"
    (liquid,) = build_disorder(parse_disorder(text + ",kernel=exponential")).components
    assert liquid.text == text


@pytest.mark.parametrize("text", ["liquid:kernel=free", "rigid+segments:n=24", "segments"])
def test_what_a_fit_determines_is_not_built(text):
    with pytest.raises(InputError, match=r"is determined by data: it is for `onephonon fit`"):
        build_disorder(parse_disorder(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lattice", "needs a lattice model"),
        ("ensemble", "give the file of its models"),
        ("ensemble:file=x.pdb,conformers=letter", "exclude each other"),
        ("rigid:sigma=0.2,share=0.5", "both say how far it moves"),
    ],
)
def test_what_is_missing_or_contradicts_is_named(text, says):
    with pytest.raises(InputError) as caught:
        build_disorder(parse_disorder(text))
    assert says in str(caught.value)
