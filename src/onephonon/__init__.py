"""One-phonon diffuse X-ray scattering from protein crystals.

`OnePhonon` is the model; the packages below it are pure functions over frozen dataclasses. Names
are imported when they are first used, so that the command line starts without waiting for torch.
"""

import lazy_loader as lazy

from . import _documented_paths

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

__version__ = "0.1.0"

_documented_paths.install()
