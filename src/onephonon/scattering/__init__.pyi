from .points import QPoints
from .quadrature import Quadrature
from .softest import softest_intensity

__all__ = [
    "QPoints",
    "Quadrature",
    "softest_intensity",
]
