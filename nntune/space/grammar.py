"""Ranges as text: `1:4`, `1e-4:1e-1:log`, `16:64:16`, `relu,tanh`, `100`, `0,1e-6:1e-2:log`.

One grammar serves flags and files. Both ends of a range belong to it.
"""

import math
import re
from decimal import Decimal
from typing import NoReturn

from nntune.errors import UsageError, did_you_mean
from nntune.families import OWN, PREFIX, WORD
from nntune.space.hyperparameter import Hyperparameter, is_whole, written
from nntune.space.rules import ANY, RULES, Rule, flag_of, unknown


class MistakeError(Exception):
    """What is wrong and what would be right, before the flag or file is put in front."""


def parse(name: str, text: str, where: str | None = None) -> Hyperparameter:
    """Read one range.

    >>> parse("lr", "loguniform(0.0001, 0.1)").text
    '1e-4:1e-1:log'

    Args:
        name: one of `NAMES`.
        text: the range; blanks around it and around its parts are ignored.
        where: what an error begins with; the flag if not given.

    Raises:
        UsageError: the name is unknown, or the range has no or no clear meaning.
    """
    if name not in RULES and not name.startswith(PREFIX):
        unknown(name, where)
    try:
        return _parsed(name, RULES.get(name) or own_rule(text), text.strip())
    except MistakeError as mistake:
        place = where or " ".join(flag_of(name, "")).rstrip("= ")
        raise UsageError(f"{place} {text.strip() or repr(text)}: {mistake}") from None


def own_rule(text: str) -> Rule:
    """What a hyperparameter of the user's own network can be, from how its range is written."""
    words = [word.strip() for word in re.split(r"[:,]", text.strip()) if word.strip() != "log"]
    kind: type[int] | type[float] | type[str] = int
    for word in words:
        if not is_whole(word):
            kind = float if kind is not str and _is_number(word) else str
    options = tuple(dict.fromkeys(words)) if kind is str else ()
    return Rule(kind, text, 0, "", -ANY, ANY, "", options, (OWN,))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _parsed(name: str, rule: Rule, text: str) -> Hyperparameter:
    text = _native(rule, text)
    if rule.kind is str:
        return Hyperparameter(name, choices=_words(rule, text))
    if ":" not in text:
        numbers = sorted(_number(rule, word) for word in _distinct(rule, text))
        if len(set(numbers)) < len(numbers):
            raise MistakeError("the same number stands there twice; name each choice once")
        return Hyperparameter(name, numbers[0], numbers[-1], choices=tuple(numbers))
    first, comma, rest = text.rpartition(",")
    if not comma:
        return _range(name, rule, text)
    return _zero_or_range(name, rule, first.strip(), rest.strip())


def _zero_or_range(name: str, rule: Rule, first: str, rest: str) -> Hyperparameter:
    if "," in first or ":" in first or not _is_zero(first):
        raise MistakeError(
            "a list holds single values and a range stands alone; only zero may stand before a log "
            "range, as in 0,1e-6:1e-2:log"
        )
    if rule.low > 0:
        raise MistakeError(f"{rule.limits}; leave out the zero: {rest}")
    if rule.kind is int:
        ends = ",".join(part.strip() for part in rest.split(":")[:2])
        raise MistakeError(
            f"zero before a range is for numbers that need not be whole; write 0,{ends}"
        )
    if not rest.endswith(":log"):
        raise MistakeError(f"zero may stand before a log range only; write 0,{rest}:log")
    found = _range(name, rule, rest)
    return Hyperparameter(name, found.low, found.high, log=True, zero=True)


def _range(name: str, rule: Rule, text: str) -> Hyperparameter:
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 3:
        raise MistakeError("a range has two or three parts: LO:HI, LO:HI:log or LO:HI:STEP")
    low, high = (_number(rule, part) for part in parts[:2])
    if low == high:
        raise MistakeError(f"both ends are equal; write {written(low)} to fix it, or move one end")
    if low > high:
        swapped = ":".join([parts[1], parts[0], *parts[2:]])
        raise MistakeError(f"the bounds are reversed; write {swapped}")
    if len(parts) == 2:
        return Hyperparameter(name, low, high)
    if parts[2] == "log":
        if low == 0:
            raise MistakeError(
                "a log range cannot begin at 0; write "
                f"0,{written(high / 10**4)}:{written(high, True)}:log for zero or a log range"
            )
        return Hyperparameter(name, low, high, log=True)
    return Hyperparameter(name, low, high, step=_step(rule, parts[2], low, high))


