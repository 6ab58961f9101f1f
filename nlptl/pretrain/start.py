"""The model that a pretraining begins with: built once, kept, read back, and mixed in again at the end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlptl.data.files import json_line, read_kept, write_json
from nlptl.models.loading import load_tokenizer, load_with_head, save_pretrained
from nlptl.pretrain.averaging import interpolate
from nlptl.pretrain.held_out import held_out_loss
from nlptl.pretrain.objectives import Objective
from nlptl.pretrain.pieces import Pieces
from nlptl.train.checkpoints import START
from nlptl.train.run import Run

#: File beside the start that names its parameters that no checkpoint had.
NEW = "new_parameters.json"


def start_model(
    directory: Path,
    build: Callable[[], tuple[Any, Any, frozenset[str]]],
    objective: Objective,
    accelerator: Any,
    seed: int,
    like: str | None = None,
) -> tuple[Any, Any, frozenset[str]]:
    """Build a model and its tokenizer once, keep both, and read them back.

    A resumed run reads what it began with: training a vocabulary takes time, and may give another result where
    pieces of equal score are at the cut; and each process needs the same one.

    Args:
        directory: Directory of the run; the model goes to :data:`START` below it.
        build: Function that makes the model and its tokenizer, and names the parameters that no checkpoint
            had.
        objective: Objective, which knows the class of the model.
        accelerator: Accelerator whose main process builds.
        seed: Seed of what is drawn next (LoRA's matrices): building a model draws, reading one back does not.
        like: Checkpoint that is trained further, whose declared pooling all that the run saves declares too.

    Returns:
        The model, float32, its tokenizer, and the parameters that no checkpoint had. These are kept in a
        file too: what is read back has a value for each, and would be taken for pretrained.
    """
    from accelerate.utils import set_seed

    start = directory / START
    with accelerator.main_process_first():
        if not (start / "tokenizer.json").exists():
            model, tokenizer, new = build()
            start.mkdir(parents=True, exist_ok=True)
            write_json(start / NEW, {"new": sorted(new)})
            save_pretrained(model, tokenizer, start, like=like)
    tokenizer = load_tokenizer(str(start), split_special_tokens=False)
    model = load_start(directory, objective)
    set_seed(seed)
    return model, tokenizer, new_parameters(directory)


def new_parameters(directory: Path) -> frozenset[str]:
    """Read which parameters of a run's start no checkpoint had."""
    file = directory / START / NEW
    return frozenset(read_kept(file, "new")["new"] if file.exists() else ())


def load_start(directory: Path, objective: Objective) -> Any:
    """Read the model as it was before its first step."""
    return load_with_head(str(directory / START), auto_class=objective.auto_class, head={}).model


def mix_start(run: Run, share: float, pieces: Pieces, directory: Path, accelerator: Any) -> None:
    """Put a share of the start's weights back into a pretrained model, and score it again (WiSE-FT).

    This is done after the training, and not at its last step: the last checkpoint must not hold the mean. The
    log and the run's history get one more line.

    Args:
        run: A finished pretraining; its model changes in place.
        share: Share of the start's weights, in [0, 1) (:func:`nlptl.pretrain.averaging.interpolate`).
        pieces: Pieces, of which the held-out ones are scored.
        directory: Directory of the run, with its start and its log.
        accelerator: Accelerator whose main process writes.
    """
    interpolate(run.model, load_start(directory, run.task), share, new_parameters(directory))
    batches = pieces.held_out(
        run.task.collator(run.tokenizer), run.settings["batch_size"], accelerator
    )
    figures = held_out_loss(run.task.loss(run.model), batches, run.task, accelerator)
    last = {key: run.history[-1][key] for key in ("step", "examples")} if run.history else {}
    run.history.append({**last, **figures, "start_share": share})
    run.settings["start_share"] = share
    run.metrics |= {"loss": figures["loss"], "loss_se": figures["se"]}
    if accelerator.is_main_process:
        with (directory / "log.jsonl").open("a") as file:
            file.write(json_line(run.history[-1]))
    accelerator.wait_for_everyone()
