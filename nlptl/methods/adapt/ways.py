"""The ways of adapting: each trains one learner on what its arm sees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nlptl.data.batching import LengthBatches, Zipped
from nlptl.data.encoding import numbers_of
from nlptl.data.layouts import joined
from nlptl.errors import ConfigError
from nlptl.methods.adapt.domains import DOMAIN, OWN
from nlptl.methods.adapt.features import fit_augmented, importance, recolour
from nlptl.methods.adapt.terms import Between, Dann, DomainAccuracy, MaskedText, deep_coral, mmd
from nlptl.models.tracing import width_of
from nlptl.records import FitState
from nlptl.tasks.base import Task
from nlptl.train.convex import fit_linear
from nlptl.train.head import start_head
from nlptl.train.learner import Learner
from nlptl.train.losses import Plus
from nlptl.train.machine import from_main
from nlptl.train.setup import FinetuneArgs
from nlptl.train.terminal import say


@dataclass(frozen=True)
class Cell:
    """One run of one arm.

    Attributes:
        task: Task of the examples.
        splits: What the arm sees (:class:`nlptl.methods.adapt.domains.Sees`).
        args: Checkpoint, mode and hyper-parameters.
        accelerator: Accelerator of the run.
        home: Directory of the checkpoints, from which the run goes on; None writes none.
    """

    task: Task
    splits: Mapping[str, Any]
    args: FinetuneArgs
    accelerator: Any
    home: Path | None = None

    @property
    def resume(self) -> bool:
        """Whether there may be something to go on from."""
        return self.home is not None

    def learner(self, model: str | None = None) -> Learner:
        """Make a learner under the mode; each begins with the same random numbers."""
        from accelerate.utils import set_seed

        set_seed(self.args.seed)
        args = self.args if model is None else replace(self.args, model=model)
        made = Learner(self.task, args, self.accelerator)
        say(made.mode(args.mode).manifest)
        return made


@dataclass
class Trained:
    """A learner that a way has trained.

    Attributes:
        learner: The learner.
        state: State of its fit.
        noted: What the way wrote down, as JSON.
        moved: Function of source and target states that gives the source states that the head was fitted on;
            None if they are the model's own.
        folder: Temporary folder that the learner's checkpoint is in; None if there is none.
    """

    learner: Learner
    state: FitState
    noted: dict[str, Any] = field(default_factory=dict)
    moved: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    folder: TemporaryDirectory | None = None


#: Settings of a method, by name.
Settings = Mapping[str, Any]


def plain(cell: Cell, settings: Settings, table: Any = None, model: str | None = None) -> Trained:
    """Fine-tune on a table, by default the arm's training set, as plain fine-tuning does."""
    learner = cell.learner(model)
    train = cell.splits["train"] if table is None else table
    learner.prepare({"train": train, "validation": cell.splits["validation"]}, learner.loss())
    home = cell.home and cell.home / "checkpoints"
    state = learner.fit(train, validation=cell.splits["validation"], home=home, resume=cell.resume)
    return Trained(learner, state)


def with_term(
    cell: Cell,
    term: Callable[[Learner, int], Any],
    stream: Callable[[Learner], Any],
    weight: float,
    name: str,
) -> Trained:
    """Fine-tune under the task's loss and a term on a second stream beside the source's batches.

    Args:
        cell: The run.
        term: Function of the learner and the number of batches of the training that makes the term.
        stream: Function of the learner that makes the second stream.
        weight: Weight of the term; with 0 there is neither term nor stream, and the run is plain.
        name: Name of the term in logs.
    """
    if not weight:
        return plain(cell, {})
    learner, splits = cell.learner(), cell.splits
    train, args = learner.copies.made(splits["train"]), cell.args
    batches = Zipped(learner.batches(train, seed=args.seed), stream(learner))
    steps = args.plan(len(batches)).steps * args.gradient_accumulation_steps
    made = term(learner, steps)
    learner.prepare(
        {"train": train, "validation": splits["validation"]},
        Plus(learner.loss(), made, weight, name),
    )
    started = learner.start_head(train)
    hooks = [DomainAccuracy(made)] if isinstance(made, Dann) else []
    state = learner.fit(
        batches,
        loss=lambda own: Plus(own.loss(), made, weight, name),  # a stage may wrap the model
        validation=splits["validation"],
        hooks=hooks,
        home=cell.home and cell.home / "checkpoints",
        resume=cell.resume,
    )
    if started:
        state.clock.add(training=started.seconds, scoring=0.0)
    noted = {"domain_accuracy": hooks[0].epochs, "judged": hooks[0].first} if hooks else {}
    return Trained(learner, state, noted)


