"""Where libraries' regression models go wrong, and our numbers beside theirs (traps 3, 5, 6, 7, 8 of the reference)."""

from __future__ import annotations

import warnings

import lifelines
import lifelines.datasets
import numpy as np
import pandas as pd
import pytest
from golden.logs import log_of_subjects
from reference import cox as plain
from statsmodels.duration.hazard_regression import PHReg

import microconv as mc
from microconv import RiskTable, stats


@pytest.fixture(scope="module")
def late() -> pd.DataFrame:
    """Ages at first sight and at the end in half days, full of ties, also between who enters and who ends."""
    rng = np.random.default_rng(12)
    start = rng.integers(0, 8, 80) / 2
    x = rng.integers(0, 3, 80).astype(float)
    stop = start + np.ceil(2 * rng.exponential(4 * np.exp(-0.4 * x))).clip(1, 20) / 2
    return pd.DataFrame({"start": start, "stop": stop, "event": rng.random(80) < 0.7, "x": x})


def rows_of(frame: pd.DataFrame) -> list[plain.Row]:
    return [plain.Row(r.start, r.stop, r.event, (r.x,), n) for n, r in enumerate(frame.itertuples())]


def counts_of(frame: pd.DataFrame, *patterns: str) -> RiskTable:
    return RiskTable.from_intervals(frame, "start", "stop", "event", patterns or ("x",))


