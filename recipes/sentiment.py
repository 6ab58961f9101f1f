"""Fine-tune a pretrained checkpoint on sentiment, or on any other classification of texts.

    accelerate launch recipes/sentiment.py --mode freeze-lower-8
    accelerate launch recipes/sentiment.py --model roberta-base --train-file mine.csv --mode lora

Writes model/ (opens with plain transformers), result.json, predictions.jsonl, config.yaml and a
model card under --output-dir.
"""

from nlptl.cli.config import SentimentConfig, run_recipe


def main(config: SentimentConfig) -> None:
    """Check everything, then for each seed: fine-tune, score, save, read back."""
    from nlptl.cli.train import run_supervised
    from nlptl.tasks import get_task

    run_supervised(config, get_task("sentiment").prepare)


if __name__ == "__main__":
    run_recipe(main, SentimentConfig, __doc__)
