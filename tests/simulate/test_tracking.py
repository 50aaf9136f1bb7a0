"""Faults, identities and consent come as asked, and leave what was planted alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from planted import RATE_ERRORS

import microconv as mc
from microconv.simulate import Faults, Identity, SimulatedLog, web_shop

FAULTS = Faults(late=0.03, duplicates=0.02, missing_user=0.01, missing_time=0.005, missing_event=0.004, bots=2)


@pytest.fixture(scope="module")
def clean() -> SimulatedLog:
    return mc.simulate(2_000, 41)


@pytest.fixture(scope="module")
def faulty() -> SimulatedLog:
    return mc.simulate(2_000, 41, faults=FAULTS)


def _out_of_order(times: pd.Series) -> pd.Series:
    known = times.dropna().astype("int64")
    return known < known.cummax()


# Faults


def test_as_many_rows_are_faulty_as_asked(faulty: SimulatedLog) -> None:
    rows = len(faulty.events) - faulty.truth.faults["duplicates"]
    expected = {
        "late": round(0.03 * rows),
        "duplicates": round(0.02 * rows),
        "missing_user": round(0.01 * rows),
        "missing_time": round(0.005 * rows),
        "missing_event": round(0.004 * rows),
        "bots": 2,
    }
    assert faulty.truth.faults == expected
    events = faulty.events
    assert events["event_id"].duplicated().sum() == expected["duplicates"]
    assert _out_of_order(events["time"]).sum() == expected["late"]
    for column, fault in (("user_id", "missing_user"), ("time", "missing_time"), ("event", "missing_event")):
        assert events[column].isna().sum() == expected[fault]


def test_a_duplicate_equals_its_original(faulty: SimulatedLog) -> None:
    twice = faulty.events[faulty.events["event_id"].duplicated(keep=False)]
    assert (twice.groupby("event_id").size() == 2).all()
    assert len(twice.drop_duplicates()) == len(twice) // 2


def test_without_faults_rows_come_in_order_once_and_whole(clean: SimulatedLog) -> None:
    assert set(clean.truth.faults.values()) == {0}
    assert clean.events["event_id"].is_unique
    assert clean.events["time"].is_monotonic_increasing
    assert clean.events[["user_id", "time", "event"]].notna().all(axis=None)


def test_faults_change_no_journey_and_spoil_page_views_only(clean: SimulatedLog, faulty: SimulatedLog) -> None:
    pd.testing.assert_frame_equal(clean.users, faulty.users)
    kept = faulty.events.drop_duplicates("event_id")
    bots = set(kept["user_id"].dropna()) - set(clean.users["user_id"])
    assert len(bots) == 2
    kept = kept[~kept["user_id"].isin(bots)].dropna(subset=["user_id", "time", "event"])
    columns = ["user_id", "time", "event", "session_id"]
    for frame in (kept, clean.events):
        assert (frame["event"] == "purchase").sum() == (clean.users["cause"] == "purchase").sum()
    before = clean.events[clean.events["event"] != "page_view"].sort_values(["user_id", "time", "event"])
    after = kept[kept["event"] != "page_view"].sort_values(["user_id", "time", "event"])
    assert after[columns[:3]].to_numpy().tolist() == before[columns[:3]].to_numpy().tolist()
    entry = kept.groupby("user_id")["time"].min()
    assert entry.tolist() == clean.users.set_index("user_id")["entry"].loc[entry.index].tolist()


def test_a_bot_views_a_page_every_two_seconds(faulty: SimulatedLog, clean: SimulatedLog) -> None:
    bots = faulty.events[faulty.events["user_id"].notna() & ~faulty.events["user_id"].isin(clean.users["user_id"])]
    for _, rows in bots[bots["event"] == "page_view"].drop_duplicates("event_id").groupby("user_id"):
        assert len(rows) > 200
        assert rows["time"].sort_values().diff().median() == pd.Timedelta("2s")


# Reading warns of rejected rows. pytest.warns would catch Ibis' own warnings too and raise them anew.
@pytest.mark.filterwarnings("ignore:.* rows rejected:microconv.errors.MicroconvWarning")
def test_every_fault_is_accounted_for_when_the_log_is_read(faulty: SimulatedLog) -> None:
    log = faulty.read()
    assert any("rows rejected" in note for note in log.notes)
    faults = faulty.truth.faults
    rows = dict(zip(log.accounting["reason"], log.accounting["rows"], strict=True))
    assert rows == {
        "accepted": len(faulty.events) - sum(faults[f] for f in faults if f not in ("late", "bots")),
        "duplicate event_id": faults["duplicates"],
        "missing user_id": faults["missing_user"],
        "missing time": faults["missing_time"],
        "missing event": faults["missing_event"],
    }


def test_more_faults_than_rows_can_have() -> None:
    with pytest.raises(mc.ParameterError, match=r"missing_user=0\.9 asks for .* but only .* Ask for less"):
        mc.simulate(200, 0, faults=Faults(missing_user=0.9))
    all_late = mc.simulate(200, 0, world="strong", faults=Faults(late=0.9))
    assert _out_of_order(all_late.events["time"]).sum() == all_late.truth.faults["late"]


# Identities


def _identified(user_id: str) -> SimulatedLog:
    identity = Identity(0.8, user_id, ("account_created", "purchase"))
    return mc.simulate(2_000, 42, world=replace(web_shop(), identity=identity))


def test_a_person_has_devices_with_an_anonymous_id_each() -> None:
    log = _identified("person")
    owner = log.identities.set_index("anonymous_id")["user_id"]
    assert owner.index.is_unique
    assert (log.events["anonymous_id"].map(owner) == log.events["user_id"]).all()
    per_person = owner.value_counts()
    assert abs(per_person.mean() - 1.8) < 0.08
    assert per_person.max() <= 4
    assert log.events.groupby("session_id")["anonymous_id"].nunique().max() == 1
    assert log.events.groupby("anonymous_id")["device"].nunique().max() == 1
    first = log.events.groupby("user_id")["device"].first()
    assert first.tolist() == log.users["device"].tolist()
    assert log.events.groupby("user_id")["device"].nunique().max() > 1


def test_a_person_becomes_known_on_a_device_with_a_telling_event() -> None:
    person, known, tracked = (_identified(name).events for name in ("person", "known", "tracked"))
    telling = person["event"].isin(["account_created", "purchase"])
    since = person[telling].groupby("anonymous_id")["time"].min()
    is_known = person["time"] >= person["anonymous_id"].map(since)
    assert 0.05 < is_known.mean() < 0.6
    assert known["user_id"].isna().equals(~is_known)
    assert known.loc[is_known, "user_id"].equals(person.loc[is_known, "user_id"])
    assert tracked["user_id"].equals(person["user_id"].where(is_known, person["anonymous_id"]))


def test_consent_is_a_users_and_its_share_is_as_asked() -> None:
    log = mc.simulate(4_000, 43, world=replace(web_shop(), consent_share=0.8))
    by_user = log.events.groupby("user_id")["consent"]
    assert by_user.nunique().max() == 1
    assert abs(by_user.first().mean() - 0.8) < RATE_ERRORS * math.sqrt(0.16 / 4_000)
    without = mc.simulate(100, 43, world=replace(web_shop(), consent_share=None))
    assert "consent" not in without.events.columns
