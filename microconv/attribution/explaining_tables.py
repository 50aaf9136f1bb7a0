"""The frames of one explained conversion: parts as rows, models side by side, the user's conversions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from microconv.durations import days
from microconv.reduce.money import CENTS

if TYPE_CHECKING:
    from microconv.attribution.one_conversion import Part
    from microconv.reduce.path_of_user import Conversion, UserPaths

__all__ = ["conversions_table", "table_of", "touches_side_by_side"]


def _times(parts: Sequence[Part], at_hand: Conversion) -> dict[str, Any]:
    """``touch, time, channel, age_days`` of parts."""
    moments = [part.touch.at if part.touch is not None else None for part in parts]
    return {
        "touch": pd.array([part.place + 1 if part.place is not None else None for part in parts], dtype="Int64"),
        "time": pd.to_datetime(pd.array(moments, dtype="Int64"), unit="us", utc=True),
        "channel": pd.Series([part.channel for part in parts], dtype=object),
        "age_days": [days(at_hand.at - at) if at is not None else np.nan for at in moments],
    }


def table_of(parts: Sequence[Part], at_hand: Conversion, worth: float) -> pd.DataFrame:
    share = np.array([part.share for part in parts])
    columns = {"model": [part.model for part in parts], **_times(parts, at_hand)}
    return pd.DataFrame({**columns, "share": share, "value": share * worth, "users": 1})


def touches_side_by_side(parts: Sequence[Part], at_hand: Conversion) -> pd.DataFrame:
    """``touch, time, channel, age_days`` and a column of shares for each model; touches in time order, then what is
    no touch. Touches of the path are named as on the path.
    """
    rows: dict[Any, Part] = {}
    for part in sorted(parts, key=lambda part: part.model == "survival"):
        rows.setdefault(part.touch.number if part.touch is not None else part.channel, part)
    touched = [key for key in rows if isinstance(key, int)]
    places = {number: rows[number].place for number in touched}
    # On the path in its order, which transforms may have changed; what is before the path comes first.
    touched.sort(key=lambda number: (rows[number].touch.at, places[number] is not None, places[number] or 0, number))  # type: ignore[union-attr]
    keys = [*touched, *[key for key in rows if not isinstance(key, int)]]
    found = pd.DataFrame(_times([rows[key] for key in keys], at_hand))
    for model in dict.fromkeys(part.model for part in parts):
        shares = {
            part.touch.number if part.touch is not None else part.channel: part.share
            for part in parts
            if part.model == model
        }
        found[model] = [shares.get(key, np.nan) for key in keys]
    return found.assign(users=1)


def conversions_table(paths: UserPaths, money: bool) -> pd.DataFrame:
    found = paths.conversions
    return pd.DataFrame(
        {
            "conversion": range(1, len(found) + 1),
            "time": pd.to_datetime([one.at for one in found], unit="us", utc=True),
            "events": [one.events for one in found],
            "value": [one.cents / CENTS if money else np.nan for one in found],
            "touches": [len(one.path) for one in found],
            "users": 1,
        }
    )