def test_trap_3_the_baseline_knows_who_entered_when(late: pd.DataFrame) -> None:
    """Breslow's estimate divides by those at risk then; lifelines divides by all who have not ended, seen or not."""
    fit = stats.cox(counts_of(late), ["x"], ties="breslow")
    beta = fit.table["coef"].to_numpy()
    rows, total, expected = rows_of(late), 0.0, {}
    for time in sorted({row.stop for row in rows if row.event}):
        here, failing = plain.step(rows, "None", time)
        total += len(failing) / sum(np.exp(beta @ np.array(row.z)) for row in here)
        expected[time] = total
    steps = fit.steps.set_index("time_days")["a0"]
    known = steps.loc[list(expected)].to_numpy()
    # Z may be centred in the steps: then the baseline is of the average user, a constant factor away.
    factor = known / np.array(list(expected.values()))
    np.testing.assert_allclose(factor, factor[0], rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lifelines.CoxPHFitter().fit(
            late.astype(float), "stop", "event", entry_col="start", fit_options={"precision": 1e-12}
        )
    off = theirs.baseline_cumulative_hazard_.iloc[:, 0].reindex(list(expected)).to_numpy() / known
    assert off.max() / off.min() > 1.1


def test_trap_3_newtons_method_goes_on_to_the_end(late: pd.DataFrame) -> None:
    """lifelines stops early unless told otherwise; ours is at the maximum to the last digits."""
    expected = plain.fit(rows_of(late), 1, "efron")
    assert expected is not None
    fit = stats.cox(counts_of(late), ["x"])
    np.testing.assert_allclose(fit.table["coef"], expected.beta, rtol=1e-9)
    score = plain.evaluate(rows_of(late), fit.table["coef"].to_numpy(), "efron")[1]
    assert abs(score[0]) < 1e-6


def test_trap_5_who_enters_when_another_ends_is_not_at_risk_yet(late: pd.DataFrame) -> None:
    """Intervals are (entry, t]; statsmodels' are [entry, t], until entry moves a little."""
    fit = stats.cox(counts_of(late), ["x"], ties="breslow").table["coef"].item()

    def theirs(entry: pd.Series) -> float:
        model = PHReg(late["stop"], late[["x"]], status=late["event"].astype(int), entry=entry, ties="breslow")
        return float(model.fit().params[0])

    assert theirs(late["start"] + 1e-6) == pytest.approx(fit, rel=1e-6)
    assert abs(theirs(late["start"]) - fit) > 1e-3


def test_trap_6_efron_by_counts_is_not_efron_by_case_weights() -> None:
    """Tied events of one pattern are that many users; a library's case weights are one user who weighs more."""
    lung = lifelines.datasets.load_lung()
    frame = lung.assign(start=0.0, stop=np.ceil(lung["time"] / 60), event=lung["status"] == 1, x=lung["sex"] - 1.0)
    grouped = frame.groupby(["start", "stop", "event", "x"], as_index=False).size()
    counted = stats.cox(
        RiskTable.from_intervals(grouped, "start", "stop", "event", ["x"], weight_col="size"), ["x"], ties="efron"
    ).table["coef"].item()  # fmt: skip
    rows = plain.fit(rows_of(frame), 1, "efron")
    assert rows is not None
    assert counted == pytest.approx(rows.beta[0], rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighted = lifelines.CoxPHFitter().fit(
            grouped[["stop", "event", "x", "size"]].astype(float), "stop", "event", weights_col="size"
        )
    assert abs(weighted.params_.item() - counted) > 1e-3


def test_trap_6_errors_by_user_are_not_those_of_added_up_rows() -> None:
    """Users whose many short stretches are alike: the errors come from users, not from rows or patterns."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(40):
        at, x = 0.0, float(rng.integers(0, 2))
        for _ in range(6):
            stop = at + rng.exponential(1.0 if user % 4 else 0.2)
            rows.append((at, stop, bool(rng.random() < (0.9 if user % 4 == 0 else 0.3)), x, user))
            at = stop
    frame = pd.DataFrame(rows, columns=["start", "stop", "event", "x", "user"])
    model = stats.cox(counts_of(frame), ["x"]).table["se"].item()
    fit = stats.cox(counts_of(frame, "x", "user"), ["x"], cluster="user").table["se"].item()
    plainly = [plain.Row(r.start, r.stop, r.event, (r.x,), r.user) for r in frame.itertuples()]
    known = plain.fit(plainly, 1)
    assert known is not None
    expected = np.sqrt(plain.robust(plainly, known.beta, known.information))[0, 0]
    assert fit == pytest.approx(expected, rel=1e-6)
    assert abs(fit / model - 1) > 0.2


def test_trap_7_a_tiny_early_risk_set_is_told_through_a_log() -> None:
    """One user seen from age 0 converts at once; a hundred others were first seen at age 2."""
    log = log_of_subjects(
        [1.0] + [5.0, 6.0] * 50, ["buy"] + ["buy", None] * 50, since=[0.0] + [2.0] * 100, goal="buy"
    )  # fmt: skip
    result = mc.time_to_conversion(log, origin_col="began")
    assert any("from_age" in text for text in result.warnings), result.warnings
    later = mc.time_to_conversion(log, origin_col="began", from_age="2D")
    assert not any("from_age" in text for text in later.warnings)
    assert later.table["probability"].iloc[-1] == pytest.approx(0.5)


def test_trap_8_conversions_within_minutes_keep_their_ratio() -> None:
    """A micro that triples the hazard when everything happens within the hour: days would know nothing of it."""
    rng = np.random.default_rng(21)
    n = 4000
    did = rng.exponential(10.0, n)
    first = rng.exponential(20.0, n)
    buys = np.where(first < did, first, did + rng.exponential(20.0 / 3, n))
    minutes = np.minimum(buys, 60.0)
    log = log_of_subjects(
        np.round(minutes * 60e6) / 86_400e6,
        ["buy" if b < 60 else None for b in buys],
        micros={"did": np.where(did < minutes, np.round(did * 60e6) / 86_400e6, np.nan)},
    )
    for options in ({}, {"method": "piecewise"}):
        row = mc.hazard_ratios(log, **options).table.iloc[0]
        assert row["ci_low"] < 3 < row["ci_high"], options
        assert row["ci_high"] / row["ci_low"] < 1.25
    exact, binned = (mc.hazard_ratios(log, **o).table["hazard_ratio"].item() for o in ({}, {"method": "piecewise"}))
    assert binned == pytest.approx(exact, rel=0.02)
