"""Each file that a later session reads back, damaged: the run ends the same, or with an error in words.

NLPTL_FAULTS=4 python -m pytest -n 0 -m slow tests/faults/test_damage.py
"""

import shutil
from pathlib import Path

import datasets
import pytest
from faulty import DAMAGES, TRIES, essence, harm, recipe_of, tell
from launching import run_in_process

from nlptl.cli.fitted import load_run
from nlptl.cli.report import config_of, launched_otherwise, outcome_of_run
from nlptl.errors import UserError
from nlptl.runs.predictor import load_predictor

#: What a session takes for as long as it lives, and what nobody reads back.
BESIDES = (".lock",)


def files(home: Path) -> list[Path]:
    """All files below a folder, the same of each step and stage once."""
    return [p for p in sorted(home.rglob("*")) if p.is_file() and p.name not in BESIDES]


def unfinished(home: Path) -> None:
    """Take away what a run writes at its end."""
    for path in (home, *home.glob("seeds/*")):
        shutil.rmtree(path / "model", ignore_errors=True)
        (path / "result.json").unlink(missing_ok=True)


def tried(what: str, again, whole, lost: list[str], *, refused=False) -> None:
    """Run again after a damage, and count how it ended.

    Args:
        what: What was damaged.
        again: Runs, and returns what it ended with.
        whole: What it ends with unbroken.
        lost: Gets what was lost.
        refused: Whether an error in words is as good.
    """
    try:
        same = again() == whole
        outcome = "survived" if same else "other values"
    except UserError as error:
        outcome = "survived" if refused else f"refused: {error}"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    tell(f"damage: {what}", outcome.splitlines()[0][:60])
    if outcome != "survived":
        lost.append(f"{what}: {outcome}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sentiment", "sentiment gradual", "qa", "pretrain"])
def test_files_of_an_unfinished_run(flags, tmp_path, draws, kind):
    """A damaged newest checkpoint gives way to the one before, and the bytes at the end are the same."""
    home, kept, lost = tmp_path / "run", tmp_path / "kept", []
    words = (*flags[kind], "--output-dir", home)
    run_in_process(recipe_of(kind), *words)
    whole = essence(kind, home)
    unfinished(home)
    shutil.copytree(home, kept)

    def again():
        run_in_process(recipe_of(kind), *words, "--resume")
        return essence(kind, home)

    for path in files(kept):
        name = path.relative_to(kept)
        for how in draws.sample(DAMAGES, min(TRIES, len(DAMAGES))):
            shutil.rmtree(home)
            shutil.copytree(kept, home)
            harm(home / name, how, draws)
            # A configuration that cannot be read is not guessed, nor is the start of a pretraining.
            own = name.name == "config.yaml" or name.parts[0] == "models"
            tried(f"{kind}: {name} {how}", again, whole, lost, refused=own)
    assert not lost, "\n\n".join(lost)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["freeze-lower-2", "head-only"])
def test_files_of_the_caches(flags, tmp_path, draws, monkeypatch, mode):
    """Tokens, tables, states of frozen blocks and outcomes: a damaged one is made again."""
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "data")
    lost, number = [], 0
    words = [*flags["sentiment"], "--cache", "disk"]
    words[words.index("full")] = mode
    if mode == "head-only":
        del words[words.index("--cache") :]

    def again():
        nonlocal number
        number += 1
        run_in_process("sentiment", *words, "--output-dir", tmp_path / str(number))
        return essence("sentiment", tmp_path / str(number))

    whole = again()
    again()  # takes what was kept
    there = [*files(tmp_path / "data"), *files(tmp_path / "cache")]
    assert there
    for path in there:
        for how in draws.sample(DAMAGES, min(TRIES, len(DAMAGES))):
            if path.exists():  # an entry of the cache may have been made anew under another name
                harm(path, how, draws)
                name = f"{path.parent.name[:8]}/{path.name[-12:]}"
                tried(f"{mode}, cache: {name} {how}", again, whole, lost)
    assert not lost, "\n\n".join(lost)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_outcomes_of_a_study(flags, tmp_path, draws, monkeypatch):
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    lost = []

    def again():
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run_in_process("compare", *flags["compare"], "--output-dir", tmp_path / "run")
        return essence("compare", tmp_path / "run")

    whole = again()
    for path in files(tmp_path / "cache/arms"):
        for how in draws.sample(DAMAGES, min(TRIES, len(DAMAGES))):
            harm(path, how, draws)
            tried(f"compare: outcome {how}", again, whole, lost)
    assert not lost, "\n\n".join(lost)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_files_of_a_finished_run_are_opened_or_refused_in_words(flags, tmp_path, draws):
    """What ``predict``, ``report`` and ``load_run`` read; other weights are never taken without a word."""
    run_in_process("sentiment", *flags["sentiment"], "--output-dir", tmp_path / "kept")
    texts, lost = ["good film", "bad plot"], []
    home = tmp_path / "run"

    def again():
        run = load_run(home)
        kind, config = config_of(home)
        known = outcome_of_run(run.predictor.task, home)
        said = [load_predictor(home)(texts), run.metrics, run.predictions, known.score]
        return [*said, kind, config, launched_otherwise(home)]

    shutil.copytree(tmp_path / "kept", home)
    whole = again()
    for path in files(tmp_path / "kept"):
        name = path.relative_to(tmp_path / "kept")
        if name.parts[0] not in ("model", "result.json", "config.yaml", "predictions.jsonl"):
            continue
        for how in draws.sample(DAMAGES, min(TRIES, len(DAMAGES))):
            if how == "flipped":  # files that others may open and change have no checksum
                continue
            shutil.rmtree(home)
            shutil.copytree(tmp_path / "kept", home)
            harm(home / name, how, draws)
            tried(f"predict: {name} {how}", again, whole, lost, refused=True)
    assert not lost, "\n\n".join(lost)
