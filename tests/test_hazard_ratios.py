"""Hazard ratios of micros: planted ratios, hard cases, options, the figure. Loops over users and R: other files."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from reference.logs import BASE, SECOND, log_of, random_events, told_events
from reference.logs import told_log as told

import microconv as mc
from microconv.hazards import HazardRatios
from microconv.log import EventLog
from microconv.plan import Plan
from microconv.simulate import Macro, Micro, Trait, World

COLUMNS = "term kind hazard_ratio ci_low ci_high p_value q_value users events person_days interval reference".split()
PLAN: dict[str, Any] = {
    "macros": [{"name": "A", "event": "A"}],
    "micros": [{"name": "B", "event": "B", "kind": "form"}, {"name": "C", "event": "C"}, {"name": "X", "event": "X"}],
}


def planned(log: EventLog, **more: Any) -> EventLog:
    return replace(log, plan=Plan.model_validate({**PLAN, **more}))


def row(result: HazardRatios, term: str) -> pd.Series:
    return result.table.set_index("term").loc[term]


def said(result: HazardRatios) -> str:
    return " ".join([result.meaning, *result.warnings])


@pytest.fixture(scope="module")
def strong() -> EventLog:
    return mc.simulate(8_000, 5, world="strong").read()


@pytest.fixture(scope="module")
def adjusted(strong: EventLog) -> HazardRatios:
    return mc.hazard_ratios(strong, adjust=["interest", "device"])


# --- Planted ratios ------------------------------------------------------------------------------------------------

PLANTED = {
    "add_to_cart": 6.0,
    "newsletter_signup": 1.0,
    "guide_downloaded": 3.0,
    "share": 1.0,
    "interest=low": 1 / 2.5,
    "device=mobile": 0.7,
}
FAR = 3.3  # standard errors: one honest test in a thousand fails


def far(table: pd.DataFrame, truth: dict[str, float]) -> pd.Series:
    """How many standard errors each ratio lies from the truth."""
    found = table.set_index("term")
    error = (np.log(found["ci_high"]) - np.log(found["ci_low"])) / (2 * 1.959963984540054)
    return (np.log(found["hazard_ratio"]) - np.log(pd.Series(truth))) / error


def test_planted_ratios_of_a_strong_world(adjusted: HazardRatios) -> None:
    assert adjusted.table.columns.tolist() == COLUMNS
    assert adjusted.table["term"].tolist() == list(PLANTED)
    assert adjusted.table["kind"].tolist() == ["intent", "form", "content", "social", "attribute", "attribute"]
    assert (far(adjusted.table, PLANTED).abs() < FAR).all()
    assert adjusted.table["q_value"].notna().tolist() == [True] * 4 + [False] * 2
    assert (adjusted.table["interval"] == "wald").all()
    assert adjusted.parameters["method"] == "cox"
    assert adjusted.risk_table is not None
    assert adjusted.exposures is None
    assert "adjusted for interest and device" in adjusted.meaning
    assert any("cause-specific" in text for text in adjusted.assumptions)
    assert adjusted.proportionality["term"].tolist() == [*PLANTED, "GLOBAL"]
    assert adjusted.proportionality["q_value"].min() > 0.01


def test_piecewise_agrees_to_three_digits_and_says_why_it_was_used(strong: EventLog, adjusted: HazardRatios) -> None:
    for options, why in (({"method": "piecewise"}, "as asked"), ({"max_rows": 1_000}, "more than max_rows=1,000 rows")):
        result = mc.hazard_ratios(strong, adjust=["interest", "device"], **options)
        np.testing.assert_allclose(result.table["hazard_ratio"], adjusted.table["hazard_ratio"], rtol=6e-3)
        np.testing.assert_allclose(result.table["ci_high"], adjusted.table["ci_high"], rtol=6e-3)
        exact = ["term", "users", "events", "person_days"]
        pd.testing.assert_frame_equal(result.table[exact], adjusted.table[exact])
        assert result.parameters["method"] == "piecewise"
        assert result.risk_table is None
        assert result.exposures is not None
        assert len(result.exposures.cuts) == 19
        assert any("Piecewise-exponential" in text and why in text for text in result.assumptions)
        np.testing.assert_allclose(
            result.proportionality["chi2"], adjusted.proportionality["chi2"], rtol=0.35, atol=0.4
        )


def test_counts_put_together_change_nothing_for_cox(strong: EventLog, adjusted: HazardRatios) -> None:
    assert adjusted.risk_table is not None
    most = len(adjusted.risk_table.frame) - 1
    result = mc.hazard_ratios(strong, adjust=["interest", "device"], max_rows=most)
    assert result.parameters["method"] == "cox"
    assert any("last event time before" in text for text in result.assumptions)
    pd.testing.assert_frame_equal(result.table, adjusted.table, rtol=1e-9)


def test_conversions_at_the_moment_of_entry_do_not_bend_the_piecewise_ratios() -> None:
    """At time zero nobody counts as having done anything: taken together with later time, micros would seem to slow."""
    simulated = mc.simulate(
        4_000, 8, world=World(macro=Macro(rate_per_day=0.03), micros=(Micro("m", "form", 0.05, 1.0),))
    )
    events = simulated.events
    first = events.sort_values("time").groupby("user_id").head(1)
    at_once = first[first["user_id"].str[-1] == "1"].assign(event="purchase")
    at_once["event_id"] += " at once"
    both = pd.concat([events, at_once[events.columns]], ignore_index=True)
    log = mc.read_events(both, plan=simulated.plan, observed_until=simulated.observed_until)
    exact, piecewise = (mc.hazard_ratios(log, method=method) for method in ("cox", "piecewise"))
    assert piecewise.exposures is not None
    assert piecewise.exposures.cuts[0] == 0.5e-6 / 86_400
    np.testing.assert_allclose(row(piecewise, "m")["hazard_ratio"], row(exact, "m")["hazard_ratio"], rtol=5e-3)
    assert (far(exact.table, {"m": 1.0}).abs() < FAR).all()


@pytest.mark.parametrize("options", [{}, {"method": "piecewise"}, {"robust": True}])
def test_nothing_is_found_where_nothing_is(options: dict[str, Any]) -> None:
    log = mc.simulate(4_000, 7, world="null").read()
    result = mc.hazard_ratios(log, **options)
    assert (far(result.table, dict.fromkeys(result.table["term"], 1.0)).abs() < FAR).all()
    assert "For none of 3 micro-conversions" in result.meaning
    assert "predictive" in result.meaning


def test_a_number_is_one_linear_term_and_who_has_none_is_left_out() -> None:
    trait = Trait("level", {"1": 0.5, "2": 0.3, "4": 0.2}, {"purchase": {"2": 1.5, "4": 1.5**3}})
    simulated = mc.simulate(5_000, 6, world=World(macro=Macro(rate_per_day=0.02), traits=(trait,)))
    events = simulated.events.assign(level=pd.to_numeric(simulated.events["level"]).astype(float))
    events.loc[events["user_id"].str.endswith("0"), "level"] = np.nan
    without = int(simulated.users["user_id"].str.endswith("0").sum())
    log = mc.read_events(events, plan=simulated.plan, observed_until=simulated.observed_until)
    result = mc.hazard_ratios(log, micros=(), adjust="level", target="purchase")
    assert result.table["term"].tolist() == ["level"]
    assert row(result, "level")["users"] == 5_000 - without
    assert row(result, "level")["reference"] == "per unit"
    assert (far(result.table, {"level": 1.5}).abs() < FAR).all()
    assert any(f"{without:,} users have no number in level" in text for text in result.assumptions)


# --- Does the pull fade? -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cox", "piecewise"])
def test_a_pull_that_fades_is_seen_and_one_that_stays_is_not(method: Any) -> None:
    micros = (
        Micro("guide", "content", 0.05, hazard_ratio=6.0, fade_days=3.0),
        Micro("share", "social", 0.05, hazard_ratio=1.5),
    )
    log = mc.simulate(4_000, 3, world=World(macro=Macro(rate_per_day=0.02), micros=micros)).read()
    result = mc.hazard_ratios(log, since=("3D", "9D"), method=method)
    since = result.since.set_index(["micro", "since_from_days"])
    truth = [6.0, 1.0, 1.0, 1.5, 1.5, 1.5]
    planted = dict(zip(result.since["term"], truth, strict=True))
    assert (far(result.since, planted).abs() < FAR).all()
    assert since.index.tolist() == [(m, cut) for m in ("guide", "share") for cut in (0.0, 3.0, 9.0)]
    assert since["since_to_days"].tolist() == [3.0, 9.0, np.inf] * 2
    # The parts are those of the whole.
    whole = result.table.set_index("term")
    for column in ("events", "person_days"):
        np.testing.assert_allclose(since.groupby("micro")[column].sum(), whole[column])
    assert since["users"].xs(0.0, level="since_from_days").tolist() == whole["users"].tolist()
    fading = result.fading.set_index("micro")
    assert fading["degrees_of_freedom"].tolist() == [2, 2]
    assert fading.loc["guide", "q_value"] < 1e-10
    assert fading.loc["share", "p_value"] > 0.001
    assert any("guide is not the same at all times since" in text for text in result.warnings)
    assert result.proportionality.set_index("term").loc["guide", "q_value"] < 1e-10
    assert any("The ratio of guide changes with time since entry" in text for text in result.warnings)


def test_cuts_of_the_time_since_must_grow() -> None:
    log = planned(told("V0 B1 A2", "V0"))
    with pytest.raises(mc.ParameterError, match=r"since=\['7D', '1D'\] must grow"):
        mc.hazard_ratios(log, since=("7D", "1D"))
    with pytest.raises(mc.ParameterError, match="micros= names none"):
        mc.hazard_ratios(log, micros=(), adjust="item", since="1D")


# --- Many patterns -------------------------------------------------------------------------------------------------


def test_too_many_patterns_make_one_model_per_micro_and_it_says_so(strong: EventLog, adjusted: HazardRatios) -> None:
    result = mc.hazard_ratios(strong, adjust=["interest", "device"], max_patterns=20)
    assert result.table["term"].tolist() == list(PLANTED)
    exact = ["term", "users", "events", "person_days"]
    pd.testing.assert_frame_equal(result.table[exact], adjusted.table[exact])
    assert result.parameters["models"] == "one per micro"
    assert any(
        "64 patterns, over max_patterns=20: instead of one model there is one per micro" in w for w in result.warnings
    )
    assert any("how many of the other micros are done (0, 1, 2, 3 or more)" in text for text in result.assumptions)
    # Nearly the full model's: how many others are done stands for which.
    near = np.log(result.table["hazard_ratio"]) - np.log(adjusted.table["hazard_ratio"])
    assert (near.abs() < [0.35, 0.6, 0.35, 0.35, 0.2, 0.2]).all()
    assert result.proportionality["term"].tolist() == list(PLANTED)


def test_attributes_that_alone_make_too_many_patterns_are_refused(strong: EventLog) -> None:
    with pytest.raises(
        mc.ParameterError, match=r"'interest', 'device' have 4 combinations of values, over max_patterns=3"
    ):
        mc.hazard_ratios(strong, adjust=["interest", "device"], max_patterns=3)
    with pytest.raises(mc.ParameterError, match=r"make 16 patterns, over max_patterns=8\. Adjust for fewer"):
        mc.hazard_ratios(strong, micros=["share", "add_to_cart"], adjust=["interest", "device"], max_patterns=8)


# --- Few, none, all ------------------------------------------------------------------------------------------------


def shop(doers: int, converting: int, others: int = 60, converting_others: int = 30) -> EventLog:
    """Some users do B at a second of their own and a part of them converts later; others never do B."""
    stories = [f"V0 B{1 + n % 3} {f'A{5 + n / 100}' if n < converting else ''}" for n in range(doers)]
    stories += [f"V0 {f'A{2 + n / 7}' if n < converting_others else ''}" for n in range(others)]
    return planned(told(*stories, until=60), micros=[{"name": "B", "event": "B"}])


@pytest.mark.parametrize(
    ("log", "interval"),
    [
        (shop(40, 10), "wald"),
        (shop(40, 9), "profile"),
        (shop(40, 12, converting_others=9), "profile"),
        (shop(9, 5), "none"),
    ],
)
def test_the_interval_fits_how_many_there_are(log: EventLog, interval: str) -> None:
    result = mc.hazard_ratios(log)
    found = row(result, "B")
    assert found["interval"] == interval
    assert np.isfinite(found["hazard_ratio"])
    assert np.isfinite(found[["ci_low", "ci_high", "p_value"]].astype(float)).all() == (interval != "none")
    if interval == "profile":
        assert found["ci_low"] < found["hazard_ratio"] < found["ci_high"]
        assert "Fewer than 10 conversions with or without B" in said(result)
    if interval == "none":
        assert "No interval for B: fewer than 10 users" in said(result)


def test_separation_is_said_and_has_one_limit() -> None:
    always = planned(told(*[f"V0 B{n / 10} A{3 + n / 7}" for n in range(20)], *["V0"] * 30, until=60))
    result = mc.hazard_ratios(always, micros=["B"])
    assert row(result, "B")["hazard_ratio"] == np.inf
    assert 1 < row(result, "B")["ci_low"] < row(result, "B")["ci_high"] == np.inf
    assert "nobody at risk did A beside those with it" in said(result)
    never = shop(40, 0)
    result = mc.hazard_ratios(never)
    assert row(result, "B")["hazard_ratio"] == row(result, "B")["ci_low"] == 0
    assert 0 < row(result, "B")["ci_high"] < 1
    assert "Nobody did A once 'B' held (40 users)" in said(result)


def test_a_micro_that_nobody_or_everybody_does_tells_nobody_apart() -> None:
    log = planned(told(*[f"V0 C0 {f'B{n / 20} ' if n % 2 else ''}A{2 + n / 7}" for n in range(40)], until=60))
    result = mc.hazard_ratios(log)
    assert result.table["term"].tolist() == ["B", "C", "X"]
    assert row(result, "X")[["users", "events", "person_days"]].tolist() == [0, 0, 0]
    assert row(result, "C")["users"] == 40
    assert result.table["hazard_ratio"].notna().tolist() == [True, False, False]
    assert "'X' is never done while its user is at risk" in said(result)
    assert "'C' is done by everybody from time zero on" in said(result)
    alone = mc.hazard_ratios(log, micros=["B"])
    assert row(alone, "B")["hazard_ratio"] == row(result, "B")["hazard_ratio"]


def test_two_micros_that_come_together_are_not_told_apart() -> None:
    log = planned(told(*[f"V0 {f'B{n / 20} C{n / 20} ' if n % 2 else ''}A{2 + n / 7}" for n in range(40)], until=60))
    result = mc.hazard_ratios(log, micros=["B", "C"])
    assert result.table["hazard_ratio"].isna().any()
    assert "repeat" in said(result)


def test_nobody_converts() -> None:
    log = planned(told("V0 B1", "V0", "V0 C3", until=20))
    result = mc.hazard_ratios(log)
    assert result.table["events"].sum() == 0
    assert result.table[["hazard_ratio", "ci_low", "p_value", "q_value"]].isna().all(axis=None)
    assert "Nobody did 'A' while at risk" in said(result)
    misspelt = planned(told("V0 B1", "V0 A2", until=9), macros=[{"name": "buy", "event": "AA"}])
    assert "Did you mean 'A'" in said(mc.hazard_ratios(misspelt, micros=["B"]))


# --- Who is compared -----------------------------------------------------------------------------------------------


def test_structural_micros_are_left_out_of_the_plans_and_refused_by_name() -> None:
    plan = {
        "micros": [
            *PLAN["micros"],
            {"name": "large A", "event": "A", "where": "item = 'x'"},
            {"name": "left", "event": "L"},
        ],
        "competing": [{"name": "gone", "event": "L"}],
    }
    log = planned(told(*[f"V0 {'B1 ' if n % 2 else ''}A{2 + n / 7}/x" for n in range(40)], "V0 L3", until=60), **plan)
    result = mc.hazard_ratios(log)
    assert result.table["term"].tolist() == ["B", "C", "X"]
    assert any("large A and left" in text for text in result.assumptions)
    assert row(mc.hazard_ratios(log, micros=["large A", "B"]), "large A")["users"] == 0
    for name in ("left", "L", "A"):
        with pytest.raises(mc.ParameterError, match=r"(is the target itself|nobody at risk could be told apart)"):
            mc.hazard_ratios(log, micros=[name])


def test_the_washout_and_its_share(strong: EventLog) -> None:
    result = mc.hazard_ratios(strong, washout="5D")
    found = next(text for text in result.assumptions if "within 5D of the log's first event" in text)
    assert result.risk_table is not None
    kept = int(result.risk_table.pool().frame["entered"].sum())
    assert found.startswith(f"{8_000 - kept:,} of 8,000 users ({(8_000 - kept) / 8_000:.1%})")
    assert 0 < kept < 8_000
    with pytest.raises(mc.ParameterError, match="entered within the washout"):
        mc.hazard_ratios(strong, washout="4000D")


def test_reference_and_strata(strong: EventLog, adjusted: HazardRatios) -> None:
    turned = mc.hazard_ratios(strong, adjust=["interest", "device"], reference={"device": "mobile"})
    assert row(turned, "device=desktop")["reference"] == "mobile"
    one, other = row(turned, "device=desktop")["hazard_ratio"], row(adjusted, "device=mobile")["hazard_ratio"]
    assert one == pytest.approx(1 / other)
    np.testing.assert_allclose(turned.table["hazard_ratio"][:4], adjusted.table["hazard_ratio"][:4], rtol=1e-8)
    with pytest.raises(mc.ParameterError, match=r"level of 'device' in reference= 'mobil'\. Did you mean 'mobile'"):
        mc.hazard_ratios(strong, adjust=["device"], reference={"device": "mobil"})
    with pytest.raises(mc.ParameterError, match=r"attribute of reference= 'device'.*Name it in adjust= too"):
        mc.hazard_ratios(strong, reference={"device": "mobile"})
    weeks = mc.hazard_ratios(strong, adjust=["interest"], strata=["device", "entry_week"])
    assert weeks.table["term"].tolist() == list(PLANTED)[:5]
    truth = {term: PLANTED[term] for term in list(PLANTED)[:5]}
    assert (far(weeks.table, truth).abs() < FAR).all()
    assert any("Every stratum of device and entry_week" in text for text in weeks.assumptions)


@pytest.mark.parametrize("method", ["cox", "piecewise"])
def test_per_user_errors_are_those_of_clusters(strong: EventLog, method: Any) -> None:
    """Near the model's where the model is right; in strata too."""
    options: dict[str, Any] = {"adjust": ["interest"], "strata": ["device"], "method": method}
    plain, robust = mc.hazard_ratios(strong, **options), mc.hazard_ratios(strong, robust=True, **options)
    assert (robust.table["interval"] == "robust").all()
    np.testing.assert_array_equal(plain.table["hazard_ratio"], robust.table["hazard_ratio"])
    width = [np.log(one.table["ci_high"] / one.table["ci_low"]) for one in (plain, robust)]
    np.testing.assert_allclose(*width, rtol=0.06)
    assert (width[0] != width[1]).all()


