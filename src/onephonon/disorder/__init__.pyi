from .component import Component, Parameter

__all__ = [
    "Component",
    "Parameter",
]
