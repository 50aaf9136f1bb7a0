"""The sample shop as files: events, plan, truth and a word on how they were made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from microconv.errors import ParameterError
from microconv.simulate.simulated import SimulatedLog, simulate
from microconv.simulate.tracking import Faults
from microconv.simulate.world import World
from microconv.simulate.worlds import find_world, web_shop

__all__ = ["SAMPLE_SEED", "SAMPLE_USERS", "sample_world", "write_sample"]

SAMPLE_USERS = 6_000
SAMPLE_SEED = 20260105
_EVENTS, _PLAN, _TRUTH, _README = "events.parquet", "plan.yaml", "truth.json", "README.md"


def sample_world() -> World:
    """The web shop with a few percent of faulty rows, for the sample data."""
    faults = Faults(late=0.02, duplicates=0.012, missing_user=0.008, missing_time=0.003, missing_event=0.002, bots=3)
    return replace(web_shop(), faults=faults)


def write_sample(
    folder: str | Path, users: int = SAMPLE_USERS, seed: int = SAMPLE_SEED, world: World | str | None = None
) -> list[Path]:
    """Write ``events.parquet``, ``plan.yaml``, ``truth.json`` and ``README.md`` of a simulated log into a folder.

    Without options it writes the sample shop of this project. The folder is made if need be; files of those names in
    it are replaced. Raises ``ParameterError`` where the folder cannot be written.
    """
    planted = sample_world() if world is None else find_world(world)
    simulated = simulate(users=users, seed=seed, world=planted)
    target = Path(folder)
    plan = yaml.safe_dump(simulated.plan_mapping, sort_keys=False, allow_unicode=True, width=120)
    truth = json.dumps(_truth(simulated), indent=1, allow_nan=False) + "\n"
    try:
        target.mkdir(parents=True, exist_ok=True)
        simulated.events.to_parquet(target / _EVENTS, index=False, compression="zstd")
        (target / _PLAN).write_text(plan, encoding="utf-8")
        (target / _TRUTH).write_text(truth, encoding="utf-8")
        (target / _README).write_text(_readme(simulated), encoding="utf-8")
    except OSError as error:
        raise ParameterError(
            f"The folder {str(target)!r} cannot be written: {error.strerror or error}. Name one that can."
        ) from error
    return [target / name for name in (_EVENTS, _PLAN, _TRUTH, _README)]


def _truth(simulated: SimulatedLog) -> dict[str, Any]:
    """The truth with what each micro adds within the plan's horizon, rounded to what its Monte-Carlo error supports."""
    horizon = str(simulated.plan_mapping["horizon"])
    added = simulated.truth.incremental(horizon).astype({"doers": int}).round(5)
    rows = [
        {key: None if value != value else value for key, value in row.items()}  # JSON has no NaN
        for row in added.to_dict("records")
    ]
    return simulated.truth.to_dict() | {
        "observed_until": simulated.observed_until.isoformat(),
        "incremental": {"horizon": horizon, "among": "all who did it before the macro, in this log", "micros": rows},
    }


def _readme(simulated: SimulatedLog) -> str:
    truth, events = simulated.truth, simulated.events
    if truth.world == sample_world() and (truth.users, truth.seed) == (SAMPLE_USERS, SAMPLE_SEED):
        command = "microconv simulate --output sample_data"
    else:
        command = f'microconv.simulate.write_sample("folder", users={truth.users}, seed={truth.seed}, world=...)'
    faults = "; ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in truth.faults.items())
    return f"""# A simulated log whose truth is known

{truth.users:,} people and {len(events):,} rows of the world "{truth.world.name}". Nobody in it exists.

- `{_EVENTS}`: the events, in the order in which they arrived
- `{_PLAN}`: the tracking plan
- `{_TRUTH}`: what was planted (hazard ratios, base rates per day, intent, traits), the chance to convert that follows
  from it, and what each micro truly adds among those who did it (Monte Carlo, with its error)

Made by:

```bash
{command}
```

Observed until {simulated.observed_until:%Y-%m-%d %H:%M} UTC. Faults on purpose: {faults}
(bots are users, the others rows).
Page views, visits and what they bring about (a third visit, five minutes on site) have no effect of their own.
"""
