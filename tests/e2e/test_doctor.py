"""One fault planted in a run each: the doctor's first red line names it. A healthy run has none."""

import json
import sys
import types

import numpy as np
import pytest

from jaxemb.cli import main
from jaxemb.config import override
from jaxemb.contrastive.vicreg import VICRegLoss
from jaxemb.data.arrays import Arrays
from jaxemb.data.digits import Digits
from jaxemb.doctor.checks import examine
from jaxemb.doctor.patient import Patient, grade
from jaxemb.experiment import Experiment, replace
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.projector import Projector
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.vicreg import VICReg
from jaxemb.train.loop import train
from jaxemb.train.optim import Optim
from jaxemb.views.crops import CropViews

ENCODER = Transformer(
    stem=Patches(2, kernel_init="xavier"),
    width=32,
    depth=1,
    blocks=(Block(Attention(2, kernel_init="xavier"), FeedForward(kernel_init="xavier")),),
)
IJEPA_RUN = Experiment(
    name="ijepa",
    objective=IJEPA(encoder=ENCODER, predictor=Predictor(width=16, depth=1), masks=FixedBlocks(), joint=True),
    data=Digits(),
    optim=Optim(lr=2e-3, clip=3.0, warmup=10),
    ema=(0.9, 1.0),
    steps=60,
    batch=32,
    log_every=2,
    save_every=60,
    mesh={"data": 1},
)
SUPERVISED = replace(IJEPA_RUN, name="supervised", objective=Classify(encoder=ENCODER), steps=150)


class Corner(FixedBlocks):
    """The context is the top left patch of every image, which is blank in all digits."""

    def __call__(self, grid, draws):
        drawn = super().__call__(grid, draws)
        return {**drawn, "context": np.zeros_like(drawn["context"])[..., :1]}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """A stored run finds classes below experiments. alone."""
    module = types.ModuleType("experiments.corner")
    module.Corner = Corner
    monkeypatch.setattr(Corner, "__module__", "experiments.corner")
    monkeypatch.setitem(sys.modules, "experiments.corner", module)


def arrays(folder, change):
    """The digits as a file of arrays, with something changed."""
    x, rng = Digits(valid_share=0.0).split("train")[:], np.random.default_rng(0)
    images = np.clip((x["images"] * 0.376 + 0.305) * 255, 0, 255).astype(np.uint8)
    images, labels = change(images, x["labels"], rng)
    np.savez(folder / "digits.npz", images=images, **({} if labels is None else {"labels": labels}))
    mean, std = images.mean() / 255, images.std() / 255
    return Arrays(path=str(folder / "digits.npz"), size=8, channels=1, mean=(float(mean),), std=(float(std),), valid_share=0.0)


def constant(images, labels, rng):
    images[rng.permutation(len(images))[: len(images) // 2]] = 7
    return images, labels


def shuffled(images, labels, rng):
    return images, rng.permutation(labels)


def noise(images, labels, rng):
    """Every patch on its own: none says anything about another."""
    return rng.integers(0, 256, images.shape, np.uint8), None


def diagnosis(experiment, folder):
    train(experiment, folder / "run")
    return examine(Patient(str(folder / "run"), samples=256, say=lambda text: None))


def first_red(findings):
    return next((f"{f.group}: {f.name}" for f in findings if f.level == "red"), None)


FAULTS = {
    "an average that never moves": (
        lambda folder: override(IJEPA_RUN, ["ema=[1.0, 1.0]"]),
        "teacher: way of the teacher over that of the student",
    ),
    "a learning rate of 0": (lambda folder: override(IJEPA_RUN, ["optim.lr=0.0"]), "optimisation: learning rate reached"),
    "inputs as bytes": (
        lambda folder: override(IJEPA_RUN, ["data.mean=[0.0]", "data.std=[0.00392]"]),
        "data: deviation of the inputs",
    ),
    "constant images": (
        lambda folder: replace(IJEPA_RUN, data=arrays(folder, constant)),
        "data: constant examples",
    ),
    "shuffled labels": (
        lambda folder: replace(SUPERVISED, data=arrays(folder, shuffled)),
        "data: raw neighbours of one class, over chance",
    ),
    "a context without information": (
        lambda folder: replace(IJEPA_RUN, data=arrays(folder, noise)),
        "context: loss with swapped contexts over the true loss",
    ),
    "a context that is always the same patch": (
        lambda folder: replace(IJEPA_RUN, objective=IJEPA_RUN.objective.clone(masks=Corner())),
        "data: patches never shown",
    ),
    "a two-view loss without variance": (
        lambda folder: replace(
            IJEPA_RUN,
            ema=None,
            steps=150,
            objective=VICReg(
                encoder=ENCODER,
                projector=Projector(widths=(32, 32), norm=False),
                views=CropViews(size=8, mean=(0.305,), std=(0.376,)),
                contrast=VICRegLoss(variance_weight=0.0, covariance_weight=0.0),
            ),
        ),
        "collapse: spread of the student's embeddings",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_red_line_names_the_fault(fault, tmp_path):
    make, name = FAULTS[fault]
    assert first_red(diagnosis(make(tmp_path), tmp_path)) == name


def test_a_healthy_run_has_no_red_line_and_the_verb_writes_it_down(tmp_path, capsys):
    train(replace(SUPERVISED, steps=400, log_every=20, optim=Optim(lr=6e-3, clip=3.0, warmup=20)), tmp_path / "run")
    assert main(["doctor", str(tmp_path / "run"), "--samples", "256"]) == 0
    said = capsys.readouterr().out
    assert "no red line" in said and "worth" in said
    record = json.loads((tmp_path / "run" / "doctor.json").read_text())
    assert {f["level"] for f in record["findings"]} <= {"green", "yellow"} and record["step"] == 400
    assert (tmp_path / "run" / "doctor.png").stat().st_size > 10_000


def test_grades():
    assert [grade(v, yellow=0.5, red=0.1) for v in (0.6, 0.3, 0.05)] == ["green", "yellow", "red"]
    assert [grade(v, yellow=0.5, red=0.9) for v in (0.4, 0.6, 0.95, float("nan"))] == ["green", "yellow", "red", "red"]
