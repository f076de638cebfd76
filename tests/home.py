"""A folder with an experiment file, as somebody has who works with the command line."""

import sys
from pathlib import Path

from jaxemb.cli import main

ROOT = Path(__file__).parents[1]
FILE = "experiments/cli_tests/small.py"
EXPERIMENT = '''
"""The experiment of tests/e2e/conftest.py as a file, with a class of its own."""

from jaxemb.data.digits import Digits
from jaxemb.evals.knn import KNN
from jaxemb.evals.raw import RawInputs
from jaxemb.experiment import Experiment, replace
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.pooling.mean import Mean
from jaxemb.train.optim import Optim


class Own(Mean):
    """A pooling of this file."""


encoder = Transformer(
    stem=Patches(2), width=16, depth=1, blocks=(Block(Attention(2, dropout=0.1), FeedForward(dropout=0.1)),)
)
main = Experiment(
    name="small",
    objective=IJEPA(encoder=encoder, predictor=Predictor(width=16, depth=1), masks=FixedBlocks(), pooling=Own()),
    data=Digits(),
    optim=Optim(lr=1e-3, clip=1.0),
    ema=(0.9, 1.0),
    steps=10,
    batch=16,
    evals={"knn": KNN(k=5, every=10, train=200, test=100), "pixels_knn": RawInputs(of=KNN(k=5, train=200, test=100))},
    save_every=5,
    log_every=1,
    mesh={"data": 1},
)
longer = replace(main, name="longer", steps=20)
'''


def at_home_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(ROOT))])


def forget():
    """As in a process that has not seen the experiment."""
    for name in [n for n in sys.modules if n.split(".")[0] == "experiments"]:
        del sys.modules[name]


def refused(capsys, *command):
    """The one line that answers a mistake."""
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said
