"""Modes and checkpoints side by side: one table, one picture, one sentence."""

import dataclasses
from typing import Any

from nlptl.cli.check import upstream_texts
from nlptl.pretrain.upstream_entry import bundled_texts
from nlptl.report.render.files import write_pictured
from nlptl.runs.versions import versions
from nlptl.study.comparison import TEST, Pair, compare_all, recommend, row
from nlptl.study.grid import prepare_grid, reserve_study_dir, run_grid
from nlptl.study.outcomes import combine_of
from nlptl.study.render.comparison import comparison_figure, comparison_markdown
from nlptl.train.terminal import say


def run_comparison(config: Any) -> dict[str, Any]:
    """Fine-tune every checkpoint under every mode, and write ``compare.json``, ``.md``, ``.png`` and ``.svg``.

    Cells that are finished are found again, so the same command goes on where an interrupted one stopped;
    ``config.yaml`` says which it was.

    Args:
        config: A :class:`nlptl.cli.config.CompareConfig`.

    Returns:
        What ``compare.json`` holds.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    grid = prepare_grid(config, [(model, mode) for model in config.model for mode in config.mode])
    texts = upstream_texts(config.upstream_text) or bundled_texts()
    reserve_study_dir(config)
    arms = run_grid(grid, texts=texts, parallel=config.parallel)
    rows = {name: row(arm) for name, arm in arms.items()}
    pairs = compare_all(
        arms, combine=combine_of(grid.task), groups=grid.task.groups(grid.splits["test"])
    )
    take, why = recommend(rows, pairs)
    record = {
        "schema_version": 1,
        "task": grid.task.name,
        "metric": grid.task.selection,
        "dataset": grid.origin.get("dataset") or str(config.dataset or config.train_file),
        "n": {name: len(table) for name, table in grid.splits.items()},
        "seeds": list(grid.seeds),
        "rows": rows,
        "pairs": [pair_record(pair) for pair in pairs],
        "test": TEST,
        "take": take,
        "sentence": why,
        "versions": versions(),
    }
    table = comparison_markdown(record)
    write_pictured(
        record, "compare", table, comparison_figure(record), "score against cost", config.output_dir
    )
    say(f"\n{table}\n{why}\n{config.output_dir}: compare.json, .md, .png, .svg")
    return record


def pair_record(pair: Pair) -> dict[str, Any]:
    """A pair as JSON."""
    values = dataclasses.asdict(pair)
    return {
        **values,
        "detectable": pair.difference.detectable,
        "better": pair.better,
        "equal": pair.equal,
    }
