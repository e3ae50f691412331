"""What the values of an attribute are: numbers, categories, labels or texts."""

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

log = logging.getLogger(__name__)

Kind: TypeAlias = Literal["number", "category", "labels", "text", "none"]
FEW = 32  # this many distinct words are categories, however few nodes there are
LARGEST = float(np.finfo(np.float32).max)
DAY = re.compile(r"\d{4}-\d\d-\d\d")


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Refuse a kind that there is not.

    Raises:
        ValueError: naming those that there are.
    """
    if wrong := {name: kind for name, kind in kinds.items() if kind not in get_args(Kind)}:
        raise ValueError(f"a kind is one of {list(get_args(Kind))}, got {wrong}.")


def kind_of(name: str, values: Sequence[Any], max_values: int) -> Kind:
    """The kind of a column of known values, by the rule in `Profile`.

    Raises:
        ValueError: if they are of several kinds or of none.
    """
    found = {_nature(value) for value in values}
    if len(found) != 1 or None in found:
        raise ValueError(f"the column {name!r} holds {' and '.join(sorted({type(v).__name__ for v in values}))}, which "
                         f"no single kind covers; say how to read it, or leave it out: kinds={{{name!r}: 'none'}}.")
    if (nature := found.pop()) not in ("text", None):
        return nature
    if all(_days(value) is not None for value in values):
        return "number"
    distinct = set(values)
    words = not any(re.search(r"\s", value.strip()) for value in distinct)
    if (2 * len(distinct) <= len(values) and len(distinct) <= max_values) or (words and len(distinct) <= FEW):
        return "category"
    if words and len(distinct) == len(values):
        log.warning("the attribute %r looks like an id (%d words, all distinct, e.g. %r) and is left out; to encode it "
                    "tell its kind", name, len(values), values[0])
        return "none"
    return "text"


def missing(value: Any) -> bool:
    """Whether a value says nothing: null, NaN, infinite or beyond float32, blank, or a list of such."""
    if isinstance(value, list):
        return all(missing(each) for each in value)
    if isinstance(value, int | float):
        return not abs(value) <= LARGEST
    return value is None or (isinstance(value, str) and not value.strip())


def parsed(kind: Kind, value: Any) -> Any:
    """A value as its kind needs it: float for a number, distinct strings for category and labels, str for a text.

    None if it is missing or not of this kind.
    """
    if missing(value) or kind == "none":
        return None
    if kind == "number":
        return _number(value)
    words = [_word(each) for each in (value if isinstance(value, list) else [value]) if not missing(each)]
    if None in words or (kind == "category" and isinstance(value, list)):
        return None
    return ", ".join(str(word) for word in words) if kind == "text" else tuple(dict.fromkeys(words))


def plain(name: str, value: Any) -> Any:
    """A value of a table as JSON can say it: dates as ISO text, durations in seconds, no missing value inside.

    Raises:
        TypeError: for what JSON cannot say.
    """
    if isinstance(value, list):
        return [each for each in (plain(name, v) for v in value) if not missing(each)]
    if isinstance(value, dict):
        return {key: plain(name, each) for key, each in value.items() if not missing(plain(name, each))}
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"the column {name!r} holds {type(value).__name__}, which is no attribute; name it in leave_out.")


def _nature(value: Any) -> Kind | None:
    """What a single value is; None for what no kind covers."""
    if isinstance(value, bool):
        return "category"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list) and all(isinstance(each, str) for each in value if not missing(each)):
        return "labels"
    return "text" if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    if (days := _days(value)) is not None:
        return days
    try:
        number = float(value)
    except ValueError:
        return None
    return None if missing(number) else number


def _days(text: str) -> float | None:
    """Days since 1970 of an ISO date or time, UTC unless it says otherwise."""
    if not DAY.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)
    except ValueError:
        return None


def _word(value: Any) -> str | None:
    """A value as a category: 5 and 5.0, which a missing value makes of it, are the same."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else repr(value)
    return value if isinstance(value, str) else None
