"""The side of SetFit, run by benchmarks/few_shot.py --setfit in an environment that has it and no nlptl.

    python benchmarks/few_shot_setfit.py runs/benchmarks/few_shot/setfit

Reads <draw>.json there and writes <draw>.answers.json, unless it is there.
"""

import json
import sys
import time
from pathlib import Path


def answers(given: dict) -> dict:
    """Train on one draw and answer the test texts."""
    import setfit
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(given["model"])
    model.model_body.max_seq_length = given["length"]
    args = TrainingArguments(
        output_dir="/tmp/setfit",
        batch_size=given["batch"],
        num_epochs=1,
        num_iterations=given["iterations"],
        body_learning_rate=given["rate"],
        seed=given["seed"],
        save_strategy="no",
        report_to="none",
    )
    table = Dataset.from_dict({"text": given["texts"], "label": given["labels"]})
    began = time.perf_counter()
    Trainer(model=model, args=args, train_dataset=table).train()
    seconds = time.perf_counter() - began
    found = [str(label) for label in model.predict(given["test"])]
    pairs = 2 * given["iterations"] * len(table)
    steps = -(-pairs // given["batch"])
    return {"answers": found, "seconds": seconds, "steps": steps, "version": setfit.__version__}


def main() -> None:
    """Go through the draws of a folder."""
    for file in sorted(Path(sys.argv[1]).glob("*.json")):
        result = file.with_suffix(".answers.json")
        if ".answers" not in file.name and not result.exists():
            result.write_text(json.dumps(answers(json.loads(file.read_text("utf-8")))))


if __name__ == "__main__":
    main()
