"""Fixtures: tiny random checkpoints, made once, and data that they can learn."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["ACCELERATE_MIXED_PRECISION"] = "no"  # the same numbers on every machine

import tempfile

# Before the library is imported: no test finds what another run left in the user's own cache.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="nlptl_datasets_")

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tiny import FAMILIES, sentences, tiny_config, tiny_tokenizer
from transformers import AutoModel, AutoModelForMaskedLM

# Property tests take few inputs, the same every time; NLPTL_EXAMPLES=20000 takes many, and others each time.
EXAMPLES = os.environ.get("NLPTL_EXAMPLES")
settings.register_profile(
    "nlptl",
    max_examples=int(EXAMPLES or 50),
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
)
settings.load_profile("nlptl")

torch.set_num_threads(1)  # on tiny models a second thread only waits


@pytest.fixture(scope="module", autouse=True)
def known_objects() -> None:
    """Set aside what the imports left: each new model collects garbage first, and would look at all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cached_states(tmp_path_factory) -> Path:
    """No test writes into the user's own folder of cached states."""
    path = tmp_path_factory.mktemp("nlptl_cache")
    os.environ["NLPTL_CACHE"] = str(path)
    return path


@pytest.fixture(scope="session", autouse=True)
def cached_tables() -> Iterator[Path]:
    """Nor into the datasets library's."""
    path = Path(os.environ["HF_DATASETS_CACHE"])
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """A saved body with tokenizer for each family, as a user would download it."""
    made = {}
    for family in FAMILIES:
        torch.manual_seed(0)
        tokenizer = tiny_tokenizer(family)
        path = tmp_path_factory.mktemp(f"tiny_{family}")
        AutoModel.from_config(tiny_config(family, len(tokenizer))).save_pretrained(path)
        tokenizer.save_pretrained(path)
        made[family] = path
    return made


@pytest.fixture(scope="session")
def masked_lm_checkpoint(tmp_path_factory, checkpoints) -> Path:
    """BERT as continued masked-LM training leaves it: with an LM head and no pooler."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoints["bert"])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny_mlm")
    AutoModelForMaskedLM.from_config(tiny_config("bert", len(tokenizer))).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def finetunings(monkeypatch) -> list:
    """Every fine-tuning of an arm, in order: an arm keeps right or wrong, these the probabilities too."""
    from nlptl.train import finetune as home

    made, real = [], home.finetune

    def finetune(*given, **named):
        made.append(real(*given, **named))
        return made[-1]

    monkeypatch.setattr(home, "finetune", finetune)
    return made


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def reviews(tmp_path_factory) -> Path:
    """A csv that a tiny model can learn: a text is positive if it says 'good'."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    lines = ["text,label"]
    for number, text in enumerate(sentences(120, seed=3)):
        words = [word for word in text.split() if word not in ("good", "bad")]
        mark, label = ("good", "positive") if number % 2 else ("bad", "negative")
        lines.append(f"{' '.join([mark, *words, mark])},{label}")
    path.write_text("\n".join(lines) + "\n")
    return path
