"""``onephonon simulate``: the diffuse intensity of a structure."""

from . import command  # noqa: F401  (adds the command)
