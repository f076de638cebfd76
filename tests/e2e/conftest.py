"""One tiny experiment, trained in this process or in one of its own."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from home import EXPERIMENT, FILE, at_home_in, forget

import jaxemb
from jaxemb.cli import main
from jaxemb.config import override, to_json
from jaxemb.data.digits import Digits
from jaxemb.evals.knn import KNN
from jaxemb.experiment import Experiment
from jaxemb.layers.feedforward import FeedForward
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.run.checkpoint import Checkpoints
from jaxemb.train.loop import train
from jaxemb.train.optim import Optim
from jaxemb.train.setup import state_shapes
from jaxemb.train.sharding import make_mesh
from jaxemb.train.state import items_of, state_of

WORKER = pathlib.Path(__file__).with_name("worker.py")
SPEED = ("steps_per_second", "examples_per_second", "seconds")


@pytest.fixture(scope="session")
def tiny():
    """tiny("steps=30", ...): I-JEPA on the digits, in a second or two."""

    def make(*assignments):
        encoder = Transformer(
            stem=Patches(2), width=16, depth=1, blocks=(Block(Attention(2, dropout=0.1), FeedForward(dropout=0.1)),)
        )
        experiment = Experiment(
            name="tiny",
            objective=IJEPA(encoder=encoder, predictor=Predictor(width=16, depth=1), masks=FixedBlocks()),
            data=Digits(),
            optim=Optim(lr=1e-3, clip=1.0),
            ema=(0.9, 1.0),
            steps=20,
            batch=16,
            evals={"knn": KNN(k=5, every=10, train=200, test=100)},
            save_every=5,
            log_every=1,
            mesh={"data": 1},
        )
        return override(experiment, assignments)

    return make


@pytest.fixture
def launch():
    """launch(experiment, run, mode): worker.py in a process of its own. What still runs at the end of the test is killed."""
    started = []

    def start(experiment, run, *arguments, **environment):
        wanted = pathlib.Path(f"{run}.wanted.json")
        wanted.write_text(json.dumps(to_json(experiment)))
        command = [sys.executable, str(WORKER), str(run), *map(str, arguments)]
        environment = {**os.environ, **environment}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def read_state():
    """The whole state of a checkpoint, on one device, as numpy."""

    def read(experiment, run, step=None):
        wanted = state_shapes(experiment, make_mesh({"data": 1}))
        checkpoints = Checkpoints(pathlib.Path(run) / "checkpoints")
        state = state_of(checkpoints.restore(items_of(wanted), step).items)
        state = state.replace(key=jax.random.key_data(state.key))
        return jax.tree.map(np.asarray, state)

    return read


@pytest.fixture(scope="session")
def read_rows():
    """metrics.jsonl, without the figures of speed."""

    def read(run):
        rows = [json.loads(line) for line in (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if k not in SPEED} for row in rows]

    return read


@pytest.fixture(scope="session")
def until():
    """until(process, text): reads what a process says, up to a line that holds `text`."""

    def read(process, text):
        said = ""
        for line in process.stdout:
            said += line
            if text in line:
                return said
        raise AssertionError(f"the process ended without {text!r}:\n{said}")

    return read


@pytest.fixture(scope="session")
def assert_same():
    """Two trees, bit for bit or within a tolerance."""

    def check(a, b, **tolerance):
        assert jax.tree.structure(a) == jax.tree.structure(b)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            if tolerance:
                np.testing.assert_allclose(x, y, **tolerance)
            else:
                np.testing.assert_array_equal(x, y)

    return check


# ---- the command line ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with an experiment file and a run of it."""
    folder = tmp_path_factory.mktemp("work")
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        forget()
        at_home_in(folder, patch)
        assert main(["train", FILE]) == 0
    forget()
    return folder


@pytest.fixture
def here(work, monkeypatch):
    """A test that starts there, in a process that has not seen the experiment."""
    forget()
    at_home_in(work, monkeypatch)
    yield work
    forget()


@pytest.fixture
def other(here):
    """The run again, as if of another seed."""
    folder = here / "runs" / "small-seed1"
    shutil.copytree(here / "runs" / "small", folder)
    doc = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(doc | {"seed": 1}))
    yield folder
    shutil.rmtree(folder)


# ---- a finished run --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def experiment(tiny):
    return tiny("steps=10", "evals.rankme=jaxemb.evals.rankme:RankMe(samples=100, every=10)")


@pytest.fixture(scope="session")
def run(experiment, tmp_path_factory):
    """Ten steps, saved at 5 and 10. Not to be changed: `copy` is."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(experiment, folder)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return pathlib.Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture(scope="session")
def model(run):
    return jaxemb.load(run)


@pytest.fixture(scope="session")
def images(experiment):
    """Ten digits as they come, uint8 n 8 8 1."""
    return experiment.data.examples("test").columns["images"][:10]


@pytest.fixture(scope="session")
def z(model, images):
    return model.encode(images)


EIGHT = ('mesh={"data": 2, "fsdp": 2, "model": 2}', "sharding=fsdp+tensor")


@pytest.fixture(scope="session")
def on_eight(tiny, tmp_path_factory):
    """Ten steps on eight devices, every kernel cut. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "eight"
    train(tiny("steps=10", "save_every=10", "evals={}", *EIGHT), folder)
    return folder
