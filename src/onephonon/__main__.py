"""``python -m onephonon``."""

from .cli import main

main()
