"""Disorder as text, and back."""

import pytest

from onephonon.core.errors import InputError
from onephonon.disorder import Atoms, ComponentSpec, Rigid, disorder_text, parse_disorder

TEXTS = [
    "lattice",
    "liquid:scope=asu,gamma=8",
    "lattice+liquid:scope=crystal,gamma=3,amplitude=atoms",
    "lattice:share=0.7+liquid:gamma=8.25,gamma2=40,mix=0.3+rigid+atoms",
    "rigid:motion=tls,share=0.30000000000000004",
    "atoms:share=0.1",
    "ensemble:file=models.pdb,coherent=cell",
    "ensemble:file=a+b,c.pdb+atoms",
    "liquid:kernel=free",
    "segments:n=24",
    "segments:by=residue",
    "liquid:gamma=1e-05",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(text):
    assert disorder_text(parse_disorder(text)) == text


def test_values_and_spaces():
    found = parse_disorder(" lattice + liquid : scope = asu , gamma = 1e+1 ")
    options = {"scope": "asu", "gamma": 10.0}
    assert found == (ComponentSpec("lattice"), ComponentSpec("liquid", options))
    assert parse_disorder("segments:n=24")[0].options == {"n": 24}
    assert parse_disorder("ensemble:file=a+b.pdb")[0].options == {"file": "a+b.pdb"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "component '' does not exist; there are lattice, liquid, rigid, atoms, ensemble"),
        ("latice", "'latice' does not exist; there are lattice, "),
        ("lattice+", "component '' does not exist"),
        ("lattice+lattice", "lattice is given twice"),
        ("liquid:", "ends after the colon; its options are scope=crystal|asu|body"),
        ("liquid:gama=8", "'liquid' has no option 'gama=8'; its options are scope=crystal|asu"),
        ("liquid:gamma", "has no option 'gamma'"),
        ("liquid:gamma=eight", "gamma='eight' is not a number above 0"),
        ("liquid:gamma=-8", "gamma='-8' is not a number above 0"),
        ("liquid:gamma=inf", "gamma='inf' is not a number above 0"),
        ("liquid:gamma=nan", "gamma='nan' is not a number above 0"),
        ("liquid:mix=1", "mix='1' is not a number above 0 and below 1"),
        ("liquid:gamma=8,gamma=9", "gamma is given twice"),
        ("liquid:scope=cell", "scope='cell' is not one of crystal, asu, body"),
        ("segments:n=2.5", "n='2.5' is not a whole number above 0"),
        ("ensemble:file=", "file='' is empty"),
        ("rigid:motion=rotations", "motion='rotations' is not one of translations, tls"),
    ],
)
def test_what_cannot_be_is_named(text, says):
    with pytest.raises(InputError) as caught:
        parse_disorder(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "only"),
    [("liquid:kernel=free", True), ("liquid:kernel=exponential", False), ("segments:n=3", True),
     ("segments", True), ("rigid", False)],
)  # fmt: skip
def test_what_exists_in_fits_only(text, only):
    assert parse_disorder(text)[0].for_fits_only is only


@pytest.mark.parametrize(
    ("component", "text"),
    [
        (Rigid(), "rigid"),
        (Rigid(sigma=0.25), "rigid:sigma=0.25"),
        (Rigid(motion="tls", share=0.5), "rigid:motion=tls,share=0.5"),
        (Atoms(), "atoms"),
        (Atoms(share=1), "atoms:share=1"),
    ],
)
def test_components_are_written_as_they_are_read(component, text):
    assert component.text == text
    (spec,) = parse_disorder(text)
    assert type(component)(**spec.options) == component
