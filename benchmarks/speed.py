"""nlptl against plain ``transformers.Trainer``: seconds, memory and accuracy, measured alternately.

    python benchmarks/speed.py --model $MINILM --sentences sst2/sentences_train.tsv \
        --dev sst2/sentences_dev.tsv --squad squad/v1.1-train.json --texts amazon/books.parquet

Every measurement is a process of its own; nlptl and the Trainer take turns, so that what else the machine
does hits both alike. The Trainer with ``group_by_length`` runs once, and so do the long cases (:func:`turns`).
The same checkpoint, tokens, epochs, batch size and rate go to all; the Trainer gets frozen layers
(requires_grad off) or the same LoRA by peft, padding to the longest of a batch and fused AdamW. Answers are
decoded and scored by the same code. Operations are counted by formula, for real tokens; their share of the
peak is of large matrix products, measured beside it. Medians go to ``benchmarks/results/speed.json`` (on a GPU
``speed_cuda.json``); finished measurements of the same options, code, device and precision are not repeated
(``runs/benchmarks/speed``).

The case ``pass:1`` is another one: nlptl's whole ``head-only`` with its default convex fit, from tokens to
test scores, against one bare forward pass of the checkpoint over the same texts of all three splits, sorted by
length, in the same batches and precision. Its ratio, pass / nlptl, is to be 0.83 or more: 1.2 passes.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import tyro
from identity import identity

from nlptl.data.files import write_json

ROOT = Path(__file__).parent.parent
WORK = ROOT / "runs" / "benchmarks" / "speed"
RUNNERS = ("nlptl", "trainer", "trainer-grouped")
PARTS = ("train", "validation", "test")
RATES = {"head-only": 5e-3, "freeze-lower-4": 1e-4, "full": 5e-5, "lora": 1e-3}


@dataclass(frozen=True)
class Options:
    """What is measured."""

    model: str
    """A BERT of six blocks."""
    sentences: str
    """SST-2 sentences to train on."""
    dev: str
    """SST-2 sentences to score on."""
    squad: str
    """SQuAD questions to train on."""
    texts: str
    """Labelled texts of mixed lengths to predict on."""
    cases: tuple[str, ...] = (
        "head-only:3", "freeze-lower-4:3", "lora:3", "full:3", "predict:1", "head-only:10",
        "freeze-lower-4:10", "qa-head-only:3", "full:10", "pass:1",
    )  # fmt: skip
    """Mode and epochs."""
    examples: int = 1500
    """Training sentences."""
    questions: int = 2000
    """Training questions."""
    rounds: int = 3
    """Turns of nlptl and the Trainer, for three epochs."""
    result: Path | None = None
    """Where the medians go."""
    work: Path = WORK
    """Where single measurements and the model to predict with are kept."""
    worker: str = ""
    """Runner and case of one measurement; used by the script itself."""
    seed: int = 0
    """Of that measurement."""


def peak_memory() -> float:
    """Most memory of the GPU, or else largest resident size, of this process so far, in MB."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def matrix_peak() -> float:
    """GFLOP/s of large matrix products on this machine, in the precision of the runs."""
    import torch

    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    half = os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16"
    size = 2048 if device.type == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16 if half else None)
    times = []
    for _ in range(12):
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - began)
    return 2 * size**3 / median(times) / 1e9


def prepare(options: Options, mode: str, epochs: float, seed: int) -> tuple[Any, Any, Any]:
    """Task, splits and settings; the same for all runners."""
    from nlptl.cli.config import QAConfig, SentimentConfig
    from nlptl.modes.base import parse_mode
    from nlptl.tasks import get_task
    from nlptl.train.setup import FinetuneArgs

    given: dict[str, Any] = {"model": options.model, "seed": 0, "dataset": None}
    if mode.startswith("qa-"):
        mode = mode.removeprefix("qa-")
        config: Any = QAConfig(
            train_file=Path(options.squad),
            max_train_examples=options.questions,
            max_eval_examples=200,
            **given,
        )
        task, splits, _ = get_task("qa").prepare(config)
        size, length = 12, 384
    else:
        config = SentimentConfig(
            train_file=Path(options.sentences),
            test_file=Path(options.dev),
            max_train_examples=options.examples,
            **given,
        )
        task, splits, _ = get_task("sentiment").prepare(config)
        size, length = 32, 512
    settings = FinetuneArgs(
        model=options.model,
        mode=parse_mode(mode),
        learning_rate=RATES[mode],
        epochs=epochs,
        batch_size=size,
        max_length=length,
        pooling="first",  # what the Trainer's class reads, whatever the checkpoint declares
        seed=seed,
    )
    return task, splits, settings


