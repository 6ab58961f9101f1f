"""The model of one run of a study, saved as any other run."""

from pathlib import Path

from nlptl.data.files import read_object
from nlptl.runs.directory import is_finished, save_run
from nlptl.study.study import Study
from nlptl.train.run import Run
from nlptl.train.setup import new_accelerator
from nlptl.train.terminal import say


def is_saved(home: Path, key: str) -> bool:
    """Whether a run is saved there whole, and is the one of a key: of the same data, checkpoint and flags."""
    return is_finished(home) and read_object(home / "result.json").get("outcome") == key


def save_model(study: Study, name: str, home: Path, *, method: str | None = None) -> None:
    """Train an arm's first seed once more and save it as a run, which ``nlptl predict`` takes.

    Args:
        study: The study.
        name: Name of the arm.
        home: Directory of the run; the same run, finished, stays.
        method: What the arm's training is called; the arm's name by default.
    """
    key = study.first_key(name)
    if is_saved(home, key):
        return
    runs: list[Run] = []
    study.run_one(study.arms[name], study.seeds[0], made=runs.append)
    extra = {"method": method or name, "measured": runs[0].measured, "outcome": key}
    save_run(runs[0], home, extra=extra, accelerator=new_accelerator())
    say(f"{name}, seed {study.seeds[0]}: saved in {home}")
