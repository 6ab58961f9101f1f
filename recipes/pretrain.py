"""Pretrain a masked language model or a T5 from scratch, or go on from a checkpoint.

    python recipes/pretrain.py --architecture t5 --corpus reviews.parquet novels.parquet:0.3
    python recipes/pretrain.py --model bundled/bert --corpus my_texts.txt --mode freeze-lower-8

Writes model/ (opens with plain transformers) and log.jsonl (held-out loss, nats a predicted token).
"""

from nlptl.config import PretrainConfig, run_recipe


def main(config: PretrainConfig) -> None:
    """Read the corpus, build or load the model, train, save."""
    from nlptl.engine.setup import start_accelerator
    from nlptl.models.building import model_to_train
    from nlptl.modes import apply_mode
    from nlptl.pretraining import pretrain, start_model
    from nlptl.runs import save_pretrained_run
    from nlptl.terminal import say
    from nlptl.upstream_planning import prepare_pretraining, pretraining_plan

    ready = prepare_pretraining(config)
    config = ready.config
    accelerator = start_accelerator(
        tracker=config.tracker, output_dir=config.output_dir, seed=config.seed
    )
    model, tokenizer, new = start_model(
        config.output_dir,
        lambda: model_to_train(config, ready.objective, ready.documents),
        ready.objective,
        accelerator,
    )
    model, manifest = apply_mode(model, ready.mode, new=new)
    say(manifest)
    plan, length = pretraining_plan(ready, model, tokenizer, accelerator)
    pretrain(
        model,
        tokenizer,
        ready.documents,
        ready.held_out,
        objective=ready.objective,
        plan=plan,
        batch_size=config.batch_size,
        max_length=length,
        dropout=config.dropout,
        seed=config.seed,
        accelerator=accelerator,
        output_dir=config.output_dir,
        eval_every=config.eval_every,
        save_every=config.save_every,
        keep=config.keep,
        teacher=config.teacher,
        start_share=config.start_share,
        resume=config.resume,
    )
    save_pretrained_run(model, tokenizer, config.output_dir, accelerator)


if __name__ == "__main__":
    run_recipe(main, PretrainConfig, __doc__)
