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


@pytest.mark.parametrize(
    ("mode", "cached", "passes"),
    [
        ("full", False, 3 * 3 * 2),  # forward and twice as much backward, three blocks, two epochs
        ("freeze-lower-2", False, 2 * 1 * 2 + 1 * 3 * 2),
        ("freeze-lower-2", True, 2 * 1 + 1 * 3 * 2),  # the frozen blocks once in all
        ("head-only", False, 3 * 1 * 2),
        ("head-only", True, 3 * 1),
        ("lora", False, 3 * 2 * 2),  # gradients of states, none of the frozen weights
        ("lora-above-2", False, 2 * 1 * 2 + 1 * 2 * 2),
        ("lora-above-2", True, 2 * 1 + 1 * 2 * 2),
    ],
)
def test_an_encoders_modes(mode, cached, passes):
    for family in ("bert", "roberta"):
        assert operations(family, mode, cached=cached) == passes * BLOCK


def test_t5_counts_its_decoders_cross_attention():
    assert operations("t5", "full") == 2 * 3 * (3 * BLOCK + 3 * DECODER) == 3_059_712
    frozen, trained = 3 * BLOCK + DECODER, 2 * DECODER  # freeze-lower-4: the encoder and a block
    assert operations("t5", "freeze-lower-4") == 2 * frozen + 2 * 3 * trained == 1_839_104
    assert operations("t5", "freeze-lower-4", cached=True) == frozen + 2 * 3 * trained == 1_533_952
    assert operations("t5", "head-only") == 2 * (3 * BLOCK + 3 * DECODER) == 1_019_904
    assert operations("t5", "lora") == 2 * 2 * (3 * BLOCK + 3 * DECODER) == 2_039_808


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
