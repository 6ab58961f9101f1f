"""Few labels: none, one, eight or sixty-four a class, each method on the same draws, and which one leads.

    python recipes/few_shot.py
    python recipes/few_shot.py --model all-MiniLM-L6-v2 --train-file news.csv --shots 0 1 8 64 --seeds 10

Compares methods without labels (names of the classes, entailment, prompts) with centroid, probe, fine-tuning
and contrastive training, over draws, and says from how many labels on which leads, or that nobody can tell.
Writes few_shot.json, few_shot.md, few_shot.html and a picture under --output-dir. Finished runs are never
repeated.
"""

from functools import partial
from typing import Any

from nlptl.cli.config import GridConfig, run_recipe, with_options
from nlptl.methods.few_shot.options import FewShotOptions


def main(config: Any) -> None:
    """Check everything, read the data, run what is missing, compare, draw, and say which method leads."""
    from nlptl.cli.compare import check_modes, check_study, mode_args, reserve_study_dir
    from nlptl.cli.precision import with_precision
    from nlptl.methods.few_shot.few_shot import (
        check_methods,
        few_shot,
        modes_of,
        read_data,
        write_few_shot,
    )
    from nlptl.runs.locking import unlock
    from nlptl.train.stopping import going_on, study_kept
    from nlptl.train.terminal import say

    config = with_precision(config)
    modes = partial(check_modes, names=modes_of(config))
    _, model, (data, _, known) = check_study(config, read_data, check_methods, modes)
    reserve_study_dir(config)
    with going_on(study_kept):
        record = few_shot(config, data, partial(mode_args, config, known, model))
        text = write_few_shot(record, config.output_dir)
    unlock(config.output_dir)
    say(f"\n{text}\n\n{config.output_dir}: few_shot.html, .json, .md, .png, .svg")


if __name__ == "__main__":
    run_recipe(main, with_options(GridConfig, FewShotOptions), __doc__)
