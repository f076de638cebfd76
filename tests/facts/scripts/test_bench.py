"""The benchmark counts right, treats every system alike, and says what it cannot do. No test looks at a time."""

import csv
import importlib
import pathlib
import sys

import numpy as np
import pytest

from jaxemb.nn.presets import vit

SCRIPTS = pathlib.Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    """The scripts import each other by their bare names, as `python scripts/bench.py` lets them."""
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))
    for name in ("bench", "bench_systems", "torch_vit"):
        sys.modules.pop(name, None)


@pytest.fixture
def bench():
    return importlib.import_module("bench")


@pytest.fixture
def systems():
    return importlib.import_module("bench_systems")


def micro(systems, task, batch=2):
    return systems.Case("micro", task, batch, 32, "float32")


def row(bench, **values):
    return dict.fromkeys(bench.COLUMNS, "") | values


# ---- what is counted -------------------------------------------------------------------------------------------------------------


def test_flops_of_micro_by_hand(systems):
    # 32 px in patches of 8: 16 tokens; width 128, 4 layers, MLP of 512; 2 a multiply-add.
    stem = 2 * 16 * (8 * 8 * 3) * 128
    qkv, out = 2 * 16 * 128 * 384, 2 * 16 * 128 * 128
    scores = weighted = 2 * 16 * 16 * 128
    mlp = 2 * (2 * 16 * 128 * 512)
    forward = stem + 4 * (qkv + scores + weighted + out + mlp)
    assert forward == 26_476_544
    assert micro(systems, "forward", batch=8).flops() == 8 * forward
    assert micro(systems, "train", batch=8).flops() == 8 * 3 * (forward + 2 * 128 * 1000)


def test_figures_by_hand(bench):
    times, first = np.array([[2.0, 4.0], [6.0, 3.0], [4.0, 5.0]]), np.array([[1.0, 2.0], [2.0, 3.0], [4.0, 1.0]])
    made = bench.figures(times, first, batch=8, flops=4e12, peak=10)
    assert made == {
        "ms": 4000, "ms_min": 2000, "cpu_ms": 4000,
        "ratio": 2, "ratio_low": 1, "ratio_high": 3, "cpu_ratio": 2,
        "images_s": 2, "gflop_s": 1000, "mfu": pytest.approx(0.1),
    }  # fmt: skip
    assert bench.figures(times, first, batch=8, flops=4e12, peak=None)["mfu"] == ""
    assert set(made) < set(bench.COLUMNS)


# ---- how it is measured ----------------------------------------------------------------------------------------------------------


def test_rounds_call_every_system_equally_often_and_take_turns_at_the_start(bench):
    calls = []
    runs = {name: lambda count, name=name: calls.append((name, count)) for name in "abc"}
    times = bench.interleaved(runs, rounds=4, seconds=0.0)
    assert {name: t.shape for name, t in times.items()} == dict.fromkeys("abc", (4, 2))
    assert {name: sum(n for who, n in calls if who == name) for name in "abc"} == dict.fromkeys("abc", 2 + 4 * 2)
    rounds = [calls[6 + 6 * i : 12 + 6 * i] for i in range(4)]  # after two calls of each to warm up; a round has two of each
    assert ["".join(name for name, _ in r) for r in rounds] == ["aabbcc", "bbccaa", "ccaabb", "aabbcc"]


def test_a_round_is_as_long_as_was_asked_for(bench, monkeypatch):
    now, counts = [0.0], []
    monkeypatch.setattr(bench, "clock", lambda: np.array([now[0], now[0]]))

    def run(count):
        now[0] += 0.25 * count
        counts.append(count)

    times = bench.interleaved({"only": run}, rounds=2, seconds=1.0)
    assert counts == [1, 1, 1, 4, 1, 4] and (times["only"] == 0.25).all()


def test_the_rows_of_a_case(bench, systems, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(systems.PRESETS, "tiny", lambda **fields: vit(16, 1, 2, 8, fields))
    path = tmp_path / "deep" / "bench.csv"
    args = bench.parse(["--systems", "jaxemb", "--rounds", "2", "--seconds", "0", "--no-memory"])
    for task in bench.TASKS:
        case = systems.Case("tiny", task, 2, 16, "float32")
        bench.save(path, [row(bench) | r for r in bench.measure(case, args.systems, args)])
    with path.open(newline="") as file:
        train, forward = csv.DictReader(file)
    assert list(train) == list(bench.COLUMNS)
    assert (train["task"], forward["task"], train["system"], train["batch"]) == ("train", "forward", "jaxemb", "2")
    assert float(train["ratio"]) == 1 and float(train["difference"]) == 0 and float(train["ms"]) > 0
    assert capsys.readouterr().err.splitlines() == ["tiny train: jaxemb", "tiny forward: jaxemb"]


def test_systems_that_do_not_agree_are_pointed_out(bench, systems, monkeypatch, capsys):
    losses = {"jaxemb": iter([7.0, 6.0, 5.0]), "eager": iter([7.0, 6.5, 5.25]), "compile": iter([7.0, 6.0, np.nan])}
    monkeypatch.setattr(
        systems.Case, "build", lambda self, name, params: systems.System(lambda n: next(losses[name], 0.0), lambda: 0)
    )
    args = bench.parse(["--rounds", "1", "--seconds", "0", "--no-memory"])
    rows = bench.measure(micro(systems, "train"), args.systems, args)
    assert [r["difference"] for r in rows] == pytest.approx([0, 0.5, np.nan], nan_ok=True)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("careful")]
    assert [line.split(",")[0] for line in said] == [
        "careful: eager differs from jaxemb by 5.0e-01",
        "careful: compile differs from jaxemb by nan",
    ]


