"""Durations: strings and timedeltas in, whole microseconds out; all else is an error that says how to write it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microconv.durations import (
    MICROS_PER_DAY,
    days,
    format_duration,
    micros_to_moment,
    moment_to_micros,
    to_micros,
)
from microconv.errors import ParameterError

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, MICROS_PER_DAY


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("30D", 30 * DAY),
        ("30d", 30 * DAY),
        (" 30 D ", 30 * DAY),
        ("2W", 14 * DAY),
        ("36h", 36 * HOUR),
        ("1.5h", 90 * MINUTE),
        ("90min", 90 * MINUTE),
        ("1D12h", 36 * HOUR),
        ("1D 12h 30min", 36 * HOUR + 30 * MINUTE),
        ("45s", 45 * SECOND),
        ("0.1s", 100_000),
        ("5ms", 5_000),
        ("7us", 7),
        ("366000D", 366_000 * DAY),
        (dt.timedelta(days=2, seconds=3, microseconds=4), 2 * DAY + 3 * SECOND + 4),
        (pd.Timedelta("1h"), HOUR),
    ],
)
def test_spellings(value: str | dt.timedelta, micros: int) -> None:
    assert to_micros(value) == micros


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (30, "window=30 has no unit.*for 30 days write '30D'"),
        (0.5, "window=0.5 has no unit"),
        (np.int64(7), "has no unit.*write '7D'"),
        (np.float64(7.5), "has no unit.*write '7.5D'"),
        (True, "window=True is not a duration"),
        (None, "window=None is not a duration"),
        ([1], "is not a duration"),
        (np.timedelta64(1, "D"), "is not a duration"),
        (pd.NaT, "window=NaT is not a duration"),
        ("", "window='' is not a duration"),
        ("30", "window='30' is not a duration"),
        ("D", "is not a duration"),
        ("-3D", "is not a duration"),
        ("3 fortnights", "is not a duration"),
        ("3D later", "is not a duration"),
        ("1e3D", "is not a duration"),
        ("1M", "A month has no fixed length: write '30D'"),
        ("3 months", "A month has no fixed length"),
        ("5m", "Minutes are 'min'; a month has no fixed length"),
        ("1y", "A year has no fixed length: write '365D'"),
        ("0D", "window='0D' must be longer than zero"),
        ("0.0000001s", "must be longer than zero"),
        (dt.timedelta(0), "must be longer than zero"),
        (dt.timedelta(days=-1), "must be longer than zero"),
        ("400000D", "longer than a thousand years"),
        (dt.timedelta.max, "longer than a thousand years"),
        ("9" * 400 + "D", "longer than a thousand years"),
    ],
)
def test_impossible_ones(value: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        to_micros(value, "window")  # type: ignore[arg-type]
    assert "'30D'" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_zero_where_it_is_allowed() -> None:
    assert to_micros("0s", zero=True) == 0
    with pytest.raises(ParameterError, match="longer than zero"):
        to_micros(dt.timedelta(microseconds=-1), zero=True)


@given(st.integers(1, 366_000 * DAY))
def test_formatted_durations_are_read_again(micros: int) -> None:
    assert to_micros(format_duration(micros), zero=True) == pytest.approx(micros, rel=1e-15)
    assert to_micros(dt.timedelta(microseconds=micros)) == micros


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (30 * DAY, "30D"),
        (36 * HOUR, "36h"),
        (90 * MINUTE, "90min"),
        (61 * SECOND, "61s"),
        (1_500_000, "1500ms"),
        (7, "7us"),
    ],
)
def test_the_shortest_exact_spelling(micros: int, text: str) -> None:
    assert format_duration(micros) == text


def test_days() -> None:
    assert days(DAY // 4) == 0.25


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_moments_round_trip_to_the_microsecond(moment: dt.datetime) -> None:
    assert micros_to_moment(moment_to_micros(moment)) == moment


def test_moments_before_1970_and_in_other_zones() -> None:
    assert moment_to_micros(dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)) == -1
    assert moment_to_micros(dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))) == 0
    assert moment_to_micros(dt.datetime(1, 1, 1, tzinfo=dt.UTC)) == -62_135_596_800_000_000
