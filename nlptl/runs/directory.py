"""A run's directory: reserved before any slow work, written at the end, read back and compared."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from nlptl.data.encoding import splits_hash
from nlptl.data.files import read_object, write_json, write_whole
from nlptl.data.frames import DATA, write_tables
from nlptl.data.progress import waiting
from nlptl.errors import ConfigError, RunError, listed
from nlptl.models.adapters import can_merge, is_lora, merge_adapter, open_adapter, save_adapter
from nlptl.models.loading import open_saved, quiet_transformers, save_pretrained
from nlptl.modes.base import SOME
from nlptl.runs.card import model_card
from nlptl.runs.errors_page import errors_page
from nlptl.runs.last_block import last_rows
from nlptl.runs.locking import unlock
from nlptl.runs.record import result_record
from nlptl.train.checkpoints import START
from nlptl.train.run import Run
from nlptl.train.stopping import command_to_go_on
from nlptl.train.terminal import Block, is_main_process, say

#: Files that show, in an output directory, that a run was there.
RUN_FILES = (
    *("result.json", "config.yaml", "model", "checkpoints"),
    *("compare.json", "upstream_curve.json"),
)
#: Whatever else a run writes in its directory, as patterns of names.
WRITTEN = (
    *("README.md", "predictions.jsonl", "log.jsonl", "adapter", "models", "seeds", "teacher"),
    *("errors.html", "explained.jsonl"),
    *("report.*", "report_*", "compare.*", "upstream_curve.*"),
)
#: Files that show that work was done there which must not be lost.
WORK_FILES = (
    "predictions.jsonl",
    "result.json",
    "model",
    "models",
    "checkpoints",
    "seeds",
    "teacher",
    "log.jsonl",
)
#: What training leaves below ``checkpoints`` before the first checkpoint is whole, as patterns of names.
UNFINISHED = (".partial-*", "step-*", "stage-*")
#: Directories that this process has reserved and that no work has begun in.
_RESERVED: list[Path] = []
#: Largest allowed difference of a model's outputs after reloading, and after merging LoRA: a share of the
#: largest output where that is above 1, since float32 has seven digits wherever the point stands.
RELOADED, MERGED = 1e-6, 1e-4


def check_free(directory: Path, *, resume: bool) -> None:
    """Make sure that an output directory is free, or that the run there is to be resumed.

    Raises:
        ConfigError: If another run is there, or files of the user's own that a run would overwrite.
    """
    check_parents(directory)
    found = [name for name in RUN_FILES if (directory / name).exists()]
    if found and not resume:
        raise ConfigError(
            f"--output-dir {directory} holds another run ({listed(found)}), which would be "
            "overwritten. Choose another directory, delete that one, or continue it with --resume."
        )
    own = sorted({path.name for pattern in WRITTEN for path in directory.glob(pattern)})
    if found and not (directory / "config.yaml").exists():
        raise ConfigError(
            f"--output-dir {directory} holds {listed(found)} but no config.yaml, so there is no run that "
            "--resume could continue. Choose another directory, or move what is in this one."
        )
    if own and not found:
        raise ConfigError(
            f"--output-dir {directory} holds files that are not a run's, and which a run would overwrite "
            f"({listed(own)}). Choose another directory, or move them."
        )


def reserve(directory: Path, configuration: str) -> None:
    """Make an output directory, and write the run's configuration there, so that no other run takes it.

    Args:
        directory: Directory of the run.
        configuration: Content of ``config.yaml``.

    Raises:
        ConfigError: If the directory is not writable.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _RESERVED.append(directory)
        write_whole(directory / "config.yaml", configuration)
    except OSError as error:
        raise ConfigError(
            f"--output-dir {directory}: cannot be written to ({error.strerror}). Choose another directory."
        ) from error


def check_parents(directory: Path) -> None:
    """Make sure that a directory exists or can be made: no part of its path is a file.

    Raises:
        ConfigError: If a part is a file; the message names it.
    """
    nearest = next(path for path in (directory, *directory.parents) if os.path.exists(path))
    if not nearest.is_dir():
        raise ConfigError(
            f"--output-dir {directory}: {nearest} is a file; expected a directory, or a new name."
        )


