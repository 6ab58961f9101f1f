"""The start of a new head: a convex fit on the states of the untrained model, written into its layers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.encoding import numbers_of
from nlptl.data.progress import waiting
from nlptl.models.adapters import plain_name, unwrap_peft
from nlptl.models.heads import SCALES, Read, head_calls, read_head, write_dense, write_output
from nlptl.modes.rates import scaled_groups
from nlptl.train.convex import LinearFit, fit_linear
from nlptl.train.losses import Loss, Outputs
from nlptl.train.machine import from_main

if TYPE_CHECKING:
    from nlptl.train.learner import Learner

#: Texts that the written head is compared with the fit on, and the largest relative difference.
SAMPLE, TOLERANCE = 32, 0.05
#: Names of the fits in records.
FITS = {
    "classes": "logistic regression",
    "labels": "one logistic regression per label",
    "numbers": "ridge regression",
}


class HeadInputs(Loss):
    """A module with no loss at all: it gives the states that the head's linear layers read of each text.

    Args:
        model: A model with a classification head.
        task: Task that computes the outputs.

    Attributes:
        read: What was read of the last batch; None if no linear layer gives the model's outputs.
    """

    def __init__(self, model: Any, task: Any) -> None:
        super().__init__(model)
        self.task = task
        self.read: Read | None = None

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Return ``states``, ``(batch, width)``, and ``below`` too if there is a dense layer."""
        with head_calls(self.model) as calls:
            logits = self.task.outputs(self.model, inputs)["logits"]
        self.read = read_head(calls, logits)
        states = {"states": logits[:, :0] if self.read is None else self.read.states}
        if self.read and self.read.below is not None:
            states["below"] = self.read.below
        return {"loss": torch.zeros(()), "size": len(logits), "outputs": states, "terms": {}}