def test_no_weight_is_zero(systems):
    import jax

    weights = micro(systems, "forward").weights()
    assert all(np.all(w != 0) and w.dtype == np.float32 for w in jax.tree.leaves(weights))
    assert abs(weights["encoder"]["norm"]["scale"].mean() - 1) < 0.01


@pytest.mark.parametrize("task", ["train", "forward"])
def test_jaxemb_agrees_with_torch(systems, task):
    pytest.importorskip("torch")
    case = micro(systems, task)
    weights = case.weights()
    ours, theirs = (case.build(name, weights).run for name in ("jaxemb", "eager"))
    tolerance = 1e-4 if task == "train" else 1e-5
    for _ in range(3):
        np.testing.assert_allclose(ours(1), theirs(1), atol=tolerance)


def test_a_parameter_without_a_partner_is_refused(systems):
    pytest.importorskip("torch")
    weights = micro(systems, "forward").weights()
    del weights["encoder"]["block_2"]["attention"]["out"]["bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*encoder.block_2.attention.out.bias"):
        systems.twin(micro(systems, "forward"), weights)


# ---- what it answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (["--models", "micro,vit_x"], "--models: 'vit_x' is not one of micro, vit_ti, vit_s, vit_b, vit_l, vit_h, vit_g"),
        (["--systems", "jaxemb,flax"], "--systems: 'flax' is not one of jaxemb, eager, compile"),
    ],
)
def test_unknown_names(bench, argv, answer):
    with pytest.raises(SystemExit) as e:
        bench.settle(bench.parse(argv))
    assert str(e.value) == answer


def test_an_image_that_patches_do_not_divide(bench):
    args = bench.parse(["--systems", "jaxemb", "--image", "100", "--models", "vit_ti"])
    bench.settle(args)
    with pytest.raises(SystemExit, match=r"--image: Patches\(size=16\) does not divide an image of 100 x 100 pixels"):
        bench.cases(args)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many"])
def test_numbers_that_are_none(bench, value, capsys):
    with pytest.raises(SystemExit):
        bench.parse([f"--rounds={value}"])
    assert f"argument --rounds: {value!r} is not a whole number from 1" in capsys.readouterr().err


def test_without_torch_jaxemb_is_measured_alone(bench, systems, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)  # its import fails
    monkeypatch.setattr(bench, "products", lambda: 2.0)
    args = bench.parse(["--systems", "eager,jaxemb,compile", "--out", str(tmp_path / "bench.csv")])
    bench.settle(args)
    assert args.systems == ["jaxemb"] and args.dtype == "float32" and args.peak == 2.0
    assert capsys.readouterr().err == "torch is not installed: jaxemb alone\n"


def test_without_a_compiler_torch_is_measured_eager(bench, systems, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(systems, "torch_problem", lambda: None)
    monkeypatch.setattr(systems, "compile_problem", lambda: "torch.compile does not work here (no compiler)")
    args = bench.parse(["--out", str(tmp_path / "bench.csv")])
    bench.settle(args)
    assert args.systems == ["jaxemb", "eager"]
    assert capsys.readouterr().err == "torch.compile does not work here (no compiler): without it\n"


def test_a_csv_is_gone_on_with(bench, tmp_path):
    path = tmp_path / "bench.csv"
    bench.save(path, [row(bench, model="micro", ms=1.23456789)])
    bench.save(path, [row(bench, model="vit_ti", cpu="a, b")])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["model"] for r in rows] == ["micro", "vit_ti"] and rows[0]["ms"] == "1.2346" and rows[1]["cpu"] == "a, b"


def test_a_csv_of_other_columns_is_left_alone_before_anything_is_measured(bench, tmp_path):
    path = tmp_path / "bench.csv"
    path.write_text("model,ms\nmicro,1\n")
    with pytest.raises(SystemExit, match=r"has other columns \(model, ms\): name another file with --out"):
        bench.save(path, [row(bench)])
    with pytest.raises(SystemExit, match="has other columns"):
        bench.settle(bench.parse(["--systems", "jaxemb", "--out", str(path)]))
    assert path.read_text() == "model,ms\nmicro,1\n"


def test_provenance_fills_the_last_columns(bench):
    origin = bench.provenance()
    assert list(origin) == list(bench.COLUMNS)[-len(origin) :]
    assert origin["device"] == "cpu" and "jax=" in origin["versions"] and origin["cores"] >= 1
