"""``onephonon info``: what is in a map, in words, numbers and a small picture."""

from . import command  # noqa: F401  (adds the command)
