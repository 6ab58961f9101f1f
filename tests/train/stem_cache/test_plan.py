"""When a cache pays: worked out by hand."""

import pytest

from nlptl.train.stem_cache.plan import choose

#: A MiniLM with four of six blocks frozen, 1,500 sentences of 24 tokens.
USUAL = {
    "blocks": 4, "values": 1500 * 24 * 384, "width": 384, "passes": 3.0,
    "free_memory": 8 << 30, "free_disk": 50 << 30,
}  # fmt: skip


def test_usually_in_memory_and_exact():
    plan = choose("auto", **USUAL)
    assert (plan.kind, plan.dtype) == ("memory", "float32")


@pytest.mark.parametrize(
    ("changes", "kind", "dtype"),
    [
        ({"passes": 1.0}, "off", "float32"),
        ({"blocks": 0}, "off", "float32"),
        # 55 MB in float32: 40 % of 130 MB hold 52, so the disk is next; then half precision.
        ({"free_memory": 130_000_000}, "disk", "float32"),
        ({"free_memory": 100_000_000, "free_disk": 100_000_000}, "memory", "float16"),
        ({"free_memory": 10_000_000, "free_disk": 10_000_000}, "off", "float32"),
        ({"processes": 2}, "disk", "float32"),
    ],
)
def test_what_fits_where(changes, kind, dtype):
    plan = choose("auto", **{**USUAL, **changes})
    assert (plan.kind, plan.dtype) == (kind, dtype)
    assert plan.reason or kind != "off"


def test_a_fast_processor_outruns_a_slow_disk():
    """Methods 5.3: 3e13 FLOP/s, 4 blocks of 384, 4 bytes: 3.3 GB/s, more than a disk gives."""
    fast = {**USUAL, "on_cpu": False}
    assert choose("auto", **fast).kind == "memory"
    assert choose("auto", **{**fast, "free_memory": 0}).kind == "off"
    assert choose("auto", **{**fast, "free_memory": 0, "pooled": True}).kind == "disk"
    assert choose("disk", **fast).kind == "disk"  # asked for is asked for


def test_what_is_kept_takes_no_new_room_but_must_still_pay():
    full = {**USUAL, "free_memory": 0, "free_disk": 0}
    assert choose("auto", **full).kind == "off"
    plan = choose("auto", **full, kept=[("disk", "float16")])
    assert (plan.kind, plan.dtype) == ("disk", "float16")
    assert choose("auto", **USUAL, kept=[("disk", "float32")]).kind == "disk"
    fast = {**USUAL, "on_cpu": False}
    assert choose("auto", **fast, kept=[("disk", "float32")]).kind == "memory"