def target_batches(learner: Learner, cell: Cell) -> LengthBatches | Any:
    """Make batches of the target's texts, as large as the source's, in an order of their own."""
    return learner.batches(cell.splits["target"], seed=cell.args.seed + 1)


def aligned(cell: Cell, settings: Settings) -> Trained:
    """Train with :func:`~nlptl.methods.adapt.terms.deep_coral` or :func:`~nlptl.methods.adapt.terms.mmd`."""
    function = {"deep-coral": deep_coral, "mmd": mmd}[settings["name"]]
    return with_term(
        cell,
        lambda learner, batches: Between(function),
        lambda learner: target_batches(learner, cell),
        settings["weight"],
        settings["name"],
    )


def dann(cell: Cell, settings: Settings) -> Trained:
    """Train against a discriminator; the weight is that of the reversed gradient alone."""
    return with_term(
        cell,
        lambda learner, batches: Dann(width_of(learner.model.config), batches, settings["weight"]),
        lambda learner: target_batches(learner, cell),
        float(settings["weight"] > 0),
        "dann",
    )


def udalm(cell: Cell, settings: Settings) -> Trained:
    """Train on (1 - mix) times the task's loss plus mix times the masked-LM loss of the target's texts.

    Both are divided by 1 - mix, which changes nothing under Adam and makes mix 0 the plain run.
    """
    mix = settings["mix"]

    def term(learner: Learner, batches: int) -> MaskedText:
        from nlptl.pretrain.further import lm_head, lm_model

        model = lm_model(cell.args.model)
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        return MaskedText(lm_head(model), model.get_output_embeddings(), tied)

    def stream(learner: Learner) -> LengthBatches:
        from nlptl.models.loading import load_tokenizer
        from nlptl.pretrain.corpus import tokenize
        from nlptl.pretrain.masked_lm import MaskedLM

        tokenizer = load_tokenizer(cell.args.model, split_special_tokens=False)
        objective = MaskedLM()
        with cell.accelerator.main_process_first():
            pieces = tokenize(
                documents(cell.task, [cell.splits["target"]]),
                tokenizer,
                room=objective.room(learner.max_length, tokenizer),
            )
        process = (cell.accelerator.process_index, cell.accelerator.num_processes)
        return LengthBatches(
            pieces,
            numbers_of(pieces, "length"),
            objective.collator(tokenizer),
            batch_size=cell.args.batch_size,
            seed=cell.args.seed + 1,
            process=process,
        )

    return with_term(cell, term, stream, mix / (1 - mix), "masked-lm")


def documents(task: Task, tables: Sequence[Any]) -> Any:
    """Return the texts of tables as a corpus with the one column ``text``."""
    from datasets import Dataset

    return Dataset.from_dict({"text": [text for table in tables for text in task.texts(table)]})


def continued(cell: Cell, settings: Settings) -> Trained:
    """Pretrain further on texts without labels (DAPT, TAPT; Gururangan et al., 2020), then fine-tune."""
    from nlptl.pretrain.further import MODEL, pretrain_further

    task, splits = cell.task, cell.splits
    tables = [splits["target"]]
    if settings["name"] == "tapt":  # the task's own texts, without what else there is of the target
        own = np.flatnonzero(splits["target"][OWN][:])
        tables = [splits["train"], splits["target"].select(own)]
    made = None
    if cell.home is None and cell.accelerator.is_main_process:
        made = TemporaryDirectory(prefix="nlptl_adapt_")
    folder = cell.home or Path(from_main(made.name if made else "", cell.accelerator))
    texts, epochs = documents(task, tables), settings["lm_epochs"]
    about = pretrain_further(
        texts, folder, cell.args, cell.accelerator, epochs=epochs, resume=cell.resume
    )
    trained = plain(cell, settings, model=str(folder / MODEL))
    trained.folder = made
    trained.state.clock.add(training=about["seconds"], scoring=0.0)
    trained.noted |= about
    return trained


