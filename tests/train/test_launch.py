"""What a launcher was asked for is done, or refused in words."""

import subprocess
import sys
from pathlib import Path

import pytest

from nlptl.errors import UserError
from nlptl.train.launch import UNSUPPORTED, check_launch, on, processes

CONFIGS = sorted((Path(__file__).parents[2] / "recipes/configs/accelerate").glob("*.yaml"))


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_nlptl_has_no_code_for_is_refused(name):
    check_launch({name: "false"})
    with pytest.raises(UserError, match=name):
        check_launch({name: "true"})
    with pytest.raises(UserError, match="torchrun"):
        check_launch({name: "1", "WORLD_SIZE": "2", "RANK": "0"})


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "mixed_precision fp8"),
        ({"ACCELERATE_MIXED_PRECISION": "bf-16"}, "mixed_precision bf-16"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "--compile"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "--gradient-accumulation-steps"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "MPI started 2"),
        ({"PMI_SIZE": "4"}, "MPI started 4"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
    ],
)
def test_what_would_not_be_done_is_refused(environment, words):
    with pytest.raises(UserError, match=words):
        check_launch(environment)


def test_all_mistakes_of_a_launch_are_told_at_once():
    with pytest.raises(UserError, match="(?s)2 things.*FSDP.*fp8"):
        check_launch({"ACCELERATE_USE_FSDP": "true", "ACCELERATE_MIXED_PRECISION": "fp8"})


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"ACCELERATE_MIXED_PRECISION": "BF16", "ACCELERATE_DYNAMO_BACKEND": "no"},
        {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"},
        {"WORLD_SIZE": "2", "RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
        {"MASTER_ADDR": "10.0.0.1"},
    ],
)
def test_usual_launches_pass(environment):
    check_launch(environment)
    check_launch(environment, parent=environment)


def test_several_processes_of_which_one_was_started_are_refused():
    """``accelerate launch --cpu --num_processes 2`` gives an address and starts one process."""
    with pytest.raises(UserError, match="started only one"):
        check_launch({"MASTER_ADDR": "127.0.0.1"}, parent={})


def test_words_for_yes_and_numbers_are_read_as_accelerate_reads_them():
    assert [on({"x": word}, "x") for word in ("True", "1", "yes", "False", "0", "")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert processes({}) == 1 and processes({"WORLD_SIZE": "3"}) == 3


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_for_accelerate_are_what_they_say(path):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(path))
    kind, machines = str(found.distributed_type.value), found.num_machines
    assert (kind, machines, found.num_processes > 1) == {
        "one_gpu": ("NO", 1, False),
        "several_gpus": ("MULTI_GPU", 1, True),
        "two_machines": ("MULTI_GPU", 2, True),
    }[path.stem]
    assert found.mixed_precision == "bf16" and not found.use_cpu


def test_accelerate_refuses_no_key_of_the_configurations_and_the_launch_passes(tmp_path):
    """What the launcher would set for one GPU, through Accelerate's own code."""
    code = (
        "from accelerate.commands.launch import launch_command_parser, _validate_launch_command\n"
        "from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env\n"
        "from nlptl.train.launch import check_launch\n"
        "import sys\n"
        "for path in sys.argv[1:]:\n"
        "    args = launch_command_parser().parse_args(['--config_file', path, 'recipes/sentiment.py'])\n"
        "    args, *_ = _validate_launch_command(args)\n"
        "    several = args.num_processes > 1\n"
        "    made = prepare_multi_gpu_env(args) if several else prepare_simple_launcher_cmd_env(args)[1]\n"
        "    assert made['ACCELERATE_MIXED_PRECISION'] == 'bf16', made\n"
        "    check_launch(made)\n"
        "    print(path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, CONFIGS)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(CONFIGS) == 3 and all(str(path) in done.stdout for path in CONFIGS)
