"""What micros are worth, as files: for Google Ads and Meta, as a table of goal values, and for the books.

What platforms take is theirs to change; the pages that limits come from are named beside them (read in 2026).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from microconv.errors import ParameterError, shorten, unknown_name
from microconv.value.files import Exported, check_name, money_text, shown, to_cents, write_rows, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from microconv.results import Result

__all__ = ["export_values"]

_NO_MICRO, _SMALL, _OUTSIDE = "(no micro)", "(micros of few users)", "(outside the journeys)"
_TARGETS = ("google_ads", "meta", "goals", "finance")
_NEEDED = ("micro", "users", "credited_value", "incremental_value", "value_ci_low", "value_ci_high", "label")
# Google Ads API, ValueRuleDeviceType and ValueRuleGeoLocationCondition: the attributes that a rule can be about.
_DEVICES = {"mobile": "MOBILE", "desktop": "DESKTOP", "tablet": "TABLET"}
_PLACES = ("country", "region", "city")
# Our caution: no page of Meta that we could read again states how long the name of a custom event may be.
_LONGEST_EVENT = 50


def export_values(
    result: Result,
    folder: str | os.PathLike[str],
    *,
    to: Literal["google_ads", "meta", "goals", "finance"],
    names: Mapping[str, str] | None = None,
    value: Literal["estimate", "low"] = "estimate",
    currency: str | None = None,
    min_cell: int = 10,
) -> Exported:
    """Write what ``mc.micro_value`` found, in the form in which others take it. No user is in any of these files.

    * ``to="google_ads"``: ``google_ads_conversion_values.csv``, the default value of each conversion action, and, where
      the result has segments by device or place, ``google_ads_value_rules.csv``: how many times as much the micros of
      a segment are worth as these values say. ``"meta"``: ``meta_event_values.csv`` and ``.json``, value and currency
      for the events' ``custom_data``. Your site or server sends the events; only the values come from here.
    * ``"goals"``: ``goal_values.csv``, the suggested value of each micro with its interval, and why some have none.
    * ``"finance"``: ``credited_value.csv``, whose column sums to the revenue to the cent. Credited and incremental
      value are never mixed: only this file holds credited value.

    The value of a micro is its incremental value per user who did it, or with ``value="low"`` the lower limit of its
    interval. Micros whose interval reaches 0 or below have none: a platform that is told a value bids for it.
    ``names`` says what micros are called there (``{"newsletter_signup": "Lead"}``) and which are written; None writes
    all under their own names. ``currency`` (default: the result's) is needed by platforms. Micros of fewer than
    ``min_cell`` users are left out; in the books they share a row.

    Of the result's other frames, ``segments`` is read for value rules (``micro``, the attribute ``parameters["by"]``,
    ``users``, ``shrunk_value`` or else ``incremental_value``), ``credited`` and ``revenue`` for the books: they must
    agree with the rows, to the cent.

    Raises ``ParameterError`` for a result without money, for names and currencies that a platform refuses, and where
    parts do not sum to the revenue.
    """
    if to not in _TARGETS:
        raise ParameterError(unknown_name("to", to, _TARGETS))
    if value not in ("estimate", "low"):
        raise ParameterError(unknown_name("value", value, ("estimate", "low")))
    if isinstance(min_cell, bool) or not isinstance(min_cell, int) or min_cell < 0:
        raise ParameterError(f"min_cell={shorten(repr(min_cell))} must be a whole number of users, 0 or more.")
    for column in _NEEDED:
        if column not in result.table.columns:
            raise ParameterError(
                f"The result {result.name!r} has no column {column!r}: it is not one of mc.micro_value. Export that."
            )
    unit = _currency(result, currency, needed=to in ("google_ads", "meta"))
    if to == "finance":
        return _finance(result, folder, unit, min_cell)
    if not result.table["incremental_value"].notna().any():
        raise ParameterError(
            "No micro has an incremental value in money: the plan's macro has no value:, or nothing was estimated."
        )
    suggested = _suggested(result, value, names, min_cell)
    left = suggested[suggested["why"] != ""]
    left_out = pd.DataFrame({"name": left["micro"], "why": left["why"]}).reset_index(drop=True)
    if to == "goals":
        return Exported((_goals(suggested, folder, unit),), left_out, _notes(result))
    kept = suggested[suggested["why"] == ""]
    if kept.empty:
        raise ParameterError(
            "No micro has a value to export: " + "; ".join(f"{n!r} {w}" for n, w in left_out.to_numpy()[:5]) + "."
        )
    write = _google_ads if to == "google_ads" else _meta
    return write(result, kept, folder, unit, left_out, min_cell)


def _currency(result: Result, given: str | None, needed: bool) -> str:
    """The currency's three letters (ISO 4217), which both platforms ask for; empty where nothing names one."""
    own = result.parameters.get("currency") or ""
    unit = given if given is not None else own
    if given is not None and own and given != own:
        raise ParameterError(
            f"currency={given!r}, but the result's money is in {own}. Export it as {own}, or run mc.micro_value with "
            "rates=."
        )
    if unit and not re.fullmatch(r"[A-Z]{3}", str(unit)):
        raise ParameterError(f"currency={shorten(repr(unit))} must be three capital letters, such as 'EUR'.")
    if needed and not unit:
        raise ParameterError("The result names no currency, and platforms ask for one. Pass currency='EUR'.")
    return str(unit)


