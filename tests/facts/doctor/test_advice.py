"""What is advised is what the run has not got."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxemb.contrastive.vicreg import VICRegLoss
from jaxemb.doctor import advice
from jaxemb.doctor.patient import Patient
from jaxemb.layers.feedforward import FeedForward
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.masks.multi_block import MultiBlock
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.vicreg import VICReg
from jaxemb.train.optim import Optim

XAVIER = Transformer(blocks=(Block(Attention(4, kernel_init="xavier"), FeedForward(kernel_init="xavier")),))
BARE, FULL = IJEPA(masks=MultiBlock()), IJEPA(masks=FixedBlocks(), sigreg=0.02, target_layers=2, encoder=XAVIER)


def patient(objective=BARE, *, ema=None, teacher=None, steps=100, **optim):
    experiment = SimpleNamespace(optim=Optim(**optim), ema=ema, steps=steps)
    p = Patient.__new__(Patient)  # without a run folder
    p.objective, p.experiment, p.teacher = objective, experiment, teacher
    return p


@pytest.mark.parametrize(
    ("advise", "bare", "remedied", "named"),
    [
        (advice.masks, patient(), patient(FULL), "FixedBlocks"),
        (advice.placed_targets, patient(), patient(FULL), "sigreg=0.02"),
        (advice.placed_targets, patient(), patient(FULL), "kernel_init='xavier'"),
        (advice.placed_targets, patient(), patient(FULL), "target_layers=2"),
        (advice.collapse, patient(), patient(FULL), "sigreg=0.02"),
        (advice.collapse, patient(), patient(teacher={}), "EMA teacher"),
        (advice.collapse, patient(VICReg(contrast=VICRegLoss(variance_weight=0.0))), patient(VICReg()), "variance_weight above 0"),
        (advice.smoother, patient(), patient(clip=1.0), "clip=1.0"),
        (advice.smoother, patient(warmup=0), patient(warmup=10), "warmup=0.1"),
        (advice.unreached, patient(lr=0.0), patient(lr=1e-3), "learning rate above 0"),
        (advice.unreached, patient(warmup=90), patient(warmup=10), "a warm-up below 90 of 100 steps"),
        (advice.unreached, patient(warmup=0.9), patient(warmup=0.1), "a warm-up below 0.9 of 100 steps"),
    ],
)
def test_what_the_run_has_is_not_advised(advise, bare, remedied, named):
    assert named in advise(bare) and named not in advise(remedied)


def test_what_is_there_is_made_stronger():
    assert advice.smoother(patient(clip=2.0, warmup=10, lr=1e-3)) == (
        "clip=1 instead of 2, warmup=20 instead of 10, a learning rate below 0.001"
    )


def test_where_everything_is_tried_that_is_said():
    assert advice.untried(("a", True), ("b", True)) == "the usual remedies are all in place: more steps, other data"
    assert advice.untried(("a", False), ("b", True), ("c", False)) == "a, c"


@pytest.mark.parametrize("ema, steps", [((1.0, 1.0), 60), ((0.99, 1.0), 60), ((0.996, 1.0), 10_000), ((0.5, 0.5), 5)])
def test_an_average_that_is_advised_is_faster(ema, steps):
    first, last = eval(advice.faster_average(patient(ema=ema, steps=steps)).split(",which")[0].split("=")[1].split("),")[0] + ")")
    assert 0 <= first < ema[0] and first <= last <= 1


def test_figures_to_standardise_by_are_given():
    assert "a mean of 2 and a deviation of 1" in advice.standardised(np.array([1.0, 3.0]))
