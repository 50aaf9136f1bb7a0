"""mc.cross_section: a table without times, what goes with conversion in it, which of its columns leak the outcome."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv import stats
from microconv.stats.leakage import one_sided

mpl.use("Agg")

N = 8_000


def made(seed: int = 1, n: int = N, odds_ratio: float = 10.0, share: float = 0.24, base: float = 0.1) -> pd.DataFrame:
    """Sessions in which ``strong`` has a planted odds ratio, ``weak`` goes with conversion only by way of the device,
    and nothing is made of the outcome.
    """
    rng = np.random.default_rng(seed)
    phone = rng.random(n) < 0.6
    weak = rng.random(n) < np.where(phone, 0.6, 0.2)
    strong = rng.random(n) < share
    odds = base / (1 - base) * np.where(strong, odds_ratio, 1.0) * np.where(phone, 0.5, 2.0)
    bought = rng.random(n) < odds / (1 + odds)
    return pd.DataFrame(
        {
            "bought": bought,
            "strong": strong,
            "weak": weak.astype(int) * rng.integers(1, 5, n),
            "device": np.where(phone, "phone", "desktop"),
            "depth": rng.poisson(3, n),
        }
    )


def leaky(rows: pd.DataFrame, given: float = 0.8, wrongly: float = 0.11, seed: int = 2) -> np.ndarray:
    """A column filled in after the outcome, with gaps: positive for ``given`` of converters, ``wrongly`` of others."""
    rng = np.random.default_rng(seed)
    share = np.where(rows["bought"], given, wrongly)
    return np.where(rng.random(len(rows)) < share, rng.lognormal(3, 1, len(rows)), 0.0)


def labels(result: mc.Result) -> dict[str, str]:
    return dict(zip(result.table["micro"], result.table["label"], strict=True))


def row_of(result: mc.Result, micro: str) -> pd.Series:
    return result.table.set_index("micro").loc[micro]


# What goes with conversion -----------------------------------------------------------------------------------------


def test_strata_take_away_what_the_device_explains() -> None:
    rows = made()
    found = mc.cross_section(rows, outcome="bought", micros=["strong", "weak"], adjust="device")
    weak = row_of(found, "weak")
    assert weak["naive_ci_high"] < 0  # phones convert less and do it more
    assert weak["ci_low"] < 0 < weak["ci_high"]
    assert weak["e_value_limit"] == 1
    assert set(labels(found).values()) == {"predictive"}


def test_the_numbers_are_those_of_a_loop_over_strata() -> None:
    rows = made(n=900)
    found = row_of(mc.cross_section(rows, outcome="bought", micros="weak", adjust=["device", "strong"]), "weak")
    done = rows["weak"] > 0
    doers = total = expected = 0.0
    for _, part in rows.groupby(["device", "strong"]):
        with_it, without = part[done[part.index]], part[~done[part.index]]
        assert len(with_it) > 0 < len(without)
        doers += len(with_it)
        total += with_it["bought"].sum()
        expected += len(with_it) * without["bought"].mean()
    assert found["difference"] == pytest.approx((total - expected) / doers, abs=1e-12)
    assert found["risk_ratio"] == pytest.approx(total / expected, abs=1e-12)
    assert found["naive_difference"] == pytest.approx(
        rows["bought"][done].mean() - rows["bought"][~done].mean(), abs=1e-12
    )
    assert (found["n"], found["n_others"]) == (done.sum(), (~done).sum())
    point, limit = stats.e_value(found["risk_ratio"], found["ratio_low"], found["ratio_high"])
    assert (found["e_value"], found["e_value_limit"]) == (point, limit)


def test_intervals_cover_a_planted_difference() -> None:
    """Of a fair coin's micro, by device; 200 tables, 3.3 standard errors around 95%."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        phone, done = rng.random(800) < 0.5, rng.random(800) < 0.5
        bought = rng.random(800) < np.where(phone, 0.2, 0.4) + 0.1 * done
        counts = pd.DataFrame({"phone": phone, "done": done, "bought": bought, "n": 1})
        counts = counts.groupby(["phone", "done"], as_index=False).sum()
        means = stats.standardised(counts, "done", "phone", outcome="bought", users="n", to="treated").means
        held += means.ci_low <= 0.1 <= means.ci_high
    assert abs(held / 200 - 0.95) < 3.3 * np.sqrt(0.95 * 0.05 / 200)


