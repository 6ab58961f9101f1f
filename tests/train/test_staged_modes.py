"""Gradual unfreezing, LP-FT and chains: what each stage trains, killed anywhere, on one and two processes."""

import sys
from pathlib import Path

import pytest
import torch
from launching import Killed, command
from tiny import tiny_config

sys.path.insert(0, str(Path(__file__).parent))
from test_learner import OTHER, TRAIN, learner, same, weights

from nlptl.errors import ModeError, UserError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import default_learning_rate, parse_mode
from nlptl.train.hooks import Quiet

CONFIG = tiny_config("bert", 100)


def named(mode, depth):
    return [(s.mode.name, s.share, s.rate) for s in parse_mode(mode).stages(depth)]


def test_stages_by_hand():
    assert named("lp-ft", 12) == [("head-only", 1, None), ("full", 3, None)]
    assert named("gradual", 3) == [
        ("head-only", 1, None),
        ("top-1", 1, None),
        ("top-2", 1, None),
        ("full", 3, None),
    ]
    assert [name for name, *_ in named("gradual-4", 12)] == [
        *("head-only", "top-4", "top-8", "full"),
    ]
    assert [name for name, *_ in named("gradual-5", 3)] == ["head-only", "full"]
    assert named("chain:lp-ft,lora-r2", 3) == [
        *(("head-only", 0.25, None), ("full", 0.75, None), ("lora-r2", 1, None)),
    ]
    (_, lora) = parse_mode("chain:full,lora", rank=3, dropout=0.1).stages(3)
    assert lora.mode.settings["rank"] == 3 and lora.mode.settings["dropout"] == 0.1
    assert parse_mode("chain:full,lora").is_adapter and not parse_mode("chain:lora,full").is_adapter
    assert not parse_mode("chain:full,prompt").merges and parse_mode("chain:lora,full").merges


def test_chains_that_cannot_be_are_refused():
    for text, message in (
        ("chain:full", "expected two or more modes"),
        ("chain:full,", "expected two or more modes"),
        ("chain:fulll,lora", "Did you mean 'full'"),
        ("chain:prompt,full", "prompts cannot be merged into the weights"),
        ("chain:full,as-is", "as-is cannot stand there"),
        ("chain:full,scratch", "scratch cannot stand there"),
    ):
        with pytest.raises(ModeError, match=message):
            parse_mode(text)
    with pytest.raises(ModeError, match="--lora-rank: no mode of chain:head-only,full takes it"):
        parse_mode("chain:head-only,full", rank=4)
    with pytest.raises(ModeError, match="top-9: it has 3 blocks"):
        parse_mode("chain:head-only,top-9").check(3, "it", None)
    parse_mode("chain:scratch,head-only")


@pytest.mark.parametrize("mode", ["lp-ft", "gradual", "chain:head-only,bitfit,lora"])
def test_each_stage_has_the_default_rate_of_its_mode(checkpoints, mode):
    """--learning-rate is the last stage's; twice its default doubles the others' too."""
    last = parse_mode(mode).stages(3)[-1].mode
    default = default_learning_rate(last, CONFIG)
    assert default_learning_rate(parse_mode(mode), CONFIG) == default
    made = learner(
        *(checkpoints["bert"], mode),
        **{"epochs": 6.0, "warmup": 0.0, "learning_rate": 2 * default, "head": "start"},
    )
    peaks, trained = [], []

    class Watch(Quiet):
        def on_step(self, state):
            if state.step == 1:
                peaks.append(state.learning_rate)
                blocks = layer_map(unwrap_peft(made.model)).blocks
                trained.append(sum(any(p.requires_grad for p in b.parameters()) for b in blocks))
            return False

    made.fit(TRAIN, hooks=[Watch()])
    own = [stage.mode for stage in parse_mode(mode).stages(3)]
    assert peaks == pytest.approx([2 * default_learning_rate(each, CONFIG) for each in own])
    assert trained == {"lp-ft": [0, 3], "gradual": [0, 1, 2, 3]}.get(mode, [0, 3, 3])


def test_a_short_stage_sees_other_examples(checkpoints):
    """Half an epoch each: with the same order in each stage, half of the examples would never be seen."""
    made = learner(checkpoints["bert"], "gradual-1", epochs=1.0, batch_size=4)
    seen = []
    stream = made.batches(TRAIN, seed=0)
    epoch = stream.epoch

    def watched(number, start=0):
        seen.append(number)
        return epoch(number, start=start)

    stream.epoch = watched
    made.fit(stream)  # 8 steps: 1, 2, 1 and 4
    assert seen == [0, 1, 2, 3]


