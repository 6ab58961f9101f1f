"""Fine-tune a pretrained checkpoint on extractive question answering, in the manner of SQuAD.

    accelerate launch recipes/qa.py --mode freeze-lower-8
    accelerate launch recipes/qa.py --model roberta-base --train-file train-v2.0.json --mode lora

Writes model/ (opens with plain transformers), result.json, predictions.jsonl, config.yaml and a
model card under --output-dir.
"""

from nlptl.config import QAConfig, run_recipe


def main(config: QAConfig) -> None:
    """Check everything, then for each seed: fine-tune, score, save, read back."""
    from nlptl.engine.setup import start_accelerator
    from nlptl.finetuning import finetune
    from nlptl.planning import prepare_run
    from nlptl.runs import save_run, scores, seed_directories, summarize_seeds
    from nlptl.tasks.qa import prepare_qa
    from nlptl.terminal import say

    ready = prepare_run(config, prepare_qa)
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
    run_recipe(main, QAConfig, __doc__)
