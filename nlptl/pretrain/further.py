"""Masked language modelling of a checkpoint on more texts, as one step of a method."""

from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.files import damage_of, read_object, seal_folder, write_json
from nlptl.errors import ConfigError, UserError
from nlptl.models.families import check_family
from nlptl.models.loading import load_config, load_tokenizer, load_trained, save_pretrained
from nlptl.models.tracing import width_of
from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.pretrain.pieces import Pieces, cut_pieces
from nlptl.pretrain.pretrain import AT_WIDTH, GOING_ON, PretrainArgs, pretrain
from nlptl.train.checkpoints import START
from nlptl.train.setup import FinetuneArgs, TrainArgs, steps_for
from nlptl.train.terminal import say

#: Most tokens of a piece of text.
LENGTH = 128
#: Folder of the trained checkpoint, and the file in it that says that it is whole.
MODEL, DONE = "lm", "done.json"


def lm_model(name: str) -> Any:
    """Load a checkpoint with its masked-LM head.

    Raises:
        ModelError: If it has none.
    """
    from transformers import AutoModelForMaskedLM

    return load_trained(name, AutoModelForMaskedLM)


def lm_head(model: Any) -> Any:
    """Return the head of a masked language model."""
    return getattr(model, check_family(model.config.model_type).lm_head)


def check_masked(model: str, asking: str, instead: str) -> None:
    """Make sure that a checkpoint has a masked-LM head.

    Args:
        model: Bundled name, directory or hub name.
        asking: The flag that asks for one, with its value.
        instead: What to do without, for the message.

    Raises:
        ConfigError: If not.
    """
    try:
        if getattr(load_config(model), "is_encoder_decoder", False):
            raise ConfigError("it is an encoder-decoder, which was pretrained on spans.")
        lm_head(lm_model(model))
        if load_tokenizer(model, split_special_tokens=False).mask_token is None:
            raise ConfigError("its tokenizer has no mask token.")
    except UserError as error:
        why = str(error).partition(". ")[0].rstrip(".")
        raise ConfigError(
            f"{asking}: expected a checkpoint with a masked-LM head, and {model} has none that nlptl knows "
            f"({why}). {instead}, or take bundled/bert."
        ) from error


def usual_rate(config: Any) -> float:
    """Return the usual peak rate of a masked LM that goes on from a checkpoint."""
    return GOING_ON * AT_WIDTH / width_of(config)


def piece_length(config: Any, asked: int | None) -> int:
    """Return the tokens of a piece: as many as asked, at most 128 and what the model takes."""
    return min(asked or LENGTH, getattr(config, "max_position_embeddings", LENGTH), LENGTH)


def pretrain_further(
    texts: Any,
    folder: Path,
    args: FinetuneArgs,
    accelerator: Any,
    *,
    epochs: float = 1.0,
    steps: int | None = None,
    rate: float | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a checkpoint's masked LM on texts, all of it, and save it to ``lm`` in a folder.

    A tenth of the texts is set aside to score on. Where ``lm`` is whole already, it stays.

    Args:
        texts: Texts, a dataset with the column ``text``.
        folder: Folder of the checkpoints too, from which a killed training goes on.
        args: Checkpoint, seed, batch size and length.
        accelerator: Accelerator of the run.
        epochs: Passes over the texts.
        steps: Optimizer steps, instead of the epochs.
        rate: Peak rate; None takes the usual one.
        resume: Whether there may be something to go on from.

    Returns:
        ``lm_before`` and ``lm_after``, the held-out loss in nats a token; ``seconds`` and ``steps``.

    Raises:
        DataError: If no text is long enough.
    """
    done = folder / MODEL / DONE
    if resume and done.exists():
        if (damage := damage_of(done.parent)) is None:
            return read_object(done)
        say(f"note: {done.parent} is damaged ({damage}); it is made again.")
    every: Any = args.save_every
    objective, model = MaskedLM(), lm_model(args.model)
    tokenizer = load_tokenizer(args.model, split_special_tokens=False)
    home = folder / "pretraining"  # its checkpoints are not those of the fine-tuning
    (home / START).mkdir(parents=True, exist_ok=True)
    length = piece_length(model.config, args.max_length)
    pieces = _pieces(texts, tokenizer, objective, length, home, args.seed, accelerator)
    if steps is None:
        steps = steps_for(epochs, -(-len(pieces.lengths) // args.batch_size), 1)
    peak = usual_rate(model.config) if rate is None else rate
    run = pretrain(
        model,
        tokenizer,
        pieces,
        PretrainArgs(
            TrainArgs(steps=steps, learning_rate=peak),
            args.batch_size,
            length,
            seed=args.seed,
            eval_every=steps,
            save_every=every,
        ),
        objective=objective,
        accelerator=accelerator,
        output_dir=home,
        resume=resume,
    )
    about = {
        "lm_before": run.metrics.get("start_loss"),
        "lm_after": run.metrics.get("loss"),
        "seconds": run.timing["train_seconds"],
        "steps": steps,
    }
    if accelerator.is_main_process:
        save_pretrained(run.model, tokenizer, folder / MODEL, like=args.model)
        write_json(done, about)
        seal_folder(done.parent)
    accelerator.wait_for_everyone()
    return about


def _pieces(
    texts: Any,
    tokenizer: Any,
    objective: MaskedLM,
    length: int,
    home: Path,
    seed: int,
    accelerator: Any,
) -> Pieces:
    """Cut texts into pieces, those of a seeded tenth of the texts to score on."""
    aside = max(1, len(texts) // 10)
    order = np.random.default_rng([seed, 3]).permutation(len(texts))
    rest, held_out = texts.select(order[aside:]), texts.select(order[:aside])
    return cut_pieces(rest, held_out, tokenizer, objective, length, home, accelerator)
