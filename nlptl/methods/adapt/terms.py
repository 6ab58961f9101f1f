"""Loss terms between two domains, and on masked words of one: pure functions first, their modules below."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.data.batching import ALSO
from nlptl.models.adapters import unwrap_peft
from nlptl.models.one_token import whole_last_block
from nlptl.records import FitState
from nlptl.train.hooks import Quiet

#: Bandwidths of the kernels of :func:`mmd`, times the median squared distance.
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
#: Steepness of dann's schedule (Ganin et al., 2016, section 5.2.2).
STEEP = 10.0
#: Width of the discriminator's hidden layer, and its rate in units of the model's (Ganin's new layers: 10).
HIDDEN, QUICK = 100, 10.0


def deep_coral(source: Tensor, target: Tensor) -> Tensor:
    """Compute ||C_S - C_T||_F^2 / (4 d^2), with unbiased covariances (Sun & Saenko, 2016, equation 1).

    Args:
        source: Features, ``(examples, d)``.
        target: Features, ``(other examples, d)``.

    Returns:
        A scalar; 0 if a side has fewer than two examples.
    """
    if min(len(source), len(target)) < 2:
        return 0.0 * (source.sum() + target.sum())
    apart = torch.cov(source.float().T) - torch.cov(target.float().T)
    return apart.pow(2).sum() / (4 * source.shape[1] ** 2)


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """Compute the squared maximum mean discrepancy under a sum of Gaussian kernels (Gretton et al., 2012).

    The biased estimate, which is never negative; the bandwidths are multiples of the median squared distance,
    through which no gradient goes (Long et al., 2015, use such a family).

    Args:
        source: Features, ``(examples, d)``.
        target: Features, ``(other examples, d)``.
    """
    both = torch.cat([source, target]).float()
    squares = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").pow(2)
    apart = squares.detach()[~torch.eye(len(both), dtype=torch.bool, device=both.device)]
    median = apart.median().clamp(min=1e-12)
    kernel = torch.stack([torch.exp(-squares / (wide * median)) for wide in BANDWIDTHS]).mean(0)
    n = len(source)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


class Reverse(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -strength (Ganin et al., 2016, section 4.2)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, strength: Tensor) -> Tensor:
        """Return the states."""
        ctx.save_for_backward(strength)
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the reversed gradient."""
        (strength,) = ctx.saved_tensors
        return -strength * gradients[0], None


def schedule(progress: Tensor | float) -> Tensor:
    """Compute 2 / (1 + exp(-10 p)) - 1, which rises from 0 to 1 (Ganin et al., 2016, section 5.2.2).

    Args:
        progress: Share p of the training that is done, in [0, 1].
    """
    return 2 / (1 + torch.exp(-STEEP * torch.as_tensor(progress))) - 1


