"""The doors: a loss term, extra modules, a second stream, turns, a live model, an outer loop."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import KillAt, Killed, command
from tiny import sentences
from torch import nn

from nlptl.data.batching import Zipped
from nlptl.errors import ConfigError, RunError
from nlptl.modes.base import parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.hooks import Quiet
from nlptl.train.learner import Learner
from nlptl.train.losses import Loss, Plus, TaskLoss
from nlptl.train.setup import FinetuneArgs, start_accelerator

sys.path.insert(0, str(Path(__file__).parent))
from doors import Coral, Discriminator, Wish, average

TASK = TextClassification(("no", "yes"))


def rows(count, seed):
    texts = sentences(count, seed)
    return Dataset.from_dict(
        {"text": texts, "label": ["yes" if "good" in t else "no" for t in texts]}
    )


TRAIN, OTHER, TEST = rows(32, 1), rows(24, 2), rows(12, 3)


def learner(checkpoint, mode, *, cache="auto", model=None, **changes):
    given = {"learning_rate": 2e-3, "epochs": 2.0, "batch_size": 8, **changes}
    args = FinetuneArgs(model=str(checkpoint), mode=parse_mode(mode), cache=cache, **given)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    return Learner(TASK, args, accelerator, model=model).mode(args.mode)


def weights(made):
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_learner_is_what_finetune_is_made_of(checkpoints):
    splits = {"train": TRAIN, "validation": OTHER, "test": TEST}
    made = learner(checkpoints["bert"], "freeze-lower-1")
    made.fit(TRAIN, validation=OTHER)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    run = finetune(TASK, splits, made.args, accelerator=accelerator)
    assert same(weights(made), dict(run.model.named_parameters()))
    assert made.history == run.history and made.best == run.best
    rows = enumerate(made.predict(TEST))
    assert [{"row": i, "text": TEST["text"][i], **one} for i, one in rows] == run.predictions
    assert made.score(TEST).items() <= run.metrics.items()


def test_features_are_the_states_that_the_head_reads(checkpoints, family):
    made = learner(checkpoints[family], "full")
    found = made.features(TEST)
    part = made.encode(TEST)
    inputs = made.collate([part.rows[i] for i in range(len(TEST))], np.random.default_rng(0))
    given = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    body = made.model.eval().base_model
    with torch.no_grad():
        if family == "t5":
            shifted = made.model._shift_right(given["input_ids"])
            caught = []
            hook = body.decoder.block[-1].register_forward_hook(lambda m, i, o: caught.append(o[0]))
            body(**given, decoder_input_ids=shifted)
            hook.remove()
            last = given["attention_mask"].sum(1) - 1
            expected = caught[0][torch.arange(len(last)), last]
        else:
            expected = body(**given).last_hidden_state[:, 0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_term_adds_to_the_loss_and_is_logged_by_name(checkpoints):
    seen = []

    class Terms(Quiet):
        def on_step(self, state):
            seen.append(dict(state.terms))
            return False

    made = learner(checkpoints["bert"], "full")
    loss = Plus(made.loss(), Wish(torch.zeros(32)), weight=0.5, name="wish")
    batch = next(iter(made.batches(TRAIN, seed=0).epoch(0)))
    loss.eval()
    found, plain = loss(**batch.inputs), made.loss().eval()(**batch.inputs)
    states = made.model.base_model(batch.inputs["input_ids"], batch.inputs["attention_mask"])
    wish = states.last_hidden_state[:, 0].pow(2).mean()
    torch.testing.assert_close(found["loss"], plain["loss"] + 0.5 * wish)
    made.fit(TRAIN, loss=loss, validation=OTHER, hooks=[Terms()])
    assert set(seen[-1]) == {"task", "wish"} and seen[-1]["wish"] > 0
    assert {"train_task", "train_wish"} <= set(made.history[1])


def test_a_term_of_weight_nothing_leaves_the_run_as_it_is(checkpoints):
    plain = learner(checkpoints["bert"], "freeze-lower-1")
    plain.fit(TRAIN)
    made = learner(checkpoints["bert"], "freeze-lower-1")
    loss = Plus(made.loss(), Coral(), weight=0.0, name="coral")
    assert loss.cacheable and loss.identity() == made.loss().identity()
    made.fit(TRAIN, loss=loss)
    assert same(weights(plain), weights(made)) and made.cache is not None


def test_coral_draws_two_domains_together(checkpoints):
    """The distance of their covariances is smaller than after the same steps without the term."""

    def distance(made):
        one, two = (torch.from_numpy(made.features(table)) for table in (TRAIN, OTHER))
        return float((torch.cov(one.T) - torch.cov(two.T)).pow(2).sum())

    found = []
    for weight in (0.0, 1e4):
        made = learner(checkpoints["bert"], "full", epochs=4.0)
        pairs = Zipped(made.batches(TRAIN, seed=0), made.batches(OTHER, seed=1, batch_size=8))
        made.fit(pairs, loss=Plus(made.loss(), Coral(), weight=weight, name="coral"))
        found.append(distance(made))
    assert found[1] < 0.5 * found[0]


def test_a_second_stream_is_in_step_wherever_it_is_taken_up(checkpoints):
    made = learner(checkpoints["bert"], "full")
    pairs = Zipped(made.batches(TRAIN, seed=0), made.batches(OTHER, seed=1))
    assert (len(pairs), len(pairs.second)) == (4, 3)
    whole = [b.inputs["also_input_ids"] for number in range(3) for b in pairs.epoch(number)]
    again = [b.inputs["also_input_ids"] for b in pairs.epoch(2, start=1)]
    for one, two in zip(whole[9:], again, strict=True):
        assert torch.equal(one, two)


def test_states_cannot_be_kept_under_a_loss_that_calls_the_model_twice(checkpoints, capsys):
    made = learner(checkpoints["bert"], "freeze-lower-1")
    loss = Plus(made.loss(), Coral(), name="coral")
    made.prepare({"train": TRAIN}, loss)
    assert made.cache is None
    assert "cache: off, the loss calls the model more than once per step" in capsys.readouterr().out
    asked = learner(checkpoints["bert"], "freeze-lower-1", cache="memory")
    with pytest.raises(ConfigError, match="--cache memory: the loss calls the model more than"):
        asked.prepare({"train": TRAIN}, loss)
    asked.prepare({"train": TRAIN})
    with pytest.raises(ConfigError, match="batches hold cached states, but the loss calls the"):
        asked.fit(
            Zipped(asked.batches(TRAIN, seed=0), asked.batches(OTHER, seed=0)),
            loss=Plus(asked.loss(), Coral(), name="coral"),
        )


def test_a_term_that_hides_its_second_call_is_noticed(checkpoints):
    """Before, it got the first call's states again, without a word."""

    class Twice(nn.Module):
        def forward(self, loss, found, inputs):
            return loss.model(**inputs_of(inputs)).logits.pow(2).mean()

    def inputs_of(inputs):
        return {key: inputs[key] for key in ("input_ids", "attention_mask")}

    made = learner(checkpoints["bert"], "freeze-lower-1", cache="memory")
    with pytest.raises(RunError, match="called more than once on the cached states"):
        made.fit(TRAIN, loss=Plus(made.loss(), Twice(), name="twice"))


