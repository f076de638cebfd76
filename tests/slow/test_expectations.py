"""Every experiment reaches the figures that its file expects. Minutes each: `pytest -m slow`, `-k shapes` for one of them."""

import pathlib

import pytest

from jaxemb.data.base import DataError
from jaxemb.experiment import defined, find
from jaxemb.train.loop import train

ROOT = pathlib.Path(__file__).parents[2]
BAND = 0.03
"""How far below (accuracies) a figure may fall: about three standard errors of 2 000 test rows."""


def expecting():
    """FILE:NAME of every experiment that states figures."""
    for file in sorted((ROOT / "experiments").glob("*/*.py")):
        for name, experiment in defined(str(file)).items():
            if experiment.expect:
                yield f"{file.relative_to(ROOT)}:{name}"


TARGETS = list(expecting())


def test_some_experiments_state_what_they_expect():
    assert TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_figures_of_the_whole_run(target, tmp_path):
    file, _, name = target.partition(":")
    experiment = find(f"{ROOT / file}:{name}")
    try:
        experiment.data.split("test").sample(1)[:]
    except DataError as e:
        pytest.skip(f"its data are not here: {e}")
    figures = train(experiment, tmp_path / "run")
    for name, expected in experiment.expect.items():
        assert figures[name] >= expected - BAND, f"{name} is {figures[name]:.3f}, a recorded run had {expected}"