def both_features(loss: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the features of the batch and, by one more pass of the model, of the stream beside it."""
    source = loss.features()
    beside = {k.removeprefix(ALSO): v for k, v in inputs.items() if k.startswith(ALSO)}
    loss.first.task.outputs(loss.model, beside)
    return source, loss.features()


class Between(nn.Module):
    """A term that is a function of the features of two domains.

    Args:
        function: :func:`deep_coral` or :func:`mmd`.
    """

    cacheable = False

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, loss: Any, found: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the distance."""
        return self.function(*both_features(loss, inputs))

    def identity(self) -> str:
        """Name the function."""
        return self.function.__name__


class QuickLinear(nn.Linear):
    """A linear layer that learns :data:`QUICK` times as fast under Adam, by weights that are so much smaller.

    At a rate for pretrained weights a new discriminator stays at chance for a whole fine-tuning.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        with torch.no_grad():
            self.weight /= QUICK
            assert self.bias is not None
            self.bias /= QUICK

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's outputs."""
        assert self.bias is not None
        return nn.functional.linear(input, QUICK * self.weight, QUICK * self.bias)


class Dann(nn.Module):
    """A discriminator of domains behind a reversed gradient (Ganin et al., 2016).

    The discriminator learns at weight 1 throughout; ``strength`` and the schedule act on the features'
    gradient alone. Steps are counted in a buffer, which checkpoints hold, so that a resumed run goes on.

    Args:
        width: Width of the features.
        batches: Number of batches of the whole training, over which the schedule rises.
        strength: Factor of the schedule.

    Attributes:
        judge: The discriminator.
    """

    cacheable = False
    done: Tensor
    right: Tensor
    judged: Tensor

    def __init__(self, width: int, batches: int, strength: float = 1.0) -> None:
        super().__init__()
        self.batches, self.strength = batches, strength
        self.judge = nn.Sequential(QuickLinear(width, HIDDEN), nn.ReLU(), QuickLinear(HIDDEN, 2))
        for name in ("done", "right", "judged"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, loss: Any, found: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the discriminator's cross-entropy over both domains."""
        source, target = both_features(loss, inputs)
        strength = self.strength * schedule(self.done / max(1, self.batches))
        states = Reverse.apply(torch.cat([source, target]).float(), strength)
        domain = torch.zeros(len(states), dtype=torch.long, device=states.device)
        domain[len(source) :] = 1
        logits = self.judge(states)
        if self.training:
            self.done += 1
            self.right += (logits.argmax(-1) == domain).sum()
            self.judged += len(domain)
        return nn.functional.cross_entropy(logits, domain)


class DomainAccuracy(Quiet):
    """Hook that writes down how often the discriminator was right in each epoch.

    Args:
        term: The :class:`Dann` that is trained.

    Attributes:
        epochs: Share that was right, one an epoch.
        first: Number of examples that it judged in the first epoch.
    """

    def __init__(self, term: Dann) -> None:
        self.term = term
        self.epochs: list[float] = []
        self.first = 0

    def on_epoch(self, state: FitState) -> bool:
        """Read the epoch's counts and begin again."""
        judged = float(self.term.judged)
        self.first = self.first or int(judged)
        self.epochs.append(float(self.term.right) / max(1.0, judged))
        self.term.right.zero_()
        self.term.judged.zero_()
        return False

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what was written down."""
        return {"epochs": self.epochs, "first": self.first}, {}

    def remember(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take it back."""
        self.epochs, self.first = list(values["epochs"]), int(values["first"])


class TiedDecoder(nn.Module):
    """The projection to the vocabulary by the model's own word embeddings, which it does not own.

    Args:
        bias: Bias of the vocabulary's entries.
    """

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        self.bias = bias
        self.words: list[Tensor] = []

    def forward(self, states: Tensor) -> Tensor:
        """Return the logits, ``(…, vocabulary)``."""
        return nn.functional.linear(states, self.words[0], self.bias)

    def identity(self) -> str:
        """Name the layer; its weights are the model's."""
        return "tied"


class MaskedText(nn.Module):
    """Masked language modelling on a second stream, through the classifier's own body (UDALM's term).

    The stream has ``also_input_ids``, ``also_positions`` and ``also_targets``
    (:func:`nlptl.pretrain.masked_lm.collator`).

    Args:
        head: Head of the masked language model, which trains too.
        output: Its projection to the vocabulary.
        tied: Whether that has the word embeddings' weights.
    """

    cacheable = False

    def __init__(self, head: nn.Module, output: nn.Linear, tied: bool) -> None:
        super().__init__()
        self.tied: TiedDecoder | None = None
        if tied:
            assert output.bias is not None
            self.tied = TiedDecoder(output.bias)
            for parent in head.modules():
                for name, child in list(parent.named_children()):
                    if child is output:
                        setattr(parent, name, self.tied)
        self.head = head

    def forward(self, loss: Any, found: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the nats per masked token."""
        base = unwrap_peft(loss.model)
        body = base.base_model
        given: dict[str, Any] = {"input_ids": inputs[f"{ALSO}input_ids"]}
        given["attention_mask"] = inputs.get(f"{ALSO}attention_mask")
        with whole_last_block(base):
            states = body(**given).last_hidden_state
        if self.tied is not None:
            self.tied.words = [body.get_input_embeddings().weight]
        logits = self.head(states.flatten(0, 1)[inputs[f"{ALSO}positions"]])
        return nn.functional.cross_entropy(logits.float(), inputs[f"{ALSO}targets"])
