"""Compare modes, and checkpoints, on one task: score against cost, forgetting beside it, paired tests.

    python recipes/compare.py
    python recipes/compare.py --model bundled/bert bundled/roberta --mode head-only lora --parallel 2

Writes compare.html, compare.md, compare.json and a picture under --output-dir. Finished runs are never
repeated, so an interrupted comparison continues where it stopped.
"""

from nlptl.cli.config import CompareConfig, run_recipe


def main(config: CompareConfig) -> None:
    """Check everything, make the runs that are missing, test, draw, and say which to take, if a test does."""
    from nlptl.cli.compare import run_comparison

    run_comparison(config)


if __name__ == "__main__":
    run_recipe(main, CompareConfig, __doc__)