@contextmanager
def release_on_failure(
    directory: Path, go_on: Callable[..., str] = command_to_go_on
) -> Iterator[None]:
    """Release the reserved directory if an error or a signal ends the run before any work was done.

    A damaged file of weights, for example, is found when it is read. The ``config.yaml`` alone would lock out
    the corrected command, and there is nothing yet that ``--resume`` could continue. Files that others wrote
    there, such as a tracker's, stay. The error gets a note that says what is kept and how to go on.

    Args:
        directory: Directory of the run, from :func:`reserve`.
        go_on: Function of ``resume`` that says how to go on.
    """
    try:
        yield
    except BaseException as error:
        if not _work(directory):
            if is_main_process():
                _release(directory)
            again = go_on(resume=False)
            error.add_note(f"Nothing was kept, and {directory} is free. Start again with: {again}")
        elif not getattr(error, "__notes__", None):
            error.add_note(f"{_kept(directory)}. Go on with: {go_on(resume=True)}")
        raise
    finally:
        unlock(directory)
        if directory in _RESERVED:
            _RESERVED.remove(directory)


def release_reserved(error: BaseException) -> None:
    """Release what was reserved before an error or a signal came that ended the preparation."""
    for directory in [] if hasattr(error, "__notes__") else list(_RESERVED):
        with suppress(type(error)), release_on_failure(directory):
            raise error


def _release(directory: Path) -> None:
    unlock(directory)
    (directory / "config.yaml").unlink(missing_ok=True)
    checkpoints = directory / "checkpoints"
    unfinished = [path for name in UNFINISHED for path in checkpoints.glob(name)]
    for folder in (directory / START, *unfinished):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in ((directory / START).parent, checkpoints, directory):
        with suppress(OSError):  # not empty, or not there
            folder.rmdir()


