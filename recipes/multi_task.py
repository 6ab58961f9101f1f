"""Learn several tasks on one body: each with the others, or after another one, beside each alone.

    python recipes/multi_task.py
    python recipes/multi_task.py --tasks sentiment:a.csv topic:b.csv --columns topic.label=queue

Runs each task alone for as many steps as it has in the mix, over seeds, and says for each task whether the
others helped, hurt, or that nobody can tell. Writes multi_task.json, .md, .html and a picture under
--output-dir, and each task's model as a run of its own under tasks/. Finished runs are never repeated.
"""

from functools import partial
from typing import Any

from nlptl.cli.config import GridConfig, run_recipe, with_options
from nlptl.methods.multi_task.options import MultiTaskOptions


def main(config: Any) -> None:
    """Check everything, read the tasks, run what is missing, compare, draw, and say what helped."""
    from nlptl.cli.compare import check_study, reserve_study_dir, study_args
    from nlptl.cli.precision import with_precision
    from nlptl.methods.multi_task.multi_task import check_methods, multi_task, write_multi_task
    from nlptl.methods.multi_task.tasks import check_tasks, read_tasks
    from nlptl.runs.locking import unlock
    from nlptl.train.stopping import going_on, study_kept
    from nlptl.train.terminal import say

    config = with_precision(config)
    checks = (read_tasks, check_methods, check_tasks)
    mode, model, (members, *_) = check_study(config, *checks)
    reserve_study_dir(config)
    with going_on(study_kept):
        record = multi_task(config, members, partial(study_args, config, mode, model))
        text = write_multi_task(record, config.output_dir)
    unlock(config.output_dir)
    say(f"\n{text}\n\n{config.output_dir}: multi_task.html, .json, .md, .png, .svg")


if __name__ == "__main__":
    run_recipe(main, with_options(GridConfig, MultiTaskOptions), __doc__)
