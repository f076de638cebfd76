"""The script compiles a small encoder for chips that are not here, and tells a table of all pairs from what is linear."""

import csv
import importlib.util

import pytest

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install -e '.[tpu-aot]'"
)


@pytest.fixture
def long(script, monkeypatch):
    from jaxemb.aot.topology import ENVIRONMENT

    for name, value in ENVIRONMENT.items():  # as `prepare` does, and taken back
        monkeypatch.setenv(name, value)
    return script("compile_long")


def test_growth_is_told_by_the_two_longest(long):
    assert long.growth({1024: 7, 8192: 400, 4096: 200}) == pytest.approx(1)
    assert long.growth({4096: 100, 8192: 400}) == pytest.approx(2)
    assert str(long.growth({4096: 0, 8192: 400})) == "nan"


def test_what_is_unknown_is_named(long, capsys):
    for option, given in (("--kinds", "plain,round"), ("--tasks", "sing"), ("--positions", "Rotor")):
        with pytest.raises(SystemExit):
            long.main([option, given])
        assert f"{option}: {given.split(',')[-1]} is not one of" in capsys.readouterr().err
    for given, said in (("v9:2x2", "there is no chip 'v9'"), ("v5e-1", "mesh")):
        if given == "v5e-1" and importlib.util.find_spec("libtpu") is None:
            continue
        with pytest.raises(SystemExit) as left:
            long.main(["--topology", given])
        shown = capsys.readouterr().err
        assert left.value.code == 2 and shown.startswith("error: ") and said in shown and shown.count("\n") == 1


VECTOR_MEMORY = 128 * 2**20
"""Bytes of a v5e chip: what lies there counts as none."""


@needs_libtpu
def test_a_row_for_each_length(long, tmp_path):
    path = tmp_path / "deep" / "long.csv"
    long.main(["--tiny", "--kinds", "packed window", "--tasks", "encode", "--tokens", "2000", "--csv", str(path)])
    (row,) = csv.DictReader(path.read_text().splitlines())
    assert tuple(row) == long.COLUMNS
    assert (row["kind"], row["tokens"], row["exponent"], row["topology"]) == ("packed window", "2000", "", "v5e:2x2")
    assert float(row["temporaries"]) < 2000 * 2000, "not a byte for each pair"


@pytest.mark.slow
@needs_libtpu
def test_training_is_linear_and_a_bias_is_not(long, tmp_path):
    path = tmp_path / "long.csv"
    common = ["--tiny", "--tokens", "16384,65536", "--csv", str(path)]
    long.main([*common, "--kinds", "packed window,softcap", "--tasks", "train"])
    short, long_, *other = [float(row["temporaries"]) for row in csv.DictReader(path.read_text().splitlines())]
    for few, many in ((short, long_), other):
        assert many < 4 * (few + VECTOR_MEMORY), "grows faster than tokens, though all of that memory is filled by the shorter"
    long.main(["--tiny", "--tokens", "4096,8192", "--csv", str(path), "--kinds", "", "--positions", "ALiBi", "--tasks", "encode"])
    assert float(list(csv.DictReader(path.read_text().splitlines()))[-1]["exponent"]) > 1.6
