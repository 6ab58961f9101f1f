"""Pretraining as one call: documents, pieces, corruption, fit, held-out loss."""

import gc
import json
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import numbers_of
from nlptl.data.files import write_json
from nlptl.errors import DataError
from nlptl.models.adapters import is_lora, merge_adapter
from nlptl.models.flops import training_flops
from nlptl.models.loading import load_tokenizer, load_with_head, save_pretrained
from nlptl.pretrain import corpus
from nlptl.pretrain.averaging import interpolate
from nlptl.pretrain.building import set_dropout
from nlptl.pretrain.objectives import Fixed, Objective, held_out_loss, upstream_step
from nlptl.pretrain.teaching import Taught, teacher_states
from nlptl.pretrain.warm_start import set_words, taught_embeddings
from nlptl.records import Batch, FitState
from nlptl.train.hooks import EvaluateEvery, ProgressBar, SaveModels, Trackers
from nlptl.train.memory import PeakMemory
from nlptl.train.setup import Plan, seed_dropout, train
from nlptl.train.terminal import say

#: The model as it was before its first step; what --resume builds on.
START = "models/step-0000000"
#: What the pieces that are trained on, and those that are scored, were made of.
TEXTS = {"train": corpus.TRAINING, "held_out": "held-out texts"}
#: Beside it: which of its parameters no checkpoint had.
NEW = "new_parameters.json"
#: And which pieces the run has.
PIECES = "pieces.json"
#: And whether its word vectors are a teacher's.
WORDS = "words.json"


@dataclass
class Pretrained:
    """A finished pretraining.

    Attributes:
        objective: What was predicted.
        model: The trained model, below Accelerate's wrappers (LoRA: peft's stays).
        tokenizer: Its tokenizer.
        state: Where training ended.
        settings: How it was trained, every value filled.
        history: The lines of ``log.jsonl``.
        timing: Seconds, and pieces a second.
        n: Documents, pieces and predicted tokens.
        sample: A batch of held-out text, to compare losses with after reloading.
        peak_memory: Most memory held meanwhile, in millions of bytes.
        flops: Operations of the training (:func:`nlptl.models.flops.training_flops`), without a teacher's.
    """

    objective: Objective
    model: Any
    tokenizer: Any
    state: FitState
    settings: dict[str, Any]
    history: list[dict[str, Any]]
    timing: dict[str, float]
    n: dict[str, int]
    sample: Batch
    peak_memory: float
    flops: float
    predictions = None
    compared = "losses"  # what :meth:`outputs` are

    @property
    def metrics(self) -> dict[str, float]:
        """Held-out loss of the saved model and of the start, nats a predicted token, with standard errors."""
        if not self.history:  # a process on another machine than the log
            return {}
        first, last = self.history[0], self.history[-1]
        return {
            "loss": last["loss"],
            "loss_se": last["se"],
            "start_loss": first["loss"],
            "start_loss_se": first["se"],
        }

    @property
    def auto_class(self) -> Any:
        """The transformers auto class that opens the saved model."""
        return self.objective.auto_class

    def outputs(self, model: Any) -> Mapping[str, Any]:
        """A model's nats of each predicted token of the sample."""
        _, losses = self.objective.module(model).eval()(**self.sample.inputs)
        return {self.compared: losses}