def _suggested(result: Result, value: str, names: Mapping[str, str] | None, min_cell: int) -> pd.DataFrame:
    """``micro, name, users, cents`` (of the suggested value), ``low, high`` (money), ``label``, ``why`` not."""
    table = result.table[result.table["micro"] != _NO_MICRO]
    known = table["micro"].tolist()
    if names is not None:
        if not isinstance(names, Mapping):
            raise ParameterError(f"names={shorten(repr(names))} must be a mapping, such as {{'signup': 'Lead'}}.")
        for micro in names:
            if micro not in known:
                raise ParameterError(unknown_name("micro in names=", micro, known))
        if len(set(names.values())) < len(names):
            raise ParameterError("names= gives two micros one name: their values would overwrite each other.")
    rows = []
    for row in table.to_dict("records"):
        if names is not None and row["micro"] not in names:
            continue
        estimate, low = row["incremental_value"], row["value_ci_low"]
        users = 0 if pd.isna(row["users"]) else int(row["users"])
        why = ""
        if users < min_cell:
            why = f"fewer than {min_cell} users did it"
        elif pd.isna(estimate) or pd.isna(low):
            told = row.get("why")
            why = str(told) if isinstance(told, str) and told else f"{row['label'] or 'not estimated'}"
        elif estimate <= 0 or low <= 0:
            why = "its interval reaches 0 or below: it is not shown to be worth anything"
        cents = 0 if why else to_cents(estimate if value == "estimate" else low)
        if not why and cents == 0:
            why = "it is worth less than half a hundredth"
        rows.append(
            {
                "micro": row["micro"], "name": row["micro"] if names is None else names[row["micro"]], "users": users,
                "cents": cents, "low": low, "high": row["value_ci_high"], "label": row["label"], "why": why,
            }
        )  # fmt: skip
    columns = ["micro", "name", "users", "cents", "low", "high", "label", "why"]
    return pd.DataFrame(rows, columns=columns)


def _goals(suggested: pd.DataFrame, folder: str | os.PathLike[str], unit: str) -> Path:
    rows = []
    for row in suggested.to_dict("records"):
        hidden = row["why"].startswith("fewer than")
        limits = [
            "" if hidden or pd.isna(limit) else money_text(to_cents(limit)) for limit in (row["low"], row["high"])
        ]
        worth = "" if hidden or (row["why"] and pd.isna(row["low"])) else money_text(row["cents"])
        users = "" if hidden else str(row["users"])
        rows.append([shown(row["name"]), worth, *limits, unit, users, shown(row["label"]), shown(row["why"])])
    header = ["goal", "suggested_value", "value_ci_low", "value_ci_high", "currency", "users", "label", "why"]
    return write_rows(folder, "goal_values.csv", header, rows)


def _google_ads(
    result: Result, kept: pd.DataFrame, folder: str | os.PathLike[str], unit: str, left_out: pd.DataFrame, min_cell: int
) -> Exported:
    """Google Ads API, ConversionAction.ValueSettings and ConversionValueRule."""
    rows = [
        [check_name(row["name"], "The conversion action"), money_text(row["cents"]), unit, "TRUE"]
        for row in kept.to_dict("records")
    ]
    header = ["Conversion Name", "Default Value", "Default Currency Code", "Always Use Default Value"]
    files = [write_rows(folder, "google_ads_conversion_values.csv", header, rows)]
    rules, without = _value_rules(result, kept, min_cell)
    if rules:
        # "All value rules in your account must use the same type of primary condition" (Google Ads Help, "Set up
        # conversion value rules"): one attribute a file.
        header = ["Primary Condition Type", "Primary Condition", "Operation", "Value"]
        files.append(write_rows(folder, "google_ads_value_rules.csv", header, rules))
    left_out = pd.concat([left_out, without], ignore_index=True) if len(without) else left_out
    return Exported(tuple(files), left_out, _notes(result))