def run_nlptl(task: Any, splits: Any, settings: Any) -> dict[str, float]:
    """One fine-tuning with nlptl."""
    from nlptl.train.finetune import finetune
    from nlptl.train.setup import start_accelerator

    accelerator = start_accelerator(tracker=None, output_dir=Path(), seed=settings.seed)
    run = finetune(task, splits, settings, accelerator=accelerator)
    return {
        "train_seconds": run.timing["train_seconds"],
        "evaluate_seconds": run.timing["test_seconds"],
        "whole_seconds": sum(run.timing[f"{part}_seconds"] for part in PARTS),
        **_shown(task, run.metrics),
        "padding": run.padding,
        "gflops": run.flops / run.timing["train_seconds"] / 1e9,
    }


def _shown(task: Any, metrics: Any) -> dict[str, float]:
    """The score of the table, and for answers the exact match too; both with their standard errors."""
    names = {
        "score": task.selection,
        **({"exact_match": "exact_match"} if task.name == "question-answering" else {}),
    }
    return {
        f"{to}{end}": metrics[f"{name}{end}"] for to, name in names.items() for end in ("", "_se")
    }


def run_trainer(task: Any, splits: Any, settings: Any, *, grouped: bool) -> dict[str, float]:
    """The same with plain transformers.Trainer."""
    import numpy as np
    import torch
    from transformers import Trainer, TrainingArguments, set_seed

    from nlptl.models.adapters import add_lora
    from nlptl.models.flops import training_flops
    from nlptl.models.loading import load_with_head
    from nlptl.models.tokenizer import longest_input
    from nlptl.modes.base import apply_mode

    set_seed(settings.seed)
    loaded = load_with_head(
        settings.model, auto_class=task.auto_class, head=task.head, pooling="first"
    )
    model, mode = loaded.model, settings.mode
    frozen = mode.frozen_blocks(len(model.bert.encoder.layer))
    if mode.is_adapter:  # get_peft_model, nothing else
        model = add_lora(model, rank=mode.settings["rank"], alpha=mode.settings["alpha"])
    if frozen:
        for module in (model.bert.embeddings, *model.bert.encoder.layer[:frozen]):
            module.requires_grad_(False)
    limit = longest_input(model.config, loaded.tokenizer, settings.max_length)
    features = {name: task.encode(t, loaded.tokenizer, limit) for name, t in splits.items()}
    collate = task.collator(loaded.tokenizer)

    def collator(rows: list[Any]) -> dict[str, Any]:
        batch = dict(collate(rows, np.random.default_rng(0)))
        return {name: value for name, value in batch.items() if name not in ("allowed", "size")}

    arguments = TrainingArguments(
        output_dir=str(WORK / "trainer"),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=0.01,
        warmup_steps=0.1,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length" if grouped else "random",
        length_column_name="length",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=not torch.accelerator.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        seed=settings.seed,
    )
    rows = features["train"].rows
    if "length" not in rows.column_names:
        rows = rows.add_column("length", features["train"].lengths)
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator)
    began = time.perf_counter()
    trainer.train()
    trained = time.perf_counter()
    # With group_by_length, predictions come back in the order of the lengths, not of the examples.
    arguments.train_sampling_strategy = "random"
    found = trainer.predict(features["test"].rows)
    done = time.perf_counter()
    peak = peak_memory()
    names = ("start_logits", "end_logits") if task.name == "question-answering" else ("logits",)
    arrays = found.predictions if task.name == "question-answering" else (found.predictions,)
    outputs = {name: list(rows) for name, rows in zip(names, arrays, strict=True)}
    predictions = task.predictions(splits["test"], features["test"], outputs)
    if not mode.is_adapter:
        apply_mode(model, mode)  # only now, so that the operations of this mode are counted
    flops = training_flops(model, features["train"].lengths, settings.epochs, cached=False)
    return {
        "train_seconds": trained - began,
        "evaluate_seconds": done - trained,
        **_shown(task, task.score(predictions)),
        "gflops": flops / (trained - began) / 1e9,
        "peak": peak,
    }


