"""``onephonon compare``: a model against data."""

from . import command  # noqa: F401  (adds the command)