def _value_rules(result: Result, kept: pd.DataFrame, min_cell: int) -> tuple[list[list[str]], pd.DataFrame]:
    """By level of the segment: what its micros are worth over what the default values say they are."""
    segments, by = result.extra.get("segments"), result.parameters.get("by")
    none = pd.DataFrame({"name": [], "why": []}, dtype=object)
    if segments is None or by is None:
        return [], none
    if by not in ("device", *_PLACES):
        return [], pd.DataFrame({"name": [by], "why": ["value rules are by device, place or audience"]})
    worth = "shrunk_value" if "shrunk_value" in segments else "incremental_value"
    values = dict(zip(kept["micro"], kept["cents"] / 100, strict=True))
    mine = segments[segments["micro"].isin(list(values)) & segments[worth].notna()]
    rules, left = [], []
    for level, part in mine.groupby(by, sort=True):
        users, stated = part["users"].astype(float), part["micro"].map(values)
        ratio = float((users * part[worth]).sum() / (users * stated).sum()) if users.sum() > 0 else 0.0
        condition = _DEVICES.get(str(level).strip().lower()) if by == "device" else str(level)
        if users.min() < min_cell:
            left.append((f"{by}={level}", f"fewer than {min_cell} users did one of the micros there"))
        elif condition is None:
            left.append((f"{by}={level}", f"devices of value rules are {', '.join(_DEVICES.values())}"))
        elif round(ratio, 2) <= 0:
            left.append((f"{by}={level}", "its micros are worth nothing there; a rule multiplies by more than 0"))
        else:
            kind = "DEVICE" if by == "device" else "GEO_LOCATION"
            rules.append([kind, check_name(condition, "The place"), "MULTIPLY", f"{ratio:.2f}"])
    return rules, pd.DataFrame(left, columns=["name", "why"], dtype=object)


def _meta(
    result: Result, kept: pd.DataFrame, folder: str | os.PathLike[str], unit: str, left_out: pd.DataFrame, min_cell: int
) -> Exported:
    """Meta Conversions API, "Custom data parameters": ``value`` is a number, ``currency`` three letters of ISO 4217."""
    rows = [
        [check_name(row["name"], "The event", _LONGEST_EVENT), money_text(row["cents"]), unit]
        for row in kept.to_dict("records")
    ]
    table = write_rows(folder, "meta_event_values.csv", ["event_name", "value", "currency"], rows)
    events: list[dict[str, Any]] = [
        {"event_name": name, "custom_data": {"value": float(amount), "currency": code}} for name, amount, code in rows
    ]
    text = json.dumps({"data": events}, indent=2, ensure_ascii=False) + "\n"
    return Exported((table, write_text(folder, "meta_event_values.json", text)), left_out, _notes(result))


def _finance(result: Result, folder: str | os.PathLike[str], unit: str, min_cell: int) -> Exported:
    table = result.table[result.table["credited_value"].notna()]
    if _NO_MICRO not in table["micro"].tolist():
        raise ParameterError("The result divides no revenue: the plan's macro has no value:. Add it and run again.")
    rows: list[tuple[str, int]] = []
    small = 0
    left = []
    for row in table.to_dict("records"):
        cents = to_cents(row["credited_value"])
        if row["micro"] != _NO_MICRO and (pd.isna(row["users"]) or row["users"] < min_cell):
            small += cents
            left.append((row["micro"], f"fewer than {min_cell} users did it; its part is in the row {_SMALL}"))
        else:
            rows.append((row["micro"], cents))
    if left:
        rows.append((_SMALL, small))
    rows += _outside(result, sum(cents for _, cents in rows))
    whole = sum(cents for _, cents in rows)
    lines = [[shown(name), money_text(cents), f"{cents / whole:.6f}" if whole else "", unit] for name, cents in rows]
    file = write_rows(folder, "credited_value.csv", ["micro", "credited_value", "share", "currency"], lines)
    return Exported((file,), pd.DataFrame(left, columns=["name", "why"], dtype=object), _notes(result))


def _outside(result: Result, cents: int) -> list[tuple[str, int]]:
    """The money of payments that no journey to the target holds (another end came first), where the account says so."""
    credited, account = result.extra.get("credited"), result.extra.get("revenue")
    if credited is None or account is None:
        return []
    divided = sum(to_cents(part) for part in credited["credited_value"])
    if cents != divided:
        raise ParameterError(
            f"The rows sum to {money_text(cents)}, but {money_text(divided)} was divided: the table was changed after "
            "it was made. Export the result as mc.micro_value gave it."
        )
    rest = int(account.loc[account["fate"] == "counted", "cents"].sum()) - divided
    return [(_OUTSIDE, rest)] if rest else []


def _notes(result: Result) -> tuple[str, ...]:
    horizon = result.parameters.get("horizon")
    within = f" within {horizon} of the action" if horizon else ""
    return (
        f"Values are per user who did the micro{within}. Effects of different micros overlap: do not add them, and do "
        "not count a micro's value beside that of the conversion it leads to.",
        *result.warnings,
    )