def test_other_tables_are_predicted_while_states_are_fed(checkpoints):
    """A hook may look at a table that nobody prepared; the model is whole for that while."""
    found = {}

    class Look(Quiet):
        def __init__(self, of, kind):
            self.of, self.kind = of, kind

        def on_epoch(self, state):
            found.setdefault(self.kind, []).extend(self.of.predict(OTHER))
            return False

    for kind in ("off", "memory"):
        made = learner(checkpoints["bert"], "freeze-lower-2", cache=kind)
        made.fit(TRAIN, hooks=[Look(made, kind)])
        assert (made.cache is None) == (kind == "off")
    for one, two in zip(found["off"], found["memory"], strict=True):
        assert one["scores"] == pytest.approx(two["scores"], abs=1e-6)


class Critic(Loss):
    """Two turns: the critic learns to tell features from noise, the model to be told apart by nobody."""

    cacheable = False

    def __init__(self, base, width):
        super().__init__(base.model)
        self.base, self.critic = base, nn.Linear(width, 1)
        base.watch()

    def forward(self, **inputs):
        found = self.base(**inputs)
        score = self.critic(self.base.features()).mean()
        value = {"critic": score, "task": found["loss"]}
        return {**found, "loss": found["loss"] + 0.1 * score, "terms": value}

    def turns(self):
        return {"critic": list(self.critic.parameters())}


class Alternating:
    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def epoch(self, number, start=0):
        from dataclasses import replace

        for place, batch in enumerate(self.inner.epoch(number, start), start):
            yield replace(batch, turn="critic" if place % 2 else "model")


def test_turns_step_their_own_parameters_only(checkpoints):
    made = learner(checkpoints["bert"], "full", epochs=0.5)
    loss = Critic(made.loss(), 32)
    moved = []

    class Watch(Quiet):
        def on_start(self, state):
            self.last = (loss.critic.weight.clone(), made.model.classifier.weight.clone())

        def on_step(self, state):
            now = (loss.critic.weight.clone(), made.model.classifier.weight.clone())
            moved.append([not torch.equal(a, b) for a, b in zip(now, self.last, strict=True)])
            self.last = now
            return False

    from dataclasses import replace

    plan = replace(made.args.plan(4), steps=4, warmup=0)
    made.fit(Alternating(made.batches(TRAIN, seed=0)), loss=loss, hooks=[Watch()], plan=plan)
    assert moved == [[False, True], [True, False]] * 2
    mixed = replace(plan, gradient_accumulation_steps=2)
    with pytest.raises(RunError, match="belong to the turns critic, model"):
        made.fit(Alternating(made.batches(TRAIN, seed=0)), loss=loss, plan=mixed)


