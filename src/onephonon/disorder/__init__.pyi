from .accounts import Accounts
from .atoms import Atoms
from .building import build_disorder
from .component import Component, Parameter
from .disorder import Disorder, DisorderWarning
from .ensemble import Ensemble
from .ensemble_states import ensemble_of_conformers, ensemble_of_models, read_ensemble
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
    "Ensemble",
    "Lattice",
    "Liquid",
    "Parameter",
    "Rigid",
    "build_disorder",
    "disorder_text",
    "ensemble_of_conformers",
    "ensemble_of_models",
    "parse_disorder",
    "read_ensemble",
]
