"""``onephonon modes``: the vibrations of a crystal, in tables, pictures and films."""

from . import command  # noqa: F401  (adds the command)
