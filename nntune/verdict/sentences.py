"""A confirmation in words: what is a result, what was luck, what a plain model would do."""

from typing import Any

from nntune.wording import number

# Standard errors from which on a difference counts. The network was chosen from many more
# configurations than a plain model, and at the best of many epochs, on the rows that compare the
# two: where it leads, more is asked.
SURE, AHEAD = 2.0, 3.0
_PLAIN, _LINEAR = ("majority", "mean"), ("ridge", "lasso", "logistic_l2", "logistic_l1")


def headline(confirmation: dict[str, Any]) -> str:
    """The winner's value: mean and standard deviation over seeds, standard error over rows."""
    found = confirmation["confirmed"]
    count = len(found["values"])
    spread = "" if found["sd"] is None else f" ± {number(found['sd'])}"
    failed = f", {found['failed']} failed" if found["failed"] else ""
    rows = f" and ± {number(found['se_rows'])} over other rows" if found.get("se_rows") else ""
    return f"{number(found['mean'])}{spread} over {count} fresh seeds{failed}{rows}"


def luck(confirmation: dict[str, Any]) -> str:
    """What the search's own best value owed to luck."""
    gap, best = confirmation["luck"], _best_searched(confirmation)
    if gap is None:
        return ""
    again = best["searched"] + (-gap if confirmation["direction"] == "maximize" else gap)
    said = f"the search's best, #{best['trial']}, had {number(best['searched'])} there and has "
    worth = f"{number(gap)} was luck" if gap > 0 else "it did not flatter"
    return f"{said}{number(again)} from fresh seeds: {worth}"


def against(confirmation: dict[str, Any]) -> list[str]:
    """One sentence for each kind of baseline: none, linear, boosting."""
    found, metric = confirmation["baselines"], confirmation["metric"]
    linear = [each for each in found if each["name"] in _LINEAR]
    kinds = [[e for e in found if e["name"] in _PLAIN], linear]
    kinds += [[e for e in found if e["name"] not in (*_PLAIN, *_LINEAR)]]
    # The best of a kind is the one to beat.
    best = [min(kind, key=lambda each: each["difference"]) for kind in kinds if kind]
    return [_compared(each, metric) for each in best]


def of_the_test(found: dict[str, Any]) -> list[str]:
    """The network beside each baseline on the test rows; 95 % of resamples decide."""
    lines = []
    for entry in found["entries"][1:]:
        gap = entry.get("difference")
        if gap is None:
            continue
        verb = (
            "beats" if gap["low"] > 0 else "loses to" if gap["high"] < 0 else "cannot be told from"
        )
        which, bounds = "better", (gap["low"], gap["high"])
        if gap["value"] < 0:
            which, bounds = "worse", (-gap["high"], -gap["low"])
        low, high = map(number, bounds)
        lines.append(
            f"The network {verb} {entry['label']}: {number(abs(gap['value']))} {found['metric']} "
            f"{which} [{low}, {high}]."
        )
    return lines


def standing(baseline: dict[str, Any]) -> str:
    """'better', 'worse' or 'alike': the network beside a baseline."""
    difference, se = baseline["difference"], baseline["se"]
    if se is None:
        return "alike"
    if difference > AHEAD * se:
        return "better"
    return "worse" if difference < -SURE * se else "alike"


def errors(baseline: dict[str, Any]) -> str:
    """A difference in standard errors."""
    difference, se = abs(baseline["difference"]), baseline["se"]
    if not se:
        return "of unknown standard error"
    return f"{difference / se:.{0 if difference >= 10 * se else 1}f} standard errors"


def _compared(baseline: dict[str, Any], metric: str) -> str:
    gap, label = number(abs(baseline["difference"])), baseline["label"]
    match standing(baseline):
        case "better":
            return f"The network beats {label} by {gap} {metric} ({errors(baseline)})."
        case "worse":
            return f"The network loses to {label} by {gap} {metric} ({errors(baseline)})."
    which = "better" if baseline["difference"] > 0 else "worse"
    return (
        f"As good as the network, as far as these rows tell: {label} "
        f"(the network is {gap} {metric} {which}, {errors(baseline)})."
    )


def _best_searched(confirmation: dict[str, Any]) -> dict[str, Any]:
    """The candidate that the search had in front; of equal ones the earlier."""
    sign = -1 if confirmation["direction"] == "maximize" else 1
    found: list[dict[str, Any]] = confirmation["candidates"]
    return min(found, key=lambda each: (sign * each["searched"], each["trial"]))
