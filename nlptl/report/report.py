"""The transfer report: was the pretraining worth it, and how sure is that?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from nlptl.data.encoding import tokenizer_hash
from nlptl.data.progress import quiet_datasets, waiting
from nlptl.models.adapters import is_lora, merge_adapter, save_adapter
from nlptl.models.layer_map import depth
from nlptl.models.loading import load_tokenizer, pooling_under, quiet_transformers, trained_config
from nlptl.pretrain.held_out import pretraining_flops
from nlptl.pretrain.upstream_entry import upstream_entry
from nlptl.report import parts
from nlptl.report.body import body_changes
from nlptl.report.few_labels import learning_curves
from nlptl.report.simple_arms import simple_arms
from nlptl.report.untouched import untouched_states
from nlptl.report.warnings import warnings_of
from nlptl.runs.record import versions
from nlptl.stats.bootstrap import Difference, joint_bootstrap
from nlptl.stats.verdict import (
    MARGIN,
    NOTHING_LEARNED,
    advice,
    first_learn,
    sentence,
    verdict,
)
from nlptl.study.arms import Arm, ArmSpec, scratch_spec
from nlptl.study.methods import FINETUNE, Method
from nlptl.study.outcomes import Outcome, combine_of
from nlptl.study.study import Study
from nlptl.tasks.base import Task
from nlptl.train.defaults import fill_defaults
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs, new_accelerator
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import muted, say

Tier = Literal["quick", "standard", "full"]
#: Seeds of each tier, and pieces of upstream text.
SEEDS = {"quick": 3, "standard": 6, "full": 10}
PIECES = {"quick": 500, "standard": 2000, "full": 2000}
#: Rates that scratch tries, times full's default, the default first, and so many times the epochs.
RATES = {"quick": (1.0,), "standard": (1.0, 3.0), "full": (1.0, 0.3, 3.0, 10.0)}
LONGER = {"quick": 1.0, "standard": 1.5, "full": 3.0}
#: Version of report.json's form.
SCHEMA_VERSION = 1


@dataclass(frozen=True, repr=False)
class TransferReport:
    """A finished report.

    Attributes:
        record: What ``report.json`` holds; ``report.schema.json`` beside this file explains every key.
    """

    record: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``positive``, ``neutral``, ``negative``, ``negative (material)`` or ``inconclusive``."""
        return self.record["negative"]["verdict"]

    def summary(self) -> str:
        """Sum up the report in at most 21 lines for the terminal."""
        from nlptl.report.render.text import summary

        return summary(self.record)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame, because its styles are those of a whole page."""
        from nlptl.report.render.files import page_of

        frame = "<iframe width='100%' height='900' style='border:0' sandbox srcdoc='{}'></iframe>"
        return frame.format(escape(page_of(self.record)))

    def save(self, directory: Path) -> list[Path]:
        """Write ``report.json``, ``report.md``, ``report.html`` and the pictures.

        Args:
            directory: Where they go.

        Returns:
            The files.
        """
        from nlptl.report.render.files import write_report

        return write_report(self.record, directory)


@dataclass(frozen=True)
class Finished:
    """What is there already of the pretrained arm.

    Attributes:
        outcomes: Outcomes of finished runs.
        model: The first seed's trained model, below peft's wrapper; None takes that of a run made for the
            report, or leaves forgetting and shift out if the first seed's outcome is here.
        adapter: Folder of the first seed's LoRA adapter.
        directory: The run's directory, for the record.
        notes: More warnings for the record.
    """

    outcomes: Sequence[Outcome] = ()
    model: Any = None
    adapter: Path | None = None
    directory: str | None = None
    notes: Sequence[str] = ()


def score_transfer(
    task: Task,
    splits: Mapping[str, Any],
    args: FinetuneArgs,
    *,
    method: Method = FINETUNE,
    tier: Tier = "standard",
    curve: bool = False,
    finished: Finished | None = None,
    upstream_texts: Sequence[str] | None = None,
    dataset: str = "the data",
    keep: bool = True,
) -> TransferReport:
    """Compare fine-tuning a checkpoint with the same model without pretraining, and say how sure that is.

    The arms share splits, head and, seed by seed, the order of the data: the requested mode; scratch
    (random weights, all trained, the best of its own rates, more epochs); a linear probe on the frozen
    body, and on random ones; zero-shot; a bag of words; always one answer. Runs of the arms are kept on
    disk and never made twice: scratch's serve every checkpoint of that architecture.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        args: The mode and all hyper-parameters, or defaults; the first seed is theirs.
        method: The way of training of the pretrained arm.
        tier: ``quick`` (3 seeds), ``standard`` (6) or ``full`` (10).
        curve: Whether smaller training sets are tried too, down to 16 examples a class.
        finished: What is there already of the pretrained arm.
        upstream_texts: Held-out text of the kind that the checkpoint was pretrained on; None takes what
            comes with nlptl.
        dataset: What to call the data.
        keep: Whether outcomes are kept on disk.

    Returns:
        The report; what could not be measured stands in it with its reason.
    """
    known = finished or Finished()
    args = fill_defaults(args, task, len(splits["train"]))  # scratch's are counted from them
    study = _study(task, splits, ArmSpec(args, method, title=args.mode.name), tier, known, keep)
    with TemporaryDirectory() as folder:
        made = _with_model(study, known, Path(folder))
        outcomes = {outcome.seed: outcome for outcome in made.outcomes}
        arms = study.run(known={"pre": outcomes})
        measured = _measure(study, made, upstream_texts, PIECES[tier])
    gain = joint_bootstrap(
        arms["pre"].statistics,
        arms["scratch"].statistics,
        combine=combine_of(task),
        groups=task.groups(splits["test"]),
    )
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": _identity(study, tier, dataset, known.directory),
        **_compare(study, arms, gain, measured, known),
        "curve": None,
        "sample_eff": None,
        "upstream_curve": None,
    }
    ran = list(arms.values())
    if curve:
        record["curve"], record["sample_eff"], more = learning_curves(study, arms)
        ran += more
    record["negative"] = _judge(record, gain)
    record["cost"] = _cost(ran, len(known.outcomes))
    record["warnings"] = [*known.notes, *warnings_of(record)]
    free_states()
    return TransferReport(record)


def _study(
    task: Task,
    splits: Mapping[str, Any],
    pre: ArmSpec,
    tier: Tier,
    known: Finished,
    keep: bool,
) -> Study:
    """Set up the two arms that are trained: from the checkpoint, and from random weights."""
    args, count = pre.args, max(SEEDS[tier], len(known.outcomes))
    scratch = scratch_spec(args, RATES[tier], LONGER[tier], examples=len(splits["train"]))
    seeds = range(args.seed, args.seed + count)
    return Study(task, splits, {"pre": pre, "scratch": scratch}, seeds, keep=keep)


def _with_model(study: Study, known: Finished, folder: Path) -> Finished:
    """Train the first seed here, to look into its model, where neither model nor outcome is there.

    Args:
        study: The study.
        known: What is there.
        folder: Where a LoRA adapter goes before it is merged.
    """
    spec, seed = study.arms["pre"], study.seeds[0]
    if known.model is not None or any(outcome.seed == seed for outcome in known.outcomes):
        return known
    say(f"{spec.title}, seed {seed}: trained here, to see what became of the body")
    runs: list[Run] = []
    outcome = study.run_one(spec, seed, made=runs.append)
    model, adapter = runs[0].model, None
    if is_lora(model):
        adapter = folder
        with quiet_transformers():
            save_adapter(model, folder)
    model = merge_adapter(model).cpu()  # the other runs need the GPU
    return replace(known, outcomes=[*known.outcomes, outcome], model=model, adapter=adapter)


def _measure(
    study: Study, made: Finished, upstream_texts: Sequence[str] | None, pieces: int
) -> dict[str, Any]:
    """Measure what needs no training: the simple arms, the body's changes, forgetting."""
    task, splits, args = study.task, study.splits, study.arms["pre"].args
    accelerator = new_accelerator()
    found: dict[str, Any] = {}
    say("probes, bag of words, zero-shot, forgetting, shift")
    with muted(), quiet_datasets():
        with waiting("probes, bag of words, zero-shot"):
            untouched = untouched_states(task, splits, args, accelerator)
            found["simple"] = simple_arms(
                task, splits, args, untouched, seeds=study.seeds, accelerator=accelerator
            )
        with waiting("what moved inside the model"):
            found["shift"] = body_changes(
                task, splits, args, untouched, adapted=made.model, accelerator=accelerator
            )
        with waiting("forgetting"):
            found["upstream"] = upstream_entry(
                args.model,
                made.model,
                upstream_texts,
                accelerator,
                pieces,
                adapter=(task, made.adapter) if made.adapter else None,
                pooling=args.pooling,
                refit=True,
            )
    return found


