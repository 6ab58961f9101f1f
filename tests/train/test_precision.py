"""The precision of a run: what the flag, the launch and the machine say."""

import pytest
import torch
from accelerate.state import AcceleratorState

from nlptl.errors import ConfigError
from nlptl.train import precision
from nlptl.train.precision import asked_of_launcher, choose, precision_of, use_precision
from nlptl.train.setup import new_accelerator

PLAIN = (["accelerate", "launch", "recipes/sentiment.py"], {})


@pytest.mark.parametrize(
    ("environment", "launcher", "configured", "asked"),
    [
        ({}, None, False, None),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, None, False, "fp32"),  # the user's own
        ({"ACCELERATE_MIXED_PRECISION": "BF16"}, PLAIN, False, "bf16"),
        # accelerate launch says "no" where nobody said anything …
        ({"ACCELERATE_MIXED_PRECISION": "no"}, PLAIN, False, None),
        # … and where somebody did: by a flag, a file, the variable, or once for all
        (
            {"ACCELERATE_MIXED_PRECISION": "no"},
            (["accelerate", "launch", "--mixed_precision=no"], {}),
            False,
            "fp32",
        ),
        (
            {"ACCELERATE_MIXED_PRECISION": "no"},
            (["accelerate", "launch", "--config_file", "a.yaml"], {}),
            False,
            "fp32",
        ),
        (
            {"ACCELERATE_MIXED_PRECISION": "no"},
            (PLAIN[0], {"ACCELERATE_MIXED_PRECISION": "no"}),
            False,
            "fp32",
        ),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, PLAIN, True, "fp32"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, None, False, "fp8"),  # check_launch refuses it
    ],
)
def test_what_the_launch_asks_for(environment, launcher, configured, asked):
    assert asked_of_launcher(environment, launcher, configured) == asked


def test_auto_takes_bf16_where_there_are_units_and_nobody_asked():
    assert choose("auto", None, True) == "bf16"
    assert choose("auto", None, False) == "fp32"
    assert choose("auto", "fp32", True) == "fp32"
    assert choose("fp32", None, True) == "fp32"
    assert choose("bf16", "bf16", False) == "bf16"
    with pytest.raises(ConfigError, match="--precision bf16: the launch asks for fp32"):
        choose("bf16", "fp32", True)


def test_what_nlptl_set_is_not_mistaken_for_the_launch():
    """A second run in one process may choose again; what this process starts inherits the choice."""
    environment: dict[str, str] = {}
    use_precision("bf16", environment)
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert asked_of_launcher(environment, None) is None
    use_precision("fp32", environment)
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"
    assert asked_of_launcher(environment, None) is None
    asked = {"ACCELERATE_MIXED_PRECISION": "bf16"}
    use_precision("bf16", asked)
    assert asked_of_launcher(asked, None) == "bf16"


def test_units_are_asked_of_the_processor(monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    monkeypatch.setattr(precision, "has_bf16_units", lambda: True)
    assert precision_of("auto") == "bf16"
    monkeypatch.setattr(precision, "has_bf16_units", lambda: False)
    assert precision_of("auto") == "fp32"
    monkeypatch.undo()
    for amx, avx in ((True, False), (False, True), (False, False)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        if not torch.accelerator.is_available():
            assert precision.has_bf16_units() == (amx or avx)


def test_a_second_accelerator_has_the_precision_that_was_set_last(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert new_accelerator().mixed_precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert new_accelerator().mixed_precision == "bf16"
    AcceleratorState._reset_state()