def test_numbers_are_adjusted_for_in_bands_and_text_by_level() -> None:
    rows = made(n=2_000)
    rows["minutes"] = np.random.default_rng(5).exponential(10, len(rows))
    rows.loc[:99, "minutes"] = np.nan
    rows.loc[:49, "device"] = None
    support = mc.cross_section(rows, outcome="bought", micros="strong", adjust=["device", "minutes"]).strata
    assert set(support["device"]) == {"phone", "desktop", "(missing)"}
    bands = support.groupby("minutes")[["n", "n_others"]].sum().sum(axis=1)
    assert len(bands) == 5
    assert bands["(missing)"] == 100
    assert bands.drop("(missing)").between(473, 477).all()
    assert support[["n", "n_others"]].to_numpy().sum() == 2_000


def test_rare_values_beside_a_common_one_are_a_band() -> None:
    rows = made(n=3_000)
    rows["calls"] = 0
    rows.loc[:8, "calls"] = range(1, 10)
    support = mc.cross_section(rows, outcome="bought", micros="strong", adjust="calls").strata
    assert support.groupby("calls")[["n", "n_others"]].sum().sum(axis=1).to_dict() == {"up to 0": 2_991, "over 0": 9}


def test_conditions_and_columns_are_read_alike() -> None:
    rows = made(n=2_000)
    named = [{"name": "m", "where": "weak > 0"}, {"name": "deep", "where": "depth >= 4 and device = 'phone'"}]
    outcome = {"name": "sale", "where": "bought = true"}
    found = mc.cross_section(rows, outcome=outcome, micros=named)
    plain = mc.cross_section(rows, outcome="bought", micros="weak")
    numbers = ["n", "n_others", "converted", "difference", "ci_low", "e_value", "separation"]
    assert row_of(found, "m")[numbers].tolist() == row_of(plain, "weak")[numbers].tolist()
    assert row_of(found, "deep")["n"] == ((rows["depth"] >= 4) & (rows["device"] == "phone")).sum()


def test_row_order_and_the_kind_of_source_change_nothing(tmp_path) -> None:
    rows = made(n=1_500).assign(late=lambda frame: leaky(frame))
    rows.to_csv(tmp_path / "sessions.csv", index=False)
    ask = {"outcome": "bought", "micros": ["strong", "weak", "late"], "adjust": ["device", "depth"]}
    first = mc.cross_section(rows, **ask)
    for source in (rows.sample(frac=1, random_state=3), tmp_path / "sessions.csv"):
        again = mc.cross_section(source, **ask)
        pd.testing.assert_frame_equal(first.table, again.table)
        pd.testing.assert_frame_equal(first.strata, again.strata)
        pd.testing.assert_frame_equal(first.columns, again.columns)


def test_missing_outcomes_are_left_out_and_said() -> None:
    rows = made(n=1_000)
    rows["bought"] = rows["bought"].astype(object)
    rows.loc[:9, "bought"] = None
    rows["strong"] = rows["strong"].astype(float)
    rows.loc[10:19, "strong"] = np.nan
    found = mc.cross_section(rows, outcome="bought", micros="strong")
    assert found.table[["n", "n_others"]].to_numpy().sum() == 990
    assert row_of(found, "strong")["n"] == (rows["strong"][10:] == 1).sum()
    assert any("10 of 1,000 rows lack the outcome" in note for note in found.warnings)
    assert any("10 rows lack strong; they count as not done" in note for note in found.warnings)


# Leaks ---------------------------------------------------------------------------------------------------------------


def test_a_leak_is_labelled_and_is_no_driver() -> None:
    rows = made().assign(page_value=lambda frame: leaky(frame))
    found = mc.cross_section(
        rows, outcome="bought", micros=["page_value", "strong", {"name": "high", "where": "page_value > 60"}]
    )
    assert labels(found) == {"page_value": "leaks", "strong": "predictive", "high": "leaks"}
    assert found.table.set_index("micro").loc[["page_value", "high"], "difference"].isna().all()
    assert "strong goes with it most" in found.meaning
    assert "honest predictor" in row_of(found, "page_value")["why"]
    assert row_of(found, "high")["why"] == "it reads page_value, which leaks"
    assert any("page_value leaks the outcome" in note for note in found.warnings)


