"""A mode in one file, of nlptl's own or outside it: registered, parsed, refused, applied, recorded."""

import json
import pickle
import sys

import pytest
from every import EACH, fits
from transformers import AutoConfig, AutoModelForSequenceClassification

import nlptl
from nlptl.errors import ConfigError, ModeError
from nlptl.models.families import FAMILIES
from nlptl.models.frozen_stem import frozen_blocks
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head
from nlptl.modes.base import (
    Stage,
    apply_mode,
    default_learning_rate,
    first_mode,
    parse_mode,
    stage_steps,
)
from nlptl.modes.definition import MODES, Epochs, definitions, mode
from nlptl.modes.freezing import freeze_parts

BIASES = """
import nlptl


@nlptl.mode("biases[-above-{above:int}]", help="all biases above the N lowest blocks, and the head", rate=10.0,
            frozen=lambda depth, above=0: above)
def biases(model, above=0):
    layers = nlptl.layer_map(model)
    head = {name for name, part in layers.part_of(model).items() if part == "head"}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head or name.endswith("bias"))
    if above:
        nlptl.freeze_parts(model, {"embeddings", *(f"block {number}" for number in range(above))})
"""


@pytest.fixture
def registry():
    """The registry, put back afterwards."""
    definitions(builtin=True)
    before = dict(MODES.things)
    yield MODES
    MODES.things.clear()
    MODES.things.update(before)


@pytest.fixture
def biases(registry, tmp_path):
    """A file with a mode of somebody's own."""
    path = tmp_path / "mine.py"
    path.write_text(BIASES)
    return path


def load(checkpoints, family):
    return load_with_head(
        str(checkpoints[family]), auto_class=AutoModelForSequenceClassification, head={}
    ).model


