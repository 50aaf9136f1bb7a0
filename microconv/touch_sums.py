"""Touches as exposures: time at risk, decayed exposure to each channel, and what acted at each conversion."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

__all__ = ["TouchSums"]


@dataclass(frozen=True, eq=False)
class TouchSums:
    """What an additive hazard with decaying touches is fitted to. Users are at risk from their first touch to their
    first conversion, another end or the end of observation. Channels are numbered from 1 in the order of ``channels``;
    ``entry`` is the channel of a user's first touch; ``bucket`` is a group of users; days are since the first touch.

    * ``half_lives_days``: a touch of age ``a`` acts with ``2 ** (-a / half_life)``; columns that end in ``_0, _1 ...``
      are of these, in their order.
    * ``cuts_days``: where intervals (a, b] of time since the first touch end; the last one has no end.
    * ``totals``: a row per bucket: ``conversions, value`` (of the whole log) and ``told, told_value`` (of them, those
      at the end of a time at risk; the others are second ones, or came before any touch).
    * ``at_risk``: ``bucket, entry, users`` and ``days_0, days_1 ...``, the person-time in each interval.
    * ``exposures``: ``bucket, channel, touches`` (at risk), ``later`` (of them, those after the user's first touch) and
      ``exposure_0 ...``: the integral over the time at risk of what the touches act with, in days.
    * ``conversions``: a row per user whose time at risk ends in a conversion, or per one of a sample of them:
      ``bucket, entry, interval, weight`` (1, or how many the row stands for), ``conversions`` and ``value`` (weighted;
      several at one instant are one end, but as many conversions).
    * ``acting``: ``row`` (of ``conversions``), ``channel, acting_0 ...``: the sum over the user's touches of a channel
      up to the conversion, one at its very instant included, of what each acts with. None for channels not touched.
    * ``sampled``: the share of conversions in ``conversions`` (1: all). ``at_once``: how many of them come at the very
      instant of a touch.
    """

    channels: tuple[str, ...]
    half_lives_days: tuple[float, ...]
    cuts_days: tuple[float, ...]
    totals: pd.DataFrame
    at_risk: pd.DataFrame
    exposures: pd.DataFrame
    conversions: pd.DataFrame
    acting: pd.DataFrame
    sampled: float
    at_once: int