def self_training(cell: Cell, settings: Settings) -> Trained:
    """Label the target's texts, keep those that are sure, alike many of each class, and train again on both.

    Each round starts from the checkpoint. With nothing that is sure the first round is the result. What a
    round chose stands in ``round-<number>/labels.json``, so that a killed run goes on there.
    """
    from nlptl.data.files import read_checked, write_checked

    table, spent, counts = cell.splits["train"], 0.0, []
    for number in range(settings["rounds"] + 1):
        home = cell.home and cell.home / f"round-{number}"
        file = home and home / "labels.json"
        last = number == settings["rounds"]
        kept = read_checked(file) if not last and cell.resume and file else None
        if kept is not None:  # else the round was not done, or what it chose is damaged
            chosen = {int(row): name for row, name in kept["labels"].items()}
            trained, seconds = None, kept["seconds"]
        else:
            trained = plain(replace(cell, home=home), settings, table)
            seconds = trained.state.clock.training
            chosen = {}
            if not last:
                found = trained.learner.predict(cell.splits["target"])
                chosen = sure(found, cell.task.labels, settings["threshold"])
        if trained and (last or not chosen):
            trained.state.clock.add(training=spent, scoring=0.0)
            trained.noted["pseudo_labels"] = counts
            return trained
        if file and cell.accelerator.is_main_process:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_checked(
                file, {"labels": {str(k): v for k, v in chosen.items()}, "seconds": seconds}
            )
        spent += seconds
        counts.append(len(chosen))
        table = joined([cell.splits["train"], labelled(cell, chosen)], "adapt")
    raise AssertionError("the last round returns")


def sure(
    predictions: Sequence[Mapping[str, Any]], labels: Sequence[str], threshold: float
) -> dict[int, str]:
    """Choose the texts whose class is predicted with at least a probability, as many of each class.

    Args:
        predictions: Records with ``prediction`` and ``scores``.
        labels: The classes.
        threshold: Least probability.

    Returns:
        Row to class; of each class the surest, as many as the class with the fewest has.
    """
    by_class: dict[str, list[tuple[float, int]]] = {name: [] for name in labels}
    for row, one in enumerate(predictions):
        share = one["scores"][one["prediction"]]
        if share >= threshold:
            by_class[one["prediction"]].append((-share, row))
    most = min(map(len, by_class.values()))
    return dict(
        sorted((row, name) for name, rows in by_class.items() for _, row in sorted(rows)[:most])
    )


def labelled(cell: Cell, chosen: Mapping[int, str]) -> Any:
    """Return the chosen texts of the target with their predicted labels, in the training set's form."""
    train, task = cell.splits["train"], cell.task
    rows = cell.splits["target"].select(list(chosen))
    last = max(train[DOMAIN][:]) + 1
    made = rows.add_column(task.label, list(chosen.values())).add_column(DOMAIN, [last] * len(rows))
    return made.select_columns(train.column_names).cast(train.features)


def refitted(cell: Cell, settings: Settings) -> Trained:
    """Fine-tune as ``source-only``, then fit the head again on states of the trained model that are changed.

    Under ``head-only`` no block trains, so these are the checkpoint's own. The head stays linear, and
    ``model/`` is a plain model: recoloured and weighted states only lead to other weights, and the two parts
    of EasyAdapt's that a target's text reads add up to one.
    """
    trained = plain(cell, settings)
    learner, name = trained.learner, settings["name"]
    table = cell.splits["train"]
    if name == "easyadapt":
        table = joined([table, cell.splits["labelled"]], "adapt")
        domains = np.asarray(table[DOMAIN][:])

        def fit(place: str, states: np.ndarray, *given: Any, **about: Any) -> Any:
            return fit_augmented(states, *given, domains=domains, read=int(domains.max()), **about)

    else:
        _, found, _ = learner.head_states(cell.splits["target"])
        target = {place: np.stack(rows).astype(np.float64) for place, rows in found.items()}

        def fit(place: str, states: np.ndarray, *given: Any, **about: Any) -> Any:
            if name == "coral":
                return fit_linear(
                    recolour(states, target[place], settings["shrinkage"]), *given, **about
                )
            weights = importance(states, target[place])
            trained.noted["effective"] = float(weights.sum() ** 2 / np.square(weights).sum())
            about["sizes"] = about["sizes"] * weights
            return fit_linear(states, *given, **about)

    start = start_head(learner, table, refit=True, fit=fit)
    if start is None:
        raise ConfigError(
            f"--methods {name}: it fits the last linear layer of a head that reads one state a text; the "
            "head of "
            f"{cell.args.model} for {cell.task.name} has none. Leave the method out."
        )
    learner.head = start
    trained.state.clock.add(training=start.seconds, scoring=0.0)
    if name == "coral":
        trained.moved = lambda source, target: recolour(source, target, settings["shrinkage"])
    return trained


#: Ways by the names of methods; bounds and whatever is not here are trained plainly.
WAYS: dict[str, Callable[[Cell, Settings], Trained]] = {
    **dict.fromkeys(("easyadapt", "coral", "importance-weighting"), refitted),
    **dict.fromkeys(("deep-coral", "mmd"), aligned),
    "dann": dann,
    "udalm": udalm,
    **dict.fromkeys(("dapt", "tapt"), continued),
    "self-training": self_training,
}
