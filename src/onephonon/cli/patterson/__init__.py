"""``onephonon patterson``: diffuse Patterson maps."""

from . import command  # noqa: F401  (adds the command)
