"""Each file that a later session reads back, damaged: the run ends the same, or with an error in words.

NLPTL_FAULTS=4 python -m pytest -n 0 -m slow tests/faults/test_damage.py
"""

import os
import shutil
from pathlib import Path

import datasets
import pytest
from faulty import TRIES, essence, recipe_of, tell
from launching import run_in_process

from nlptl.errors import UserError
from nlptl.runs.predictor import load_predictor

DAMAGES = ("half", "empty", "flipped", "gone")
#: What a session takes for as long as it lives, and what nobody reads back.
BESIDES = (".lock",)


def harm(path: Path, how: str, draws) -> None:
    """Damage a file; whoever has it open keeps what was in it."""
    whole = path.read_bytes()
    at = draws.randrange(max(1, len(whole)))
    path.unlink()
    flipped = (
        whole[:at] + bytes([whole[at] ^ 1 << draws.randrange(8)]) + whole[at + 1 :]
        if whole
        else b""
    )
    made = {"half": whole[: len(whole) // 2], "empty": b"", "flipped": flipped}
    if how != "gone":
        path.write_bytes(made[how])


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

    def weights():  # the loss of the untrained model was in the log alone
        return {key: value for key, value in again().items() if key.endswith("safetensors")}

    for path in files(kept):
        name = path.relative_to(kept)
        for how in draws.sample(DAMAGES, min(TRIES, len(DAMAGES))):
            shutil.rmtree(home)
            shutil.copytree(kept, home)
            harm(home / name, how, draws)
            # A configuration that cannot be read is not guessed, nor is the start of a pretraining.
            own = name.name == "config.yaml" or name.parts[0] == "models"
            log = name.name == "log.jsonl"
            same = {k: v for k, v in whole.items() if k.endswith("safetensors")}
            made, ends = (weights, same) if log else (again, whole)
            tried(f"{kind}: {name} {how}", made, ends, lost, refused=own)
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
            if how != "flipped" or os.environ.get(
                "NLPTL_FLIPPED"
            ):  # a digit may turn into another one
                harm(path, how, draws)
                tried(f"compare: outcome {how}", again, whole, lost)
    assert not lost, "\n\n".join(lost)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_files_of_a_finished_run_are_opened_or_refused_in_words(flags, tmp_path, draws):
    """What ``nlptl predict`` reads; other weights than were trained are never taken without a word."""
    run_in_process("sentiment", *flags["sentiment"], "--output-dir", tmp_path / "kept")
    texts, lost = ["good film", "bad plot"], []
    home = tmp_path / "run"

    def again():
        return load_predictor(home)(texts)

    shutil.copytree(tmp_path / "kept", home)
    whole = again()
    for path in files(tmp_path / "kept"):
        name = path.relative_to(tmp_path / "kept")
        if name.parts[0] not in ("model", "result.json"):
            continue
        for how in draws.sample(DAMAGES, min(TRIES, len(DAMAGES))):
            if how == "flipped":  # files that others may open and change have no checksum
                continue
            shutil.rmtree(home)
            shutil.copytree(tmp_path / "kept", home)
            harm(home / name, how, draws)
            tried(f"predict: {name} {how}", again, whole, lost, refused=True)
    assert not lost, "\n\n".join(lost)