def run_predict(runner: str, options: Options) -> dict[str, float]:
    """Predict 5,000 texts of mixed lengths with a fine-tuned model."""
    import datasets
    import torch

    from nlptl.data.sources import read_table
    from nlptl.runs.predictor import load_predictor

    model = str(options.work / "model")
    long = read_table(Path(options.texts), "--texts")["text"][:2500]
    texts = [*long, *read_table(Path(options.sentences), "--sentences")["sentence"][:2500]]
    datasets.disable_progress_bars()
    if runner == "nlptl":
        predictor = load_predictor(model, batch_size=32)
        predictor(texts[:64])
        began = time.perf_counter()
        labels = [found["prediction"] for found in predictor(texts)]
    else:
        from transformers import pipeline

        pipe = pipeline("text-classification", model=model, batch_size=32, truncation=True)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        if runner == "trainer":
            order = list(range(len(texts)))
        half = os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16"
        with torch.autocast(pipe.device.type, torch.bfloat16, enabled=half):
            pipe(texts[:64])
            began = time.perf_counter()
            found = dict(zip(order, pipe([texts[i] for i in order]), strict=True))
        labels = [found[i]["label"] for i in range(len(texts))]
    seconds = time.perf_counter() - began
    (options.work / f"labels_{runner}.json").write_text(json.dumps(labels))
    return {"evaluate_seconds": seconds, "examples_per_second": len(texts) / seconds}


def run_pass(options: Options) -> dict[str, float]:
    """Run the body once over the texts of all splits, and do nothing with its states."""
    import torch
    from transformers import AutoModel

    from nlptl.models.loading import load_tokenizer

    task, splits, settings = prepare(options, "head-only", 1.0, options.seed)
    tokenizer = load_tokenizer(options.model)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    body = AutoModel.from_pretrained(options.model, dtype=torch.float32).eval().to(device)
    texts = [text for name in PARTS for text in splits[name][task.fields[0]][:]]
    ids = sorted(tokenizer(texts, truncation=True, max_length=512)["input_ids"], key=len)
    batches = [
        tokenizer.pad(
            {"input_ids": ids[start : start + 2 * settings.batch_size]}, return_tensors="pt"
        )
        for start in range(0, len(ids), 2 * settings.batch_size)
    ]
    half = os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        body(**batches[0].to(device))
        began = time.perf_counter()
        for batch in batches:
            states = body(**batch.to(device)).last_hidden_state
        states[0, 0, 0].item()  # waits for a GPU
    seconds = time.perf_counter() - began
    return {"whole_seconds": seconds, "examples_per_second": len(texts) / seconds}


def work(options: Options) -> None:
    """One measurement; its figures are the last line of the output."""
    runner, case = options.worker.split("/")
    mode, epochs = case.split(":")
    if mode == "predict":
        found = run_predict(runner, options)
    elif mode == "pass" and runner != "nlptl":
        found = run_pass(options)
    else:
        mode = "head-only" if mode == "pass" else mode
        task, splits, settings = prepare(options, mode, float(epochs), options.seed)
        before = peak_memory()
        if runner == "nlptl":
            found = run_nlptl(task, splits, settings)
        else:
            found = run_trainer(task, splits, settings, grouped=runner.endswith("grouped"))
        found["peak_mb"] = found.pop("peak", peak_memory()) - before
        seen = len(splits["train"]) * settings.epochs
        found["examples_per_second"] = seen / found["train_seconds"]
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def measure(options: Options, runner: str, case: str, turn: int) -> dict[str, float]:
    """One measurement in a process of its own, unless it is there."""
    path = options.work / f"{runner}_{case.replace(':', '_')}_{turn}.json"
    if not path.exists():
        given = [sys.executable, __file__, "--worker", f"{runner}/{case}", "--seed", str(turn)]
        for name in (
            "model",
            "sentences",
            "dev",
            "squad",
            "texts",
            "examples",
            "questions",
            "work",
        ):
            given += [f"--{name}", str(getattr(options, name))]
        # The Trainer would spread its batches over all GPUs that it sees.
        one = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        seen = {**os.environ, "CUDA_VISIBLE_DEVICES": one}
        done = subprocess.run(given, capture_output=True, text=True, check=False, env=seen)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        path.write_text(done.stdout.strip().splitlines()[-1])
    return json.loads(path.read_text())