def facts(model):
    return [(n, p.requires_grad) for n, p in model.named_parameters()], [
        (n, m.training) for n, m in model.train().named_modules()
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_default_rates_by_hand(family):
    """As published, at width 768; what t5-small (512) and narrow models get, to the last digit."""
    at = {
        "bert": {768: (3e-5, 6e-5, 5e-4, 2e-3), 384: (6e-5, 1.2e-4, 1e-3, 4e-3)},
        "roberta": {768: (2e-5, 5e-5, 5e-4, 2e-3), 128: (1.2e-4, 3e-4, 3e-3, 1.2e-2)},
        "t5": {768: (1e-4, 1.5e-4, 5e-4, 2e-3), 512: (1.5e-4, 2.2e-4, 7.5e-4, 3e-3)},
    }
    names = ("full", "freeze-lower-8", "lora", "head-only")
    for width, rates in at[family].items():
        config = AutoConfig.for_model(
            family, hidden_size=width, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
        )
        assert tuple(default_learning_rate(parse_mode(n), config) for n in names) == rates
        assert default_learning_rate(parse_mode("blocks-0-0"), config) == rates[1]
        assert default_learning_rate(parse_mode("top-1"), config) == rates[1]


def test_default_epochs_by_hand():
    full, head = parse_mode("full"), parse_mode("head-only")
    assert [full.default_epochs(n, 16) for n in (0, 100, 1000, 2667, 10**6)] == [20, 20, 8, 3, 3]
    fitted = [full.default_epochs(n, 16, fitted=True) for n in (100, 1000, 2667, 10**6)]
    assert fitted == [4, 4, 3, 3]
    assert head.default_epochs(100, 16, fitted=True) == 40  # where the fit is not the whole
    assert [head.default_epochs(n, 16) for n in (100, 1000, 10**6)] == [40, 16, 5]


def test_what_a_mode_says_of_itself_is_what_it_does(checkpoints, family):
    """Depth of the frozen stem, whether all, some blocks or none train, whether peft is there."""
    for name in [name for name in EACH if fits(name, family)]:
        model = load(checkpoints, family)
        mode = first_mode(model, parse_mode(name))
        model, manifest = apply_mode(model, mode, task_type="SEQ_CLS")
        depth = 6 if family == "t5" else 3
        mode.check(depth, "it", model.config)
        assert mode.definition.when
        assert frozen_blocks(model) == mode.frozen_blocks(depth)
        assert mode.has_frozen_stem == (mode.frozen_blocks(depth) > 0)
        assert mode.trains_all == (manifest.trainable == manifest.total)
        blocks = [part["trainable"] > 0 for n, part in manifest.parts.items() if "block" in n]
        prompt = manifest.parts.get("prompt", {"trainable": 0})["trainable"] > 0
        assert mode.trains_blocks == (any(blocks) or prompt)
        assert mode.merges != prompt and mode.definition.untrained == (not manifest.trainable)
        assert mode.is_adapter == hasattr(model, "peft_config")
        whole = parse_mode(name)
        assert pickle.loads(pickle.dumps(whole)) == whole and hash(whole)


def test_what_trains_in_a_word():
    """The word of a report's record, for one mode of each kind."""
    words = {
        **{
            "full": "all",
            "chain:head-only,full": "blocks",
            "lora": "adapters",
            "prompt": "adapters",
        },
        **{"bitfit": "blocks", "top-1": "blocks", "head-only": "head", "as-is": "nothing"},
    }
    assert {name: parse_mode(name).trains for name in words} == words


def test_parts_are_counted_from_the_lowest_to_the_highest(checkpoints):
    """Whatever the order in which a model names its parameters: peft's prompt comes last there."""
    for name, first in (("full", []), ("prompt-4", ["prompt"])):
        found = load(checkpoints, "bert")
        _, counted = apply_mode(found, parse_mode(name), task_type="SEQ_CLS")
        assert list(counted.parts) == [
            *first,
            *("embeddings", "block 0", "block 1", "block 2", "head"),
        ]


def test_names_are_read_from_the_pattern():
    lora = next(d for d in definitions() if d.adapter)
    assert lora.names() == [
        *("lora", "lora-rN", "lora-above-N", "lora-rM-above-N", "lora-top-N", "lora-rM-top-N"),
    ]
    assert lora.names("3")[-1] == "lora-r3-top-3" and lora.form == "lora[-rM][-above-N|-top-N]"
    shared = {"rank": 3, "alpha": 6.0, "dropout": 0.0, "targets": None}
    assert parse_mode("lora-r3-above-1").settings == {**shared, "above": 1}
    assert parse_mode("lora-r3-top-1").settings == {**shared, "above": 0, "top": 1}
    assert parse_mode("lora", rank=4, alpha=1.0, dropout=0.1, targets=["q"]).settings == {
        **{"rank": 4, "alpha": 1.0, "dropout": 0.1, "targets": ("q",), "above": 0}
    }
    assert parse_mode("chain:lora-r2,full").settings == {"modes": ("lora-r2", "full")}
    forms = {d.form for d in definitions(builtin=True)}
    assert {"gradual[-N]", "chain:A,B,…", "blocks-M-N", "prompt[-N]"} <= forms
    for text in (
        "lora-above",
        "lora-rx",
        "freeze-lower--1",
        "freeze-lower-1.5",
        "full ",
        "Full",
        "",
    ):
        with pytest.raises(ModeError, match="there is no such mode"):
            parse_mode(text)


def test_a_mode_of_a_program_is_a_mode_like_any_other(registry, checkpoints, family):
    @mode(
        "top-{count:int}-{share:float}",
        help="the highest blocks",
        rate=3.0,
        rates={"t5": 2.0},
        epochs=Epochs(1, 10, 2),
        frozen=lambda depth, count, share: depth - count,
        check=_at_least_one,
    )
    def top(model, count, share):
        layers = layer_map(model)
        lower = range(len(layers.blocks) - count)
        freeze_parts(model, {"embeddings", *(f"block {number}" for number in lower)})

    with pytest.raises(ModeError, match=r"Did you mean 'top-M-N'\?.* top-M-N\. --mode list"):
        parse_mode("top--2-0.5")
    with pytest.raises(
        ModeError,
        match="--lora-rank only go with --mode lora or rslora or dora, not with top-2-0.5",
    ):
        parse_mode("top-2-0.5", rank=2)
    found = parse_mode("top-2-0.5")
    assert found.settings == {"count": 2, "share": 0.5}
    config = AutoConfig.for_model(family, hidden_size=768, num_hidden_layers=1, vocab_size=20)
    assert default_learning_rate(found, config) == pytest.approx(
        {"bert": 9e-5, "roberta": 6e-5, "t5": 2e-4}[family]
    )
    assert found.default_epochs(1, 1) == 2
    assert (found.trains, found.is_adapter, found.has_frozen_stem) == ("blocks", False, True)
    with pytest.raises(ModeError, match="no blocks at all"):
        parse_mode("top-0-0.5").check(3, "it", None)
    model, manifest = apply_mode(load(checkpoints, family), found)
    depth = 6 if family == "t5" else 3
    assert frozen_blocks(model) == found.frozen_blocks(depth) == depth - 2
    assert manifest.mode == "top-2-0.5"
    expected = facts(
        apply_mode(load(checkpoints, family), parse_mode(f"freeze-lower-{depth - 2}"))[0]
    )
    assert facts(model) == expected
    assert facts(top(model, 3, 0.5)) != expected  # the function itself undoes what was before, too
    assert facts(apply_mode(model, parse_mode(f"freeze-lower-{depth - 2}"))[0]) == expected


def _at_least_one(mode, depth, name, config):
    if mode.settings["count"] < 1:
        raise ModeError("no blocks at all")


def test_a_mode_of_a_file_goes_through_a_recipe(biases, checkpoints, reviews, tmp_path):
    from launching import result, run_in_process

    name = f"{biases}:biases-above-1"
    run_in_process(
        "sentiment",
        *("--model", checkpoints["bert"], "--train-file", reviews, "--mode", name),
        *("--epochs", 1, "--batch-size", 40, "--cache", "memory", "--output-dir", tmp_path / "out"),
        *("--head", "random"),
    )
    record = result(tmp_path / "out")
    assert record["mode"] == name
    assert record["mode_settings"] == {"above": 1}
    assert record["settings"]["learning_rate"] == pytest.approx(10 * 3e-5 * 768 / 32)
    assert record["cache"]["blocks"] == 1
    with pytest.raises(ModeError, match=r"Did you mean 'biases'\?.* Modes: .*biases\[-above-N\]"):
        parse_mode(f"{biases}:bias")


def test_two_files_may_have_modes_of_one_name(biases, tmp_path):
    (tmp_path / "other.py").write_text(BIASES.replace("all biases", "the same, by another hand"))
    first = parse_mode(f"{biases}:biases")
    second = parse_mode(f"{tmp_path / 'other.py'}:biases")
    assert first.definition.help.startswith("all biases")
    assert second.definition.help.startswith("the same, by another hand")


def test_freezing_by_hand_in_a_mode_is_undone_too(biases, checkpoints, family):
    """A function that sets requires_grad itself leaves nothing frozen for the next mode."""
    full = parse_mode("full")
    expected = facts(apply_mode(load(checkpoints, family), full)[0])
    model, _ = apply_mode(load(checkpoints, family), parse_mode(f"{biases}:biases"))
    assert facts(model) != expected
    assert facts(apply_mode(model, full)[0]) == expected


def test_modes_of_other_packages(biases, tmp_path, monkeypatch):
    """Found by their names, without an import of them before."""
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = (
        "[nlptl.modes]\nbiases = mine:biases\nlost = nowhere_to_be_found:lost\nodd = json:dumps\n"
    )
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("mine", None)
    assert "mine" not in sys.modules
    found = parse_mode("biases-above-2")
    assert found.settings == {"above": 2} and found.definition.help.startswith("all biases")
    with pytest.raises(
        ModeError, match="(?s)no such mode.*nowhere_to_be_found cannot be imported"
    ) as error:
        parse_mode("biasses-above-x")
    assert "expected a function under @nlptl.mode" in str(error.value)
    MODES.things.pop("biases", None)
    MODES.things.pop("biases[-above-{above:int}]")
    assert found.definition.help.startswith("all biases")  # as in another process
    sys.modules.pop("mine")


def test_a_name_of_nlptls_own_is_not_taken(registry):
    with pytest.raises(ConfigError, match="There is a mode 'full' already"):
        mode("full", help="less")(lambda model: model)
    with pytest.raises(ValueError, match="a place is of int, float or modes, not str"):
        mode("half-{n:str}", help="half")(lambda model, n: model)
    assert "half-{n:str}" not in MODES.things


def test_identities_follow_settings_and_the_code_of_others(registry):
    def made(factor):
        @mode("scaled-{n:int}", help="scaled", frozen=lambda depth, n: factor * n)
        def scaled(model, n):
            return model

        return parse_mode("scaled-2").identity()

    assert made(1) == made(1) != made(2)
    names = ("full", "head-only", "freeze-lower-1", "freeze-lower-2", "lora", "lora-r4")
    assert len({parse_mode(name).identity() for name in names}) == len(names)
    assert parse_mode("lora").identity() == parse_mode("lora-r8").identity()
    json.dumps(parse_mode("lora").identity())


def test_a_mode_of_stages(registry, checkpoints):
    @mode("slowly-{count:int}", help="the head, then more and more blocks", staged=True, rate=2.0)
    def slowly(count):
        lower = [parse_mode(f"freeze-lower-{3 - i}") for i in range(count)]
        return [Stage(parse_mode("head-only"), 2.0), *(Stage(each, rate=0.5) for each in lower)]

    found = parse_mode("slowly-2")
    stages = found.stages(3)
    assert [(s.mode.name, s.share, s.rate) for s in stages] == [
        ("head-only", 2.0, 1.0),
        ("freeze-lower-3", 1.0, 0.5),
        ("freeze-lower-2", 1.0, 0.5),
    ]
    assert parse_mode("full").stages(3) == () and found.staged and not parse_mode("full").staged
    assert stage_steps(9, stages) == [4, 3, 2]  # bounds at 4.5, 6.75 and 9, to even
    assert stage_steps(1, stages) == [0, 1, 0]
    assert found.frozen_blocks(3) == 2 and found.has_frozen_stem
    assert not parse_mode("slowly-4").has_frozen_stem  # its last stage freezes the embeddings only
    assert (found.trains_all, found.is_adapter, found.trains_blocks) == (False, False, True)
    assert default_learning_rate(found, AutoConfig.for_model("bert", num_hidden_layers=1)) == 6e-5
    found.check(3, "it", None)
    with pytest.raises(ModeError, match="it has 2 blocks"):
        found.check(2, "it", None)
    model, manifest = apply_mode(load(checkpoints, "bert"), found)
    assert facts(model) == facts(apply_mode(load(checkpoints, "bert"), parse_mode("head-only"))[0])
    assert manifest.mode == "slowly-2"
    for wrong in ({"share": 0.0}, {"rate": -1.0}):
        with pytest.raises(ModeError, match="expected a share and a rate above 0"):
            Stage(parse_mode("full"), **wrong)
    with pytest.raises(ModeError, match="a mode without stages"):
        Stage(found)


@pytest.mark.parametrize("shares", [(1, 1, 1), (0.1, 0.9), (3, 1, 2, 5), (1e-3, 1)])
@pytest.mark.parametrize("total", [0, 1, 7, 100, 12345])
def test_steps_of_stages_add_up(shares, total):
    stages = [Stage(parse_mode("full"), share) for share in shares]
    steps = stage_steps(total, stages)
    assert sum(steps) == total
    for share, given in zip(shares, steps, strict=True):
        assert abs(given - total * share / sum(shares)) <= 1 and given >= 0


def test_public_names():
    assert nlptl.mode is mode and nlptl.parse_mode is parse_mode and nlptl.Stage is Stage
    assert nlptl.full.__doc__.startswith("Train everything")
