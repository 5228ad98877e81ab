"""Tune neural networks from the terminal: a data file in, the best network out."""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nntune.errors import Error

if TYPE_CHECKING:
    from nntune.bundle import load as load
    from nntune.estimators import NNTuneClassifier as NNTuneClassifier
    from nntune.estimators import NNTuneRegressor as NNTuneRegressor
    from nntune.session import search as search

__all__ = ["Error", "NNTuneClassifier", "NNTuneRegressor", "__version__", "load", "search"]
__version__ = "0.1.0"

# Loaded when first asked for: the command line has no use for them, and they are slow to import.
_HOMES = {"NNTuneClassifier": "estimators", "NNTuneRegressor": "estimators", "load": "bundle"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nntune' has no attribute {name!r}")
    return getattr(import_module(f"nntune.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `nntune.search` a function: Python would put the module of that name in its place."""

    @property
    def search(self) -> Callable[..., Any]:
        from nntune.session import search

        return search

    @search.setter
    def search(self, module: ModuleType) -> None:
        """Loading a module does this; it is found in sys.modules all the same."""


sys.modules[__name__].__class__ = _Package
