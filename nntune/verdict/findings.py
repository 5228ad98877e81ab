"""What a careful reader would notice about a study, each in one sentence with what to do about it.

Computed from the study's file alone. Of thousands of trials an even sample is looked at.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from nntune.space import Hyperparameter, flag_of
from nntune.study import Trial, View
from nntune.study.records import Listed
from nntune.wording import number, plain

_SAMPLE = 1000
_ENOUGH = 96  # trials before a hyperparameter is said not to matter
_SMALL = 160  # validation rows; what a table of a thousand has
# Of what was kept when the study was made.
_DATA = ("imbalanced", "leak", "duplicates", "order", "groups")


class Finding(NamedTuple):
    """One sentence.

    Attributes:
        name: its kind, one word.
        sentence: what was seen and what to do about it.
        flag: to act on it, as on the command line; nothing where there is none.
    """

    name: str
    sentence: str
    flag: str


def findings(view: View) -> list[Finding]:
    """All findings, those about the winner first; none while no trial has a value."""
    trial, confirmation = view.judged()
    if trial is None:
        return []
    space = [each for each in view.space.hyperparameters if not each.fixed]
    params = view.space.params(trial.params)
    seen = view.sample(_SAMPLE)
    configurations = [(each, view.space.params(each.params)) for each in seen]
    return [
        *_edges(space, params),
        *_unfinished(view, trial, params),
        *_overfitting(view, trial, params),
        *_diverged(space, configurations),
        *_indifferent(view, space, configurations, params),
        *_noisy(view.definition.metric, confirmation),
        *_small(view),
        *_of_the_data(view),
    ]


def _edges(space: Sequence[Hyperparameter], params: dict[str, Any]) -> Iterator[Finding]:
    for each in space:
        if each.name not in params:
            continue
        if each.beyond(params[each.name]):
            yield Finding(
                "outside",
                f"{each.name} {plain(params[each.name])} lies outside of {each.text}, the present "
                "range; it was drawn from an earlier one.",
                "",
            )
        if edge := each.edge(params[each.name]):
            # Optuna keeps the choices of a parameter for good; a range may grow within a study.
            how = "in a new study (--study NAME)" if each.choices else "with --update-space"
            flag = " ".join(flag_of(each.name, each.widened(edge)))
            yield Finding(
                "edge",
                f"{each.name} {plain(params[each.name])} lies at the {edge} end of {each.text}; "
                f"{flag} looks further, {how}.",
                flag,
            )


def _unfinished(view: View, trial: Trial, params: dict[str, Any]) -> Iterator[Finding]:
    longest = int(params["epochs"])
    if trial.state == "complete" and (trial.epoch or 0) >= 0.97 * longest:
        flag = f"--epochs {2 * longest}"
        yield Finding(
            "unfinished",
            f"trial #{trial.number} was still improving at the end of its {longest} epochs; "
            f"{flag} trains longer, in a new study (--study NAME).",
            flag,
        )


def _overfitting(view: View, trial: Trial, params: dict[str, Any]) -> Iterator[Finding]:
    curve = [value for value in view.curve(trial.number) if math.isfinite(value)]
    if not curve or not trial.epoch:
        return
    best, first, last = curve[trial.epoch - 1], curve[0], curve[-1]
    if len(curve) >= trial.epoch + 5 and abs(last - best) > 0.1 * abs(first - best) > 0:
        flag = "--l2 1e-5:1e-1:log" + " --dropout 0.1:0.7" * ("dropout" in params)
        yield Finding(
            "overfitting",
            f"after epoch {trial.epoch} trial #{trial.number} gets worse, {view.definition.metric} "
            f"{number(best)} to {number(last)} at epoch {len(curve)}; {flag} holds it back.",
            flag,
        )


def _diverged(
    space: Sequence[Hyperparameter], seen: Sequence[tuple[Listed, dict[str, Any]]]
) -> Iterator[Finding]:
    lost = [
        params
        for trial, params in seen
        if trial.state == "failed" and trial.reason.startswith("diverged")
    ]
    if len(lost) < 2:
        return
    ended = [params for trial, params in seen if trial.state != "running"]
    said = f"{len(lost)} of {len(ended)} trials diverged"
    places = [place for each in space if (place := _place(each, lost, ended))]
    if not places:
        yield Finding("diverged", f"{said}, nowhere in particular; --lr lower is safer.", "--lr")
        return
    _, words, flag = max(places)
    yield Finding("diverged", f"{said}, {words}; {flag} leaves that out.", flag)


def _place(
    each: Hyperparameter, lost: Sequence[dict[str, Any]], ended: Sequence[dict[str, Any]]
) -> tuple[float, str, str] | None:
    """How much more often trials diverge from the least value on at which any did; in words."""
    values = [params[each.name] for params in lost if _is_number(params.get(each.name))]
    if len(values) < len(lost) or each.choices or each.zero:
        return None
    least = min(values)
    known = [params[each.name] for params in ended if _is_number(params.get(each.name))]
    there = sum(value >= least for value in known)
    gain = (len(lost) / there) / (len(lost) / len(ended))
    if gain < 2 or least <= each.low:
        return None
    high = _below(each, least)
    kept = replace(each, high=high) if high > each.low else replace(each, choices=(each.low,))
    flag = " ".join(flag_of(each.name, kept.text))
    return gain, f"all with {each.name} of {least:.3g} or more (of {there} there)", flag


def _below(each: Hyperparameter, least: float) -> float:
    """The next lower value of a range; of a continuous one a little less, in three digits."""
    if step := each.step or isinstance(each.low, int):
        return float(f"{max(least - step, each.low):.6g}")
    digits = (float(f"{least - part * abs(least):.3g}") for part in (0, 0.005))
    return next((value for value in digits if value < least), each.low)


def _indifferent(
    view: View,
    space: Sequence[Hyperparameter],
    seen: Sequence[tuple[Listed, dict[str, Any]]],
    params: dict[str, Any],
) -> Iterator[Finding]:
    """Hyperparameters whose values explain no more of the trials' ranks than chance would.

    The statistic is that of Kruskal & Wallis 1952, over the values or fifths of a range; its mean
    under chance is the number of groups less one.
    """
    valued = [(trial.value, found) for trial, found in seen if trial.value is not None]
    if len(valued) < _ENOUGH:
        return
    ranks = _ranks([value for value, _ in valued])
    for each in space:
        if any(each.name not in found for _, found in valued):
            continue
        groups = _groups([found[each.name] for _, found in valued], ranks)
        if len(groups) > 1 and _kruskal(groups) <= len(groups) - 1:
            flag = " ".join(flag_of(each.name, plain(params[each.name])))
            yield Finding(
                "indifferent",
                f"{each.name} does not matter, as far as {len(valued)} trials show; {flag} leaves "
                "more of them for the rest, in a new study (--study NAME).",
                flag,
            )


def _groups(values: Sequence[Any], ranks: Sequence[float]) -> list[list[float]]:
    """Ranks by value, or by fifth of the values where there are many."""
    pairs = sorted(zip(values, ranks, strict=True), key=lambda pair: (str(type(pair[0])), pair[0]))
    if len(set(values)) <= 6:
        return [[rank for _, rank in group] for _, group in groupby(pairs, lambda pair: pair[0])]
    cuts = [len(pairs) * part // 5 for part in range(6)]
    return [[rank for _, rank in pairs[a:b]] for a, b in pairwise(cuts)]


def _kruskal(groups: Sequence[Sequence[float]]) -> float:
    count = sum(map(len, groups))
    spread = sum(len(group) * (sum(group) / len(group) - (count + 1) / 2) ** 2 for group in groups)
    return 12 * spread / (count * (count + 1))


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share their mean rank."""
    ranks = [0.0] * len(values)
    start = 1
    for _, group in groupby(sorted(range(len(values)), key=values.__getitem__), values.__getitem__):
        places = list(group)
        for place in places:
            ranks[place] = start + (len(places) - 1) / 2
        start += len(places)
    return ranks


