"""Losses: modules around the model that give the loss, and hold whatever trains besides the model."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.data.batching import ALSO
from nlptl.data.code_hash import code_hash
from nlptl.errors import RunError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.heads import give_exact_numbers
from nlptl.models.layer_map import layer_map
from nlptl.models.pooling import PooledClassifier, pool, pooling_of
from nlptl.models.tracing import hidden


class Loss(nn.Module):
    """A module around the model that gives the training loss.

    A subclass sets up its own modules in ``__init__`` (a discriminator, a projection): they train, are
    saved in checkpoints and are seen by DistributedDataParallel, because everything runs inside ``forward``.

    Args:
        model: The model that is trained, wrapped by peft or not.

    Attributes:
        cacheable: Whether frozen blocks may be computed once and kept under this loss. False where the model
            is called more than once per step, or where a text is seen differently each time.
        find_unused: Whether some parameters may have no gradient in a step (DistributedDataParallel must
            look).
        seen: States of the last forward pass, for :meth:`features` and for terms.
    """

    cacheable: bool = True
    find_unused: bool = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        give_exact_numbers(model)
        self.model = model
        self.seen: dict[str, Tensor] = {}

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Run the model on a batch.

        Returns:
            ``loss``, a scalar, the mean over ``size`` items; ``size``, a number; ``outputs``, tensors of shape
            ``(batch, …)`` that predictions are made from; ``terms``, name to the scalar that is logged.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def features(self) -> Tensor:
        """Return the state that the head reads of each text of the last forward pass, ``(batch, width)``.

        No second pass is made: the last block's states are kept as they come by, with their graph.

        Raises:
            RunError: If no pass was made since :meth:`watch`.
        """
        if "states" not in self.seen:
            raise RunError(
                "No features are there: call watch() on the loss before its forward pass, once."
            )
        states, mask = self.seen["states"], self.seen.get("mask")
        base = unwrap_peft(self.model)
        if isinstance(base, PooledClassifier):
            return base.embed(states, mask)
        read = pooling_of(base)
        return pool(states, mask, read if read in ("first", "mean") else "last")

    def watch(self) -> None:
        """Keep the last block's states from now on, for :meth:`features`."""
        if "watched" in vars(self):
            return
        block = layer_map(unwrap_peft(self.model)).blocks[-1]
        self.watched = [
            block.register_forward_hook(self._keep_states),
            unwrap_peft(self.model).register_forward_pre_hook(self._keep_mask, with_kwargs=True),
        ]

    def unwatch(self) -> None:
        """Stop keeping states."""
        for handle in vars(self).pop("watched", ()):
            handle.remove()
        self.seen.clear()

    def _keep_states(self, block: Any, inputs: Any, output: Any) -> None:
        self.seen["states"] = hidden(output)

    def _keep_mask(self, model: Any, args: Any, inputs: Mapping[str, Any]) -> None:
        self.seen.pop("mask", None)
        if inputs.get("attention_mask") is not None:
            self.seen["mask"] = inputs["attention_mask"]

    @property
    def first(self) -> "Loss":
        """The loss that terms were added to."""
        return self

    def models(self) -> Sequence[nn.Module]:
        """Return the models that are called in training: one, unless the loss is of several tasks."""
        return [self.model]

    def turns(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """Return the parameters with their own optimizers, by the turn of the batches after which these step.

        All others belong to the turn ``model``. A batch says whose turn it is
        (:attr:`nlptl.records.Batch.turn`).
        """
        return {}

    def compile_model(self) -> None:
        """Compile the expensive part, in place."""
        self.model.compile(dynamic=True)

    def identity(self) -> str:
        """Identify this loss in the keys of kept runs.

        The text is a hash of its class's code, plain attributes, tensors and modules, without the model's.
        """
        return identity(self, but="model")


def identity(thing: Any, *, but: str = "") -> str:
    """Hash what a module or another object computes with: its class's code, plain attributes and tensors.

    For a parameter that trains only the shape counts, because it starts at random.

    Args:
        thing: A loss, a term or a method.
        but: An attribute to leave out.
    """
    found = sha256(f"{type(thing).__qualname__} {code_hash(type(thing))}".encode())
    _count(vars(thing), found, but, trains=True)
    return f"{type(thing).__name__}-{found.hexdigest()[:16]}"


def _count(values: Mapping[str, Any], found: Any, but: str, *, trains: bool) -> None:
    for name, value in sorted(values.items()):
        if name in (but, "training", "seen", "watched"):
            continue
        if isinstance(value, Tensor):
            found.update(f"{name} {tuple(value.shape)}".encode())
            if not (trains and isinstance(value, nn.Parameter) and value.requires_grad):
                flat = value.detach().cpu().contiguous().view(-1)
                found.update(flat.view(torch.uint8).numpy().tobytes())
        elif isinstance(value, bool | int | float | str | None):
            found.update(f"{name}={value!r}".encode())
        elif hasattr(value, "identity"):
            found.update(f"{name} {value.identity()}".encode())
        elif isinstance(value, nn.Module):
            found.update(f"{name} {code_hash(type(value))}".encode())
            _count(vars(value), found, but, trains=trains)
        elif isinstance(value, Mapping):
            found.update(name.encode())
            # A module's own parts train; one in a dict or a list does not.
            inside = {str(key): one for key, one in value.items()}
            _count(inside, found, but, trains=trains and name.startswith("_"))
        elif isinstance(value, list | tuple):
            inside = {f"{name}.{i}": one for i, one in enumerate(value)}
            _count(inside, found, but, trains=False)


class TaskLoss(Loss):
    """A task's own loss: the training loss unless another one is given, and always the loss for scores.

    Args:
        model: The model with the task's head.
        task: Task that computes outputs and loss.
    """

    def __init__(self, model: Any, task: Any) -> None:
        super().__init__(model)
        self.task = task

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Run the model; see :meth:`Loss.forward`."""
        outputs = self.task.outputs(self.model, inputs)
        loss, size = self.task.loss(outputs, inputs)
        return {"loss": loss, "size": size, "outputs": outputs, "terms": {"task": loss}}


class Outputs(Loss):
    """A module with no loss at all: it gives a task's outputs, for batches that need no labels.

    Args:
        model: The model with the task's head.
        task: Task that computes the outputs.
        features: Whether to give the state of each row that the head reads too, under ``features``.
    """

    def __init__(self, model: Any, task: Any, *, features: bool = False) -> None:
        super().__init__(model)
        self.task, self.with_features = task, features
        if features:
            self.watch()

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Run the model; ``loss`` is 0, ``size`` the number of rows."""
        outputs = self.task.outputs(self.model, inputs)
        rows = len(next(iter(outputs.values())))
        if self.with_features:
            outputs = {"features": self.features()}
        return {"loss": torch.zeros(()), "size": rows, "outputs": outputs, "terms": {}}


class Plus(Loss):
    """A loss and one more term: ``base + weight * term``, logged by name; several compose in order.

    The term is called with this loss (its ``features()`` are those of the base's pass, and its ``model`` can
    be called again), with what the base found, and with the batch's inputs, including those of a second
    stream, which the base does not get.

    Args:
        base: The loss so far.
        term: A module that gives a scalar; its parameters train. ``cacheable = False`` on it says that it
            calls the model again, or sees texts differently each time; ``find_unused = True`` as on a loss.
        weight: Factor of the term. With 0 the term is not called, and the run is the base's.
        name: Name of the term in logs.
    """

    def __init__(
        self, base: Loss, term: nn.Module, weight: float = 1.0, name: str = "term"
    ) -> None:
        nn.Module.__init__(self)  # the model is the base's
        self.base, self.term, self.weight, self.name = base, term, weight, name
        self.seen = base.seen
        if weight:
            base.watch()
            self.cacheable = base.cacheable and getattr(term, "cacheable", True)
            self.find_unused = base.find_unused or getattr(term, "find_unused", False)
        else:
            term.requires_grad_(False)
            self.cacheable, self.find_unused = base.cacheable, base.find_unused

    def __getattr__(self, name: str) -> Any:
        """Return the base's model as ``model``, which is a submodule only once, of the base."""
        if name != "model":
            return super().__getattr__(name)
        base: Any = super().__getattr__("base")
        return base.model

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Run the base, then the term."""
        own = {key: value for key, value in inputs.items() if not key.startswith(ALSO)}
        found = self.base(**own)
        if not self.weight:
            return found
        value = self.term(self, found, inputs)
        terms = {**found["terms"], self.name: value}
        return {**found, "loss": found["loss"] + self.weight * value, "terms": terms}

    @property
    def first(self) -> Loss:
        """The loss that terms were added to."""
        return self.base.first

    def features(self) -> Tensor:
        """Return the features of the last pass of the model."""
        return self.base.features()

    def watch(self) -> None:
        """Keep the last block's states from now on."""
        self.base.watch()

    def models(self) -> Sequence[nn.Module]:
        """Return the base's models."""
        return self.base.models()

    def turns(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """Return the base's turns and the term's, if it has any."""
        own = getattr(self.term, "turns", dict)() if self.weight else {}
        return {**self.base.turns(), **own}

    def compile_model(self) -> None:
        """Compile what the base would."""
        self.base.compile_model()

    def identity(self) -> str:
        """Identify base and term, with the term's weight; with weight 0, the base alone."""
        if not self.weight:
            return self.base.identity()
        own = getattr(self.term, "identity", None)
        term = own() if own else identity(self.term)
        return f"{self.base.identity()}+{self.weight!r}*{self.name}:{term}"


def loss_for(learner: Any, loss: Loss | Callable[[Any], Loss] | None) -> Loss:
    """Return the loss that a learner trains: the given one, what a function makes, or its task's own.

    Raises:
        RunError: If the loss holds another model than the learner's.
    """
    made = learner.loss() if loss is None else loss if isinstance(loss, Loss) else loss(learner)
    if made.model is not learner.model:
        raise RunError(
            "The loss holds another model than the learner's, which a mode has wrapped since. Make the loss "
            "after mode(), or give a function of the learner that makes it."
        )
    return made
