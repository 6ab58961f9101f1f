"""``upstream_curve``: downstream score against upstream loss, over checkpoints of one architecture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlptl.cli.check import upstream_texts
from nlptl.cli.compare import Way, prepare_study, reserve_study_dir
from nlptl.cli.precision import with_precision
from nlptl.data.progress import waiting
from nlptl.errors import ConfigError, listed, many
from nlptl.models.identity import architecture_hash
from nlptl.pretrain.held_out import upstream_loss
from nlptl.pretrain.upstream_entry import bundled_texts
from nlptl.runs.locking import unlock
from nlptl.study.upstream_curve import upstream_curve, write_upstream_curve
from nlptl.train.setup import new_accelerator
from nlptl.train.stopping import going_on, study_kept
from nlptl.train.terminal import muted, say

#: Fewest checkpoints; fewer points than this say nothing about a slope.
LEAST = 4


def run_upstream_curve(config: Any) -> dict[str, Any]:
    """Score checkpoints upstream and downstream; write ``upstream_curve.json``, ``.md``, ``.html``, pictures.

    Args:
        config: A :class:`nlptl.cli.config.UpstreamCurveConfig`.

    Returns:
        What ``upstream_curve.json`` holds.

    Raises:
        UserError: With every mistake, before any slow work.
    """
    config = with_precision(config)
    names = checkpoints(config.model)
    study, dataset = prepare_study(config, [Way(name, config.mode) for name in names])
    if len({architecture_hash(name) for name in names}) > 1:
        raise ConfigError(
            "--model: the checkpoints differ in architecture or tokenizer, so their losses cannot be "
            "compared. Give checkpoints of one pretraining run."
        )
    texts = upstream_texts(config.upstream_text) or bundled_texts()
    reserve_study_dir(config)
    with going_on(study_kept):
        with (
            muted(),
            waiting("upstream loss"),
        ):  # before the training: a checkpoint may lack its pretraining head
            losses = [upstream_loss(name, texts, accelerator=new_accelerator()) for name in names]
        record = upstream_curve(study, study.run(parallel=config.parallel), losses, dataset=dataset)
        table = write_upstream_curve(record, config.output_dir)
    unlock(config.output_dir)
    say(f"\n{table}\n\n{config.output_dir}: upstream_curve.json, .md, .html, .png, .svg")
    return record


def checkpoints(given: Sequence[str]) -> list[str]:
    """List the checkpoints to score: as given, or those that a pretraining run kept, the earliest first.

    Raises:
        ConfigError: If there are fewer than four.
    """
    names, where = list(given), ""
    if len(names) == 1 and not (Path(names[0]) / "config.json").is_file():
        where = f" in {Path(names[0]) / 'models'}"
        names = [str(p.parent) for p in sorted(Path(names[0]).glob("models/*/config.json"))]
    if len(names) < LEAST:
        raise ConfigError(
            f"--model: found {many(len(names), 'checkpoint')}{where} ({listed(names) or 'none'}); "
            f"expected {LEAST} or "
            "more of one architecture, or the directory of a pretraining run that kept as many. "
            "nlptl run pretrain --keep 5 makes them, in runs/pretrain."
        )
    return names
