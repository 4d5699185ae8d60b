from .accounts import Accounts
from .atoms import Atoms
from .component import Component, Parameter
from .disorder import Disorder, DisorderWarning
from .lattice import Lattice
from .liquid import Liquid
from .notation import ComponentSpec, disorder_text, parse_disorder
from .rigid import Rigid

__all__ = [
    "Accounts",
    "Atoms",
    "Component",
    "ComponentSpec",
    "Disorder",
    "DisorderWarning",
    "Lattice",
    "Liquid",
    "Parameter",
    "Rigid",
    "disorder_text",
    "parse_disorder",
]
