"""What the tests of faults share: counts of what was tried, and what a run ends with."""

import json
import os
import random
from hashlib import sha256
from pathlib import Path

#: Number of kills of each recipe; each is at another moment each time.
TRIES = int(os.environ.get("NLPTL_FAULTS", "1"))
TABLE: dict[str, list[str]] = {}
#: Recipes of more than one run, which go on without a flag.
STUDIES = ("compare", "adapt", "few_shot", "multi_task", "self_taught")
DAMAGES = ("half", "empty", "flipped", "gone")


def harm(path: Path, how: str, draws: random.Random) -> None:
    """Damage a file; whoever has it open keeps what was in it."""
    whole = path.read_bytes()
    at = draws.randrange(max(1, len(whole)))
    path.unlink()
    flipped = (
        whole[:at] + bytes([whole[at] ^ 1 << draws.randrange(8)]) + whole[at + 1 :]
        if whole
        else b""
    )
    made = {"half": whole[: len(whole) // 2], "empty": b"", "flipped": flipped}
    if how != "gone":
        path.write_bytes(made[how])


def tell(what: str, outcome: str) -> None:
    """Count one trial: ``survived``, or what was lost."""
    TABLE.setdefault(what, []).append(outcome)


def recipe_of(kind: str) -> str:
    return kind.split()[0]


def timeless(found):
    """A record without its seconds."""
    if isinstance(found, dict):
        return {k: timeless(v) for k, v in found.items() if "second" not in k}
    return [timeless(one) for one in found] if isinstance(found, list) else found


def essence(kind: str, home: Path) -> dict:
    """What a run ends with, without its seconds: weights, predictions, scores."""
    if kind == "compare":
        record = json.loads((home / "compare.json").read_text())
        rows = record["rows"].values()
        return {"scores": [row["scores"] for row in rows], "sentence": record["sentence"]}
    if kind in STUDIES:
        return timeless(json.loads((home / f"{kind}.json").read_text()))
    found = {}
    for path in sorted([*home.rglob("model/model.safetensors"), *home.rglob("predictions.jsonl")]):
        found[str(path.relative_to(home))] = sha256(path.read_bytes()).hexdigest()
    for path in sorted(home.rglob("result.json")):
        record = json.loads(path.read_text())
        found[str(path.relative_to(home))] = [record["metrics"], record["reload_difference"]]
        lines = [{k: v for k, v in one.items() if "second" not in k} for one in record["history"]]
        found[f"{path.relative_to(home)} history"] = lines
    return found
