"""What two configurations, confirmed on the same seeds, say about which is better."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nntune.report.wording import number
from nntune.study import View
from nntune.verdict import sentences


class Paired(NamedTuple):
    """Two configurations confirmed on the same seeds.

    Attributes:
        difference: mean over seeds of how much better the first is, in the metric's unit.
        se: standard error of that mean; nan of a single seed.
        wins: on so many seeds the first is better.
        losses: on so many the second.
    """

    seeds: int
    difference: float
    se: float
    wins: int
    losses: int


def paired(view: View, first: int, other: View, second: int) -> Paired | None:
    """What confirmations say of two trials, of one study or of two on the same rows.

    None if they were not confirmed on two seeds or more that they share.
    """
    if not same_rows(view, other):
        return None
    comparable = ("metric", "direction", "rows")
    for ours in reversed(view.verdicts("confirmation")):
        for theirs in reversed(other.verdicts("confirmation")):
            one, two = _values(ours, first), _values(theirs, second)
            seeds = sorted(one.keys() & two.keys())
            if len(seeds) > 1 and all(ours[key] == theirs[key] for key in comparable):
                sign = -1 if ours["direction"] == "minimize" else 1
                return _paired([sign * (one[seed] - two[seed]) for seed in seeds])
    return None


def _values(confirmation: Mapping[str, Any], trial: int) -> dict[int, float]:
    """Seed to value; none if a seed failed, because then no one knows which."""
    seeds = confirmation["seeds"]
    for candidate in confirmation["candidates"]:
        if candidate["trial"] == trial and len(candidate["values"]) == len(seeds):
            return dict(zip(seeds, candidate["values"], strict=True))
    return {}


def _paired(differences: Sequence[float]) -> Paired:
    return Paired(
        len(differences),
        statistics.fmean(differences),
        statistics.stdev(differences) / math.sqrt(len(differences)),
        sum(difference > 0 for difference in differences),
        sum(difference < 0 for difference in differences),
    )


def in_words(found: Paired | None, names: Sequence[str], metric: str) -> str:
    """Which of two is better, and whether the difference is one."""
    if found is None:
        return "Not confirmed on the same seeds, so this may be luck: nntune confirm says more."
    is_first = found.difference >= 0
    wins = found.wins if is_first else found.losses
    close = ": too close to call" * (abs(found.difference) <= sentences.SURE * found.se)
    return (
        f"Confirmed on the same {found.seeds} seeds: {names[0 if is_first else 1]} is better on "
        f"{wins}, in the mean by {number(abs(found.difference))} ± {number(found.se)} {metric} "
        f"(standard error){close}."
    )


def paired_json(found: Paired | None) -> dict[str, Any] | None:
    return None if found is None else found._asdict()


def differences(
    one: Mapping[str, Any], two: Mapping[str, Any]
) -> tuple[list[tuple[str, Any, Any]], list[str]]:
    """(name, this, that) where two mappings differ, and the names where they do not."""
    names = [*one, *(name for name in two if name not in one)]
    rows = [(name, one.get(name), two.get(name)) for name in names]
    different = [row for row in rows if row[1] != row[2]]
    return different, [row[0] for row in rows if row[1] == row[2]]


def same_rows(one: View, two: View) -> bool:
    """Whether two studies are judged on the same validation rows."""
    return one.definition.data.get("fingerprint") == two.definition.data.get("fingerprint")