def start_model(
    directory: Path,
    build: Callable[[], tuple[Any, Any, frozenset[str]]],
    objective: Objective,
    accelerator: Any,
    seed: int,
) -> tuple[Any, Any, frozenset[str]]:
    """Build a model and its tokenizer once, keep both, and read them back.

    A resumed run reads what it began with: training a vocabulary takes time, and may end otherwise where
    pieces of equal worth stand at the cut; and each process needs the same one.

    Args:
        directory: The run's directory; the model goes to :data:`START` below it.
        build: Makes the model and its tokenizer, and names the parameters that no checkpoint had.
        objective: Says which class the model is of.
        accelerator: Only the main process builds.
        seed: Of what is drawn next (LoRA's matrices): building a model draws, reading one back does not.

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
            save_pretrained(model, tokenizer, start)
    tokenizer = load_tokenizer(str(start), split_special_tokens=False)
    model = _load_start(directory, objective)
    set_seed(seed)
    return model, tokenizer, _new(directory)


def _new(directory: Path) -> frozenset[str]:
    file = directory / START / NEW
    return frozenset(json.loads(file.read_text("utf-8"))["new"] if file.exists() else ())


def _load_start(directory: Path, objective: Objective) -> Any:
    return load_with_head(str(directory / START), auto_class=objective.auto_class, head={}).model


def teach_words(
    model: Any,
    tokenizer: Any,
    taught: Taught,
    directory: Path,
    objective: Objective,
    accelerator: Any,
) -> None:
    """Start a new model's word vectors, in place (:func:`~nlptl.pretrain.warm_start.taught_embeddings`).

    Once a run: they go into the start that the run keeps, and what goes on has read them there.

    Args:
        model: New; every process has a copy.
        tokenizer: Its tokenizer.
        taught: Training pieces and the teacher's states.
        directory: The run's.
        objective: Says which class the model is of.
        accelerator: The main process computes.
    """
    start, draft = directory / START, directory / "models/draft"
    done = (start / WORDS).exists()
    accelerator.wait_for_everyone()  # all have looked before it appears
    if done:
        return
    if accelerator.is_main_process:
        say(f"word vectors: from the teacher's states of {len(taught.states):,} pieces")
        ids = list(taught.pieces.with_format("numpy", columns=["input_ids"])["input_ids"])
        new = _load_start(directory, objective)
        sizes = new.config.vocab_size, new.config.hidden_size
        set_words(new, taught_embeddings(ids, taught.states, *sizes))
        save_pretrained(new, tokenizer, draft)
        for file in draft.glob("*.safetensors"):  # whole or not at all
            file.replace(start / file.name)
        shutil.rmtree(draft)
        write_json(start / WORDS, {"teacher_pieces": len(taught.states)})
    accelerator.wait_for_everyone()
    words = _load_start(directory, objective).get_input_embeddings().weight
    model.get_input_embeddings().weight.data.copy_(words)


def check_pieces(file: Path, pieces: Mapping[str, Any], accelerator: Any) -> None:
    """Make sure that a run has something to train on and to score on, and goes on with the pieces it had.

    Args:
        file: Where their number, and hashes of their lengths and of their tokens, are kept.
        pieces: To train on (``train``), and to score on (``held_out``), as from
            :func:`nlptl.pretrain.corpus.tokenize`.
        accelerator: The main process writes the file.

    Raises:
        DataError: If there are none, or the corpus has changed since the run began.
    """
    corpus.check_any_piece({TEXTS[name]: len(table) for name, table in pieces.items()})
    found = {
        name: {
            "pieces": len(table),
            "sha256": sha256(numbers_of(table, "length").astype(np.int64).tobytes()).hexdigest(),
            "tokens_sha256": corpus.pieces_hash(table),
        }
        for name, table in pieces.items()
    }
    before = json.loads(file.read_text("utf-8")) if file.exists() else found
    accelerator.wait_for_everyone()
    # Older versions kept no hash of the tokens: what they kept is compared.
    if changed := [name for name in found if not before[name].items() <= found[name].items()]:
        how = [
            _difference(TEXTS[name], before[name]["pieces"], found[name]["pieces"])
            for name in changed
        ]
        raise DataError(
            f"--resume: the corpus is not the one that the run began with ({', '.join(how)}), so it cannot go "
            "on exactly. Bring the old texts back, or begin anew in another --output-dir."
        )
    if accelerator.is_main_process:
        write_json(file, found)


def _difference(texts: str, then: int, now: int) -> str:
    end = "as many now, with other tokens" if now == then else f"{now:,} now"
    return f"{then:,} pieces of {texts} then, {end}"


def log_spaced(count: int, steps: int) -> list[int]:
    """Steps at which models are kept: ``count`` of them, evenly spaced in the logarithm.

    Example:
        >>> log_spaced(4, 1000)
        [1, 10, 100, 1000]
    """
    return sorted({round(steps ** (i / max(1, count - 1))) for i in range(count)})


def pretrain(
    model: Any,
    tokenizer: Any,
    documents: Any,
    held_out: Any,
    *,
    objective: Objective,
    plan: Plan,
    batch_size: int,
    max_length: int,
    dropout: float,
    seed: int,
    accelerator: Any,
    output_dir: Path,
    eval_every: int,
    save_every: int,
    keep: int = 0,
    teacher: str | None = None,
    warm_start: bool = False,
    start_share: float = 0.0,
    resume: bool = False,
) -> Pretrained:
    """Train a model on documents with an upstream objective, in place.

    Args:
        model: Already frozen where it shall not train.
        tokenizer: Its tokenizer.
        documents: Training texts, a dataset with the column ``text``.
        held_out: Texts that are scored, corrupted in the same way every time; losses go to ``log.jsonl``.
        objective: What is predicted.
        plan: How long and how.
        batch_size: Pieces a batch, over all processes.
        max_length: Tokens an input, special tokens included.
        dropout: Rate while training.
        seed: Of order and corruption.
        accelerator: Devices, processes, precision.
        output_dir: Where ``log.jsonl``, ``checkpoints/`` and ``models/`` go.
        eval_every: Steps between held-out losses.
        save_every: Steps between checkpoints.
        keep: Models to keep under ``models/`` at log-spaced steps, each with a line in the log.
        teacher: Checkpoint whose states of the training pieces the objective predicts too.
        warm_start: The model is new: with a teacher, its word vectors start from the teacher's states.
        start_share: Share of the start's weights in the final model (:func:`interpolate`).
        resume: Go on from the newest whole checkpoint.

    Returns:
        The trained model with its losses and its record.
    """
    gc.collect()
    memory = PeakMemory(accelerator.device)
    set_dropout(model, dropout)
    collate = objective.collator(tokenizer)
    room = objective.room(max_length, tokenizer)

    with accelerator.main_process_first():
        tables = {
            name: corpus.tokenize(texts, tokenizer, room=room)
            for name, texts in (("train", documents), ("held_out", held_out))
        }
    check_pieces(output_dir / START / PIECES, tables, accelerator)

    def batches(split: str, features: Any, *, seed: int | None) -> LengthBatches:
        process = (accelerator.process_index, accelerator.num_processes)
        lengths = numbers_of(tables[split], "length")
        return LengthBatches(
            features, lengths, collate, batch_size=batch_size, seed=seed, process=process
        )

    taught: Any = tables["train"]
    if teacher:
        states = teacher_states(taught, tokenizer, teacher, output_dir / "teacher", accelerator)
        taught = Taught(taught, states)
    pieces = batches("train", taught, seed=seed)
    aside = batches("held_out", Fixed(tables["held_out"]), seed=None)
    if warm_start and teacher:
        teach_words(model, tokenizer, taught, output_dir, objective, accelerator)
    # Not before: a teacher may draw while it is loaded, and a run that goes on loads none.
    seed_dropout(accelerator, seed)
    at = log_spaced(keep, plan.steps) if keep else []
    score = EvaluateEvery(
        lambda m: held_out_loss(m, aside, accelerator),
        output_dir / "log.jsonl",
        accelerator,
        every=eval_every,
        at=at,
        tokens_each=float(pieces.lengths.mean()),
    )
    keeper = SaveModels(
        # A copy, because merging takes the adapters off, and these go on training.
        lambda path: save_pretrained(
            merge_adapter(deepcopy(model)) if is_lora(model) else model, tokenizer, path
        ),
        output_dir / "models",
        accelerator,
        at,
    )

    state = train(
        objective.module(model),
        pieces,
        step=upstream_step,
        plan=plan,
        accelerator=accelerator,
        hooks=[ProgressBar(accelerator), Trackers(accelerator), score, keeper],
        checkpoint_dir=output_dir / "checkpoints",
        checkpoint_every=save_every,
        resume=resume,
    )
    if start_share:  # here, and not at the last step: its checkpoint must not hold the mean
        interpolate(model, _load_start(output_dir, objective), start_share, _new(output_dir))
        score.write(state, start_share=start_share)
    accelerator.wait_for_everyone()  # for the log's last line
    seconds = state.clock.training
    log = output_dir / "log.jsonl"
    history = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return Pretrained(
        objective=objective,
        model=model,
        tokenizer=tokenizer,
        state=state,
        settings={
            **asdict(plan),
            "batch_size": batch_size,
            "max_length": max_length,
            "dropout": dropout,
            "seed": seed,
            "teacher": teacher,
            "warm_start": warm_start,
            "start_share": start_share,
        },
        history=history,
        timing={
            "train_seconds": round(seconds, 3),
            "held_out_seconds": round(state.clock.scoring, 3),
            "examples_per_second": round((state.examples - state.examples_before) / seconds, 2),
        },
        n={
            "train": len(documents),
            "held_out": len(held_out),
            "train_pieces": len(pieces.lengths),
            "held_out_pieces": len(aside.lengths),
            "held_out_tokens": history[-1]["tokens"] if history else 0,
        },
        sample=next(iter(aside.epoch(0))),
        peak_memory=round(memory.megabytes(), 1),
        flops=_operations(model, pieces.lengths, state.examples, objective, tokenizer),
    )


def _operations(
    model: Any, pieces: np.ndarray, seen: int, objective: Objective, tokenizer: Any
) -> float:
    """Of training on so many of these pieces (their plain tokens); each was as likely to be seen."""
    kinds, which = np.unique(pieces, return_inverse=True)
    sizes = np.asarray([objective.lengths(int(tokens), tokenizer) for tokens in kinds])
    read, targets = sizes[which].T
    return training_flops(model, read, seen / len(pieces), cached=False, targets=targets)