def test_a_leak_is_not_adjusted_for() -> None:
    rows = made().assign(page_value=lambda frame: leaky(frame))
    found = mc.cross_section(rows, outcome="bought", micros="weak", adjust=["device", "page_value"])
    without = mc.cross_section(rows, outcome="bought", micros="weak", adjust="device")
    pd.testing.assert_frame_equal(found.table, without.table)
    assert found.parameters["adjust"] == ["device", "page_value"]
    assert found.parameters["strata"] == ["device"]
    assert any("Not adjusted for page_value, which leaks" in note for note in found.warnings)
    assert found.columns.set_index("column")["leaks"].to_dict() == {"weak": False, "device": False, "page_value": True}


@pytest.mark.parametrize("share", [0.02, 0.1, 0.24, 0.5, 0.8])
@pytest.mark.parametrize("base", [0.03, 0.15, 0.5])
def test_an_honest_odds_ratio_of_ten_is_no_leak(share: float, base: float) -> None:
    """However frequent the predictor and the outcome are."""
    for seed in range(4):
        found = mc.cross_section(made(seed, 4_000, share=share, base=base), outcome="bought", micros="strong")
        assert labels(found) == {"strong": "predictive"}


def test_a_graded_predictor_of_ten_per_standard_deviation_is_no_leak() -> None:
    rng = np.random.default_rng(3)
    for n in (500, 5_000, 40_000):
        bought = rng.random(n) < 0.15
        score = rng.normal(np.where(bought, np.log(10), 0.0), 1.0) + 8  # a column that is above zero for all
        rows = pd.DataFrame({"bought": bought, "seen": rng.random(n) < 0.5, "score": score, "copy": score * 0})
        rows["copy"] = np.where(bought, 50, 10) + rng.normal(0, 12, n)  # made of the outcome, with noise
        found = mc.cross_section(rows, outcome="bought", micros="seen", adjust=["score", "copy"]).columns
        assert found.set_index("column")["leaks"].to_dict() == {"seen": False, "score": False, "copy": True}


@pytest.mark.parametrize("n", [12, 40, 200])
def test_noise_in_few_rows_is_no_leak(n: int) -> None:
    """The best of many cuts of few rows looks good by chance."""
    rng = np.random.default_rng(n)
    bought = np.arange(n) % 2 == 0
    for _ in range(300):
        for values, ordered in ((np.arange(n), True), (rng.integers(0, 8, n), False)):
            level = rng.permutation(values)
            size = int(level.max()) + 1
            yes, no = (np.bincount(level[at], minlength=size) for at in (bought, ~bought))
            assert not stats.separation(yes, no, ordered=ordered).leaks


def test_ids_are_no_leak() -> None:
    """Each row has its own, so that any order of them separates."""
    rows = made(n=600)
    rows["visitor"] = [f"v{i}" for i in range(600)]
    found = mc.cross_section(rows, outcome="bought", micros="strong", adjust="visitor")
    assert not found.columns["leaks"].any()
    assert labels(found) == {"strong": "not estimated"}
    assert "no stratum" in row_of(found, "strong")["why"]


@pytest.mark.parametrize("kind", ["text", "number", "level"])
def test_what_is_filled_in_at_the_conversion_leaks(kind: str) -> None:
    """Even where most conversions lack it."""
    rows = made()
    given = rows["bought"] & (np.random.default_rng(1).random(len(rows)) < 0.3)
    columns = {
        "text": pd.Series(np.where(given, "card", None), dtype=object),
        "number": pd.Series(np.where(given, 3.0, np.nan)),
        "level": pd.Series(np.where(given, "paid", np.where(rows["strong"], "open", "new"))),
    }
    rows["method"] = columns[kind]
    found = mc.cross_section(rows, outcome="bought", micros="weak", adjust="method")
    verdict = found.columns.set_index("column").loc["method"]
    assert verdict["leaks"]
    assert "has converted" in verdict["why"]


