"""Fine-tune a pretrained checkpoint on extractive question answering, in the manner of SQuAD.

    accelerate launch recipes/qa.py --mode freeze-lower-8
    accelerate launch recipes/qa.py --model roberta-base --train-file train-v2.0.json --mode lora

Writes model/ (opens with plain transformers), result.json, predictions.jsonl, config.yaml and a
model card under --output-dir.
"""

from nlptl.cli.config import QAConfig, run_recipe


def main(config: QAConfig) -> None:
    """Check everything, then for each seed: fine-tune, score, save, read back."""
    from nlptl.cli.train import run_supervised
    from nlptl.tasks import get_task

    run_supervised(config, get_task("qa").prepare)


if __name__ == "__main__":
    run_recipe(main, QAConfig, __doc__)
