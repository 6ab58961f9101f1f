"""One temperature for a model's outputs, chosen on validation data (Guo et al., 2017)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlptl.models.heads import scale_output
from nlptl.train.convex import cross_entropy

if TYPE_CHECKING:
    from nlptl.train.learner import Learner

#: Temperatures lie between 1 / WIDEST and WIDEST; their logarithm has a prior with this deviation around 0.
WIDEST, PRIOR = 10.0, 0.5
#: Fewest examples that may choose one: ten right answers in a row ask for all confidence there is.
LEAST = 50


@dataclass(frozen=True)
class Temperature:
    """A temperature and what it does to validation data.

    Attributes:
        examples: Number of validation examples.
        value: Number that all outputs are divided by; above 1 for a model that is too sure.
        before: Mean log loss without it, in nats.
        after: Mean log loss with it.
        error: Standard error of the difference, over examples.
    """

    examples: int
    value: float
    before: float
    after: float
    error: float

    @property
    def helps(self) -> bool:
        """Whether there are examples enough, and the loss falls by more than a standard error."""
        return self.examples >= LEAST and self.before - self.after > self.error


def fit_temperature(logits: np.ndarray, gold: np.ndarray) -> Temperature:
    """Find the temperature with the lowest log loss (Guo et al., 2017, section 4.2), under a weak prior.

    Args:
        logits: Outputs or logarithms of probabilities, shape ``(examples, classes)``.
        gold: Class numbers, shape ``(examples,)``.
    """
    from scipy.optimize import minimize_scalar

    bound = float(np.log(WIDEST))
    found: Any = minimize_scalar(
        lambda power: (
            cross_entropy(logits / np.exp(power), gold).sum() + 0.5 * (power / PRIOR) ** 2
        ),
        bounds=(-bound, bound),
        method="bounded",
    )
    value = float(np.exp(found.x))
    before, after = cross_entropy(logits, gold), cross_entropy(logits / value, gold)
    error = float((before - after).std(ddof=1) / np.sqrt(len(gold))) if len(gold) > 1 else np.inf
    return Temperature(len(gold), value, float(before.mean()), float(after.mean()), error)


def temper(learner: "Learner", table: Any) -> Temperature | None:
    """Divide a classifier's outputs by the temperature of validation data, if that helps.

    The last layer's weights and biases are divided, so the model stays what it is, and its answers too.

    Args:
        learner: Learner after its fit.
        table: Validation data.

    Returns:
        The temperature; None if it does not help, or nothing can be scaled.
    """
    task = learner.task
    if task.head_fit != "classes" or len(task.labels) < 2 or len(table) < LEAST:
        return None
    predictions, _ = learner.judge(table)
    known = [p for p in predictions if p["gold"] in task.labels]
    shares = np.asarray([[p["scores"][name] for name in task.labels] for p in known])
    gold = np.asarray([task.labels.index(p["gold"]) for p in known])
    found = fit_temperature(np.log(np.maximum(shares, np.finfo(float).tiny)), gold)
    if not found.helps:
        return None
    _, _, read = learner.head_states(table.select([0]))
    if read is None:
        return None
    scale_output(read.output, 1 / found.value)
    return found