def test_a_step_on_the_way_is_structural() -> None:
    """Half of all sessions see the basket, and no sale comes without it."""
    rows = made()
    other = np.random.default_rng(4).random(len(rows)) < 0.55
    rows["basket"] = rows["bought"] | other
    rows["bounced"] = ~rows["basket"]
    found = mc.cross_section(rows, outcome="bought", micros=["basket", "bounced", "strong"])
    assert labels(found) == {"basket": "structural", "bounced": "structural", "strong": "predictive"}
    assert np.isnan(row_of(found, "basket")["difference"])
    assert any("basket is structural" in note for note in found.warnings)


def test_the_bar_moves_with_what_is_taken_for_honest() -> None:
    rows = made().assign(page_value=lambda frame: leaky(frame))
    lenient = mc.cross_section(rows, outcome="bought", micros="page_value", honest_odds_ratio=100)
    assert labels(lenient) == {"page_value": "predictive"}
    strict = mc.cross_section(rows, outcome="bought", micros="strong", honest_odds_ratio=1.5)
    assert labels(strict) == {"strong": "leaks"}


def test_the_bar_is_the_most_that_an_odds_ratio_can_give() -> None:
    share = np.linspace(0.001, 0.999, 9_999)
    for ratio in (2.0, 10.0, 30.0):
        done = ratio * share / (1 - share + ratio * share)
        assert (done - share).max() == pytest.approx(stats.honest_separation(ratio, graded=False), abs=1e-6)
        low, high = np.log(ratio), 0.0
        cut = np.linspace(-4, 8, 24_001)
        from scipy.special import ndtr

        best = np.abs(ndtr(cut - high) - ndtr(cut - low)).max()
        assert best == pytest.approx(stats.honest_separation(ratio, graded=True), abs=1e-6)


def test_separation_is_that_of_ranks() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(6)
    yes, no = rng.poisson(3, 200), rng.poisson(2, 300)
    levels = np.arange(15)
    found = stats.separation(
        [(yes == level).sum() for level in levels], [(no == level).sum() for level in levels], ordered=True
    )
    assert found.area == pytest.approx(mannwhitneyu(yes, no).statistic / 60_000, abs=1e-12)
    assert found.youden == pytest.approx(max(abs((yes > cut).mean() - (no > cut).mean()) for cut in levels), abs=1e-12)
    assert found.low < found.youden


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ((200, 0, 800, 4_000), "done converts"),
        ((800, 4_000, 200, 0), "undone converts"),
        ((1_000, 2_000, 0, 2_000), "no conversion without"),
        ((0, 2_000, 1_000, 2_000), "no conversion with"),
        ((100, 100, 900, 3_900), ""),
        ((5, 0, 995, 4_000), ""),  # too few to be sure
    ],
)
def test_empty_cells(cells: tuple[int, ...], said: str) -> None:
    assert one_sided(*cells) == said


# Words, errors, pictures ---------------------------------------------------------------------------------------------


def test_it_says_what_cannot_be_said_without_times() -> None:
    found = mc.cross_section(pd.concat([made(n=500)] * 2), outcome="bought", micros="strong")
    said = " ".join(found.assumptions)
    for words in ("No order", "No time to convert", "No censoring", "immortal time", "one user cannot be told apart"):
        assert words in said
    assert any("rows equal another in every column" in note for note in found.warnings)
    assert any("Nothing is adjusted for" in note for note in found.warnings)
    assert "cannot be said without times" in found.meaning


