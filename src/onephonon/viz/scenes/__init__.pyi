from .names import FILES
from .shapes import Layer, Rod, Tag
from .writing import write_scenes

__all__ = [
    "FILES",
    "Layer",
    "Rod",
    "Tag",
    "write_scenes",
]