def _step(rule: Rule, word: str, low: float, high: float) -> float:
    if re.match(r"[a-zA-Z]", word):
        raise MistakeError(f"the third part is log or a step, not {word!r}")
    step = _plain_number(rule, word)
    lowest, highest, distance = (Decimal(str(number)) for number in (low, high, step))
    if step <= 0:
        raise MistakeError("the step must be above 0; leave it out for every value in between")
    if step > high - low:
        raise MistakeError(
            f"the step is larger than the range; write {written(low)},{written(high)}"
        )
    top = highest - (highest - lowest) % distance
    if top != highest:
        reached, beyond = (written(float(value)) for value in (top, top + distance))
        begin, rest = written(low), written(step)
        raise MistakeError(
            f"steps of {rest} from {begin} reach {reached}, not {written(high)}; "
            f"write {begin}:{reached}:{rest} or {begin}:{beyond}:{rest}"
        )
    return step


def _number(rule: Rule, word: str) -> float:
    number = _plain_number(rule, word)
    if not rule.low <= number <= rule.high:
        raise MistakeError(f"{rule.limits}, {word} is not; for example {rule.text}")
    return number


def _plain_number(rule: Rule, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        what = f"{word!r} is not a number" if word else "a number is missing"
        raise MistakeError(f"{what}; write for example {rule.text}") from None
    if not math.isfinite(number):
        raise MistakeError(f"{word} is not a finite number; write for example {rule.text}")
    if rule.kind is int and number != int(number):
        raise MistakeError(f"{word} is not a whole number; write for example {rule.text}")
    return int(number) if rule.kind is int else number


def _is_zero(word: str) -> bool:
    try:
        return float(word) == 0
    except ValueError:
        return False


def _words(rule: Rule, text: str) -> tuple[str, ...]:
    options = ", ".join(rule.options)
    own = [word for word in map(str.strip, text.split(",")) if WORD.fullmatch(word)]
    if own and rule is RULES["model"]:  # files have colons, and their names are as they are
        rest = ",".join(w for w in map(str.strip, text.split(",")) if w not in own)
        return (*(_words(rule, rest) if rest else ()), *dict.fromkeys(own))
    if ":" in text:
        raise MistakeError(f"these are words, not a range; write one or more of {options}")
    words = [w if w in rule.options else w.lower() for w in _distinct(rule, text)]
    for word in words:
        if word.endswith(".py") and rule is RULES["model"]:
            raise MistakeError(f"name the network in the file too, as in {word}:Net")
        if word not in rule.options:
            hint = did_you_mean(word, rule.options)
            raise MistakeError(
                f"{word!r} is not known; there are {options}{'.' * bool(hint)}{hint}"
            )
    return tuple(option for option in rule.options if option in words)


def _distinct(rule: Rule, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise MistakeError(f"a value is missing beside a comma; write for example {rule.text}")
    for word in words:
        if words.count(word) > 1:
            raise MistakeError(f"{word} stands there twice; name each choice once")
    return words


_FOREIGN_RANGES = {"loguniform": ":log", "uniform": "", "int": ""}


def _native(rule: Rule, text: str) -> str:
    """The grammar's own form of what other tools write."""
    if not text:
        raise MistakeError(f"there is no value; write for example {rule.text}")
    call = re.fullmatch(r"(\w*)\s*[\[({](.*)[\])}]", text)
    if call is None:
        return text
    function, inner = call[1].lower(), call[2].replace("'", "").replace('"', "")
    values = [value.strip() for value in inner.split(",")]
    joined = ",".join(values)
    if function in ("choice", "choices"):
        return joined.strip("[]")
    if function in _FOREIGN_RANGES and len(values) == 2:
        if function in ("int", "randint") and rule.kind is not int:
            raise MistakeError(
                f"whole numbers only would leave nothing in between; write {':'.join(values)}"
            )
        return ":".join(values) + _FOREIGN_RANGES[function]
    if not function:
        _ambiguous(rule, values, joined)
    raise MistakeError(
        f"write LO:HI, LO:HI:log or A,B,C; of other forms loguniform(a,b), uniform(a,b), int(a,b) "
        f"and choice(a,b) are understood; for example {rule.text}"
    )


def _ambiguous(rule: Rule, values: list[str], joined: str) -> NoReturn:
    if len(values) == 2 and rule.kind is not str:
        raise MistakeError(
            f"brackets have two readings; write {':'.join(values)} for the range from {values[0]} "
            f"to {values[1]}, or {joined} for these two values"
        )
    raise MistakeError(f"leave out the brackets: {joined}")