def _kept(directory: Path) -> str:
    """Say what of a run is kept, in words."""
    if is_finished(directory) and not any(directory.glob("seeds/*")):
        return f"The run in {directory} is finished and kept"
    found = sorted(directory.rglob("step-*/state.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        return f"What was made so far in {directory} is kept"
    newest = found[-1].parent
    step = int(newest.name.removeprefix("step-"))
    return f"The checkpoint of step {step} is kept ({newest})"


def _work(directory: Path) -> list[str]:
    """List what must not be lost; the model as it was before its first step is quickly made again."""
    found = [name for name in WORK_FILES if (directory / name).exists()]
    if not any(directory.glob("checkpoints/**/state.json")):
        found = [name for name in found if name != "checkpoints"]
    kept = list((directory / "models").glob("*"))
    return [name for name in found if name != "models" or kept != [directory / START]]


def is_finished(directory: Path) -> bool:
    """Whether the run there is finished: its model was read back and gave the trained model's logits.

    ``result.json`` alone does not show this: it is written before ``model/`` too, so that the run's figures
    are safe.
    """
    try:
        record = read_object(directory / "result.json", "reload_difference", "seed", "metrics")
    except (OSError, ValueError):
        return False
    return record["reload_difference"] is not None


def is_unfinished(directory: Path) -> bool:
    """Whether a run is unfinished; prints a line if it is finished."""
    if is_finished(directory):
        say(f"{directory} is finished, there is nothing left to do.")
        return False
    return True


def save_run(
    run: Run,
    directory: Path,
    *,
    accelerator: Any,
    extra: Mapping[str, Any] | None = None,
    splits: Mapping[str, Any] | None = None,
) -> None:
    """Write everything but ``checkpoints/``, then read ``model/`` back and compare what it computes.

    The result is written first, then the model, then what holds values of the user's data: whatever fails
    later, figures and weights are safe. The result is written again at the very end, with
    ``reload_difference``; only then is the run finished (:func:`is_finished`).

    Args:
        run: Finished run, whatever it trained.
        directory: Directory of the run.
        accelerator: Accelerator whose main process writes.
        extra: Further entries for ``result.json``: origin of the data, flags that had their default values.
        splits: The run's data, for a program that made them itself: they are kept under ``data/``, so that
            ``nlptl report`` finds them. A recipe's configuration says where its data are.

    Raises:
        RunError: If the saved model does not compute what the trained model did.
    """
    if accelerator.is_main_process:
        directory.mkdir(parents=True, exist_ok=True)
        more = {} if extra is None else extra
        with waiting("majority and bag of words"):
            record = {**result_record(run), **more, "reload_difference": None}
        record["notes"] = list(dict.fromkeys([*more.get("notes", ()), *run.notes]))
        if splits is not None:
            files = write_tables(splits, directory / DATA)
            of_data = {"files": {name: str(path) for name, path in files.items()}}
            record["data"] = {**of_data, "sha256": splits_hash(splits), **more.get("data", {})}
        write_json(directory / "result.json", record)
        with waiting("saving, and reading back"):
            record["reload_difference"] = _save_model(run, directory)
        if run.predictions is not None:
            write_whole(directory / "predictions.jsonl", _lines(run.predictions))
            write_whole(directory / "errors.html", errors_page(record, run.predictions))
        card = model_card(record, configured=(directory / "config.yaml").exists())
        write_whole(directory / "README.md", card)
        write_json(directory / "result.json", record)
    accelerator.wait_for_everyone()


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Write records as JSON, a line each; a value that JSON does not have, such as a date, becomes text."""
    lines = (json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in records)
    # Half of a surrogate pair has no UTF-8; as an escape it is JSON.
    return "".join(lines).encode("utf-8", errors="backslashreplace")


def _save_model(run: Run, directory: Path) -> float:
    model = run.model.to("cpu").eval()
    before, merged, merges = _outputs(model, run), None, True
    with quiet_transformers():
        if is_lora(model):
            merges = can_merge(model)
            if not merges or on_checkpoint(run.args):
                save_adapter(model, directory / "adapter")
            model = merge_adapter(model).eval()
            merged = _outputs(model, run) if merges else None
        save_pretrained(model, run.tokenizer, directory / "model", like=run.like)
        again = open_saved(directory / "model", run.task.auto_class)
        if not merges:
            again = open_adapter(again, directory / "adapter").eval()
    if merged is not None:  # only now: a model that is wrong is better than none
        _compare(before, merged, MERGED, "Merging the adapter into the weights", run.compared)
    after, what = _outputs(again, run), f"Reloading {directory / 'model'}"
    return _compare(merged or before, after, RELOADED, what, run.compared)


def on_checkpoint(args: Any) -> bool:
    """Whether a run's adapters stand on the checkpoint as it came, which is what peft would put them on.

    Not with ``--keep-layers``, and not where a stage before them trained the blocks: ``model/`` alone is right
    then.
    """
    if args is None:
        return True
    before = [stage.mode for stage in args.mode.stages(SOME)][:-1]
    return args.keep_layers is None and not any(mode.trains_blocks for mode in before)


@torch.no_grad()
def _outputs(model: Any, run: Run) -> Mapping[str, torch.Tensor]:
    return run.outputs(model)


def _compare(before: Mapping, after: Mapping, tolerance: float, what: str, name: str) -> float:
    worst = max(float((before[key] - after[key]).abs().max()) for key in before)
    allowed = tolerance * max(1.0, *(float(before[key].abs().max()) for key in before))
    if not worst <= allowed:
        raise RunError(
            f"{what} changed the {name} by {worst:.2e}; at most {allowed:.0e} is allowed. "
            "The saved model is not the one that was trained and scored; please report this."
        )
    return worst


def scores(run: Run, directory: Path) -> Block:
    """Return the last lines of a run for the terminal: scores, what they are worth, files, next commands."""
    return Block(last_rows(run, directory) if is_main_process() else [], apart=True)
