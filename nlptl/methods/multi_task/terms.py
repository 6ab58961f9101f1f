"""The loss of a batch of one of several tasks."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nlptl.methods.multi_task.batches import WHICH
from nlptl.train.losses import Loss


class MixedLoss(Loss):
    """The loss of the task that a batch is of: L = L_i with probability p_i, in the mean sum_i p_i L_i.

    The model is the first task's; the others' share its body (:mod:`nlptl.methods.multi_task.sharing`), and
    train with it. A head that a batch does not use has no gradient, so that its optimizer leaves it alone.

    Args:
        losses: Own loss of each task, around a model with its head.
    """

    def __init__(self, losses: Sequence[Loss]) -> None:
        super().__init__(losses[0].model)
        self.losses = nn.ModuleList(losses)
        several = len(losses) > 1
        self.find_unused = several or losses[0].find_unused
        self.cacheable = losses[0].cacheable and not several

    def forward(self, **inputs: Tensor) -> dict[str, Any]:
        """Run the model of the batch's task; see :meth:`nlptl.train.losses.Loss.forward`."""
        number = int(inputs[WHICH])
        return self.losses[number](**{k: v for k, v in inputs.items() if k != WHICH})

    def models(self) -> Sequence[nn.Module]:
        """Return the model of each task."""
        return [each.model for each in self._losses()]

    def compile_model(self) -> None:
        """Compile each task's model."""
        for each in self._losses():
            each.compile_model()

    def identity(self) -> str:
        """Identify the losses; a single one is itself."""
        each = [loss.identity() for loss in self._losses()]
        return each[0] if len(each) == 1 else f"MixedLoss[{', '.join(each)}]"

    def _losses(self) -> list[Any]:
        return list(self.losses)
