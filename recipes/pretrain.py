"""Pretrain a masked language model or a T5 from scratch, or continue from a checkpoint.

    python recipes/pretrain.py --architecture t5 --corpus reviews.parquet novels.parquet:0.3
    python recipes/pretrain.py --model bundled/bert --corpus my_texts.txt --mode freeze-lower-8

Writes model/ (opens with plain transformers), log.jsonl (held-out loss, nats per predicted token),
result.json, config.yaml and a model card under --output-dir.
"""

from nlptl.cli.config import PretrainConfig, run_recipe


def main(config: PretrainConfig) -> None:
    """Read the corpus, build or load the model, train, save."""
    from nlptl.cli.pretrain import extras_of, prepare_pretraining, pretraining_args
    from nlptl.modes.base import apply_mode
    from nlptl.pretrain.pieces import cut_pieces
    from nlptl.pretrain.pretrain import pretrain
    from nlptl.pretrain.start import mix_start, start_model
    from nlptl.pretrain.teaching import learn_from
    from nlptl.runs.directory import is_unfinished, release_on_failure, save_run, scores
    from nlptl.train.setup import start_accelerator
    from nlptl.train.terminal import say

    ready = prepare_pretraining(config)
    config, home, objective = ready.config, config.output_dir, ready.objective
    if not is_unfinished(home):
        return
    with release_on_failure(home):
        accelerator = start_accelerator(tracker=config.tracker, output_dir=home, seed=config.seed)
        own = (ready.build, objective, accelerator, config.seed, config.model)
        model, tokenizer, new = start_model(home, *own)
        model, manifest = apply_mode(model, ready.mode, newly_initialized=new)
        say(manifest)
        args = pretraining_args(ready, model, tokenizer, accelerator)
        texts = ready.documents, ready.held_out
        pieces = cut_pieces(*texts, tokenizer, objective, args.max_length, home, accelerator)
        if config.teacher:
            starts = (model, objective) if config.warm_start else None
            pieces = learn_from(config.teacher, pieces, tokenizer, home, accelerator, new=starts)
        extras, resume = extras_of(config, model.config.hidden_size), config.resume
        given = {"objective": objective, "extras": extras, "accelerator": accelerator}
        run = pretrain(model, tokenizer, pieces, args, output_dir=home, resume=resume, **given)
        if config.start_share:
            mix_start(run, config.start_share, pieces, home, accelerator)
        run.manifest, run.newly_initialized = manifest, new
        save_run(run, home, extra=ready.record, accelerator=accelerator)
        say(scores(run, home))


if __name__ == "__main__":
    run_recipe(main, PretrainConfig, __doc__)
