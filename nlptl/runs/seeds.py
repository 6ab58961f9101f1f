"""The runs of ``--seeds N`` together: their spread, and which of them learned nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptl.data.files import write_json
from nlptl.errors import listed
from nlptl.stats.spread import has_failed, spread


def summarize_seeds(homes: Sequence[Path], scores: Sequence[float], floor: float) -> dict[str, Any]:
    """Gather the results of ``--seeds N`` into the first run's ``result.json``.

    A run failed if its score is at most a point above always giving one answer (collapsed
    fine-tunings: Mosbach et al., 2021).

    Args:
        homes: Directories of the runs, all finished; the first one's record gets the summary.
        scores: Score of each run under the task's metric, in [0, 1]: a score in percent, as QA's, would never
            be near the floor.
        floor: Score of :meth:`nlptl.tasks.base.Task.constant_predictions` under the metric, in [0, 1].

    Returns:
        For each metric, mean, standard deviation, median, minimum, maximum and all scores.
    """
    records = [json.loads((d / "result.json").read_text("utf-8")) for d in homes]
    names = [n for n in records[0]["metrics"] if not n.endswith("_se")]
    summary = {
        "seeds": [r["seed"] for r in records],
        "failed": [
            r["seed"] for r, score in zip(records, scores, strict=True) if has_failed(score, floor)
        ],
        "majority": floor,
        "metrics": {n: _spread([r["metrics"][n] for r in records]) for n in names},
    }
    write_json(homes[0] / "result.json", {**records[0], "seeds": summary})
    return summary


def spread_line(summary: Mapping[str, Any]) -> str:
    """Write two lines for the terminal: the scores over the seeds, and which of the runs failed.

    Args:
        summary: Summary from :func:`summarize_seeds`, of two or more seeds.
    """
    metrics = ", ".join(
        f"{name} {found['mean']:.4f} ± {found['sd']:.4f}"
        for name, found in summary["metrics"].items()
    )
    failed = summary["failed"]
    which = f"seed{'s' if len(failed) > 1 else ''} {listed(failed)}" if failed else "none"
    return (
        f"{len(summary['seeds'])} seeds ({listed(summary['seeds'])}), mean ± standard deviation: {metrics}\n"
        f"failed runs (at most a point above always giving one answer, {summary['majority']:.4f}): {which}"
    )


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {**spread(values), "scores": list(values)}