@pytest.mark.parametrize("kind", ["discriminator", "turns"])
def test_extra_modules_are_resumed_to_the_same_bits(checkpoints, tmp_path, kind):
    def run(home, *, kill=None, resume=False):
        made = learner(checkpoints["bert"], "freeze-lower-1")
        torch.manual_seed(5)
        if kind == "turns":
            loss, data = Critic(made.loss(), 32), Alternating(made.batches(TRAIN, seed=0))
        else:
            loss = Plus(made.loss(), Discriminator(32), weight=0.1, name="domain")
            data = Zipped(made.batches(TRAIN, seed=0), made.batches(OTHER, seed=1))
        hooks = [KillAt(kill)] if kill else []
        made.fit(data, loss=loss, validation=TEST, hooks=hooks, home=home, resume=resume)
        return {name: p.detach() for name, p in loss.named_parameters()}

    whole = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", kill=6)
    assert same(whole, run(tmp_path / "b", resume=True))


def test_a_live_model_goes_on(checkpoints):
    first = learner(checkpoints["bert"], "full")
    first.fit(TRAIN)
    again = learner(checkpoints["bert"], "head-only", model=first.model)
    assert again.model is first.model
    before = weights(again)
    again.fit(TRAIN)
    moved = {name for name, p in again.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(name.startswith(("classifier", "bert.pooler")) for name in moved)


def test_the_state_is_what_trains_and_nothing_else(checkpoints):
    one, two = (learner(checkpoints["bert"], "freeze-lower-2", seed=s) for s in (0, 1))
    one.fit(TRAIN)
    state = one.state()
    assert set(state) == {n for n, p in one.model.named_parameters() if p.requires_grad}
    two.load(state)
    assert two.predict(TEST) == one.predict(TEST)
    with pytest.raises(RunError, match="The state does not fit: "):
        learner(checkpoints["bert"], "full").load(state)


def test_an_outer_loop_is_killed_and_resumed_at_a_round(checkpoints, tmp_path):
    clients = [TRAIN.select(range(8)), TRAIN.select(range(8, 32))]
    whole = learner(checkpoints["bert"], "freeze-lower-2", epochs=1.0)
    average(whole, clients, 3, tmp_path / "a")
    first = learner(checkpoints["bert"], "freeze-lower-2", epochs=1.0)
    with pytest.raises(KeyboardInterrupt):
        average(first, clients, 3, tmp_path / "b", killed_at=1)
    assert [p.name for p in sorted((tmp_path / "b").glob("round-*"))] == ["round-0"]
    again = learner(checkpoints["bert"], "freeze-lower-2", epochs=1.0)
    average(again, clients, 3, tmp_path / "b")
    assert same(weights(whole), weights(again))


def test_the_identity_of_a_loss_is_what_it_computes():
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    plain = TaskLoss(model, TASK)
    assert plain.identity() == TaskLoss(other, TASK).identity()  # a model is none of it
    base = [TaskLoss(model, TASK) for _ in range(5)]
    for each in base:
        each.watch = lambda: None  # the model has no layers
    made = [
        Plus(base[0], Wish(torch.zeros(3)), weight=0.5, name="wish"),
        Plus(base[1], Wish(torch.ones(3)), weight=0.5, name="wish"),
        Plus(base[2], Wish(torch.zeros(3)), weight=0.6, name="wish"),
        Plus(base[3], Coral(), weight=0.5, name="wish"),
    ]
    assert len({plain.identity(), *(loss.identity() for loss in made)}) == 5
    same_again = Plus(base[4], Wish(torch.zeros(3)), weight=0.5, name="wish")
    assert same_again.identity() == made[0].identity()


TWO = """
import sys
sys.path[:0] = sys.argv[2:4]
import torch
from nlptl.data.batching import Zipped
from nlptl.train.losses import Plus
from doors import Discriminator
from test_learner import OTHER, TRAIN, learner
import torch.distributed as dist

made = learner(sys.argv[1], "freeze-lower-1")
term = Discriminator(32)
before = term.judge.weight.detach().clone()
pairs = Zipped(made.batches(TRAIN, seed=0), made.batches(OTHER, seed=1))
made.fit(pairs, loss=Plus(made.loss(), term, weight=0.1, name="domain"))
total = sum(p.detach().double().sum() for p in [*made.model.parameters(), *term.parameters()])
gathered = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
dist.all_gather(gathered, total)
moved = float((term.judge.weight - before).abs().max())
if dist.get_rank() == 0:
    print("SAME", torch.equal(*gathered), "MOVED", moved > 1e-3, flush=True)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_discriminator_trains_alike_on_two_processes(checkpoints, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    here = Path(__file__).parent
    done = command(
        *("-m", "torch.distributed.run", "--nproc_per_node", 2, script),
        *(checkpoints["bert"], here, here.parent),
    )
    assert "SAME True MOVED True" in done.stdout, done.stdout + done.stderr