def test_row_order_user_names_and_clock_do_not_matter() -> None:
    events = random_events(random.Random(4), 80, names="ABCXV", span=400)
    found = []
    for change in range(3):
        rows = list(events)
        if change == 1:
            random.Random(9).shuffle(rows)
            rows = [replace(event, user=f"x{event.user[::-1]}") for event in rows]
        if change == 2:
            rows = [replace(event, time=event.time + 987_654_321) for event in rows]
        until = BASE + 500 * SECOND + (987_654_321 if change == 2 else 0)
        found.append(mc.hazard_ratios(planned(log_of(rows, until)), adjust=["device", "amount"], robust=True))
    assert found[0].table["hazard_ratio"].notna().all()
    for other in found[1:]:
        pd.testing.assert_frame_equal(other.table, found[0].table, rtol=1e-9)
        assert other.risk_table == found[0].risk_table
        assert other.warnings == found[0].warnings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"micros": ["Bb"]}, r"Unknown micro 'Bb'\. Did you mean 'B'"),
        ({"micros": ["B", "B"]}, "names 'B' twice"),
        ({"micros": ()}, "nothing to compare"),
        ({"adjust": 3}, "adjust=3 must be a list"),
        ({"adjust": ["item", "item"]}, "names 'item' twice"),
        ({"adjust": ["item"], "strata": "item"}, "both in adjust= and in strata="),
        ({"adjust": ["itm"]}, r"adjust: Unknown column 'itm'\. Did you mean 'item'"),
        ({"method": "coxx"}, r"Unknown method 'coxx'\. Did you mean 'cox'"),
        ({"ties": "exact"}, "Unknown ties"),
        ({"robust": 1}, "robust=1 must be True or False"),
        ({"bins": 1}, "bins=1 must be a whole number, 2 to 200"),
        ({"bins": 500}, "bins=500"),
        ({"max_rows": 0}, "max_rows=0"),
        ({"max_patterns": True}, "max_patterns=True"),
        ({"washout": 7}, "washout=7 has no unit"),
        ({"since": 7}, "since=7 has no unit"),
        ({"confidence": 95}, r"confidence=95 .* Write 0\.95"),
        ({"tz": "Mars"}, "Mars"),
        ({"target": "Aa"}, r"Unknown target 'Aa'"),
        ({"reference": "item"}, "must be a mapping"),
        ({"horizon": "-3D"}, "horizon"),
    ],
)
def test_impossible_parameters(options: dict[str, Any], message: str) -> None:
    log = planned(log_of(told_events("V0 B1 A2", "V0 C1 A4", "V0"), BASE + 9 * SECOND))
    with pytest.raises(mc.ParameterError, match=message):
        mc.hazard_ratios(log, **options)