@dataclass(frozen=True)
class HeadStart:
    """A head that starts from a convex fit.

    Attributes:
        fit: The fit.
        kind: Name of the fit.
        place: Place of the fit: ``output``, the last layer alone, or ``dense``, the layer before it too, which
            then passes on centred states.
        rates: Factors of the rate by the names of parameters: those of a dense layer that the fit is in.
        whole: Whether the fit is all that there is to train above the blocks: the head is linear in its
            states, or its dense layer is pretrained and was better kept.
        examples: Number of training examples.
        seconds: Time of the pass and the fit.
    """

    fit: LinearFit
    kind: str
    place: str
    rates: dict[str, float]
    whole: bool
    examples: int
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return the entry in ``result.json``."""
        return {
            "start": self.kind,
            "place": self.place,
            "rates": self.rates,
            "inverse_penalty": self.fit.strength,
            "cross_validated_loss": round(self.fit.loss, 6),
            "examples": self.examples,
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        return (
            f"head: {self.kind} on the states of {self.examples:,} examples (C = {self.fit.strength:g}, "
            f"cross-validated loss {self.fit.loss:.4f}), {self.seconds:.1f} s"
        )


def start_head(
    learner: "Learner",
    table: Any,
    *,
    refit: bool = False,
    fit: Callable[..., LinearFit] | None = None,
) -> HeadStart | None:
    """Fit a new head on the states of the model as it is now, and write the fit into the model.

    The penalized regression is the best linear head on frozen states; training that goes on from there
    distorts the states less than from a random head (LP-FT, Kumar et al., 2022). A dense layer before the last
    one (BERT's pooler) passes on centred states then, in the range where its activation is nearly linear;
    if it is pretrained and the last layer alone does better on its states, it stays as it is. A dense layer
    that holds the fit works at a small scale, and the last layer makes up for it: at the run's rate a step
    of the dense layer would move the outputs ten times too far. So its rate is multiplied by the scale.

    Args:
        learner: Learner under its mode.
        table: Labelled training examples.
        refit: Whether a head that is already trained is fitted too.
        fit: Function in place of :func:`nlptl.train.convex.fit_linear`, with its arguments; before them it
            gets the name of the states, ``states`` or ``below``, as :meth:`Learner.head_states` names them.

    Returns:
        The fit; None if the task has no convex fit, no linear layer gives the outputs of whole texts, or the
        head is trained already.
    """
    began, kind = time.perf_counter(), learner.task.head_fit
    if kind is None:
        return None
    part, rows, read = learner.head_states(table)
    if read is None:
        return None
    new = new_modules(learner)
    if read.output not in new and not refit:
        return None
    gold, sizes = gold_values(learner.task, part)
    known = np.flatnonzero(sizes > 0)
    labels, outputs = gold[known], read.output.out_features
    groups = learner.copies.sources(table)

    def fitted(name: str) -> LinearFit:
        states = np.stack(rows[name]).astype(np.float64)[known]
        about = {
            "outputs": outputs,
            "sizes": sizes[known],
            "intercept": read.output.bias is not None,
        }
        if groups is not None:
            about["groups"] = groups[known]
        given = (states, labels, kind)
        with waiting("fitting the head"):
            own = fit_linear(*given, **about) if fit is None else fit(name, *given, **about)
        return from_main(own, learner.accelerator)

    folded = fitted("below") if foldable(read) else None
    direct = fitted("states") if folded is None or read.dense not in new else None
    best, place, rates = direct, "output", {}
    if folded and (direct is None or folded.loss <= direct.loss):
        if scale := fold(learner, table, read, folded, np.stack(rows["below"])):
            best, place, rates = folded, "dense", rates_of(learner, read.dense, scale)
        elif direct is None:
            best = fitted("states")
    if place == "output":
        assert best is not None
        write_output(read.output, *best.plain())
    assert best is not None
    return HeadStart(
        fit=best,
        kind=FITS[kind],
        place=place,
        rates=rates,
        whole=place == "dense" or read.dense is None or read.dense not in new,
        examples=len(known),
        seconds=time.perf_counter() - began,
    )


def new_modules(learner: "Learner") -> set[nn.Module]:
    """Return the modules with parameters that the checkpoint did not have."""
    return {
        module
        for prefix, module in learner.model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if plain_name(f"{prefix}.{name}") in learner.newly_initialized
    }


def gold_values(task: Any, part: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the gold values of encoded examples and their weights, 0 for an example without a class."""
    gold = numbers_of(part.rows, "gold")
    if task.head_fit == "labels" and gold.dtype == object:  # a list in each row
        gold = np.stack(list(gold))
    if task.head_fit != "classes":
        return gold, np.ones(len(gold))
    weights = getattr(task, "class_weights", None)
    each = np.ones(max(1, len(task.labels))) if weights is None else np.asarray(weights)
    return gold, np.where(gold < 0, 0.0, each[np.maximum(gold, 0)])


def foldable(read: Read) -> bool:
    """Whether there is a dense layer that can centre its states."""
    return read.dense is not None and read.dense.bias is not None


def rates_of(learner: "Learner", layer: Any, factor: float) -> dict[str, float]:
    """Return a factor of the rate for each parameter of a layer, by its name."""
    own = {id(p) for p in layer.parameters()}
    named = unwrap_peft(learner.model).named_parameters()
    return {plain_name(name): factor for name, p in named if id(p) in own}


def rate_groups(learner: "Learner") -> list[dict[str, Any]] | None:
    """Group a learner's parameters by the rates that mode, depth and start of the head give them.

    Returns:
        The groups (:func:`nlptl.train.optimizer.make_optimizer`); None where all have one rate.
    """
    own = None
    if learner.current is not None:
        decay = learner.args.layer_decay
        own = learner.current.parameter_groups(learner.model, layer_decay=decay)
    return scaled_groups(learner.model, learner.head_rates, own)


def fold(
    learner: "Learner", table: Any, read: Read, fit: LinearFit, below: np.ndarray
) -> float | None:
    """Write a fit into the dense layer and the last one, and compare the model's outputs with the fit's.

    Args:
        learner: Learner with the model.
        table: Training examples.
        read: Layers of the head.
        fit: Fit on the dense layer's inputs.
        below: These inputs, ``(examples, width)``.

    Returns:
        The scale of :data:`SCALES` under which they agree; None if there is none, and the dense layer is as it
        was before.
    """
    dense, output = read.dense, read.output
    assert dense is not None
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    few = table.select(range(min(SAMPLE, len(table))))
    expected = fit.outputs(below[: len(few)])
    for scale, shift in SCALES:
        write_dense(dense, fit.mean, fit.deviation, scale, shift)
        weight = fit.weight / scale
        write_output(output, weight, fit.bias - shift * weight.sum(1))
        _, found, _ = learner.predict_rows(few, Outputs(learner.model, learner.task))
        apart = np.stack(found["logits"]) - expected
        if np.sqrt((apart**2).mean()) <= TOLERANCE * max(expected.std(), TOLERANCE):
            return scale
    dense.load_state_dict(before)
    return None
