"""Operations of training, worked out by hand for one text of four tokens.

A block of the tiny models (width 32, feed-forward 64, T5's heads 2 x 16) takes 4 x 8 x 32 x 32 = 32,768 for
the projections of attention, 4 x 4 x 4 x 32 = 2,048 for attention, and 4 x 4 x 32 x 64 = 32,768 for the
feed-forward layer: 67,584. A decoder's block attends twice: 2 x 34,816 + 32,768 = 102,400. Each stack has
three blocks.
"""

import numpy as np
import pytest
import torch
from tiny import tiny_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from nlptl.models.flops import block_forward, training_flops
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import apply_mode, parse_mode

BLOCK, DECODER = 67_584, 102_400


def operations(family, mode, *, epochs=2, cached=False, pooled=False):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family, 90))
    model, _ = apply_mode(model, parse_mode(mode), task_type="SEQ_CLS")
    return training_flops(model, np.asarray([4]), epochs, cached=cached, pooled=pooled)


#: The projections to queries, keys and values: no gradient of their inputs where nothing below them trains.
FIRST = 3 * 2 * 4 * 32 * 32


@pytest.mark.parametrize(
    ("mode", "cached", "passes", "saved"),
    [
        (
            "full",
            False,
            3 * 3 * 2,
            0,
        ),  # forward and twice as much backward, three blocks, two epochs
        ("freeze-embeddings", False, 3 * 3 * 2, 2),
        ("freeze-lower-2", False, 2 * 1 * 2 + 1 * 3 * 2, 2),
        ("freeze-lower-2", True, 2 * 1 + 1 * 3 * 2, 2),  # the frozen blocks once in all
        ("head-only", False, 3 * 1 * 2, 0),
        ("head-only", True, 3 * 1, 0),
    ],
)
def test_an_encoders_modes(mode, cached, passes, saved):
    for family in ("bert", "roberta"):
        assert operations(family, mode, cached=cached) == passes * BLOCK - saved * FIRST


def test_t5_counts_its_decoders_cross_attention():
    assert operations("t5", "full") == 2 * 3 * (3 * BLOCK + 3 * DECODER) == 3_059_712
    frozen, trained = 3 * BLOCK + DECODER, 2 * DECODER  # freeze-lower-4: the encoder and a block
    # Keys and values of both blocks read the frozen encoder; what the others read, a norm that trains scales.
    saved = 2 * FIRST * 2 // 3
    assert operations("t5", "freeze-lower-4") == 2 * frozen + 2 * (3 * trained - saved)
    assert operations("t5", "freeze-lower-4", cached=True) == frozen + 2 * (3 * trained - saved)
    assert operations("t5", "head-only") == 2 * (3 * BLOCK + 3 * DECODER) == 1_019_904


MODES = ("full", "freeze-lower-1", "blocks-0-1", "norm-only", "lora", "lora-above-1", "ia3")


@pytest.mark.parametrize(
    ("family", "mode"), [*((f, m) for f in ("bert", "t5") for m in MODES), ("bert", "prompt")]
)
def test_a_modes_training_step_costs_what_torch_counts(family, mode):
    """A step forward and backward on three texts of 40 tokens, wider than the model; the head's by hand."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family, 90))
    model, _ = apply_mode(model, parse_mode(mode), task_type="SEQ_CLS")
    found = training_flops(model, np.full(3, 40), 1, cached=False)
    ids, counter = torch.full((3, 40), 7), FlopCounterMode(display=False)
    ids[:, -1] = 1  # T5's end
    with sdpa_kernel(SDPBackend.MATH), counter:
        model.train()(input_ids=ids, labels=torch.zeros(3, dtype=torch.long)).loss.backward()
    head = 3 * 2 * 3 * (32 * 32 + 32 * 2)
    assert counter.get_total_flops() - head == found


def test_a_decoder_reads_targets_of_its_own_length():
    """torch's own counter: five tokens in, three out; the LM head's products taken off by hand."""
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(tiny_config("t5", 90)).eval()
    ids, counter = torch.full((2, 5), 7), FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter:
        model(input_ids=ids, decoder_input_ids=ids[:, :3])
    expected = 3 * (counter.get_total_flops() - 2 * 2 * 3 * 32 * 90)
    read, targets = np.full(2, 5), np.full(2, 3)
    assert training_flops(model, read, 1, cached=False, targets=targets) == expected


def test_a_gated_feed_forward_layer_has_three_products():
    """T5 v1.1: 34,816 + 4 x 6 x 32 x 64 = 83,968."""
    config = tiny_config("t5", 90)
    config.is_gated_act = True
    block = layer_map(AutoModelForSeq2SeqLM.from_config(config)).blocks[0]
    assert block_forward(block, 32, np.asarray([4])) == 83_968


def test_a_head_that_reads_one_token_saves_most_of_the_last_block():
    """Keys and values of 4 tokens, the rest of one: 20,480 + 512 + 8,192 = 29,184; and half an epoch."""
    last = 29_184
    assert operations("bert", "head-only", cached=True, pooled=True) == 2 * BLOCK + last
    assert operations("bert", "full", epochs=0.5, pooled=True) == 1.5 * (2 * BLOCK + last)
