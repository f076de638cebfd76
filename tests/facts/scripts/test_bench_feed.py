"""The benchmark of the feed runs and sees a source that is too slow."""

import re


def test_a_slow_source_is_waited_for(script, capsys):
    small = ["--ahead", "2", "--batch", "8", "--image", "2", "--steps", "6"]
    shares = []
    for source, step in (("40", "1"), ("1", "40")):
        script("bench_feed").main([*small, "--jitter", "0", "--source", source, "--step", step])
        shares.append(float(re.search(r"ahead 2: wait ([\d.]+)%", capsys.readouterr().out)[1]))
    assert shares[0] > 50 > shares[1]
