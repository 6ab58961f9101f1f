"""The matrix of architectures and modes: a fixed part of it in each run, all of it behind the slow marker."""

from pathlib import Path

import pytest
import torch

from nlptl.cli.main import main
from nlptl.models.layer_map import layer_map
from nlptl.models.zoo import HEADS, architectures
from nlptl.study import families
from nlptl.study.families import MODES, Cell, Family, check_all, check_cell, check_family
from nlptl.study.render.families import line, page, summary

TEXTS, QUESTIONS, TOKENS = HEADS
#: Post-norm, relative positions, pre-norm, encoder-decoders, decoders with a table of positions and without.
FEW = [
    ("distilbert", TEXTS),
    ("deberta-v2", TOKENS),
    ("modernbert", TEXTS),
    ("bart", QUESTIONS),
    ("mt5", TEXTS),
    ("gpt2", TEXTS),
    ("qwen2", QUESTIONS),
]
#: What the map must verify at least, of all that transformers 5.23 has.
BARS = {TEXTS: 119, QUESTIONS: 71, TOKENS: 96}


@pytest.mark.parametrize(("kind", "head"), FEW)
def test_an_architecture_is_as_nlptl_says_under_every_mode(kind, head):
    found = check_family(kind, head)
    assert found.verified and found.faults == {}
    assert set(found.cells) == set(MODES) and not any(c.refused for c in found.cells.values())
    cached = {mode for mode, cell in found.cells.items() if cell.cached}
    assert cached == {"head-only", "freeze-lower-1", "freeze-all"}


def test_shared_blocks_are_frozen_together_or_refused():
    found = check_family("albert", TEXTS)
    assert found.mapped and not found.verified and "blocks share their weights" in found.partial
    assert "cannot be frozen" in found.cells["freeze-lower-1"].refused
    assert not (found.cells["head-only"].refused or found.faults)


def test_what_has_no_map_is_refused_with_the_reason():
    found = check_family("xlm", TEXTS)
    assert "parallel lists" in found.refused and not found.mapped and found.cells == {}


def test_states_that_are_not_those_of_tokens_are_not_cached():
    found = check_family("canine", TEXTS, ("head-only", "freeze-lower-1"))
    assert found.verified and found.faults == {}
    assert "one state for each token" in found.cells["head-only"].uncached


def sabotaged(monkeypatch, harm):
    """DistilBERT under freeze-lower-1, after ``harm`` was done to the model that its mode was set on."""
    real = families.apply_mode

    def apply(model, mode, **given):
        made, manifest = real(model, mode, **given)
        harm(made)
        return made, manifest

    monkeypatch.setattr(families, "apply_mode", apply)
    found = check_cell("distilbert", TEXTS, "freeze-lower-1", 4)
    return " ".join([*found.faults, found.uncached])


def test_a_frozen_parameter_that_trains_is_seen(monkeypatch):
    def harm(model):
        layer_map(model).blocks[0].ffn.lin1.bias.requires_grad_(True)

    found = sabotaged(monkeypatch, harm)
    assert (
        "another set of parameters trains than the mode says (distilbert.transformer.layer.0"
        in found
    )


def test_a_parameter_that_does_not_train_is_seen(monkeypatch):
    found = sabotaged(monkeypatch, lambda model: model.classifier.weight.requires_grad_(False))
    assert "another set of parameters trains than the mode says (classifier.weight)" in found


def test_a_frozen_tensor_that_moves_is_seen(monkeypatch):
    def harm(model):
        bias = layer_map(model).blocks[0].ffn.lin1.bias

        def move(module, given):
            bias.data.add_(1)

        model.classifier.register_forward_pre_hook(move)

    found = sabotaged(monkeypatch, harm)
    assert "1 frozen tensors have changed (distilbert.transformer.layer.0.ffn.lin1.bias)" in found
    assert "the states at the border have changed by the training" in found


def test_noise_below_the_border_is_seen(monkeypatch):
    def harm(model):
        layer_map(model).blocks[0].register_forward_hook(lambda m, given, out: out + torch.rand(()))

    assert "the states at the border are not the same in two passes" in sabotaged(monkeypatch, harm)


def test_states_that_are_not_those_of_the_model_are_seen(monkeypatch):
    real = families.FrozenStem.run
    monkeypatch.setattr(
        families.FrozenStem,
        "run",
        lambda self, forward: {name: t + 1 for name, t in real(self, forward).items()},
    )
    found = sabotaged(monkeypatch, lambda model: None)
    assert "it gives other logits, by" in found


