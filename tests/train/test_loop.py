"""The loop's arithmetic: accumulation, schedule, guards."""

import copy

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from nlptl.errors import RunError
from nlptl.records import Batch
from nlptl.train.loop import LOSS_UNIT, fit, predict
from nlptl.train.losses import Loss
from nlptl.train.setup import TrainArgs, steps_for, train


class Rows:
    """Fixed batches of a regression problem, given as lists of row numbers."""

    def __init__(self, x, y, plan):
        self.x, self.y, self.plan = x, y, plan

    def __len__(self):
        return len(self.plan)

    def epoch(self, number, start=0):
        for rows in self.plan[start:]:
            inputs = {"x": self.x[rows], "y": self.y[rows]}
            yield Batch(inputs, tuple(rows), len(rows))


class SquaredError(Loss):
    def forward(self, x, y):
        loss = ((self.model(x).squeeze(-1) - y) ** 2).mean()
        return {"loss": loss, "size": len(x), "outputs": {}, "terms": {"task": loss}}


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(14, 3, generator=generator)
    model = nn.Linear(3, 1)
    nn.init.constant_(model.weight, 0.1)
    nn.init.zeros_(model.bias)
    return x, x @ torch.tensor([1.0, -2.0, 0.5]), model


def run(problem, plan, batches, **settings):
    x, y, model = problem
    model = copy.deepcopy(model)
    defaults = {"learning_rate": 0.05, "warmup": 0, "schedule": "constant", "weight_decay": 0.1}
    state = train(
        SquaredError(model),
        Rows(x, y, batches),
        args=TrainArgs(**{**defaults, **plan}),
        accelerator=Accelerator(cpu=True),
        **settings,
    )
    return model, state


def steps_of_sgd(problem, plan, steps, *, accumulated=1, accelerator=None):
    """Weights and bias after steps by SGD at a rate of 0.1, which move with the gradient's size.

    Adam's do not: its first step has only the gradient's sign, and the later ones no scale.
    """
    x, y, model = problem
    model = copy.deepcopy(model)
    state = fit(
        SquaredError(model),
        Rows(x, y, plan),
        optimizers={"model": torch.optim.SGD(model.parameters(), 0.1)},
        schedules=[],
        accelerator=accelerator or Accelerator(cpu=True),
        steps=steps,
        gradient_accumulation_steps=accumulated,
        max_grad_norm=None,
    )
    return torch.cat([model.weight[0], model.bias]).detach().double().numpy(), state


def by_hand(problem, windows):
    """The same by numpy: each window's rows are one batch."""
    x, y, _ = problem
    wide, y = np.c_[x.double().numpy(), np.ones(len(x))], y.double().numpy()
    found = np.asarray([0.1, 0.1, 0.1, 0.0])
    for rows in windows:
        found = found - 0.1 * 2 * wide[rows].T @ (wide[rows] @ found - y[rows]) / len(rows)
    return found


def test_accumulated_batches_equal_one_big_batch_ragged_end_included(problem):
    """Batches of 4, 4, 4, 2 by three are one of 12 and one of 2: the last window is ragged."""
    pieces = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13]]
    windows = [list(range(12)), [12, 13]] * 3
    small, state = steps_of_sgd(problem, pieces, 6, accumulated=3)
    big, other = steps_of_sgd(problem, windows[:2], 6)
    assert state.steps_per_epoch == other.steps_per_epoch == 2
    assert small == pytest.approx(by_hand(problem, windows), abs=1e-5)
    assert big == pytest.approx(small, abs=1e-6)
    assert state.examples == other.examples == 3 * 14


def test_uneven_batches_in_a_window_weigh_by_their_size(problem):
    """A window of 10 and 2 rows: the gradient is the mean over 12 rows, not of two means."""
    small, state = steps_of_sgd(problem, [list(range(10)), [10, 11]], 1, accumulated=2)
    assert small == pytest.approx(by_hand(problem, [list(range(12))]), abs=1e-6)
    x, y, model = problem
    mean = ((model(x[:12]).squeeze(-1) - y[:12]) ** 2).mean().item()
    assert state.loss == pytest.approx(mean, rel=1e-5)  # the log's loss too


def test_uneven_processes_weigh_by_their_size(problem):
    """Ten rows here and two on another process, which a stand-in adds: DDP averages both gradients."""
    x, y, _ = problem

    class Other(Accelerator):
        num_processes = 2

        def backward(self, loss, **_):
            loss.backward()
            (rows.loss.loss_of(x[10:12], y[10:12]) * 2 / LOSS_UNIT).backward()
            for parameter in rows.loss.parameters():
                parameter.grad /= 2

        def reduce(self, tensor, reduction="sum", scale=1.0):
            return tensor + (2 if tensor.item() == 10 else 0)

    class Seen(SquaredError):
        def __init__(self, model):
            super().__init__(model)
            rows.loss = self

        def loss_of(self, x, y):
            return ((self.model(x).squeeze(-1) - y) ** 2).mean()

    rows = Rows(x, y, [list(range(10))])
    model = copy.deepcopy(problem[2])
    fit(
        Seen(model),
        rows,
        optimizers={"model": torch.optim.SGD(model.parameters(), 0.1)},
        schedules=[],
        accelerator=Other(cpu=True),
        steps=1,
        max_grad_norm=None,
    )
    found = torch.cat([model.weight[0], model.bias]).detach().double().numpy()
    assert found == pytest.approx(by_hand(problem, [list(range(12))]), abs=1e-6)


