"""Short import paths that the documentation uses, for modules that live inside the packages.

``from onephonon.sampling import shells`` gives the very module ``onephonon.scattering.sampling``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

#: Documented name, and where the module is, both inside this package.
PATHS = {
    "formats": "maps.io",
    "interfaces": "network.interfaces",
    "plot": "viz.plot",
    "sampling": "scattering.sampling",
    "softest": "scattering.softest",
    "springs": "network.springs",
}


class _DocumentedPaths(MetaPathFinder, Loader):
    """Finds the modules of `PATHS` under their documented names."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != __package__ or name not in PATHS:
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = spec.name.rpartition(".")[2]
        module = importlib.import_module(f"{__package__}.{PATHS[name]}")
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module has run under its own name; the import system replaced its spec.
        module.__spec__ = self._spec


def install() -> None:
    """Make the documented paths importable."""
    if not any(isinstance(finder, _DocumentedPaths) for finder in sys.meta_path):
        sys.meta_path.append(_DocumentedPaths())
