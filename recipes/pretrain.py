"""Pretrain a masked language model from scratch, or go on from a checkpoint.

    python recipes/pretrain.py --corpus reviews.parquet novels.parquet:0.3 --updates 20000
    python recipes/pretrain.py --model bundled/bert --corpus my_texts.txt --updates 2000

Writes model/ (opens with plain transformers), log.jsonl (held-out loss with fixed masks, in nats a
masked token) and checkpoints/ under --output-dir. Killed at any moment, it goes on with --resume.
"""

from nlptl.config import PretrainConfig, run_recipe


def main(config: PretrainConfig) -> None:
    """Read the corpus, build or load the model, train, save."""
    from nlptl.data.corpus import load_corpus
    from nlptl.engine.setup import start_accelerator
    from nlptl.models.building import masked_lm_to_train
    from nlptl.models.loading import save_pretrained
    from nlptl.planning import prepare_pretraining, pretraining_plan
    from nlptl.pretraining import pretrain, start_model

    prepare_pretraining(config)
    accelerator = start_accelerator(
        tracker=config.tracker, output_dir=config.output_dir, seed=config.seed
    )
    documents, held_out = load_corpus(
        config.corpus, column=config.text_column, held_out=config.held_out
    )
    model, tokenizer = start_model(
        config.output_dir, lambda: masked_lm_to_train(config, documents), accelerator
    )
    pretrain(
        model,
        tokenizer,
        documents,
        held_out,
        plan=pretraining_plan(config),
        batch_size=config.batch_size,
        max_length=min(config.max_length or 128, tokenizer.model_max_length),
        mask_share=config.mask_share,
        bag_weight=config.bag_weight,
        dropout=config.dropout,
        seed=config.seed,
        accelerator=accelerator,
        output_dir=config.output_dir,
        eval_every=config.eval_every,
        save_every=config.save_every,
        resume=config.resume,
    )
    if accelerator.is_main_process:
        save_pretrained(model, tokenizer, config.output_dir / "model")


if __name__ == "__main__":
    run_recipe(main, PretrainConfig, __doc__)
