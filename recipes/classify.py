"""Fine-tune a pretrained checkpoint on whatever a table is for: classes, several labels, numbers, tags.

    accelerate launch recipes/classify.py --train-file mine.csv --text-column subject body --label-column team
    accelerate launch recipes/classify.py --train-file ner.conll --model bert-base-cased --mode full

--kind auto sees from the labels what is to be learned, and says why; --kind regression, say, asks for it.

Writes model/ (opens with plain transformers), result.json, predictions.jsonl, config.yaml and a
model card under --output-dir.
"""

from pathlib import Path
from typing import Any

from nlptl.cli.config import ClassifyConfig, run_recipe


def main(config: ClassifyConfig) -> None:
    """Check everything; then for each seed: fine-tune, score, save, read back; and report, if asked."""
    from nlptl.cli.train import each_seed, prepare
    from nlptl.tasks.kinds import chosen_kind

    ready = prepare(config, chosen_kind(config))
    each_seed(ready, train)


def train(ready: Any, seed: int, home: Path) -> None:
    """Make one run: checkpoint, head, mode, batches, loss, fit, score."""
    from nlptl.runs.directory import save_run, scores
    from nlptl.train.finetune import finished
    from nlptl.train.learner import Learner
    from nlptl.train.setup import start_accelerator
    from nlptl.train.terminal import say

    splits, config = ready.splits, ready.config
    accelerator = start_accelerator(tracker=config.tracker, output_dir=home, seed=seed)
    learner = Learner(ready.task, ready.args(seed), accelerator)  # checkpoint, layer map, head
    say(learner.mode(ready.mode).manifest)  # what trains
    learner.prepare(splits)  # tokens, batches; frozen blocks are computed once
    state = learner.fit(
        splits["train"],
        loss=learner.loss(),
        validation=splits["validation"],  # chooses the epoch
        home=home / "checkpoints",
        resume=config.resume,
    )
    run = finished(learner, state, splits)  # scores on the test split
    save_run(run, home, extra=ready.record, accelerator=accelerator)
    say(scores(run, home))


if __name__ == "__main__":
    run_recipe(main, ClassifyConfig, __doc__)
