"""What was planted, and what follows from it: the chance to convert, and what each micro truly adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from microconv.durations import Duration, days, to_micros
from microconv.errors import ParameterError
from microconv.simulate.checks import check_known, check_whole
from microconv.simulate.clocks import Journeys, expect
from microconv.simulate.describing import describe
from microconv.simulate.eventual import eventual_probability
from microconv.simulate.exact import Chain, cells_of, chain_of, exact_curve
from microconv.simulate.model import Model
from microconv.simulate.world import World

__all__ = ["Truth"]

_PATHS = 200_000  # users of the Monte-Carlo answer where there is no exact one
_HORIZONS_DAYS = (1.0, 7.0, 14.0, 30.0, 60.0, 90.0)


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of a simulated log. ``to_dict()`` is plain data for JSON; the methods compute what follows from it."""

    world: World
    users: int
    seed: int
    faults: dict[str, int]
    model: Model = field(repr=False)
    journeys: Journeys = field(repr=False)
    codes: np.ndarray = field(repr=False)

    @property
    def hazard_ratios(self) -> dict[str, float]:
        """By micro: what it multiplies the macro's hazard by, just after it happens, all else equal."""
        return {micro.name: float(micro.hazard_ratio) for micro in self.world.micros} | {
            str(item["name"]): 1.0 for item in self.world.also_in_plan
        }

    @property
    def eventual_share(self) -> float:
        """The share that converts in the end, of users drawn at random; NaN where the macro is not ``Eventual``."""
        return float(self._eventual([np.inf])[0]) if self.model.eventual is not None else float("nan")

    def _eventual(self, times_days: Sequence[float]) -> np.ndarray:
        assert self.model.eventual is not None
        weights, ratio = cells_of(self.model.traits, len(self.model.names))
        return eventual_probability(self.model.eventual, weights, ratio[:, self.model.macro], times_days)

    @cached_property
    def _chain(self) -> Chain | None:
        return chain_of(self.model)

    def curve(self, times_days: Sequence[float]) -> pd.DataFrame:
        """The chance of a first macro by each age, for a user drawn at random and observed for ever.

        Columns: ``time_days``, ``probability`` (cumulative incidence), ``net_probability`` (what 1 - Kaplan-Meier
        estimates when competing ends are treated as censored; equal without competing ends), one column for each
        competing end, ``se`` (Monte-Carlo standard error of ``probability``; 0: exact) and ``method``. Effects that
        fade, and worlds of too many states, are simulated; then ``net_probability`` and the ends are NaN.
        """
        times = [float(time) for time in times_days]
        if any(not np.isfinite(time) or time < 0 for time in times):
            raise ParameterError(f"times_days={times} must be ages of 0 or more, in days.")
        ends = [end.name for end in self.world.competing]
        ordered = sorted(set(times))
        if self.model.eventual is not None:
            table = pd.DataFrame({"time_days": ordered, "probability": self._eventual(ordered)})
            table["net_probability"], table["se"], table["method"] = table["probability"], 0.0, "exact"
        elif self._chain is not None:
            exact = exact_curve(self._chain, ordered)
            table = pd.DataFrame({"time_days": ordered, "probability": exact.incidence[:, 0]})
            table["net_probability"] = exact.net
            for number, name in enumerate(ends, start=1):
                table[name] = exact.incidence[:, number]
            table["se"], table["method"] = 0.0, "exact"
        else:
            drawn = [self._by_simulation(time) for time in ordered]
            table = pd.DataFrame(
                {"time_days": ordered, "probability": [estimate for estimate, _ in drawn], "net_probability": np.nan}
            )
            for name in ends:
                table[name] = np.nan
            table["se"], table["method"] = [error for _, error in drawn], "monte carlo"
        return table.set_index("time_days").loc[times].reset_index()

    def probability(self, horizon: Duration) -> float:
        """The chance of a first macro within ``horizon`` of entry: see ``curve``."""
        return float(self.curve([days(to_micros(horizon, "horizon"))])["probability"].iloc[0])

    def _by_simulation(self, time: float) -> tuple[float, float]:
        rng = np.random.default_rng([self.seed, 101])
        codes = self.model.draw(rng, _PATHS)
        nobody = np.full((self.model.micros, _PATHS), np.inf)
        start, stop = np.zeros(_PATHS), np.full(_PATHS, time)
        chance = expect(
            self.model, self.model.ratios(codes), start, stop, nobody, rng, trait_value=np.ones(_PATHS)
        ).probability
        return float(chance.mean()), float(chance.std(ddof=1) / np.sqrt(_PATHS))

    def incremental(
        self,
        horizon: Duration,
        *,
        micros: Sequence[str] | None = None,
        until_age: Duration | None = None,
        replicates: int = 20,
        seed: int = 0,
    ) -> pd.DataFrame:
        """What each micro truly adds among its doers, by running them on in two worlds.

        Everybody of this log who did the micro before the macro goes on from the moment of the action with all that had
        been done by then: once having done it, once never doing it. Other micros and competing ends take their own
        course in each, so the effect is a total one; censoring is off. ``until_age`` takes only doers whose action came
        by that age. For the truth of a population, simulate many users.

        Columns: ``micro, doers``, ``probability_done, probability_never`` (of a first macro within ``horizon`` of the
        action), ``incremental`` (their difference), ``se``, and ``value_done, value_never, incremental_value,
        value_se`` (money per doer). The errors are those of the Monte Carlo over
        ``replicates`` runs, given these doers.
        """
        check_whole("replicates", replicates, 2)
        check_whole("seed", seed, 0)
        if self.model.eventual is not None:
            raise ParameterError(
                f"incremental: the macro {self.world.macro.name!r} is Eventual, so no micro adds anything to it. "
                "Simulate a world whose macro has a rate per day."
            )
        length = days(to_micros(horizon, "horizon"))
        latest = days(to_micros(until_age, "until_age")) if until_age is not None else np.inf
        names = [micro.name for micro in self.world.micros]
        wanted = list(names if micros is None else micros)
        for name in wanted:
            check_known("micro", name, names)
        rows = [self._increment(names.index(name), length, latest, replicates, seed) for name in wanted]
        return pd.DataFrame({"micro": wanted, **{key: [row[key] for row in rows] for key in _INCREMENT}})

    def _increment(self, micro: int, length: float, latest: float, replicates: int, seed: int) -> dict[str, float]:
        at = self.journeys.done_at[micro]
        first_macro = np.full(len(at), np.inf)
        np.minimum.at(first_macro, self.journeys.macro_user, self.journeys.macro_at)
        doers = np.flatnonzero(np.isfinite(at) & (at <= latest) & (at < first_macro))
        if not len(doers):
            return dict.fromkeys(_INCREMENT, float("nan")) | {"doers": 0}
        start = at[doers]
        state = np.where(self.journeys.done_at[:, doers] <= start, self.journeys.done_at[:, doers], np.inf)
        without = state.copy()
        without[micro] = np.inf
        ratio, worth = self.model.ratios(self.codes[doers]), self.model.trait_value(self.codes[doers])
        runs = []
        for replicate in range(replicates):
            arms = [
                expect(
                    self.model,
                    ratio,
                    start,
                    start + length,
                    done_at,
                    np.random.default_rng([seed, micro, replicate, arm]),
                    trait_value=worth,
                    never=never,
                )
                for arm, (done_at, never) in enumerate(((state, None), (without, micro)))
            ]
            runs.append([value.mean() for arm in arms for value in (arm.probability, arm.value)])
        table = np.array(runs)
        done, value_done, never, value_never = table.mean(axis=0)
        error = np.sqrt(replicates)
        return {
            "doers": len(doers),
            "probability_done": done,
            "probability_never": never,
            "incremental": done - never,
            "se": (table[:, 0] - table[:, 2]).std(ddof=1) / error,
            "value_done": value_done,
            "value_never": value_never,
            "incremental_value": value_done - value_never,
            "value_se": (table[:, 1] - table[:, 3]).std(ddof=1) / error,
        }

    def to_dict(self) -> dict[str, Any]:
        """What was planted, and the chance to convert by usual horizons, as plain data."""
        counted = {"users": self.users, "seed": self.seed, "hazard_ratios": self.hazard_ratios}
        curve = self.curve(_HORIZONS_DAYS).to_dict("records")
        chances = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in curve]
        return counted | describe(self.world) | {"probability": chances, "faults": dict(self.faults)}


_INCREMENT = (
    "doers",
    "probability_done",
    "probability_never",
    "incremental",
    "se",
    "value_done",
    "value_never",
    "incremental_value",
    "value_se",
)
