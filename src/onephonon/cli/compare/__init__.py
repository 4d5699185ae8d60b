"""``onephonon compare``: comparison of a model with data."""

from . import command  # noqa: F401  (adds the command)
