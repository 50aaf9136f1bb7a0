"""read_events: every row accepted or rejected for one reason, times of any spelling, any columns, plans that fit.

Files that are damaged and sources that cannot be opened are in test_bad_input.py and tests/sources.
"""

from __future__ import annotations

import datetime as dt
import decimal
import os
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microconv as mc

UTC = dt.UTC


def quietly(source: Any, **options: Any) -> mc.EventLog:
    """A log, its warnings aside: each of them is also a note of the log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mc.MicroconvWarning)
        return mc.read_events(source, **options)


@contextmanager
def warned() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings of microconv within; any other is an error, as everywhere (pytest.warns would let them through)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", mc.MicroconvWarning)
        yield caught


def said(caught: list[warnings.WarningMessage]) -> list[str]:
    assert {warning.filename for warning in caught} <= {__file__}  # each points at the caller
    return [str(warning.message) for warning in caught]


def reasons(log: mc.EventLog) -> dict[str, int]:
    return dict(zip(log.accounting["reason"], log.accounting["rows"], strict=True))


def rows_of(log: mc.EventLog) -> pd.DataFrame:
    return log.engine.fetch(log.events)


def times_of(values: Any, **options: Any) -> list[dt.datetime | None]:
    """What is read of some times, in their order; None for a row that is rejected."""
    source = values
    if not hasattr(values, "columns"):
        count = len(values)
        source = pd.DataFrame({"user_id": range(count), "time": values, "event": "e"})
    log = quietly(source, **options)
    found = {int(row["user_id"]): row["time"].to_pydatetime() for row in rows_of(log).to_dict("records")}
    assert log.rows_read == log.rows_accepted + log.rows_rejected == len(source)
    return [found.get(i) for i in range(len(source))]


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- The account -----------------------------------------------------------------------------------------------------

TIMES: dict[str | None, str | None] = {
    None: "missing time",
    "": "missing time",
    " ": "missing time",
    "soon": "unparsable time",
    "2026-02-30": "unparsable time",
    "infinity": "unparsable time",
    "2026-01-01T00:00:00Z": None,
    "2026-01-01T01:00:00+01:00": None,  # the same instant
    "2026-01-02 00:00:00+00": None,
    "2026-01-03T12:00:00.000001Z": None,
    "2026-01-10T00:00:00Z": None,  # exactly the end of observation
    "2026-01-10T00:00:00.000001Z": "time in the future",
    "2027-01-01T00:00:00+14:00": "time in the future",
}
ROW = st.tuples(
    st.sampled_from(["a", "b", "b", "a", "b", " ", "", None]),
    st.sampled_from([*TIMES, *[time for time, reason in TIMES.items() if reason is None] * 4]),
    st.sampled_from(["x", "y", "y", "x", "y", "", None]),
    st.sampled_from([None, "", "1", "1", "2", "3"]),
    st.sampled_from([None, 1.0, 2.5]),
)
COLUMNS = ["user_id", "time", "event", "event_id", "value"]
SOUND = ("a", "2026-01-01T00:00:00Z", "x", None, 1.0)


def verdict(row: Sequence[Any]) -> str | None:
    user, time, event, *_ = row
    if not user:
        return "missing user_id"
    if not event:
        return "missing event"
    return TIMES[time]


def instant(row: Sequence[Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(row[1])


def expected_account(rows: Sequence[Sequence[Any]], exact: bool) -> Counter[str]:
    found: Counter[str] = Counter()
    seen: set[Any] = set()
    ids: set[str] = set()
    for row in rows:
        reason = verdict(row)
        # An empty id is none, so rows that differ in that alone are equal.
        key = (*row[:3], row[3] or None, row[4])
        if reason is None and exact and key in seen:
            reason = "exact duplicate"
        seen.add(key)
        if reason is None and row[3]:
            reason = "duplicate event_id" if row[3] in ids else None
            ids.add(row[3])
        found[reason or "accepted"] += 1
    return found


@given(st.lists(ROW, min_size=10, max_size=25), st.booleans(), st.integers(0, 2**16))
@settings(max_examples=30)
def test_every_row_has_one_verdict_whatever_the_order(rows: list[Any], exact: bool, seed: int) -> None:
    rows = [SOUND, *rows]
    options: dict[str, Any] = {
        "observed_until": "2026-01-10",
        "tz": "UTC",
        "exact_duplicates": "reject" if exact else "keep",
    }
    log = quietly(pd.DataFrame(rows, columns=COLUMNS), **options)
    assert reasons(log) == expected_account(rows, exact)
    assert log.rows_read == len(rows) == log.rows_accepted + log.rows_rejected
    kept = rows_of(log)
    assert len(kept) == log.rows_accepted
    assert (log.rejected is None) == (log.rows_rejected == 0)
    if log.rejected is not None:
        refused = log.engine.fetch(log.rejected)
        assert Counter(refused["reason"]) + Counter({"accepted": len(kept)}) == expected_account(rows, exact)
    # Of a repeated id the earliest stays.
    sound = [row for row in rows if verdict(row) is None and row[3]]
    for event_id in {row[3] for row in sound}:
        earliest = min(instant(row) for row in sound if row[3] == event_id)
        assert kept.loc[kept["event_id"] == event_id, "time"].tolist() == [earliest]
    again = list(rows)
    random.Random(seed).shuffle(again)
    other = quietly(pd.DataFrame(again, columns=COLUMNS), **options)
    pd.testing.assert_frame_equal(log.accounting, other.accounting)
    assert log.fingerprint == other.fingerprint
    order = [*COLUMNS]
    pd.testing.assert_frame_equal(
        kept.sort_values(order, ignore_index=True), rows_of(other).sort_values(order, ignore_index=True)
    )


def test_a_rejected_row_takes_no_id_away() -> None:
    rows = [
        ("a", "2026-01-01T00:00Z", None, "1"),
        ("a", "2026-01-03T00:00Z", "x", "1"),
        ("b", "2026-01-02T00:00Z", "x", "1"),
    ]
    log = quietly(pd.DataFrame(rows, columns=COLUMNS[:4]))
    assert reasons(log) == {"accepted": 1, "duplicate event_id": 1, "missing event": 1}
    assert rows_of(log)["user_id"].tolist() == ["b"]


def test_of_equally_early_rows_with_one_id_the_same_stays_in_any_order() -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["b", "a", "a", "a"],
            "time": ["2026-01-01T00:00Z"] * 4,
            "event": ["x", "y", "x", "x"],
            "event_id": ["1"] * 4,
            "value": [1.0, 1.0, None, 3.0],
            "tags": [["p"], ["q"], ["r"], ["s"]],
        }
    )
    kept = [
        rows_of(quietly(frame.iloc[list(order)])).drop(columns="tags").to_dict("records")
        for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])
    ]
    assert kept[0] == kept[1] == kept[2]
    assert [(row["user_id"], row["event"], row["value"]) for row in kept[0]] == [("a", "x", 3.0)]


def test_examples_and_rejected_rows_show_what_was_written(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["a", None, "c" * 500, "d"],
            "time": ["2026-01-01T00:00Z", "2026-01-01T00:00Z", "yesterday", ""],
            "event": ["x", "x", "<b>", None],
            "reason": ["r0", "r1", "r2", "r3"],
        }
    )
    log = quietly(frame)
    account = log.accounting.set_index("reason")
    assert account.loc["accepted", "example"] == ""
    assert account.loc["missing user_id", "example"] == "user_id=null, time=2026-01-01T00:00Z, event=x"
    assert account.loc["unparsable time", "example"] == f"user_id={'c' * 40}, time=yesterday, event=<b>"
    assert account.loc["missing event", "example"] == "user_id=d, time=, event=null"
    written = pd.read_csv(log.write_rejected(tmp_path / "it's rejected.csv"), dtype=str)
    # The source's own column keeps its name.
    assert sorted(zip(written["rejected_for"], written["reason"], written["user_id"].fillna(""), strict=True)) == [
        ("missing event", "r3", "d"),
        ("missing user_id", "r1", ""),
        ("unparsable time", "r2", "c" * 500),
    ]
    assert written["time"].fillna("").tolist().count("yesterday") == 1


def test_one_note_tells_of_all_rejected_rows() -> None:
    frame = pd.DataFrame([SOUND, (None, *SOUND[1:]), ("", *SOUND[1:]), (*SOUND[:2], "", *SOUND[3:])], columns=COLUMNS)
    with warned() as caught:
        log = mc.read_events(frame)
    assert said(caught) == ["3 of 4 rows rejected (missing user_id: 2, missing event: 1); see log.accounting."]
    assert log.notes == tuple(said(caught))


# --- Times -----------------------------------------------------------------------------------------------------------


def test_frames_hold_times_in_many_types() -> None:
    wanted = [moment("2026-01-01T12:00:00.123456"), moment("1965-06-01T00:00:00"), None]
    aware = pd.Series([*wanted[:2], pd.NaT])
    naive = aware.dt.tz_localize(None)
    assert times_of(aware) == wanted
    for unit in ("us", "ns"):
        assert times_of(naive.astype(f"datetime64[{unit}]")) == wanted
    assert times_of(naive.astype("datetime64[ms]"))[0] == moment("2026-01-01T12:00:00.123")
    assert times_of(naive.astype("datetime64[s]"))[1] == wanted[1]
    assert times_of(aware.dt.tz_convert("Asia/Tokyo")) == wanted
    assert times_of(aware.astype(object)) == wanted  # Python datetimes
    assert times_of([dt.date(2026, 1, 1), dt.date(1965, 6, 1), None]) == [moment("2026-01-01"), wanted[1], None]
    assert times_of(pl.DataFrame({"user_id": [0, 1, 2], "time": wanted, "event": "e"})) == wanted
    arrow = pa.table({"user_id": [0, 1, 2], "time": pa.array(wanted, pa.timestamp("ns", "UTC")), "event": ["e"] * 3})
    assert times_of(arrow.to_pandas()) == wanted


def test_python_datetimes_of_several_zones_and_text_beside_them() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    values = [
        dt.datetime(2026, 1, 1, 12, tzinfo=UTC),
        dt.datetime(2026, 1, 1, 12, tzinfo=berlin),
        dt.datetime(2026, 1, 1, 12),
        "2026-01-01 12:00",
        dt.date(2026, 1, 1),
        np.datetime64("2026-01-01T12:00:00.5"),
        pd.NaT,
    ]
    assert times_of(values, tz="Europe/Berlin") == [
        moment("2026-01-01T12:00"),
        moment("2026-01-01T11:00"),
        moment("2026-01-01T11:00"),
        moment("2026-01-01T11:00"),
        moment("2025-12-31T23:00"),
        moment("2026-01-01T11:00:00.5"),
        None,
    ]


def test_local_times_are_resolved_where_clocks_change() -> None:
    local = ["2026-03-29 02:30", "2026-10-25 02:30", "2026-07-01 00:00"]
    wanted = [moment("2026-03-29T01:30"), moment("2026-10-25T01:30"), moment("2026-06-30T22:00")]
    assert times_of(local, tz="Europe/Berlin") == wanted
    assert times_of(pd.to_datetime(pd.Series(local)), tz="Europe/Berlin") == wanted


EPOCH = moment("2026-01-01T00:00:00")
SECONDS = int(EPOCH.timestamp())
SCALE = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@pytest.mark.parametrize("unit", SCALE)
def test_numbers_since_1970(unit: str) -> None:
    scale = SCALE[unit]
    whole = [SECONDS * scale, 0, -86_400 * scale]
    wanted = [EPOCH, moment("1970-01-01"), moment("1969-12-31")]
    assert times_of(whole, time_unit=unit) == wanted
    assert times_of([float(value) for value in whole], time_unit=unit) == wanted
    assert times_of([str(value) for value in whole], time_unit=unit) == wanted
    assert times_of([f" {value}.0 " for value in whole], time_unit=unit) == wanted
    assert times_of([decimal.Decimal(value) for value in whole], time_unit=unit) == wanted
    with_missing = pd.array([*whole, None], dtype="Int64")
    assert times_of(with_missing, time_unit=unit) == [*wanted, None]
    assert times_of([*map(float, whole), float("nan")], time_unit=unit) == [*wanted, None]
    if unit != "ns":
        assert times_of(np.array([86_400 * scale], dtype="uint64"), time_unit=unit) == [moment("1970-01-02")]


def test_fractions_keep_their_microseconds() -> None:
    wanted = [moment("2026-01-01T00:00:00.123456"), moment("1969-12-31T23:59:59.5")]
    assert times_of([SECONDS + 0.123456, -0.5], time_unit="s") == wanted
    assert times_of([f"{SECONDS}.123456", "-0.5"], time_unit="s") == wanted
    assert times_of([SECONDS * 1_000 + 123.456, -500], time_unit="ms") == wanted
    assert times_of([SECONDS * 10**9 + 123_456_789, -500_000_000], time_unit="ns") == wanted
    nanoseconds = [SECONDS * 10**9 + 999_999_999, SECONDS * 10**9 - 1, -1]
    assert times_of(nanoseconds, time_unit="ns") == [
        moment("2026-01-01T00:00:00.999999"), moment("2025-12-31T23:59:59.999999"), moment("1969-12-31T23:59:59.999999")
    ]  # fmt: skip


@pytest.mark.parametrize("unit", SCALE)
def test_absurd_numbers_are_unparsable_and_overflow_nothing(unit: str) -> None:
    fine = [SECONDS * SCALE[unit]]
    huge = [2**63 - 1, -(2**63)] if unit != "ns" else []
    assert times_of([*fine, *huge], time_unit=unit) == [EPOCH, *[None] * len(huge)]
    floats = [1e300, -1e300, float("inf"), float("-inf"), 1e19 * SCALE[unit]]
    assert times_of([*map(float, fine), *floats], time_unit=unit) == [EPOCH, *[None] * 5]
    texts = ["9" * 30, "-" + "9" * 30, "1e400", "inf", "NaN", "0x10", "12a", "--5"]
    assert times_of([str(fine[0]), *texts], time_unit=unit) == [EPOCH, *[None] * len(texts)]
    assert times_of(np.array([86_400 * SCALE[unit], 2**64 - 1], dtype="uint64"), time_unit=unit)[1] is None


def test_times_beyond_the_calendar_are_unparsable(tmp_path: Path) -> None:
    connection = ibis.duckdb.connect()
    table = connection.sql(
        "SELECT * FROM (VALUES (0, TIMESTAMP '2026-01-01'), (1, TIMESTAMP 'infinity'), (2, TIMESTAMP '-infinity'), "
        "(3, TIMESTAMP '12000-01-01'), (4, TIMESTAMP '0100-01-01 (BC)'), (5, NULL)) v(user_id, time)"
    ).mutate(event=ibis.literal("e"))
    log = quietly(table)
    assert reasons(log) == {"accepted": 1, "unparsable time": 4, "missing time": 1}
    assert log.observed_until == EPOCH


def test_numbers_without_unit_are_refused() -> None:
    with pytest.raises(mc.SourceError, match=r"The time column 'time' holds numbers\. Say their unit since 1970"):
        times_of([SECONDS])
    with pytest.raises(mc.ParameterError, match="Unknown time_unit 'milliseconds'"):
        times_of([SECONDS], time_unit="milliseconds")
    with pytest.raises(mc.SourceError, match=r"None of the 1 rows .*time_unit='s' since 1970.*the right unit"):
        times_of([SECONDS * 10**9], time_unit="s")
    with pytest.raises(mc.SourceError, match=r"is of type boolean\. It must be a time, text or a number"):
        times_of([True])


def test_patterns_of_the_caller() -> None:
    texts = ["31/01/2026 13:00", "01.02.26", "2026-01-31T13:00:00+01:00", "13/31/2026"]
    wanted = [moment("2026-01-31T12:00"), moment("2026-01-31T23:00"), moment("2026-01-31T12:00"), None]
    assert times_of(texts, tz="Europe/Berlin", time_format=["%d/%m/%Y %H:%M", "%d.%m.%y"]) == wanted
    one = times_of(texts, tz="Europe/Berlin", time_format="%d/%m/%Y %H:%M")
    assert one == [wanted[0], None, *wanted[2:]]
    for wrong in ("%d/%Q", 5, [None], ["%d", 7]):
        with pytest.raises(mc.ParameterError, match=r"time_format=.* is no strptime pattern"):
            times_of(texts, time_format=wrong)


def test_a_pattern_with_an_offset_needs_no_zone() -> None:
    frame = pd.DataFrame({"user_id": [1], "time": ["31/Jan/2026 01:00 PM +0100"], "event": ["x"]})
    log = mc.read_events(frame, time_format="%d/%b/%Y %I:%M %p %z")
    assert log.notes == ()
    assert log.observed_until == moment("2026-01-31T12:00")


NAIVE_NOTE = "2 of 3 times name no time zone and are taken as UTC. Say tz='Europe/Berlin' (or tz='UTC' to agree)."


def test_a_zone_that_is_taken_for_granted_is_said() -> None:
    texts = ["2026-01-01T00:00Z", "2026-01-01", "2026-01-02 12:00"]
    frame = pd.DataFrame({"user_id": [1, 2, 3], "time": texts, "event": "x"})
    with warned() as caught:
        log = mc.read_events(frame)
    assert said(caught) == [NAIVE_NOTE]
    assert log.notes == (NAIVE_NOTE,)
    for zone in ("UTC", "Europe/Berlin"):
        assert mc.read_events(frame, tz=zone).notes == ()
    assert mc.read_events(frame.iloc[:1]).notes == ()
    assert mc.read_events(frame.assign(time=[1, 2, 3]), time_unit="s").notes == ()
    for naive in (pd.to_datetime(["2026-01-01"] * 3), [dt.date(2026, 1, 1)] * 3):
        with warned() as caught:
            mc.read_events(frame.assign(time=naive))
        assert said(caught)[0].startswith("3 of 3 times name no time zone")


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "../../etc/passwd", "+01:00", 5, "CEST"])
def test_zones_that_do_not_exist(zone: Any) -> None:
    with pytest.raises(mc.ParameterError, match="Unknown time zone tz="):
        times_of(["2026-01-01"], tz=zone)
    with pytest.raises(mc.ParameterError, match="Did you mean 'Europe/Berlin'"):
        times_of(["2026-01-01"], tz="Europe/Berln")


def test_the_end_of_observation() -> None:
    frame = pd.DataFrame({"user_id": [1, 2], "time": ["2026-01-01T00:00Z", "2026-03-01T00:00Z"], "event": "x"})
    log = mc.read_events(frame)
    assert (log.observed_from, log.observed_until) == (EPOCH, moment("2026-03-01"))
    later = mc.read_events(frame, observed_until=dt.date(2026, 4, 1))
    assert later.observed_until == moment("2026-04-01")
    given = {
        "2026-02-01": "2026-01-31T23:00",  # in the zone of the events
        "2026-02-01T00:00+05:00": "2026-01-31T19:00",
        "2026-02-01T00:00Z": "2026-02-01T00:00",
    }
    for text, expected in given.items():
        log = quietly(frame, tz="Europe/Berlin", observed_until=text)
        assert log.observed_until == moment(expected)
        assert reasons(log) == {"accepted": 1, "time in the future": 1}
    with pytest.raises(mc.SourceError, match=r"None of the 2 rows.*time in the future: 2.*later than observed_until"):
        mc.read_events(frame, observed_until="2025-01-01")
    with pytest.raises(mc.ParameterError, match="observed_until='soon' is not a time"):
        mc.read_events(frame, observed_until="soon")


# --- Columns ---------------------------------------------------------------------------------------------------------


def frame_with(**columns: Any) -> pd.DataFrame:
    made = {"user_id": ["a", "b"], "time": ["2026-01-01T00:00Z", "2026-01-02T00:00Z"], "event": ["x", "y"]}
    return pd.DataFrame({**made, **columns})


def test_any_layout_by_a_mapping() -> None:
    frame = pd.DataFrame(
        {
            "visitorid": [7, 8],
            "timestamp": [SECONDS, SECONDS + 1],
            "action": ["x", "y"],
            "event": ["wrong", "column"],
            "revenue": ["1.5", "2"],
            "tier": ["gold", None],
        }
    )
    columns = {"user_id": "visitorid", "time": "timestamp", "event": "action", "value": "revenue", "plan_tier": "tier"}
    log = mc.read_events(frame, columns=columns, time_unit="s")
    assert log.columns == ("user_id", "time", "event", "value", "plan_tier", "source_event")
    rows = rows_of(log).sort_values("user_id")
    assert rows["event"].tolist() == ["x", "y"]
    assert rows["source_event"].tolist() == ["wrong", "column"]
    assert rows["value"].tolist() == [1.5, 2.0]
    assert rows["user_id"].tolist() == ["7", "8"]


def test_one_source_column_may_serve_twice() -> None:
    log = mc.read_events(frame_with(id=["p", "q"]), columns={"user_id": "id", "anonymous_id": "id", "account": "id"})
    rows = rows_of(log)
    assert rows["user_id"].tolist() == rows["anonymous_id"].tolist() == rows["account"].tolist()
    assert "id" not in log.columns


def test_columns_that_differ_in_case_or_clash_are_kept_apart() -> None:
    frame = frame_with(Event=["p", "q"], source_event=["r", "s"], EVENT=["t", "u"], _reason=["v", "w"], _t=["1", "2"])
    frame = frame.rename(columns={"event": "action"})
    log = mc.read_events(frame, columns={"event": "action"})
    rows = rows_of(log).sort_values("user_id")
    assert rows["event"].tolist() == ["x", "y"]
    assert len({name.casefold() for name in log.columns}) == len(log.columns) == 8
    held = [rows[name].tolist() for name in log.columns]
    for values in (["p", "q"], ["r", "s"], ["t", "u"], ["v", "w"], ["1", "2"]):
        assert values in held
    assert rows["source_event"].tolist() == ["r", "s"]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (
            {"user_id": "vistor"},
            mc.SourceError,
            r"columns=\{'user_id': 'vistor'\}: Unknown column 'vistor'. Did you mean 'visitor'",
        ),
        ({"_reason": "visitor"}, mc.ParameterError, r"columns=\{'_reason'.*not free"),
        ({"": "visitor"}, mc.ParameterError, "not free"),
        ({}, mc.SourceError, r"have no column 'user_id'.*columns=\{'user_id': "),
    ],
)
def test_mappings_that_do_not_fit(columns: dict[str, str], error: type[Exception], message: str) -> None:
    frame = frame_with().rename(columns={"user_id": "visitor"})
    with pytest.raises(error, match=message):
        mc.read_events(frame, columns=columns)


def test_ids_are_text_in_events_and_whole_numbers_inside() -> None:
    log = mc.read_events(frame_with(user_id=[7, 8]))
    assert log.table.user_id.type().is_integer()
    assert sorted(rows_of(log)["user_id"]) == ["7", "8"]
    for ids in ([7.0, 8.0], ["7", "8"], [decimal.Decimal(7), decimal.Decimal(8)], pd.array([7, 8], "Int64")):
        assert sorted(rows_of(mc.read_events(frame_with(user_id=ids)))["user_id"]) == ["7", "8"]
    text = ["007", " a "]
    assert sorted(rows_of(mc.read_events(frame_with(user_id=text)))["user_id"]) == sorted(text)


def test_values_are_numbers_or_missing() -> None:
    frame = pd.DataFrame(
        {
            "user_id": list("abcdefg"),
            "time": "2026-01-01T00:00Z",
            "event": "x",
            "price": ["1.5", " 2 ", "", None, "12 EUR", "free", "NaN"],
        }
    )
    with warned() as caught:
        log = mc.read_events(frame, columns={"value": "price"})
    assert said(caught) == ["2 values are not numbers and count as missing (for example '12 EUR')."]
    values = rows_of(log).sort_values("user_id")["value"]
    assert values.fillna(-1).tolist() == [1.5, 2.0, -1, -1, -1, -1, -1]
    floats = pl.DataFrame({**frame_with().to_dict("list"), "value": [float("nan"), float("inf")]})
    assert rows_of(mc.read_events(floats))["value"].isna().all()


def test_canonical_types_of_events() -> None:
    log = mc.read_events(frame_with(event_id=[1, 2], session_id=[1.0, None], value=[1, 2]))
    kinds = {name: str(kind) for name, kind in log.events.schema().items()}
    assert kinds == {
        "user_id": "string",
        "time": "timestamp('UTC')",
        "event": "string",
        "event_id": "string",
        "session_id": "string",
        "value": "float64",
    }
    naive = quietly(frame_with(time=pd.to_datetime(["2026-01-01", "2026-01-02"])))
    assert str(naive.events.time.type()) == "timestamp('UTC')"
    assert sorted(rows_of(log)["session_id"].fillna("")) == ["", "1"]


# --- Plans -----------------------------------------------------------------------------------------------------------

PLAN: dict[str, Any] = {"macros": [{"name": "goal", "event": "y"}]}


def test_a_plan_in_any_form(tmp_path: Path) -> None:
    plan = mc.Plan.model_validate(PLAN)
    path = tmp_path / "plan.yaml"
    plan.to_yaml(path)
    for form in (plan, PLAN, path, str(path)):
        assert mc.read_events(frame_with(), plan=form).plan == plan
    with pytest.raises(mc.PlanError, match="plan=5 is not a plan"):
        mc.read_events(frame_with(), plan=5)  # type: ignore[arg-type]


def test_a_misspelt_event_is_a_warning_with_the_nearest() -> None:
    plan = {"macros": [{"name": "goal", "event": "purchas"}], "micros": [{"name": "x", "event": "x"}]}
    frame = frame_with(event=["x", "purchase"])
    note = "The macro 'goal' never occurs: no event is named 'purchas'. Did you mean 'purchase'?"
    with warned() as caught:
        log = mc.read_events(frame, plan=plan)
    assert said(caught) == [note]
    assert log.notes == (note,)
    with warned() as caught:
        again = mc.read_events(frame).with_plan(plan)
    assert said(caught) == [note]
    assert again.notes == (note,)


def test_an_event_beyond_the_10_000_most_frequent_occurs() -> None:
    names = [f"e{i:05d}" for i in range(10_050)]
    frame = pd.DataFrame({"user_id": 1, "time": "2026-01-01T00:00Z", "event": names})
    log = mc.read_events(frame, plan={"macros": [{"name": "last", "event": names[-1]}]})
    assert log.notes == ()
    with warned() as caught:
        log.with_plan({"macros": [{"name": "last", "event": names[-1]}, {"name": "absent", "event": "zzz"}]})
    assert [text.split(" never")[0] for text in said(caught)] == ["The macro 'absent'"]
    assert mc.time_to_conversion(log, target="last", origin=names[-2]).summary["n"].tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"macros": [{"name": "goal", "event": "y", "value": "revenu"}]},
            "'goal'.*Unknown column 'revenu'. Did you mean 'revenue'",
        ),
        (
            {"macros": [{"name": "goal", "event": "y", "value": "city"}]},
            "'city' must hold numbers, but its type is string",
        ),
        ({"macros": [{"name": "goal", "event": "y", "where": "reveneu > 1"}]}, "Did you mean 'revenue'"),
        ({"macros": [{"name": "goal", "event": "y", "where": "city > 1"}]}, "compares"),
        ({"micros": [{"name": "m", "total": {"column": "secs", "at_least": 1}}]}, "'m'.*Unknown column 'secs'"),
        ({"micros": [{"name": "m", "total": {"column": "city", "at_least": 1}}]}, "'city' must hold numbers"),
        ({"segments": ["cty"]}, "Plan segments: Unknown column 'cty'. Did you mean 'city'"),
        ({"macros": []}, "macros"),
    ],
)
def test_plans_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    frame = frame_with(revenue=[1.0, 2.0], city=["Bonn", "Ulm"])
    with pytest.raises(mc.PlanError, match=message):
        mc.read_events(frame, plan={**PLAN, **change})


# --- Cost, provenance, independence ----------------------------------------------------------------------------------


def tables_of(log: mc.EventLog) -> list[str]:
    return [name for name in log.engine.backend.list_tables() if "cache" in name]


def test_typed_columns_are_not_copied_and_text_is_parsed_once(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "user_id": range(50),
            "time": pd.date_range("2026-01-01", periods=50, tz="UTC"),
            "event": "x",
            "event_id": range(50),
        }
    )
    frame.to_parquet(tmp_path / "e.parquet")
    assert tables_of(mc.read_events(tmp_path / "e.parquet")) == []
    some = frame.assign(event=["", *["x"] * 49])
    some.to_parquet(tmp_path / "some.parquet")
    log = quietly(tmp_path / "some.parquet")
    assert (reasons(log), tables_of(log)) == ({"accepted": 49, "missing event": 1}, [])
    frame.to_csv(tmp_path / "e.csv", index=False)
    log = mc.read_events(tmp_path / "e.csv")
    assert len(tables_of(log)) == 1
    assert log.rows_accepted == 50


def test_limits_reach_the_engine_of_the_log(tmp_path: Path) -> None:
    log = mc.read_events(frame_with(), memory_limit="300MB", temp_directory=tmp_path, threads=1)
    ask = "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('temp_directory')"
    assert log.engine.backend.raw_sql(ask).fetchone() == ("286.1 MiB", 1, str(tmp_path))
    for options in ({"memory_limit": "much"}, {"threads": 0}, {"temp_directory": "/proc/no"}):
        with pytest.raises(mc.ParameterError):
            mc.read_events(frame_with(), **options)


def test_text_larger_than_the_memory_limit_is_read(tmp_path: Path) -> None:
    rows, spill = 600_000, tmp_path / "spill"
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "user_id": pa.array(rng.integers(0, 2**62, rows)).cast(pa.string()),
            "time": pa.array((1_767_225_600 + np.arange(rows)).astype("datetime64[s]")).cast(pa.string()),
            "event": pa.array(rng.integers(0, 2**62, rows)).cast(pa.string()),
            "page": pa.array(rng.integers(0, 2**62, rows)).cast(pa.string()),
            "item": pa.array(rng.integers(0, 2**62, rows)).cast(pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "e.parquet")
    log = mc.read_events(tmp_path / "e.parquet", tz="UTC", memory_limit="80MB", temp_directory=spill, threads=1)
    assert log.rows_accepted == rows
    assert sum(path.stat().st_size for path in spill.rglob("*") if path.is_file()) > 10_000_000
    assert int(log.table.count().execute()) == rows
    del log


def test_the_same_events_have_the_same_fingerprint_and_other_times_another(tmp_path: Path) -> None:
    rng = random.Random(2)
    moments = [EPOCH + dt.timedelta(microseconds=rng.randrange(10**12)) for _ in range(60)]
    frame = pd.DataFrame(
        {"user_id": [f"u{i % 7}" for i in range(60)], "time": moments, "event": ["x", "yy", "zzz"] * 20}
    )
    log = mc.read_events(frame)
    frame.to_csv(tmp_path / "e.csv", index=False)
    frame.to_parquet(tmp_path / "e.parquet")
    same = [
        frame.sample(frac=1, random_state=3),
        tmp_path / "e.csv",
        tmp_path / "e.parquet",
        pl.from_pandas(frame),
        pa.Table.from_pandas(frame),
        frame.assign(time=frame["time"].dt.tz_convert("Asia/Tokyo").astype(str)),
    ]
    assert {mc.read_events(source).fingerprint for source in same} == {log.fingerprint}
    moved = frame.copy()
    moved.loc[30, "time"] += pd.Timedelta("1us")
    renamed = frame.copy()
    renamed.loc[30, "event"] = "something else"
    for other in (moved, renamed, frame.iloc[:-1], frame.iloc[[*range(60), 5]]):
        assert mc.read_events(other).fingerprint != log.fingerprint
    # Two times swapped between events of different names.
    swapped = frame.copy()
    swapped.loc[[30, 31], "time"] = frame.loc[[31, 30], "time"].to_numpy()
    assert mc.read_events(swapped.assign(time=pd.to_datetime(swapped["time"], utc=True))).fingerprint != log.fingerprint


def test_provenance_says_where_numbers_come_from() -> None:
    log = quietly(frame_with(user_id=["a", None]), observed_until="2026-02-01")
    assert log.provenance == {
        "source": "the pandas frame",
        "fingerprint": log.fingerprint,
        "rows_read": 2,
        "rows_accepted": 1,
        "rejected": {"missing user_id": 1},
        "observed_from": "2026-01-01T00:00:00+00:00",
        "observed_until": "2026-02-01T00:00:00+00:00",
        "filters": [],
        "engine": "duckdb",
    }


def test_the_callers_frame_and_later_changes_to_it_do_not_matter() -> None:
    frame = frame_with(value=["1", "x"])
    before = frame.copy(deep=True)
    log = quietly(frame)
    pd.testing.assert_frame_equal(frame, before)
    frame["event"] = "changed"
    frame.drop(index=0, inplace=True)  # noqa: PD002 - what a caller may do
    assert sorted(rows_of(log)["event"]) == ["x", "y"]


def test_two_logs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    frame_with().to_csv(path, index=False)
    one = mc.read_events(path)
    frame_with(event=["p", "q"]).to_csv(path, index=False)
    other = mc.read_events(path)
    shared = ibis.duckdb.connect()
    third, fourth = (mc.read_events(frame_with(event=[name] * 2), backend=shared) for name in ("m", "n"))
    assert sorted(rows_of(one)["event"]) == ["x", "y"]
    assert sorted(rows_of(other)["event"]) == ["p", "q"]
    assert (set(rows_of(third)["event"]), set(rows_of(fourth)["event"])) == ({"m"}, {"n"})
    for log in (one, other, third, fourth):
        assert mc.time_to_conversion(log, target="q").summary["n"].tolist() == [2]


def test_a_log_outlives_its_readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame_with().to_parquet("e.parquet")
    log = mc.read_events("e.parquet")
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    assert sorted(rows_of(log)["event"]) == ["x", "y"]


def test_what_to_do_with_exact_duplicates_is_a_word() -> None:
    with pytest.raises(mc.ParameterError, match="Unknown exact_duplicates 'drop'"):
        mc.read_events(frame_with(), exact_duplicates="drop")  # type: ignore[arg-type]
