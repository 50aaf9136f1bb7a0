"""Behaviour in a real log: applications for a loan."""

from __future__ import annotations

from pathlib import Path

import pytest

import microconv as mc

pytestmark = pytest.mark.real

PLAN = {
    "macros": [{"name": "activated", "event": "A_ACTIVATED"}],
    "micros": [
        {"name": "preaccepted", "kind": "form", "event": "A_PREACCEPTED"},
        {"name": "accepted", "kind": "intent", "event": "A_ACCEPTED"},
        {"name": "offer_sent", "kind": "engagement", "event": "O_SENT"},
    ],
    "competing": [{"name": "declined", "event": "A_DECLINED"}, {"name": "cancelled", "event": "A_CANCELLED"}],
    "horizon": "20D",
}


def test_loans_by_behaviour_their_sequences_and_a_list(real_data: Path) -> None:
    columns = {"user_id": "case_id", "time": "timestamp", "event": "activity"}
    log = mc.read_events(real_data / "bpi2012_loan_events.csv.gz", columns=columns, plan=PLAN)
    found = mc.behaviour_segments(log, at="3D")
    table = found.table.set_index("segment")
    assert found.left_out["users"].sum() == 13_087
    landmark = mc.time_to_conversion(log, landmark="3D", horizon="20D", by="accepted").summary.set_index("accepted")
    own = [{"name": "accepted", "did": ["accepted"]}]
    mine = mc.behaviour_segments(log, at="3D", outcome="first", groups=own).table.set_index("segment")
    assert mine.loc["accepted", "users"] == landmark.loc["yes", "n"]
    assert mine.loc["accepted", "rate"] == pytest.approx(landmark.loc["yes", "probability"], rel=1e-9)
    assert mine.loc["others", "rate"] == pytest.approx(landmark.loc["no", "probability"], rel=1e-9)
    assert table["share"].sum() == pytest.approx(1)
    patterns = mc.micro_patterns(log).table.set_index("sequence")
    assert patterns.loc["preaccepted > accepted", "lift"] > 1.9  # the process allows hardly any other order
    listed = mc.audience(log, {"name": "accepted", "did": ["intent"], "did_not": ["activated"]}, consent=None)
    row = listed.table.iloc[0]
    assert 0 < row["ci_low"] < row["expected_conversions"] < row["ci_high"] < row["users"]