def turns(options: Options, runner: str, case: str) -> int:
    """Number of times that something is measured: minutes of a quiet machine are expensive."""
    mode, epochs = case.split(":")
    if mode == "pass":
        return options.rounds * (runner != "trainer-grouped")
    if mode.startswith("qa-") or epochs == "10":  # windows are about equally long: nothing to group
        return int(runner != "trainer-grouped")
    return 1 if runner == "trainer-grouped" or mode == "predict" else options.rounds


def fine_tuned(options: Options) -> None:
    """A model to predict with."""
    if not (options.work / "model/config.json").exists():
        flags = ["--mode", "head-only", "--model", options.model, "--train-file", options.sentences]
        flags += [
            "--max-train-examples",
            "500",
            "--epochs",
            "2",
            "--output-dir",
            str(options.work / "run"),
        ]
        subprocess.run([sys.executable, "recipes/sentiment.py", *flags], cwd=ROOT, check=True)
        (options.work / "run/model").rename(options.work / "model")


def same_labels(options: Options) -> float:
    """Share of the texts whose label is nlptl's and the pipeline's alike."""
    found = [json.loads((options.work / f"labels_{runner}.json").read_text()) for runner in RUNNERS]
    return sum(len(set(each)) == 1 for each in zip(*found, strict=True)) / len(found[0])


def main() -> None:
    """Measure in turns, write medians and ratios, print a table."""
    import torch

    options = tyro.cli(Options)
    if options.worker:
        return work(options)
    name = identity(options, but=("cases", "rounds", "result", "work", "worker", "seed"))
    options = replace(options, work=options.work / name)
    options.work.mkdir(parents=True, exist_ok=True)
    fine_tuned(options)
    table: dict[str, Any] = {}
    for case in options.cases:
        done: dict[str, list[dict[str, float]]] = {runner: [] for runner in RUNNERS}
        for turn in range(options.rounds):
            for runner in RUNNERS:
                if turn < turns(options, runner, case):
                    done[runner].append(measure(options, runner, case, turn))
                    sys.stderr.write(f"{case} {runner} {done[runner][-1]}\n")
        table[case] = {
            runner: {key: median(t[key] for t in found) for key in found[0]} | {"turns": len(found)}
            for runner, found in done.items()
            if found
        }
        if case.startswith("predict"):
            table[case]["nlptl"]["same_labels"] = same_labels(options)
    peak = matrix_peak()
    for figures in (figures for row in table.values() for figures in row.values()):
        if "gflops" in figures:
            figures["peak_share"] = figures["gflops"] / peak
    whole = {"matrix_gflops": peak, "rounds": options.rounds, "cases": table}
    kind = torch.accelerator.current_accelerator()
    usual = ROOT / f"benchmarks/results/speed{f'_{kind.type}' if kind else ''}.json"
    write_json(options.result or usual, whole)
    print_table(table)
    return None


def print_table(table: dict[str, Any]) -> None:
    """The medians in Markdown; pairs are nlptl / Trainer."""
    pairs = {
        "examples a second": ("examples_per_second", ".1f"),
        "share of the matrix peak": ("peak_share", ".2f"),
        "score": ("score", ".3f"),
        "peak MB": ("peak_mb", ".0f"),
    }
    head = ["case", "nlptl s", "Trainer s", "grouped s", "ratio", "ratio, grouped", *pairs]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for case, row in table.items():
        key = {"predict": "evaluate", "pass": "whole"}.get(case.split(":")[0], "train") + "_seconds"
        both = [row[runner] for runner in RUNNERS[:2]]
        own, plain = (figures[key] for figures in both)
        cells = [f"{own:.1f}", f"{plain:.1f}", "", f"{plain / own:.1f}", ""]
        if grouped := row.get("trainer-grouped"):
            cells[2], cells[4] = f"{grouped[key]:.1f}", f"{grouped[key] / own:.1f}"
        for name, form in pairs.values():
            known = [f"{figures[name]:{form}}" for figures in both if name in figures]
            cells.append(" / ".join(known))
        print(f"| {case} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
