"""Tune neural networks from the terminal: a data file in, the best network out."""

from nntune.errors import Error

__all__ = ["Error", "__version__"]
__version__ = "0.1.0"