def test_what_is_saved_wrongly_is_seen(monkeypatch):
    def harm(model):
        real = type(model).save_pretrained

        def save(folder):
            with torch.no_grad():
                model.classifier.bias.add_(1)
            real(model, folder)

        model.save_pretrained = save

    assert "reopened by plain transformers, it gives other logits" in sabotaged(monkeypatch, harm)


def found_by_hand():
    good = Family("bert", TEXTS, stacks=(4,), pooled="first", positions=128, targets=("query",))
    good.cells = {mode: Cell(mode, cached="lower" in mode) for mode in MODES}
    bad = Family("mra", TEXTS, stacks=(4,), pooled="first")
    bad.cells = {
        "full": Cell("full", faults=("no | gradient",)),
        "lora": Cell("lora", refused="nothing to adapt"),
    }
    shared = Family("albert", TEXTS, stacks=(1,), partial="shared")
    return [
        good,
        bad,
        shared,
        Family("xlm", TEXTS, refused="lists"),
        Family("lm2", TEXTS, missing="d2"),
    ]


def test_the_summary_counts_and_gives_each_reason():
    text = summary(found_by_hand())
    assert f"| {TEXTS} | 5 | 2 | 1 | 1 | 1 |" in text
    assert f"| {TEXTS} | 1 of 1 | 1 of 1 | 1 of 1 | 1 of 2 | 1 of 1 | 1 of 1 |" in text
    for kind, reason in {
        "mra": "full: no | gradient",
        "albert": "shared",
        "xlm": "lists",
        "lm2": "d2",
    }.items():
        assert f"- {kind} ({TEXTS}): {reason}" in text
    assert "- mra (sequence classification): lora: nothing to adapt" in text


def test_the_page_has_a_row_for_each_architecture():
    text = page(found_by_hand(), "transformers 5", "nlptl families")
    assert "| bert | 4 | post | first | 128 | `query` | ok | ok | ok | ok | ok | ok |" in text
    assert "| mra | 4 | post | first | - | - | - | - | - | **x** | refused | - |" in text
    assert "| xlm | refused | - | - | - | - | - | - | - | - | - | - |" in text
    assert "Made by `nlptl families`, with transformers 5." in text
    assert (
        line(found_by_hand()[0]) == "sequence classification: bert: 4 blocks, 5 of 5 modes (0.0 s)"
    )


def run_command(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["nlptl", "families", *map(str, words)])
    main()


def test_the_command_prints_a_summary_and_writes_the_page(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "nlptl.cli.families.check_all", lambda names: asked.append(names) or found_by_hand()
    )
    run_command(monkeypatch, "bert", "mra", "--output", tmp_path / "page.md")
    assert asked == [("bert", "mra")]
    printed = capsys.readouterr().out
    assert "bert: 4 blocks, 5 of 5 modes" in printed and "- xlm (sequence class" in printed
    assert "| bert | 4 | post |" in (tmp_path / "page.md").read_text()


def test_all_mistakes_of_the_command_come_at_once(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_command(monkeypatch, "distilbrt", "--output", tmp_path / "no/page.md")
    said = capsys.readouterr().err
    assert "Did you mean 'distilbert'" in said and "there is no folder" in said


def test_the_docs_have_the_counts_of_the_page():
    root = Path(__file__).parents[2]
    rows = (root / "docs/families.md").read_text().splitlines()
    stated = " ".join((root / "docs/models.md").read_text().split())
    for head, name in {
        TEXTS: "sequence classifiers",
        QUESTIONS: "question answerers",
        TOKENS: "taggers",
    }.items():
        counts = next(row for row in rows if row.startswith(f"| {head} | ")).split(" | ")
        assert f"{counts[2]} of {counts[1]} {name}" in stated
        assert int(counts[2]) >= BARS[head]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("head", HEADS)
def test_the_whole_matrix_holds(head):
    found = list(check_all(heads=[head]))
    assert len(found) == len(architectures(head)) >= BARS[head]
    assert sum(family.verified for family in found) >= BARS[head], summary(found)
    assert {f.kind: f.faults for f in found if f.faults and f.kind not in KNOWN} == {}


#: MarkupLM has two parameters that its own code never uses.
KNOWN = {"markuplm"}
