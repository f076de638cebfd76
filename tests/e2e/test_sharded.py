"""Many devices train as one, and a run moves between them."""

import shutil

import pytest

from jaxemb.config import override
from jaxemb.run.folder import Run
from jaxemb.train.loop import train

SHORT = ("steps=10", "save_every=10", "evals={}")
LONGER = ("steps=20", "save_every=10", "evals={}")


@pytest.fixture(scope="module")
def stayed(tiny, on_eight, tmp_path_factory, read_state):
    """The state of step 20, all on eight devices."""
    run = shutil.copytree(on_eight, tmp_path_factory.mktemp("runs") / "stayed")
    experiment = override(Run(run).experiment(), LONGER)
    train(experiment, run)
    return read_state(experiment, run)


def test_eight_devices_equal_one(tiny, on_eight, tmp_path, read_state, read_rows, assert_same):
    train(tiny(*SHORT), tmp_path / "one")
    one, eight = read_rows(tmp_path / "one"), read_rows(on_eight)
    assert_same(eight, one, rtol=1e-4)
    experiment = tiny(*SHORT)
    a, b = read_state(experiment, on_eight), read_state(experiment, tmp_path / "one")
    assert_same(a.replace(key=b.key), b, atol=2e-4)
    assert_same(a.key, b.key)


@pytest.mark.parametrize("axes", ['{"data": 1}', '{"data": 2, "fsdp": 2}'])
def test_from_eight_devices_to_one_and_to_four(tiny, on_eight, stayed, tmp_path, read_state, assert_same, axes, capsys):
    shutil.copytree(on_eight, tmp_path / "moved")
    experiment = tiny(*LONGER, f"mesh={axes}", "sharding=fsdp")
    train(experiment, tmp_path / "moved")
    assert "going on from step 10" in capsys.readouterr().out
    assert_same(read_state(experiment, tmp_path / "moved"), stayed, atol=2e-4)


def test_accumulation_equals_the_whole_batch(tiny, tmp_path, read_rows):
    """Without dropout, whose draws differ between pieces."""
    plain = (*SHORT, "objective.encoder.blocks.0.attention.dropout=0.0", "objective.encoder.blocks.0.mlp.dropout=0.0")
    train(tiny(*plain), tmp_path / "whole")
    train(tiny(*plain, "accumulate=2", 'mesh={"data": 4}'), tmp_path / "pieces")
    losses = [[row["loss"] for row in read_rows(tmp_path / name)] for name in ("whole", "pieces")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
