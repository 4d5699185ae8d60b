"""``onephonon info``: description of a map in numbers and a small picture."""

from . import command  # noqa: F401  (adds the command)
