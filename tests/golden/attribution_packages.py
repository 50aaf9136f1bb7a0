"""What published packages say of a few tables of paths: writes ``attribution_packages.json`` beside this file.

    python tests/golden/attribution_packages.py

makes an environment of its own, installs the packages below into it, runs them there, and throws it away. They are no
dependency of this project, nor of its tests: ``tests/stats/test_published_attribution.py`` compares the committed
numbers. ``--output FILE`` writes elsewhere.

Both packages follow Anderl et al. (2016), as we do, but walk the Markov chain at random instead of solving it, so that
their numbers have an error of simulation.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["PACKAGES", "main"]

PACKAGES = ("ChannelAttribution==2.2.5", "pychattr==0.2.1", "matplotlib>=3.10", "pandas>=2.2", "numpy>=2")
_FILE = Path(__file__).resolve().parent / "attribution_packages.json"
_STEPS = 100  # of a walk: longer ones are cut off; their share is far below the error of simulation


def tables() -> dict[str, list[list[Any]]]:
    """Path, conversions, value of all of them, paths without a conversion."""
    import random

    rng = random.Random(20_261_123)
    toy = [["A>B>C", 3, 30.0, 1], ["A", 1, 5.0, 4], ["B>B>A", 2, 40.0, 0], ["C>A", 0, 0.0, 5], ["B", 1, 10.0, 3]]
    counted: dict[str, list[Any]] = {}
    for _ in range(400):
        length = min(1 + int(rng.expovariate(0.5)), 8)
        path = ">".join(rng.choices(["ad", "mail", "search", "shop", "social"], [5, 3, 6, 1, 2], k=length))
        bought = sum(rng.random() < 0.05 + 0.06 * length for _ in range(3))
        row = counted.setdefault(path, [path, 0, 0.0, 0])
        row[1] += bought
        row[2] += float(sum(rng.randint(5, 60) for _ in range(bought)))
        row[3] += 3 - bought
    return {"toy": toy, "many": list(counted.values())}


def _inside() -> dict[str, Any]:
    """In the environment of the packages."""
    import ChannelAttribution as first
    import pandas as pd
    from pychattr.channel_attribution import MarkovModel

    names = {"var_path": "path", "var_conv": "conversions", "var_value": "value"}
    found: dict[str, Any] = {}
    for table, rows in tables().items():
        frame = pd.DataFrame(rows, columns=["path", "conversions", "value", "nulls"])
        rules = first.heuristic_models(frame.copy(), **names, flg_pro=False)
        said: dict[str, Any] = {"paths": rows, "rules": {}, "markov": {}, "markov_pychattr": {}}
        for rule in ("first", "last", "linear"):
            columns = [f"{rule}_touch_conversions", f"{rule}_touch_value"]
            said["rules"][rule] = _by_channel(rules["channel_name"], rules[columns])
        for order in (1, 2, 3):
            chain = first.markov_model(
                frame.copy(), **names, var_null="nulls", order=order, nsim_start=1e6, max_step=_STEPS, conv_par=0.005,
                ncore=1, out_more=True, verbose=False, flg_pro=False,
            )  # fmt: skip
            credits, removals = chain["result"], chain["removal_effects"]
            said["markov"][str(order)] = {
                "credits": _by_channel(
                    credits["channel_name"], credits[["total_conversions", "total_conversion_value"]]
                ),
                "removal_effects": _by_channel(
                    removals["channel_name"],
                    removals[["removal_effects_conversion", "removal_effects_conversion_value"]],
                ),
            }
        walks = MarkovModel(
            path_feature="path", conversion_feature="conversions", null_feature="nulls", revenue_feature="value",
            separator=">", k_order=1, n_simulations=200_000, max_steps=_STEPS, random_state=26,
        )  # fmt: skip
        walks.fit(frame.copy())
        credits = walks.attribution_model_
        said["markov_pychattr"] = _by_channel(credits["channel_name"], credits[["total_conversions", "total_revenue"]])
        found[table] = said
    return found


def _compact(said: dict[str, Any]) -> str:
    """JSON whose lists stand on one line each."""
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found.group().split()), json.dumps(said, indent=1))


def _by_channel(names: Any, columns: Any) -> dict[str, list[float]]:
    rows = zip(names, columns.to_numpy(dtype=float).round(9).tolist(), strict=True)
    return dict(sorted((str(name), amounts) for name, amounts in rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=_FILE)
    parser.add_argument("--inside", action="store_true", help="run the packages: they are installed here")
    options = parser.parse_args(arguments)
    if options.inside:
        said = {"packages": list(PACKAGES[:2]), "tables": _inside()}
        options.output.write_text(_compact(said) + "\n", encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = next(path for path in Path(folder).glob("*/python*") if path.stem == "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        subprocess.run([python, __file__, "--inside", "--output", options.output], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
