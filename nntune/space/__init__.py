"""The search space: which values a hyperparameter may take, as text, TOML and for Optuna."""

from nntune.space.building import asked_ranges, bins_of, build, explicit
from nntune.space.grammar import parse
from nntune.space.hyperparameter import Hyperparameter
from nntune.space.rules import NAMES, RULES, TEXT, Value, family_of, flag_of
from nntune.space.toml import parse_toml, texts_of
from nntune.space.whole import Space

__all__ = [
    "NAMES",
    "RULES",
    "TEXT",
    "Hyperparameter",
    "Space",
    "Value",
    "asked_ranges",
    "bins_of",
    "build",
    "explicit",
    "family_of",
    "flag_of",
    "parse",
    "parse_toml",
    "texts_of",
]
