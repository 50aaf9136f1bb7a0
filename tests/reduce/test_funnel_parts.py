"""Large logs are linked in parts of the users; the parts together are the whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import microconv as mc
from microconv.reduce import chains


@pytest.mark.parametrize("rows", [300, 90])
@pytest.mark.parametrize("order", ["ordered", "strict"])
def test_users_in_parts_count_as_users_at_once(rows: int, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 80, 900)],
            "time": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 400, 900), unit="h"),
            "event": rng.choice(["view", "cart", "buy"], 900, p=[0.5, 0.3, 0.2]),
        }
    )
    log = mc.read_events(frame)
    whole = mc.funnel(log, ["view", "cart", "buy"], window="3D", order=order).table  # type: ignore[arg-type]
    monkeypatch.setattr(chains, "_PART_ROWS", rows)
    assert chains._parts(log.rows_accepted) == (2 if rows == 300 else 4)
    parts = mc.funnel(log, ["view", "cart", "buy"], window="3D", order=order).table  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(whole, parts)
    assert whole["users"].iloc[-1] > 0
