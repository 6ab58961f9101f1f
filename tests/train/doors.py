"""Small methods written against the doors alone, as a wing would write them."""

import json

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F


def other_features(loss, inputs):
    """Features of the second stream: one more pass of the model."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    loss.model(**{n: inputs[f"also_{n}"] for n in names if f"also_{n}" in inputs})
    return loss.features()


class Coral(nn.Module):
    """Distance of the covariances of two domains' features (Sun & Saenko, 2016)."""

    cacheable = False

    def forward(self, loss, found, inputs):
        source = loss.features()
        target = other_features(loss, inputs)
        return (torch.cov(source.T) - torch.cov(target.T)).pow(2).sum() / (4 * source.shape[1] ** 2)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Discriminator(nn.Module):
    """Tells two domains apart, while the model learns that it cannot (Ganin et al., 2016)."""

    cacheable = False

    def __init__(self, width):
        super().__init__()
        self.judge = nn.Linear(width, 2)

    def forward(self, loss, found, inputs):
        source = loss.features()
        target = other_features(loss, inputs)
        domain = torch.tensor([0] * len(source) + [1] * len(target))
        return F.cross_entropy(self.judge(Reverse.apply(torch.cat([source, target]))), domain)


class Wish(nn.Module):
    """A term that draws what the head reads towards a fixed vector; one pass, so it can be cached."""

    def __init__(self, wish):
        super().__init__()
        self.register_buffer("wish", wish)

    def forward(self, loss, found, inputs):
        return (loss.features() - self.wish).pow(2).mean()


def average(learner, clients, rounds, home, killed_at=None):
    """Federated averaging of what trains (McMahan et al., 2017); a killed loop goes on at the round."""
    for number in range(rounds):
        done = home / f"round-{number}" / "state.safetensors"
        if done.exists():
            learner.load(load_file(done))
            continue
        start, states = learner.state(), []
        for table in clients:
            learner.load(start)
            learner.mode(learner.current).fit(table)
            states.append((len(table), learner.state()))
        total = sum(size for size, _ in states)
        learner.load({k: sum(s[k] * (size / total) for size, s in states) for k in start})
        if number == killed_at:
            raise KeyboardInterrupt
        done.parent.mkdir(parents=True, exist_ok=True)
        save_file(learner.state(), done.with_suffix(".partial"))
        done.with_suffix(".partial").replace(done)
        (done.parent / "round.json").write_text(json.dumps({"sizes": [s for s, _ in states]}))