def test_names_that_counts_need_are_refused() -> None:
    log = planned(told("V0 B1 A2", "V0"), micros=[{"name": "n", "event": "B"}])
    with pytest.raises(mc.ParameterError, match=r"The micro 'n' has the name of a column of counts\. Rename"):
        mc.hazard_ratios(log)
    log = planned(told("V0 B1 A2", "V0"), micros=[{"name": "item", "event": "B"}])
    with pytest.raises(mc.ParameterError, match=r"The attribute 'item' has the name of a micro"):
        mc.hazard_ratios(log, adjust=["item"])


def test_without_a_plan_the_micros_are_named() -> None:
    log = told(*[f"V0 {'B1 ' if n % 2 else ''}A{2 + n / 7}" for n in range(40)], until=60)
    result = mc.hazard_ratios(log, target="A", micros=["B", {"event": "B", "nth": 2, "name": "again"}])
    assert result.table["kind"].tolist() == ["micro", "micro"]
    with pytest.raises(mc.ParameterError, match=r"hazard_ratios without micros= needs a plan"):
        mc.hazard_ratios(log, target="A")


# --- The figure ----------------------------------------------------------------------------------------------------


def test_the_forest_says_what_the_table_says(adjusted: HazardRatios) -> None:
    with mpl.rc_context({"backend": "agg"}):
        import matplotlib.pyplot as plt

        ax = adjusted.plot()
        assert [tick.get_text() for tick in ax.get_yticklabels()] == list(PLANTED)
        texts = [text.get_text() for text in ax.texts]
        for one in adjusted.table.to_dict("records"):
            assert f"{one['hazard_ratio']:.2f} ({one['ci_low']:.2f}–{one['ci_high']:.2f})" in texts
            assert f"{one['events']:,}" in texts
        assert ax.get_xscale() == "log"
        assert ax.get_xlim()[0] < 1 < ax.get_xlim()[1]
        plt.close("all")


