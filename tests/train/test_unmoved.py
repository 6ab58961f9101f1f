"""Parameters that no text moves: several processes must know of them before the first step."""

from pathlib import Path

import pytest
import torch
from launching import command
from transformers import AutoTokenizer, XLNetConfig, XLNetModel

from nlptl.errors import RunError
from nlptl.models.loading import quiet_transformers
from nlptl.models.zoo import tiny_inputs, tiny_model
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.train.setup import _unused_explained, unmoved


@pytest.mark.parametrize("kind", ["xlnet", "markuplm", "bert"])
def test_they_are_those_that_get_no_gradient(kind):
    with quiet_transformers():
        model, _ = apply_mode(tiny_model(kind), parse_mode("full"), newly_initialized=frozenset())
    inputs, _ = tiny_inputs(model, "sequence classification")
    model.train()(**inputs).logits.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert unmoved(model) == without
    assert bool(without) == (kind != "bert")


def test_under_an_adapter_only_what_trains_counts():
    with quiet_transformers():
        mode = parse_mode("lora")
        model, _ = apply_mode(tiny_model("xlnet"), mode, newly_initialized=frozenset())
    assert unmoved(model) == []


def test_of_a_model_without_a_map_nothing_is_known():
    assert unmoved(torch.nn.Linear(2, 2)) == []


def test_torchs_error_says_what_to_do():
    with pytest.raises(RunError, match="Set find_unused = True"), _unused_explained():
        raise RuntimeError("Expected to have finished reduction in the prior iteration before …")
    with pytest.raises(RuntimeError, match="other"), _unused_explained():
        raise RuntimeError("other")


TWO = """
import sys
path, kind, find_unused, *folders = sys.argv[1:]
sys.path[:0] = folders
import torch, torch.distributed as dist
from torch import nn
from nlptl.cli.ending import exit_codes
from nlptl.train.losses import Plus
from nlptl.train.setup import unmoved
from test_learner import TRAIN, learner


class OneOfTwo(nn.Module):
    # Each of its parts has no gradient in every second step.
    cacheable, find_unused = False, find_unused == "True"

    def __init__(self):
        super().__init__()
        self.judges, self.steps = nn.ModuleList(nn.Linear(32, 1) for _ in range(2)), 0

    def forward(self, loss, found, inputs):
        self.steps += 1
        return self.judges[self.steps % 2](loss.features()).square().mean()


with exit_codes():
    made, term = learner(path, "full", head="random"), OneOfTwo() if kind == "term" else None
    parts = nn.ModuleList([made.model] if term is None else [made.model, term])
    before = {name: p.detach().clone() for name, p in parts.named_parameters()}
    made.fit(TRAIN, loss=term and Plus(made.loss(), term, weight=0.1, name="one"))
    total = sum(p.detach().double().sum() for p in parts.parameters())
    gathered = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, total)
    still = {name.removeprefix("0.") for name, p in parts.named_parameters() if torch.equal(p, before[name])}
    if dist.get_rank() == 0:
        print("SAME", torch.equal(*gathered), "STILL", still == {*unmoved(made.model)}, flush=True)
    dist.destroy_process_group()
"""


def two(tmp_path, checkpoint, kind, find_unused):
    script, here = tmp_path / "two.py", Path(__file__).parent
    script.write_text(TWO)
    return command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, script),
        *(checkpoint, kind, find_unused, here, here.parent),
    )


@pytest.mark.slow
def test_on_two_processes_what_has_no_gradient_is_said_or_looked_for(checkpoints, tmp_path):
    """A term whose parts take turns: an error that names the remedy, and with it the same weights on both."""
    done = two(tmp_path, checkpoints["bert"], "term", False)
    assert done.returncode != 0 and "Set find_unused = True on the loss or the term" in done.stderr
    assert "SAME" not in done.stdout
    done = two(tmp_path, checkpoints["bert"], "term", True)
    assert "SAME True STILL True" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_a_model_with_parameters_that_no_text_moves_trains_on_two_processes(checkpoints, tmp_path):
    """XLNet's bias of segments and its mask: known from its map, so that nobody has to say so."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["bert"])
    sizes = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
    torch.manual_seed(0)
    made = XLNetModel(
        XLNetConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    )
    made.save_pretrained(tmp_path / "xlnet")
    tokenizer.save_pretrained(tmp_path / "xlnet")
    done = two(tmp_path, tmp_path / "xlnet", "plain", False)
    assert "SAME True STILL True" in done.stdout, done.stdout + done.stderr
