"""Learn features from texts without labels, then a linear classifier on few labels (self-taught learning).

    python recipes/self_taught.py
    python recipes/self_taught.py --train-file tickets.csv --unlabelled mails.txt --other wikipedia.parquet

Runs the checkpoint as it is beside each first stage on texts of the same kind, of another kind, and on their
words in random order, at equal steps, over seeds; says whether each helped or hurt, or that nobody can tell.
Writes self_taught.json, .md, .html and a picture under --output-dir. Finished runs are never repeated.
"""

from functools import partial
from typing import Any

from nlptl.cli.config import GridConfig, run_recipe, with_options
from nlptl.methods.self_taught.options import SelfTaughtOptions


def main(config: Any) -> None:
    """Check everything, read labels and texts, run what is missing, compare, draw, and say what helped."""
    from nlptl.cli.compare import check_study, reserve_study_dir, study_args
    from nlptl.cli.precision import with_precision
    from nlptl.methods.self_taught.self_taught import (
        check_stages,
        read_data,
        self_taught,
        write_self_taught,
    )
    from nlptl.runs.locking import unlock
    from nlptl.train.stopping import going_on, study_kept
    from nlptl.train.terminal import say

    config = with_precision(config)
    mode, model, (data, _) = check_study(config, read_data, check_stages)
    reserve_study_dir(config)
    with going_on(study_kept):
        record = self_taught(config, data, partial(study_args, config, mode, model))
        text = write_self_taught(record, config.output_dir)
    unlock(config.output_dir)
    say(f"\n{text}\n\n{config.output_dir}: self_taught.html, .json, .md, .png, .svg")


if __name__ == "__main__":
    run_recipe(main, with_options(GridConfig, SelfTaughtOptions), __doc__)
