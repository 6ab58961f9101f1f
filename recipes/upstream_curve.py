"""Downstream score against upstream loss, over checkpoints of one architecture.

    python recipes/pretrain.py --keep 5
    python recipes/upstream_curve.py --model runs/pretrain

Writes upstream_curve.json, .md, .html and a picture under --output-dir: the slope in points a nat, and the
rank correlation. Finished runs are never repeated.
"""

from nlptl.cli.config import UpstreamCurveConfig, run_recipe


def main(config: UpstreamCurveConfig) -> None:
    """Check everything, score each checkpoint upstream and downstream, and draw one against the other."""
    from nlptl.cli.upstream_curve import run_upstream_curve

    run_upstream_curve(config)


if __name__ == "__main__":
    run_recipe(main, UpstreamCurveConfig, __doc__)
