"""Where the structures that come with the tests lie."""

from pathlib import Path

DATA = Path(__file__).parent / "data"
