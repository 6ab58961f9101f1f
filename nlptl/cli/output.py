"""``--output-dir``: checks, reservation, and one folder for each seed."""

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from nlptl.cli.config import load_yaml, to_yaml
from nlptl.errors import ConfigError, UserError
from nlptl.runs.directory import check_free, is_unfinished, reserve
from nlptl.runs.locking import lock
from nlptl.train.terminal import is_main_process

#: Flags that may differ between a run and its resumption.
CHANGEABLE = {"resume", "report", "curve", "upstream_text", "save_every"}


def check_directory(config: Any) -> None:
    """Make sure that ``config.output_dir`` is free, or that ``--resume`` is given.

    Raises:
        ConfigError: If another run is there.
    """
    check_free(config.output_dir, resume=config.resume)


def reserve_output_dir(config: Any) -> None:
    """Make ``config.output_dir``, write ``config.yaml`` there, and lock it for this process.

    Raises:
        ConfigError: If another process works there, ``--resume`` finds a run that began with other flags, or
            the directory is not writable.
    """
    if (config.output_dir / "config.yaml").exists():
        check_unchanged(config)
    else:
        reserve(config.output_dir, to_yaml(config))
    lock(config.output_dir)


def check_unchanged(config: Any, free: Collection[str] = CHANGEABLE) -> None:
    """Make sure that the run in ``config.output_dir`` began with the same flags.

    Args:
        config: Configuration of this command.
        free: Flags that may differ.

    Raises:
        ConfigError: With the flags that differ, or if the run there is of another recipe.
    """
    saved = config.output_dir / "config.yaml"
    try:
        before = type(config)(**load_yaml(type(config), saved))
        before = dataclasses.replace(before, output_dir=config.output_dir)  # it may have been moved
    except UserError as error:
        raise ConfigError(
            f"--output-dir {config.output_dir} holds a run of another recipe or version, which would be "
            "overwritten. Choose another directory, or delete that one."
        ) from error
    changed = [
        f"--{name.replace('_', '-')} was {getattr(before, name)}, is {value}"
        for name, value in vars(config).items()
        if name not in free and not _same(getattr(before, name), value)
    ]
    if changed:
        raise ConfigError(
            f"--output-dir {config.output_dir} holds a run that began with other flags: {'; '.join(changed)}. "
            f"Give the same flags (or --config {saved}) to go on with it, or choose another --output-dir."
        )


def _same(before: Any, now: Any) -> bool:
    """Whether a flag has the same value; two spellings of one path are the same."""
    if isinstance(before, Path) and isinstance(now, Path):
        return before.resolve() == now.resolve()
    return before == now


def seed_directories(config: Any) -> Iterator[tuple[int, Path]]:
    """Yield each seed with its directory: the first run has the output directory itself.

    Further seeds go to ``seeds/<seed>/`` below it, each a whole run of its own, ``config.yaml`` included: one
    seed, on the splits of the first (``--split-seed``), without a report. Seeds that are finished
    (:func:`is_finished`) are passed over, so ``--resume`` does not repeat them.
    """
    for number in range(config.seeds):
        seed = config.seed + number
        directory = _home(config, number)
        if not is_unfinished(directory):
            continue
        if number and is_main_process():
            reserve_output_dir(_alone(config, seed, directory))
        yield seed, directory


def _alone(config: Any, seed: int, directory: Path) -> Any:
    """Return the configuration of one run of ``--seeds N``, as a run of its own."""
    return dataclasses.replace(
        config,
        seed=seed,
        seeds=1,
        split_seed=config.seed if config.split_seed is None else config.split_seed,
        output_dir=directory,
        report=None,
        curve=False,
        resume=False,
    )


def _home(config: Any, number: int) -> Path:
    return config.output_dir / "seeds" / str(config.seed + number) if number else config.output_dir


def seed_homes(config: Any) -> list[Path]:
    """List the directories of ``--seeds N``, in the order of the seeds; the first is the run's own."""
    return [_home(config, number) for number in range(config.seeds)]
