"""Trials from the rows of Optuna's tables and ours."""

import json
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from nntune.study.database import Connection
from nntune.study.records import Listed, Trial

STATES = {"running": "RUNNING", "complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
_NAMES = {stored: name for name, stored in STATES.items()}
_SPECIAL = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}

VALUE = "LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0"


def load_trials(connection: Connection, trial_ids: Sequence[int]) -> list[Trial]:
    """Trials in the order of their ids as given."""
    few = "trial_id IN (SELECT value FROM json_each(?))"
    wanted = (json.dumps(list(trial_ids)),)
    rows = connection.execute(
        f"""SELECT t.trial_id, t.number, t.state, v.value, v.value_type, n.epoch, n.reason,
                   n.bracket, n.seconds, n.attempts, t.datetime_start, t.datetime_complete, n.loss
            FROM trials t {VALUE} LEFT JOIN nntune_trial n ON n.trial_id = t.trial_id
            WHERE t.{few}""",
        wanted,
    )
    params, distributions = _params(connection, few, wanted)
    rungs = _by_trial(
        (trial_id, step, _number(value, kind))
        for trial_id, step, value, kind in connection.execute(
            "SELECT trial_id, step, intermediate_value, intermediate_value_type "
            f"FROM trial_intermediate_values WHERE {few} ORDER BY step",
            wanted,
        )
    )
    losses = _by_trial(
        (trial_id, epoch, math.nan if loss is None else loss)
        for trial_id, epoch, loss in connection.execute(
            f"SELECT trial_id, epoch, loss FROM nntune_rung WHERE {few} ORDER BY epoch",
            wanted,
        )
    )
    found = {
        row[0]: Trial(
            number=row[1],
            state=state_of(row[2]),
            params=params.get(row[0], {}),
            distributions_json=distributions.get(row[0], {}),
            value=None if row[4] is None else _number(row[3], row[4]),
            epoch=row[5],
            rungs=rungs.get(row[0], {}),
            reason=row[6] or "",
            bracket=row[7] or 0,
            seconds=row[8] or 0.0,
            attempts=row[9] or 0,
            started=_iso(row[10]),
            finished=_iso(row[11]),
            loss=row[12],
            losses=losses.get(row[0], {}),
        )
        for row in rows
    }
    return [found[trial_id] for trial_id in trial_ids]


def list_trials(connection: Connection, trial_ids: Sequence[int]) -> list[Listed]:
    """Trials in the order of their ids as given, without what lists do not show."""
    few, wanted = _among(trial_ids)
    params: dict[int, dict[str, Any]] = {trial_id: {} for trial_id in trial_ids}
    external: dict[str, Callable[[float], Any] | None] = {}
    for trial_id, name, value in connection.execute(
        f"SELECT trial_id, param_name, param_value FROM trial_params WHERE {few}", wanted
    ).fetchall():
        if name not in external:
            # Optuna holds a name to one kind and its choices for good: one row tells.
            external[name] = _external(_distribution(connection, trial_id, name))
        convert = external[name]
        params[trial_id][name] = value if convert is None else convert(value)
    found = {
        row[0]: Listed(
            row[1],
            state_of(row[2]),
            params[row[0]],
            None if row[4] is None else _number(row[3], row[4]),
            row[5],
            row[6] or "",
        )
        for row in connection.execute(
            f"""SELECT t.trial_id, t.number, t.state, v.value, v.value_type, n.epoch, n.reason
                FROM trials t {VALUE} LEFT JOIN nntune_trial n ON n.trial_id = t.trial_id
                WHERE t.{few}""",
            wanted,
        )
    }
    return [found[trial_id] for trial_id in trial_ids]


def _among(trial_ids: Sequence[int]) -> tuple[str, tuple[Any, ...]]:
    """The condition that a trial is one of these, and its values; a range where it has no gap."""
    if trial_ids and max(trial_ids) - min(trial_ids) + 1 == len(trial_ids):
        return "trial_id BETWEEN ? AND ?", (min(trial_ids), max(trial_ids))
    return "trial_id IN (SELECT value FROM json_each(?))", (json.dumps(list(trial_ids)),)


def _distribution(connection: Connection, trial_id: int, name: str) -> dict[str, Any]:
    (text,) = connection.execute(
        "SELECT distribution_json FROM trial_params WHERE trial_id = ? AND param_name = ?",
        (trial_id, name),
    ).fetchone()
    found: dict[str, Any] = json.loads(text)
    return found


def packed(curve: Sequence[float]) -> bytes:
    """A curve as stored: little-endian single precision."""
    values = array("f", curve)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def unpacked(blob: bytes) -> list[float]:
    """The inverse of `packed`.

    >>> unpacked(packed([0.5, 0.25]))
    [0.5, 0.25]
    """
    values = array("f", blob)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def _params(
    connection: Connection, few: str, wanted: tuple[str]
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, str]]]:
    params: dict[int, dict[str, Any]] = {}
    distributions: dict[int, dict[str, str]] = {}
    external: dict[str, Callable[[float], Any] | None] = {}
    for trial_id, name, value, text in connection.execute(
        "SELECT trial_id, param_name, param_value, distribution_json "
        f"FROM trial_params WHERE {few} ORDER BY param_id",
        wanted,
    ):
        if text not in external:
            external[text] = _external(json.loads(text))
        convert = external[text]
        params.setdefault(trial_id, {})[name] = value if convert is None else convert(value)
        distributions.setdefault(trial_id, {})[name] = text
    return params, distributions


def _external(distribution: dict[str, Any]) -> Callable[[float], Any] | None:
    """What makes a value of what Optuna stored as a float, of a choice its index; None for one."""
    match distribution["name"]:
        case "CategoricalDistribution":
            choices = distribution["attributes"]["choices"]
            return lambda index: choices[int(index)]
        case "IntDistribution":
            return int
    return None


def _by_trial(rows: Iterable[tuple[int, int, float]]) -> dict[int, dict[int, float]]:
    found: dict[int, dict[int, float]] = {}
    for trial_id, epoch, value in rows:
        found.setdefault(trial_id, {})[epoch] = value
    return found


def _number(value: float | None, kind: str) -> float:
    return _SPECIAL[kind] if value is None else value


def state_of(stored: str) -> str:
    return _NAMES.get(stored, stored.lower())


def moment(stored: str) -> datetime:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)


def _iso(stored: str | None) -> str:
    return moment(stored).isoformat() if stored else ""
