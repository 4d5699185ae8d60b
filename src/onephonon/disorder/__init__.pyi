from .component import Component, Parameter
from .liquid import Liquid

__all__ = [
    "Component",
    "Liquid",
    "Parameter",
]
