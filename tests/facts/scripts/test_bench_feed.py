"""The benchmark of the feed runs and sees a source that is too slow."""

import re
from types import SimpleNamespace

import pytest


def test_a_slow_source_is_waited_for(script, capsys):
    small = ["--ahead", "2", "--batch", "8", "--image", "2", "--steps", "6"]
    shares = []
    for source, step in (("40", "1"), ("1", "40")):
        script("bench_feed").main([*small, "--jitter", "0", "--source", source, "--step", step])
        shares.append(float(re.search(r"ahead 2: wait ([\d.]+)%", capsys.readouterr().out)[1]))
    assert shares[0] > 50 > shares[1]


def test_waits_of_a_queue(script):
    queue = lambda ahead, **fields: script("bench_feed").queue_waits(ahead, SimpleNamespace(**fields), 2000)  # noqa: E731
    assert queue(2, source=75.0, step=50.0, jitter=0.0) == pytest.approx(1 / 3, abs=1e-3)
    assert queue(2, source=40.0, step=50.0, jitter=0.0) < 1e-3
    one, two, four = (queue(n, source=40.0, step=50.0, jitter=0.5) for n in (1, 2, 4))
    assert one > 2 * two > 4 * four