def test_the_forest_draws_hard_cases_and_hostile_names() -> None:
    with mpl.rc_context({"backend": "agg"}):
        import matplotlib.pyplot as plt

        table = pd.DataFrame(
            [
                ["$x_1^2$", "micro", np.inf, 3.0, np.inf, 0.1, 0.1, 30, 5, 1.0, "profile", "not done"],
                ["<b>" * 900, "micro", 0.0, 0.0, 0.4, 0.1, 0.1, 30, 0, 1.0, "profile", "not done"],
                ["never", "micro", np.nan, np.nan, np.nan, np.nan, np.nan, 0, 0, 0.0, "none", "not done"],
                ["few", "micro", 2.0, np.nan, np.nan, np.nan, np.nan, 7, 2, 1.0, "none", "not done"],
                ["_wide", "attribute", 1e-9, 1e-300, 1e300, 0.5, np.nan, 30, 2, 1.0, "wald", "not done"],
            ],
            columns=COLUMNS,
        )
        for shown in (table, table.iloc[2:3], table.iloc[:0], pd.concat([table] * 20, ignore_index=True)):
            result = HazardRatios("hazard_ratios", shown, "", plot_with=mc.hazard_ratios.__globals__["_plot"])
            ax = result.plot()
            ax.figure.canvas.draw()  # type: ignore[union-attr]
            words = " ".join(text.get_text() for text in ax.texts)
            assert ("not estimated" in words) == shown["hazard_ratio"].isna().any()
            plt.close("all")
