"""The first lines of a pretraining: versions and device, model, corpus, and how it trains."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nlptl.data.text import plain
from nlptl.errors import many
from nlptl.train.header import machine_row, marked


def header_rows(
    config: Any,
    documents: Sequence[int],
    *,
    steps: int | None,
    usual: str,
    version: str,
    launch: Mapping[str, Any],
    defaults: Collection[str],
) -> list[tuple[str, str]]:
    """Return the rows (:class:`nlptl.train.terminal.Block`).

    Args:
        config: Configuration with every default filled in.
        documents: Numbers of documents to train on and held out.
        steps: Number of optimizer steps, if it is known.
        usual: Length of a training for which neither steps nor epochs are given, in words.
        version: Version of nlptl.
        launch: ``mixed_precision`` and ``processes``.
        defaults: Names of the flags that have their default values.
    """
    train, held_out = documents
    length = f"{config.epochs:g} epochs" if config.epochs else usual
    parts = {
        "objective": config.objective,
        "mode": f"mode {config.mode}",
        "steps": f"{steps:,} steps" if steps else length,
        "learning_rate": f"rate {config.learning_rate:g}",
        "batch_size": f"batch {config.batch_size}",
        "optimizer": config.optimizer,
    }
    corpus = f"{plain(', '.join(config.corpus))}: {many(train, 'document')} to train on, {held_out:,} held out"
    return [
        machine_row(version, launch, config.seed),
        ("model", plain(config.model or f"a new {config.architecture or 'bert'}")),
        ("corpus", corpus),
        ("train", marked(parts, defaults)),
    ]