def test_predictions_average_losses_by_size(problem):
    """Batches of 5 and 2 of 7 rows: the mean over rows, in the rows' order."""
    x, y, model = problem

    class Told(SquaredError):
        def forward(self, x, y):
            return {**super().forward(x, y), "outputs": {"said": self.model(x)}}

    batches = Rows(x, y, [[6, 1, 2, 5, 4], [3, 0]])
    outputs, loss = predict(Told(model), batches, accelerator=Accelerator(cpu=True))
    expected = model(x[:7]).detach().numpy()
    assert np.stack(outputs["said"]) == pytest.approx(expected)
    assert loss == pytest.approx(float(((expected[:, 0] - y[:7].numpy()) ** 2).mean()), rel=1e-5)


def test_one_update_is_adamw_by_hand(problem):
    """First AdamW step: w - lr * decay * w - lr * g / (|g| + eps), biases without decay."""
    x, y, _ = problem
    plan = {"steps": 1, "max_grad_norm": None}
    trained, _ = run(problem, plan, [list(range(14))])
    x64, y64 = x.double().numpy(), y.double().numpy()
    weight = np.full(3, 0.1)
    residual = x64 @ weight - y64
    gradient, bias_gradient = 2 * x64.T @ residual / 14, 2 * residual.mean()
    expected = weight - 0.05 * 0.1 * weight - 0.05 * gradient / (np.abs(gradient) + 1e-8)
    assert trained.weight.detach().numpy()[0] == pytest.approx(expected, abs=1e-6)
    assert trained.bias.item() == pytest.approx(-0.05 * np.sign(bias_gradient), abs=1e-6)


def test_clipping_sees_the_gradient_of_the_mean(problem):
    x, y, _ = problem
    _, state = run(problem, {"steps": 1, "max_grad_norm": 1e-3}, [list(range(14))])
    residual = x.double().numpy() @ np.full(3, 0.1) - y.double().numpy()
    gradient = np.append(2 * x.double().numpy().T @ residual / 14, 2 * residual.mean())
    assert float(state.grad_norm) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


def test_warmup_and_decay_are_counted_in_updates(problem):
    """10 steps, 2 of warm-up, linear: 0, 1/2, 1, 7/8 … 1/8 of the peak, accumulation or not."""
    expected = [0.0, 0.5, 1.0, *[i / 8 for i in range(7, 0, -1)]]
    plan = {"steps": 10, "warmup": 0.2, "schedule": "linear", "learning_rate": 1.0}
    for gradient_accumulation_steps, batches in ((1, [[0, 1], [2, 3]]), (2, [[0], [1], [2], [3]])):
        _, state = run(
            problem, {**plan, "gradient_accumulation_steps": gradient_accumulation_steps}, batches
        )
        assert state.lr_history == pytest.approx(expected)


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(problem):
    x, y, model = problem
    bad = (x, y.clone().fill_(float("nan")), model)
    with pytest.raises(RunError, match=r"loss became nan by step 1\. Lower --learning-rate"):
        run(bad, {"steps": 5}, [[0, 1, 2]])


def test_training_stops_where_a_hook_asks(problem):
    from nlptl.train.hooks import Quiet

    class Stop(Quiet):
        def on_step(self, state):
            return state.step == 3

    _, state = run(problem, {"steps": 9}, [[0, 1], [2, 3]], hooks=[Stop()])
    assert state.step == 3


def test_updates_round_up_ragged_windows():
    assert steps_for(3, batches=7, gradient_accumulation_steps=2) == 12
    assert steps_for(0.5, batches=7, gradient_accumulation_steps=1) == 4
    assert steps_for(0.01, batches=7, gradient_accumulation_steps=1) == 1


@pytest.mark.parametrize("gradient_accumulation_steps", [1, 2])
def test_batches_without_anything_to_predict(problem, gradient_accumulation_steps):
    """Windows of question answering that hold no answer: no loss, no gradient, and no division by zero."""
    x, y, model = problem

    class Some(SquaredError):
        def forward(self, x, y):
            found = super().forward(x, y)
            nothing = bool((x == rows.x[0]).all(1).any() or (x == rows.x[2]).all(1).any())
            return {**found, "loss": 0.0 * found["loss"], "size": 0.0} if nothing else found

    rows = Rows(x, y, [[0, 1], [2, 3], [8, 9], [10, 11]])
    state = train(
        Some(copy.deepcopy(model)),
        rows,
        args=TrainArgs(
            steps=4 // gradient_accumulation_steps,
            learning_rate=0.05,
            gradient_accumulation_steps=gradient_accumulation_steps,
        ),
        accelerator=Accelerator(cpu=True),
    )
    assert 0 < state.loss < 100


def test_clipping_sees_only_what_the_turn_steps(problem):
    """Another turn's parameter has a gradient a thousand times as large, which this step leaves alone."""
    x, y, model = problem

    class Judged(SquaredError):
        def __init__(self, model):
            super().__init__(model)
            self.judge = nn.Parameter(torch.zeros(()))

        def forward(self, x, y):
            found = super().forward(x, y)
            return {**found, "loss": found["loss"] + 1000 * self.judge}

    norms = []
    for kind in (SquaredError, Judged):
        loss = kind(copy.deepcopy(model))
        turns = {"model": loss.model.parameters(), "judge": getattr(loss, "judge", None)}
        state = fit(
            loss,
            Rows(x, y, [[0, 1, 2]]),
            optimizers={
                name: torch.optim.SGD([own] if name == "judge" else own, 0.1)
                for name, own in turns.items()
                if own is not None
            },
            schedules=[],
            accelerator=Accelerator(cpu=True),
            steps=1,
        )
        norms.append(float(state.grad_norm))
    assert norms[0] == pytest.approx(norms[1])
