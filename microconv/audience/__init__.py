"""mc.audience: the users to speak to next, what they are worth, and the list of them, with consent respected."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microconv.durations import MICROS_PER_DAY, Duration, format_duration, micros_to_moment
from microconv.errors import ParameterError
from microconv.results import Result
from microconv.steps import Step

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

    from microconv.audience.asking import Asked
    from microconv.engine import Engine
    from microconv.log import EventLog
    from microconv.plan import Behaviour

__all__ = ["Audience", "audience"]

USERS_FILE = "users.csv"


@dataclass(frozen=True, eq=False)
class Audience(Result):
    """A list of users: its size and what it is expected to bring in ``.table``; ``save`` also writes the list.

    ``members``: ``user_id, chance`` of who matches the rule and gave consent, in the engine.
    """

    members: ir.Table | None = field(default=None, repr=False)
    engine: Engine | None = field(default=None, repr=False)
    consent_known: bool = False

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        min_cell: int = 10,
        key_env: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write the files of a result and ``users.csv``: ``user_id, chance``, a row per user, sorted.

        ``key_env``, ``key_file``: the name of an environment variable, or a file, that holds a key of 16 bytes or more:
        then the column is ``pseudonym``, the HMAC-SHA256 of the id under that key. The key is written nowhere. What a
        spreadsheet would run as a formula gets an apostrophe in front.

        Refused with ``ParameterError``: a list of fewer than ``min_cell`` users (or than ``audience`` was asked for),
        and any list where the log does not say who consented.
        """
        from microconv.audience.writing import pseudonym, read_key
        from microconv.value.files import shown, write_rows

        assert self.members is not None
        assert self.engine is not None
        if not self.consent_known:
            raise ParameterError(
                "The log has no column 'consent', so nobody is known to have agreed and no list is written. Name the "
                "column: audience(..., consent='opt_in'); or pass consent=None if every user of the log has agreed."
            )
        least = max(min_cell, int(self.parameters["min_cell"]))
        if int(self.table["users"].iloc[0]) < least:
            raise ParameterError(_too_few(self.parameters["rule"], least))
        key = read_key(key_env, key_file)
        frame = self.engine.fetch(self.members)
        ids = frame["user_id"].astype(str)
        names = [pseudonym(one, key) for one in ids] if key is not None else ids.tolist()
        rows = sorted((shown(name), f"{chance:.6f}") for name, chance in zip(names, frame["chance"], strict=True))
        self.suppressed(min_cell)._write_files(folder, min_cell)
        write_rows(folder, USERS_FILE, ["pseudonym" if key is not None else "user_id", "chance"], rows)
        return Path(folder)