def test_times_in_the_table_are_pointed_out() -> None:
    rows = made(n=500).assign(at=pd.Timestamp("2026-01-01", tz="UTC"))
    found = mc.cross_section(rows, outcome="bought", micros="strong")
    assert any("mc.read_events" in note for note in found.warnings)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"outcome": "bougt"}, "Did you mean 'bought'"),
        ({"outcome": "device", "adjust": ()}, "must hold true or false"),
        ({"micros": "strng"}, "Did you mean 'strong'"),
        ({"micros": []}, "names none"),
        ({"micros": ["device"], "adjust": ()}, "Say which values count"),
        ({"micros": ["strong", "strong"]}, "named twice"),
        ({"micros": [{"name": "x"}]}, "a named condition"),
        ({"micros": [{"name": "x", "where": "bought = true"}]}, "what the outcome is read from"),
        ({"adjust": "bought"}, "named twice"),
        ({"adjust": ["devise"]}, "Did you mean 'device'"),
        ({"adjust": 3}, "must be a list of columns"),
        ({"honest_odds_ratio": 1}, "above 1"),
        ({"confidence": 95}, "between 0 and 1"),
        ({"min_cell": -1}, "whole number"),
        ({"outcome": {"name": "none", "where": "depth > 999"}}, "none converted"),
    ],
)
def test_faults_are_named(changed: dict, words: str) -> None:
    ask = {"outcome": "bought", "micros": "strong", "adjust": "device", **changed}
    with pytest.raises(mc.ParameterError, match=words):
        mc.cross_section(made(n=200), **ask)


def test_a_faulty_condition_is_a_plan_error() -> None:
    with pytest.raises(mc.PlanError):
        mc.cross_section(made(n=200), outcome="bought", micros={"name": "x", "where": "depth >"})


def test_few_rows_are_not_estimated() -> None:
    rows = made(n=1_000)
    rows["rare"] = np.arange(1_000) < 6
    rows["never"] = 0
    found = mc.cross_section(rows, outcome="bought", micros=["rare", "never"])
    assert labels(found) == {"rare": "not estimated", "never": "not estimated"}
    assert "fewer than min_cell=10" in row_of(found, "rare")["why"]
    assert "goes with it most" not in found.meaning


def test_the_picture_shows_leaks_in_words_and_hostile_names(tmp_path) -> None:
    name = "<script>$x$\n" + "long " * 20
    rows = made(n=2_000).assign(page_value=lambda frame: leaky(frame)).rename(columns={"weak": name})
    found = mc.cross_section(rows, outcome="bought", micros=["strong", name, "page_value"], adjust="device")
    ax = found.plot()
    assert "leaks the outcome: no driver" in {text.get_text() for text in ax.texts}
    (line,) = (line for line in ax.lines if str(line.get_label()).startswith("standardised"))
    drawn = sorted(float(x) for x in line.get_xdata())
    expected = sorted(found.table["difference"].dropna())
    assert [x for x in drawn if not np.isnan(x)] == pytest.approx(expected)
    assert "<script>" not in found._repr_html_()
    assert (found.save(tmp_path) / "figure.png").stat().st_size > 10_000


# Real input ----------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_page_values_leak_in_the_shoppers_file(real_data) -> None:
    """Google Analytics fills PageValues in from the pages seen before a sale; nothing else in the file knows of it."""
    path = real_data / "online_shoppers" / "online_shoppers_intention.csv"
    counted = ["Administrative", "Informational", "ProductRelated"]
    micros = ["PageValues", "SpecialDay", "Weekend", "BounceRates", "ExitRates", *counted]
    micros += [f"{name}_Duration" for name in counted]
    beside = ["Month", "VisitorType", "TrafficType", "Region", "Browser", "OperatingSystems"]
    found = mc.cross_section(path, outcome="Revenue", micros=micros, adjust=beside[:2])
    assert labels(found) == dict.fromkeys(micros, "predictive") | {"PageValues": "leaks"}
    assert found.provenance["converted"] == 1_908
    assert found.provenance["repeats"] == 125
    page = row_of(found, "PageValues")
    assert page[["n", "n_others"]].tolist() == [2_730, 9_600]
    assert page["separation"] == pytest.approx(0.692, abs=5e-4)
    others = found.table[found.table["micro"] != "PageValues"]
    assert others["separation"].max() < 0.3  # far from the bar of 0.52
    # Region and the like are codes, read as levels.
    adjusted = mc.cross_section(path, outcome="Revenue", micros="Informational", adjust=[*beside, "PageValues"])
    assert adjusted.columns.set_index("column")["leaks"].loc[lambda leaks: leaks].index.tolist() == ["PageValues"]
    assert adjusted.parameters["strata"] == beside
