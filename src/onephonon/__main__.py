"""``python -m onephonon``."""

from onephonon.cli import main

main()