def _compare(
    study: Study,
    arms: Mapping[str, Arm],
    gain: Difference,
    measured: Mapping[str, Any],
    known: Finished,
) -> dict[str, Any]:
    """Put the arms beside each other: the record's parts on scores, gain and cost.

    Args:
        study: The study.
        arms: Its two arms.
        gain: Pretrained minus scratch.
        measured: From :func:`_measure`.
        known: Says whether single predictions lie beside the report.
    """
    pre, scratch, simple = arms["pre"], arms["scratch"], measured["simple"]
    groups, combine = study.task.groups(study.splits["test"]), combine_of(study.task)
    floor = simple["majority"]["arm"]["mean"]
    path = "predictions.jsonl" if known.directory else None
    downstream = {
        "pre": parts.trained_entry(pre, floor=floor, predictions_path=path),
        "scratch": parts.trained_entry(scratch, floor=floor),
        **{name: entry["arm"] for name, entry in simple.items()},
    }
    words = simple["bow"]["statistics"]
    if words is not None:
        words = parts.against(pre.statistics, words, combine=combine, groups=groups)
    upstream = pretraining_flops(pre.args.model)
    return {
        "downstream": downstream,
        "gain": parts.gain_entry(
            gain,
            scratch=downstream["scratch"]["mean"],
            probe=downstream["probe"]["mean"],
            words=words,
        ),
        "compute_eff": parts.compute_entry(pre.outcomes, scratch.outcomes, upstream=upstream),
        "upstream": measured["upstream"],
        "shift": measured["shift"],
    }


