"""Modes and checkpoints side by side: one table, one picture, one sentence."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptl.data.corpus import read_documents
from nlptl.evaluation.body import bundled_texts
from nlptl.evaluation.cells import versions
from nlptl.evaluation.comparison import Pair, compare_all, recommend, row
from nlptl.evaluation.render.comparison import comparison_figure, comparison_markdown
from nlptl.evaluation.render.style import as_png, as_svg
from nlptl.grid import prepare_grid, run_grid
from nlptl.reporting import DOCUMENTS
from nlptl.terminal import say


def run_comparison(config: Any) -> dict[str, Any]:
    """Fine-tune every checkpoint under every mode, and write ``compare.json``, ``.md``, ``.png`` and ``.svg``.

    Cells that are finished are found again, so an interrupted comparison goes on where it stopped.

    Args:
        config: A :class:`nlptl.config.CompareConfig`.

    Returns:
        What ``compare.json`` holds.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    grid = prepare_grid(config, [(model, mode) for model in config.model for mode in config.mode])
    texts = upstream_texts(config)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    arms = run_grid(grid, texts=texts, parallel=config.parallel)
    rows = {name: row(arm) for name, arm in arms.items()}
    pairs = compare_all(arms, groups=grid.task.groups(grid.splits["test"]))
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
        "take": take,
        "sentence": why,
        "versions": versions(),
    }
    write_comparison(record, config.output_dir)
    say(
        f"\n{comparison_markdown(record)}\n{why}\n{config.output_dir}: compare.json, .md, .png, .svg"
    )
    return record


def upstream_texts(config: Any) -> Sequence[str]:
    """Text that forgetting is measured on: as asked, or what comes with nlptl."""
    if not config.upstream_text:
        return bundled_texts()
    texts = read_documents(config.upstream_text, "text", "--upstream-text")
    return [t for t in texts.select(range(min(DOCUMENTS, len(texts))))["text"][:] if t]


def pair_record(pair: Pair) -> dict[str, Any]:
    """A pair as JSON."""
    values = dataclasses.asdict(pair)
    return {
        **values,
        "detectable": pair.difference.detectable,
        "better": pair.better,
        "equal": pair.equal,
    }


def write_comparison(record: Mapping[str, Any], directory: Path) -> None:
    """Write the record, the table and the picture."""
    figure = comparison_figure(record)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    table = comparison_markdown(record)
    (directory / "compare.json").write_text(text, encoding="utf-8")
    (directory / "compare.png").write_bytes(as_png(figure))
    (directory / "compare.svg").write_text(as_svg(figure), encoding="utf-8")
    (directory / "compare.md").write_text(
        f"{table}\n![score against cost](compare.png)\n", encoding="utf-8"
    )