def run(checkpoints, mode, home, *, kill=None, resume=False):
    made = learner(checkpoints["bert"], mode, epochs=4.0, head="start")

    class Kill(Quiet):
        stage = -1

        def on_start(self, state):
            self.stage += 1
            self.stop(0)

        def on_step(self, state):
            return self.stop(state.step)

        def stop(self, step):
            if kill == (self.stage, step):
                raise Killed
            return False

    made.fit(TRAIN, validation=OTHER, hooks=[Kill()], home=home, resume=resume)
    return made


#: A stage and a step in it: in mid-stage, after a stage's last step, before the first one of the next.
KILLS = [
    ("lp-ft", (1, 0)),
    pytest.param("lp-ft", (0, 4), marks=pytest.mark.slow),
    pytest.param("gradual-2", (1, 2), marks=pytest.mark.slow),
    ("chain:lora-r2,top-1", (1, 5)),
    pytest.param("chain:lora-r2,top-1", (1, 0), marks=pytest.mark.slow),
    pytest.param("lp-ft", (1, 5), marks=pytest.mark.slow),
    *(
        pytest.param("gradual", (stage, step), marks=pytest.mark.slow)
        for stage, step in ((0, 3), (1, 0), (1, 1), (2, 0), (2, 2), (3, 0), (3, 6))
    ),
    *(
        pytest.param("chain:full,lora-r2,ia3", at, marks=pytest.mark.slow)
        for at in ((0, 3), (1, 0), (1, 3), (1, 5), (2, 0), (2, 4))
    ),
    pytest.param("chain:lora-r2,prompt-2", (1, 3), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("mode", "kill"), KILLS)
def test_killed_at_a_border_or_in_a_stage_it_ends_with_the_same_bits(
    checkpoints, tmp_path, mode, kill
):
    whole = run(checkpoints, mode, tmp_path / "a")
    with pytest.raises(Killed):
        run(checkpoints, mode, tmp_path / "b", kill=kill)
    again = run(checkpoints, mode, tmp_path / "b", resume=True)
    assert same(weights(whole), weights(again))
    assert whole.history == again.history and whole.best == again.best


def test_what_adapters_learned_goes_on_into_the_next_stage(checkpoints):
    """Only query and value changed below the head of a chain from LoRA to the head alone."""
    made = learner(checkpoints["bert"], "chain:lora-r2,head-only", epochs=2.0)
    before = weights(made)
    before = {
        n.removeprefix("base_model.model.").replace(".base_layer", ""): p for n, p in before.items()
    }
    made.fit(TRAIN)
    after = weights(made)
    assert set(after) == set(weights(learner(checkpoints["bert"], "full")))
    moved = {n for n, p in after.items() if n in before and not torch.equal(p, before[n])}
    assert {n.split(".")[-2] for n in moved if "layer" in n} == {"query", "value"}
    assert len({n for n in moved if "layer" in n}) == 6


TRACE = """
import json, sys
sys.path[:0] = ["tests", "tests/train"]
from accelerate import debug_launcher
from test_learner import OTHER, TRAIN, learner

def main(checkpoint, mode, out):
    made = learner(checkpoint, mode, epochs=4.0, head="start")
    state = made.fit(TRAIN, validation=OTHER)
    if made.accelerator.is_main_process:
        open(out, "w").write(json.dumps([made.accelerator.num_processes, state.lr_history]))

if __name__ == "__main__":
    debug_launcher(main, args=tuple(sys.argv[1:4]), num_processes=int(sys.argv[4]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lp-ft", "gradual", "chain:lora-r2,top-1"])
def test_the_rates_are_the_same_on_one_process_and_on_two(checkpoints, tmp_path, mode):
    import json

    file = tmp_path / "trace.py"
    file.write_text(TRACE)
    found = []
    for count in (1, 2):
        out = tmp_path / f"{count}.json"
        done = command(file, checkpoints["bert"], mode, out, count)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(out.read_text()))
    assert [count for count, _ in found] == [1, 2]
    assert found[0][1] == found[1][1] and len(found[0][1]) == 16


def test_pretraining_takes_no_mode_that_changes_no_weight(tmp_path):
    from nlptl.cli.config import PretrainConfig
    from nlptl.cli.pretrain import prepare_pretraining

    for mode in ("as-is", "scratch", "prompt"):
        config = PretrainConfig(model="bundled/bert", mode=mode, output_dir=tmp_path / "out")
        with pytest.raises(UserError, match="is for fine-tuning; pretrain in a mode that changes"):
            prepare_pretraining(config)
