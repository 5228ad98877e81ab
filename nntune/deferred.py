"""Torch without its Python kernels for tensors without data: they take a quarter of its import.

What compiles or exports a network asks for them; a perceptron's training never does.
"""

import importlib
import sys
from types import ModuleType

KERNELS = "torch._meta_registrations"


class _Deferred(ModuleType):
    """Stands where the module would; who wants anything of it gets the module."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # what looks through all modules asks for these
            raise AttributeError(name)
        complete()
        return getattr(sys.modules[self.__name__], name)


def defer() -> None:
    """Lets a later `import torch` go without the kernels; nothing happens where it is done."""
    if "torch" not in sys.modules:
        sys.modules[KERNELS] = _Deferred(KERNELS)


def complete() -> None:
    """Imports the kernels if they were left for later, as torch does itself otherwise."""
    if isinstance(sys.modules.get(KERNELS), _Deferred):
        del sys.modules[KERNELS]
        importlib.import_module(KERNELS)
