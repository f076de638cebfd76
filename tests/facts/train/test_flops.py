"""How much of what the devices could do an update is."""

import jax
import pytest

from jaxemb.aot.chips import CHIPS
from jaxemb.data.digits import Digits
from jaxemb.experiment import Experiment
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.ops import peaks
from jaxemb.train.flops import least_seconds
from jaxemb.train.optim import Optim
from jaxemb.train.sharding import make_mesh


@pytest.mark.parametrize(
    "kind, chip", [("TPU v4", "v4"), ("TPU v5 lite", "v5e"), ("TPU v5", "v5p"), ("TPU v6 lite", "v6e"), ("TPU7x", "tpu7x")]
)
def test_peaks_are_those_of_the_table_of_chips(kind, chip):
    assert peaks.peak(kind) == CHIPS[chip].peak / CHIPS[chip].devices


def test_the_longest_name_of_whole_words_counts():
    assert peaks.peak("NVIDIA H100 PCIe") == 756e12 and peaks.peak("NVIDIA H100 80GB HBM3") == 989e12
    assert [peaks.peak(f"NVIDIA {name}") for name in ("L4", "L40", "L40S", "L400")] == [121e12, 181e12, 362e12, None]
    assert peaks.peak("NVIDIA A100-SXM4-80GB") == 312e12 and peaks.peak("NVIDIA GH200 480GB") == 989e12
    assert peaks.peak("cpu") is None


def test_the_least_seconds_of_an_update(monkeypatch):
    """Counted by hand: forward and backward are three products of each kernel, less that for the gradient of the images."""
    blocks = (Block(Attention(2), FeedForward()),)
    experiment = Experiment(
        name="counted",
        objective=Classify(encoder=Transformer(stem=Patches(4), width=16, depth=1, blocks=blocks), classes=10),
        data=Digits(),
        optim=Optim(),
        steps=1,
        batch=16,
        evals={},
    )
    mesh = make_mesh({"data": 2})
    assert least_seconds(experiment, mesh) is None
    monkeypatch.setitem(peaks.PEAKS, jax.devices()[0].device_kind, 2.0)
    tokens = 16 * 4
    stem, kernels, logits = tokens * 16 * 16, tokens * 12 * 16 * 16, 16 * 16 * 10
    attention = 2 * 16 * 4 * 4 * 16
    flops = 2 * (2 * stem + 3 * (kernels + attention + logits))
    assert least_seconds(experiment, mesh) == pytest.approx(flops / (2 * 2e12), rel=1e-6)