def _judge(record: Mapping[str, Any], gain: Difference) -> dict[str, Any]:
    """Say what came out, in a word and a sentence, and what to try next."""
    downstream, seeds = record["downstream"], record["id"]["seeds"]
    failed = all(len(downstream[name]["failed"]) == len(seeds) for name in ("pre", "scratch"))
    word = "inconclusive" if failed else verdict(gain, seeds=len(seeds))
    if failed:
        said = NOTHING_LEARNED
        floor = downstream["majority"]["mean"]
        advised = first_learn(downstream["probe"]["mean"], floor)
    else:
        said, advised = sentence(word, gain, record["id"]), advice(word, record)
    return {
        "verdict": word,
        "ntg": -gain.mean,
        # One-sided: P(gain >= 0 by chance), small where pretraining harmed.
        "p_harm": gain.p / 2 if gain.mean < 0 else 1 - gain.p / 2,
        "margin": MARGIN,
        "holm_p": None,
        "provisional": len(seeds) < SEEDS["standard"],
        "sentence": said,
        "advice": advised,
    }


def _identity(study: Study, tier: str, dataset: str, run: str | None) -> dict[str, Any]:
    """Say what was compared: checkpoint, data, mode and versions."""
    args, task = study.arms["pre"].args, study.task
    config, mode = trained_config(args.model, args.pooling), args.mode
    blocks = sum(depth(config))
    return {
        "upstream": args.model,
        "weights_sha256": study.checkpoint_hash(args.model, pooling=args.pooling),
        "family": config.model_type,
        "task": task.name,
        "metric": task.selection,
        "mode": mode.name,
        "trains": mode.trains,
        "frozen_blocks": mode.frozen_blocks(blocks),
        "blocks": blocks,
        "pooling": pooling_under(task, args.model, args.pooling),
        "dataset": dataset,
        **{f"n_{name}": len(study.splits[name]) for name in ("train", "validation", "test")},
        "tokenizer_sha256": tokenizer_hash(load_tokenizer(args.model)),
        "splits_sha256": study.data_hash(),
        "tier": tier,
        "seeds": list(study.seeds),
        "versions": versions(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "run": run,
    }


def _cost(arms: Sequence[Arm], known: int) -> dict[str, Any]:
    """Add up the training of all arms."""
    made = [outcome for arm in arms for outcome in (*arm.outcomes, *arm.searched)]
    kept = sum(arm.kept for arm in arms)
    return {
        "runs": len(made),
        "flops": sum(outcome.flops for outcome in made),
        "seconds": sum(outcome.seconds for outcome in made),
        "cached": kept + known,
    }
