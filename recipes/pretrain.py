"""Pretrain a masked language model or a T5 from scratch, or go on from a checkpoint.

    python recipes/pretrain.py --architecture t5 --corpus reviews.parquet novels.parquet:0.3
    python recipes/pretrain.py --model bundled/bert --corpus my_texts.txt --mode freeze-lower-8

Writes model/ (opens with plain transformers), log.jsonl (held-out loss, nats a predicted token),
result.json, config.yaml and a model card under --output-dir.
"""

from nlptl.cli.config import PretrainConfig, run_recipe


def main(config: PretrainConfig) -> None:
    """Read the corpus, build or load the model, train, save."""
    from nlptl.cli.pretrain import prepare_pretraining, pretraining_plan
    from nlptl.modes.base import apply_mode
    from nlptl.pretrain.pretrain import pretrain, start_model
    from nlptl.runs.directory import left_to_do, release_on_failure, save_run, scores
    from nlptl.runs.record import parameters
    from nlptl.train.setup import start_accelerator
    from nlptl.train.terminal import say

    ready = prepare_pretraining(config)
    config, home, objective = ready.config, config.output_dir, ready.objective
    if not left_to_do(home):
        return
    with release_on_failure(home):
        accelerator = start_accelerator(tracker=config.tracker, output_dir=home, seed=config.seed)
        model, tokenizer, new = start_model(home, ready.build, objective, accelerator, config.seed)
        model, manifest = apply_mode(model, ready.mode, new=new)
        say(manifest)
        plan, length = pretraining_plan(ready, model, tokenizer, accelerator)
        run = pretrain(
            model,
            tokenizer,
            ready.documents,
            ready.held_out,
            objective=objective,
            plan=plan,
            batch_size=config.batch_size,
            max_length=length,
            dropout=config.dropout,
            seed=config.seed,
            accelerator=accelerator,
            output_dir=home,
            eval_every=config.eval_every,
            save_every=config.save_every,
            keep=config.keep,
            teacher=config.teacher,
            warm_start=config.warm_start,
            start_share=config.start_share,
            resume=config.resume,
        )
        extra = {**ready.record, "parameters": parameters(manifest, new)}
        save_run(run, home, extra=extra, accelerator=accelerator)
        say(scores(run, home))


if __name__ == "__main__":
    run_recipe(main, PretrainConfig, __doc__)
