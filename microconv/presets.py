"""How other tools count funnels, as settings of ``mc.funnel(..., semantics=...)``.

These tools disagree. With A at 0, A at 5, B at 6 and a window of 3 for the funnel A > B:

=================  ==========================================================  =============
semantics          what decides                                                A, A, B
=================  ==========================================================  =============
None (microconv)   every first step starts an attempt, the furthest counts     converted
clickhouse         every first step starts an attempt, the furthest counts     converted
mixpanel           only the user's first A starts one, and its window is over  not converted
amplitude          the longest of all attempts counts                          converted
posthog            every first step starts an attempt, the furthest counts     converted
ga4                no window; B must follow some A within its own time limit   converted
retentioneering    no window at all; some B after some A                       converted
=================  ==========================================================  =============

A preset sets what this package can express; its ``note``, which every result repeats, says what it cannot. A parameter
that the caller gives wins over the preset, and the result says so. No preset sets a window: give it yourself. Each
``source`` names the pages or the program where the rule was read, in November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from microconv.errors import ParameterError, unknown_name

__all__ = ["PRESETS", "Preset", "settings"]


@dataclass(frozen=True)
class Preset:
    """How one tool counts.

    * ``order``, ``reentry``: the parameters of ``mc.funnel`` it stands for.
    * ``distinct``: whether each step needs an event of its own; False lets one event serve several steps.
    * ``has_window``: whether the tool times a funnel from its first step. Where one does, the window's end is included.
    * ``note``: what a reader must know and what differs; ``example``: a worked case; ``source``: where the rule stands.
    """

    tool: str = "microconv"
    order: Literal["ordered", "any", "strict"] = "ordered"
    reentry: Literal["latest", "first"] = "latest"
    distinct: bool = True
    has_window: bool = True
    note: str = ""
    example: str = ""
    source: str = ""

    def remarks(self, order: str, reentry: str, has_window: bool) -> list[str]:
        """The note, and where the parameters that were used depart from the tool's own."""
        said = [self.note] if self.note else []
        if not self.note:
            return said
        for name, used, own in (("order", order, self.order), ("reentry", reentry, self.reentry)):
            if used != own:
                said.append(f"{name}={used!r} was given and used; {self.tool} itself counts as {name}={own!r} does.")
        if has_window and not self.has_window:
            said.append(f"A window was given and used; {self.tool} itself has none for the whole funnel.")
        return said


PRESETS: dict[str, Preset] = {
    "clickhouse": Preset(
        tool="ClickHouse",
        distinct=False,
        note=(
            "Counts as ClickHouse's windowFunnel in its default mode: an event that meets the conditions of several "
            "steps serves them all (its mode strict_once, like microconv, wants an event for each). Its modes "
            "strict_order, strict_deduplication and strict_increase are other rules than order='strict'."
        ),
        example="Steps A > A, one A: the one event is both steps, so step 2 is reached.",
        source=(
            "ClickHouse documentation, 'Parametric aggregate functions', windowFunnel; "
            "ClickHouse/ClickHouse, src/AggregateFunctions/AggregateFunctionWindowFunnel.cpp"
        ),
    ),
    "mixpanel": Preset(
        tool="Mixpanel",
        reentry="first",
        note=(
            "Counts as Mixpanel's funnels of unique users: only a user's first step 1 counts, and a later one does not "
            "restart the window. For its Optimized Re-entry give reentry='latest'. Not reproduced: there, steps within "
            "two seconds of each other may come in either order."
        ),
        example=(
            "Steps A > B > C, window 1h: A 13:00, A 13:30, B 13:45, C 14:15: B is reached, C is not, "
            "because it is 75 minutes after the first A."
        ),
        source=(
            "Mixpanel documentation, 'Funnels Advanced Concepts' (Conversion Window, Optimized Re-entry, Counting "
            "Methods) and 'Funnels FAQ' (simultaneous events)"
        ),
    ),
    "amplitude": Preset(
        tool="Amplitude",
        note=(
            "Counts as Amplitude's funnels of unique users in 'this order': the longest of a user's attempts counts. "
            "Of equally long ones Amplitude keeps the earliest, microconv the latest: the users are the same, times "
            "may be shorter. Not reproduced: there, events of one second may come in either order (round the times to "
            "seconds to get that), and the same event twice in a second counts once."
        ),
        example="Steps A > B, window 1D: A on 1, 5 and 20 January, B on 2 and 6 January: converted.",
        source=(
            "Amplitude documentation, 'How Amplitude computes funnels', 'How Amplitude handles simultaneous events in "
            "a funnel' and 'FAQ: Funnel Analysis'"
        ),
    ),
    "posthog": Preset(
        tool="PostHog",
        note=(
            "Counts as PostHog's sequential funnels: a later step 1 restarts the attempt, and a step named twice needs "
            "two events. Of equally far attempts PostHog times the first, microconv the latest: the users are the "
            "same, times may be shorter. Not reproduced: there, an exclusion takes the user out of the whole funnel; "
            "here the steps reached before it count."
        ),
        example="Steps A > A, one A: two events are needed, so only step 1 is reached.",
        source=(
            "PostHog documentation, 'Funnels' (step order, duplicate steps, excluding steps); "
            "PostHog/posthog, funnel-udf/src/steps.rs"
        ),
    ),
    "ga4": Preset(
        tool="Google Analytics 4",
        has_window=False,
        note=(
            "Counts as closed funnel explorations of Google Analytics 4 whose steps are 'indirectly followed by'. "
            "There, only the time from the step before can be limited, end included: give within_step=, not window=. "
            "Google does not document what a repeated first step does nor how equal times are taken: here any attempt "
            "that fits counts, and equal times are taken in the order of the steps."
        ),
        example="Steps A > B > C, within_step 5s: A at 0, B at 5, C at 10: converted, each step is within 5 s.",
        source=(
            "Google Analytics Data API, Funnel (isOpenFunnel) and FunnelStep (isDirectlyFollowedBy, "
            "withinDurationFromPriorStep)"
        ),
    ),
    "retentioneering": Preset(
        tool="retentioneering",
        has_window=False,
        note=(
            "Counts as retentioneering 5 does: there is no window, and each step comes after the one before. Not "
            "reproduced: there, events of one instant keep the order of the input rows, and the conversion rate is of "
            "all users, not of those of step 1. The open, closed and hybrid funnels of its version 3 are other counts."
        ),
        example="Steps A > B, no window: A on 1 January, B ten years later: converted.",
        source="retentioneering 5.2.4, retentioneering/tools/funnel.py and Eventstream.funnel_data, run on the example",
    ),
}


def settings(semantics: str | None) -> Preset:
    """The settings that a tool's name stands for; None is this package's own way. Raises ``ParameterError``.

    >>> settings("mixpanel").reentry
    'first'
    """
    if semantics is None:
        return Preset()
    if not isinstance(semantics, str) or semantics not in PRESETS:
        mend = "Leave it out for microconv's own way of counting."
        raise ParameterError(unknown_name("semantics", semantics, PRESETS, mend))
    return PRESETS[semantics]
