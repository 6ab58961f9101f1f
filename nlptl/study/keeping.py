"""The model of one run of a study, saved as any other run."""

from pathlib import Path

from nlptl.study.study import Study
from nlptl.train.run import Run
from nlptl.train.setup import new_accelerator
from nlptl.train.terminal import say


def save_model(study: Study, name: str, home: Path) -> None:
    """Train an arm's first seed once more and save it as a run, which ``nlptl predict`` takes.

    Args:
        study: The study.
        name: Name of the arm.
        home: Directory of the run; a finished one stays.
    """
    from nlptl.runs.directory import is_finished, save_run

    if is_finished(home):
        return
    runs: list[Run] = []
    study.run_one(study.arms[name], study.seeds[0], made=runs.append)
    extra = {"method": name, "measured": runs[0].measured}
    save_run(runs[0], home, extra=extra, accelerator=new_accelerator())
    say(f"{name}, seed {study.seeds[0]}: saved in {home}")
