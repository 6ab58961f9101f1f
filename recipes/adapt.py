"""Adapt to another domain: labels of the source, texts of the target, each method between its bounds.

    python recipes/adapt.py
    python recipes/adapt.py --source books.parquet --target kitchen.parquet --methods coral dann udalm

Runs source-only and target-only beside the methods, over seeds, and says whether each helped or hurt, or that
nobody can tell. Writes adapt.json, adapt.md, adapt.html and a picture under --output-dir. Finished runs are
never repeated.
"""

from functools import partial
from typing import Any

from nlptl.cli.config import GridConfig, run_recipe, with_options
from nlptl.methods.adapt.options import AdaptOptions


def main(config: Any) -> None:
    """Check everything, read the domains, run what is missing, compare, draw, and say what helped."""
    from nlptl.cli.compare import check_study, reserve_study_dir, study_args
    from nlptl.cli.precision import with_precision
    from nlptl.methods.adapt.adapt import adapt, check_methods, write_adaptation
    from nlptl.methods.adapt.domains import read_domains
    from nlptl.runs.locking import unlock
    from nlptl.train.stopping import going_on, study_kept
    from nlptl.train.terminal import say

    config = with_precision(config)
    mode, model, (domains, _) = check_study(config, read_domains, check_methods)
    reserve_study_dir(config)
    with going_on(study_kept):
        record = adapt(config, domains, partial(study_args, config, mode, model))
        text = write_adaptation(record, config.output_dir)
    unlock(config.output_dir)
    say(f"\n{text}\n\n{config.output_dir}: adapt.html, .json, .md, .png, .svg")


if __name__ == "__main__":
    run_recipe(main, with_options(GridConfig, AdaptOptions), __doc__)