def audience(
    log: EventLog,
    rule: str | Behaviour | Mapping[str, Any],
    *,
    at: str | dt.datetime | dt.date | None = None,
    target: Step | None = None,
    horizon: Duration | None = None,
    top: float | None = None,
    consent: str | None = "consent",
    granted: Sequence[str] = ("granted", "yes", "true", "1"),
    min_cell: int = 10,
    prior: int = 2,
    confidence: float = 0.95,
    max_rows: int = 1_000_000,
) -> Audience:
    """Whom to speak to next: users who fit a rule at a moment, how many will convert anyway, and what that is worth.

    * ``rule``: ``"signed up, little else"`` (a form, no cart, no other micro), ``"abandoned cart"`` (in the last 7
      days, not bought), ``"stalled"`` (among the quarter with the highest chance, no event for 7 days), the name of one
      of the plan's ``behaviour:``, or a mapping of that form: ``{"name": "carts", "did": ["intent"], "within": "3D"}``.
    * ``at``: the moment that the list is for (UTC where no zone is named); None: ``log.observed_until``. Nothing after
      it is looked at.
    * ``target``: the conversion; None is the plan's first macro. ``horizon``: how far after the moment; None: the
      plan's.
    * ``top``: only users whose predicted chance is among this share (0.25: a quarter) of all users at risk.
    * ``consent``: the column that says who agreed to be spoken to; what counts is a user's latest value by ``at``, and
      only the words of ``granted`` grant it. Who did not is counted and left out. None: everybody has agreed. A log
      without a column ``consent`` gives sizes but no list.
    * ``min_cell``: a list of fewer users is refused. ``prior``: see below.

    Only users still at risk of converting (again) at the moment: entered, observed, taken by no competing end.

    **The chance** of a user is that of their state: which micros were done and whether the target was, and the age band
    (up to 7 days, 30 days, more). It is read from what users in that state went on to do: snapshots at one horizon
    before the moment, two, and so on (at most 8, so that windows do not overlap), each followed for the horizon
    (Aalen-Johansen; competing ends on their own course). A state's rate is drawn towards that of its parent as if
    ``prior`` conversions more had been seen at the parent's chance; parents are the state without its micros of other
    kinds than form, intent and identity (only how many), the age band, and all. These are conversions that come
    **without** any message: what a message adds is for an experiment.

    ``.table``, one row: ``audience, users`` (with consent), ``without_consent, matching, chance`` (mean),
    ``expected_conversions`` with ``ci_low, ci_high`` (of the expectation) and ``range_low, range_high`` (of the number
    to come), ``mean_value, expected_value, value_ci_low, value_ci_high, currency``. ``.states``: by state, ``users,
    chance, ci_low, ci_high, seen, own_weight``. ``.members``: the users, in the engine; ``.save(folder)`` writes
    them, with pseudonyms if a key is named.

    Raises ``ParameterError`` for parameters that do not fit the log, and below ``min_cell``.

    >>> import microconv as mc
    >>> found = mc.audience(mc.sample_log(), "abandoned cart", horizon="14D", consent=None)
    >>> found.table[["audience", "users", "expected_conversions"]].round(1)
             audience  users  expected_conversions
    0  abandoned cart     91                   3.3
    """
    from microconv.audience import words
    from microconv.audience.asking import ask
    from microconv.audience.chances import expected, state_chances
    from microconv.reduce.audience import consenting, known_at, states_of, what_followed, with_chance
    from microconv.reduce.behaviour import fits

    asked = ask(
        log, rule, at=at, target=target, horizon=horizon, top=top, consent=consent, granted=granted,
        min_cell=min_cell, prior=prior, confidence=confidence,
    )  # fmt: skip
    # Who is observed up to the moment is at risk just after it.
    known = known_at(log, asked.rule, asked.items, asked.moment, asked.moment + 1)
    everybody = states_of(log, known.table)
    if everybody.empty:
        raise ParameterError("No user is at risk at that moment: choose a later one with at=.")
    counts = what_followed(log, asked.rule, asked.items, asked.moments, max_rows)
    days = asked.horizon / MICROS_PER_DAY
    fitted = state_chances(counts, everybody, asked.marks, days, asked.rule.target.name, asked.prior, confidence)
    chances = fitted.table
    matching = known.table.filter(fits(known, asked.group, len(asked.micros)))
    users = with_chance(log, log.engine.materialise(matching), chances)
    if asked.top is not None:
        users = log.engine.materialise(users.filter(users.chance >= _threshold(chances, asked.top)))
    every = int(states_of(log, users)["users"].sum())
    if asked.column is not None:
        agreed = consenting(log, users, asked.column, asked.granted, asked.moment)
        users = log.engine.materialise(agreed.filter(agreed["_consent"]))
    inside = states_of(log, users)
    if inside["users"].sum() < min_cell:
        raise ParameterError(_too_few(asked.group.name, min_cell))
    states = chances.drop(columns="users").merge(inside, how="left", on=["done", "age_band"]).fillna({"users": 0})
    found = expected(fitted, states["users"].to_numpy(dtype=float), confidence)
    states = states[states["users"] > 0].astype({"users": "int64"})
    table = _table(log, asked, states, found, every)
    return Audience(
        name="audience",
        table=table,
        meaning=words.meaning(asked, table),
        parameters={
            "rule": asked.group.name,
            "definition": asked.group.model_dump(exclude_defaults=True),
            "top": asked.top,
            "at": micros_to_moment(asked.moment).isoformat(),
            "target": asked.rule.target.name,
            "horizon": format_duration(asked.horizon),
            "snapshots": [micros_to_moment(moment).isoformat() for moment in asked.moments],
            "consent": asked.column,
            "granted": list(asked.granted),
            "min_cell": min_cell,
            "prior": prior,
            "confidence": confidence,
        },
        assumptions=words.assumptions(asked),
        warnings=words.warnings_of(asked, states, table, consent),
        extra={"states": words.named_states(states, asked)},
        provenance=log.provenance,
        plot_with=_plot,
        members=users.select(user_id=users.user_id.cast("string"), chance=users.chance),
        engine=log.engine,
        consent_known=asked.column is not None or consent is None,
    )


def _threshold(chances: pd.DataFrame, top: float) -> float:
    """The smallest chance that the ``top`` share of all users has; who has exactly it is in."""
    ranked = chances.sort_values("chance", ascending=False, kind="stable")
    so_far = ranked["users"].cumsum() / ranked["users"].sum()
    return float(ranked["chance"].iloc[int((so_far < top - 1e-12).sum())])


def _table(log: EventLog, asked: Asked, states: pd.DataFrame, found: dict[str, float], matching: int) -> pd.DataFrame:
    import pandas as pd

    from microconv.audience.chances import worth
    from microconv.reduce.audience import purchases

    users = int(states["users"].sum())
    row = {
        "audience": asked.group.name,
        "users": users,
        "without_consent": matching - users,
        "matching": matching,
        "chance": found["expected_conversions"] / users,
        **{name: found[name] for name in ("expected_conversions", "ci_low", "ci_high", "range_low", "range_high")},
    }
    paid = None
    if getattr(asked.rule.target, "value", None) is not None:
        paid = purchases(log, asked.rule.target, asked.moment)
    return pd.DataFrame([{**row, **worth(found, paid, asked.confidence)}])


def _too_few(rule: object, least: int) -> str:
    return (
        f"The audience {str(rule)!r} has fewer than {least} users who may be spoken to, and lists that small are not "
        "made: they point at single people. Widen the rule (a longer within=, fewer conditions), or wait for more "
        "users."
    )


def _plot(result: Result, ax: Any) -> Any:
    from microconv.plots import plot_audience

    return plot_audience(result, ax)