def _noisy(metric: str, found: dict[str, Any] | None) -> Iterator[Finding]:
    if found is None:
        return
    few = [each for each in found["candidates"] if each["sd"] is not None]
    if len(few) < 2:
        return
    first, last = few[0], few[-1]
    se = math.hypot(*(each["sd"] / math.sqrt(len(each["values"])) for each in (first, last)))
    if abs(first["mean"] - last["mean"]) <= 2 * se:
        count = 4 * len(found["seeds"])
        flag = f"--seeds {count}"
        yield Finding(
            "noisy",
            f"the {len(few)} confirmed configurations cannot be told apart: from best to worst "
            f"{number(abs(first['mean'] - last['mean']))} {metric}, with a standard error of "
            f"{number(se)}; nntune confirm {flag} looks closer, or take the smallest network.",
            flag,
        )


def _small(view: View) -> Iterator[Finding]:
    if view.validated >= _SMALL or view.folds > 1:
        return
    request = view.definition.data.get("request", {})
    if request.get("valid"):  # beside it, and in time, there are no folds
        flag, more = "--valid", "--valid with more rows says more."
    elif request.get("time") or request.get("lags"):
        flag, more = "", "only a longer table says more."
    else:
        condition = " (with 5 groups or more)" * bool(request.get("group"))
        flag, more = "--cv 5", (
            f"--cv 5{condition} validates on all of training and validation, in a new study."
        )  # fmt: skip
    yield Finding(
        "small",
        f"the value rests on {view.validated} validation rows: small differences mean nothing; "
        f"{more}",
        flag,
    )


def _of_the_data(view: View) -> Iterator[Finding]:
    for name, sentence in view.attributes().get("data_findings", []):
        if name in _DATA:
            flags = [word for word in sentence.split() if word.startswith("--")]
            yield Finding(name, f"{sentence}.", flags[0] if flags else "")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
