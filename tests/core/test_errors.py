"""Messages of errors."""

from __future__ import annotations

from onephonon import FileError, InputError
from onephonon.core.errors import MAX_MESSAGE


def test_a_long_message_keeps_its_beginning_and_end() -> None:
    assert str(InputError("d_min 3: give Å")) == "d_min 3: give Å"
    said = str(FileError(f"a.pdb: chain {'x' * 100_000} is unknown; give another"))
    assert said.startswith("a.pdb: chain xxx")
    assert said.endswith("xxx is unknown; give another")
    assert len(said) < MAX_MESSAGE + 10
