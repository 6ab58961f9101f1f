"""Fine-tune a pretrained checkpoint on sentiment, or on any other classification of texts.

    accelerate launch recipes/sentiment.py --mode freeze-lower-8
    accelerate launch recipes/sentiment.py --model roberta-base --train-file mine.csv --mode lora

Writes model/ (opens with plain transformers), result.json, predictions.jsonl, config.yaml and a
model card under --output-dir.
"""

from nlptl.config import SentimentConfig, run_recipe


def main(config: SentimentConfig) -> None:
    """Check everything, then for each seed: fine-tune, score, save, read back."""
    from nlptl.engine.setup import start_accelerator
    from nlptl.finetuning import finetune
    from nlptl.planning import prepare_run
    from nlptl.runs import save_run, scores, seed_directories, summarize_seeds
    from nlptl.tasks.sentiment import prepare_sentiment
    from nlptl.terminal import say

    ready = prepare_run(config, prepare_sentiment)
    for seed, directory in seed_directories(ready.config):
        accelerator = start_accelerator(tracker=config.tracker, output_dir=directory, seed=seed)
        run = finetune(
            ready.task,
            ready.splits,
            ready.settings(seed),
            accelerator=accelerator,
            checkpoint_dir=directory / "checkpoints",
            resume=config.resume,
        )
        save_run(run, directory, extra=ready.record, accelerator=accelerator)
        say(scores(run, directory))
    summarize_seeds(ready.config)


if __name__ == "__main__":
    run_recipe(main, SentimentConfig, __doc__)
