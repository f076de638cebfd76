"""The benchmark of positional embeddings builds each for its input, compares within a round, and counts SeqPE's work right."""

import csv

import pytest

from jaxemb.posemb.curve import Curve
from jaxemb.posemb.extended import Extended
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.rescale import YaRN
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.seqpe import SeqPE
from jaxemb.posemb.sincos import SinCos


@pytest.fixture(scope="module")
def bench(script):
    return script("bench_posemb")


def test_members_are_built_for_the_size_of_the_input(bench):
    assert bench.fitted(Learned, (14, 14)) == Learned(shape=(14, 14))
    assert bench.fitted(Learned, (512,)) == Learned(shape=(512,))
    assert bench.fitted(Rotary, (14, 14)) == Rotary(axes=2, base=100.0)
    assert bench.fitted(YaRN, (14, 14)).of == Rotary(axes=2, base=100.0)
    assert bench.fitted(Extended, (512,)).original == 256
    curve = bench.fitted(Curve, (14, 14))
    assert curve.of == SinCos(axes=1) and curve.shape is None
    text = bench.fitted(SeqPE, (512,))
    assert (text.axes, text.limit, text.way, text.project) == (1, 20_000, "scalar", "single")


def test_every_member_is_taken_by_an_input(bench, capsys):
    every = [member.name for member in bench.members("posemb")]
    image, text = bench.works(2, True)
    found = [bench.schemes(work, every, True) for work in (image, text)]
    assert set(found[0]) | set(found[1]) == set(every)
    assert "RelativeBuckets" not in found[0] and "Curve" not in found[1]
    assert "image: without RelativeBuckets: RelativeBuckets was given positions of 2 numbers" in capsys.readouterr().err


def test_a_run_writes_a_row_for_each_comparison(bench, tmp_path, capsys):
    path = tmp_path / "deep" / "bench.csv"
    argv = "--small --batch 2 --rounds 1 --inputs text --schemes Learned,Rotary,SelfExtend,SeqPE --csv".split()
    bench.main([*argv, str(path)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(bench.COLUMNS)
    assert {r["input"] for r in rows} == {"text"} and {r["batch"] for r in rows} == {"1"}
    made = [(r["task"], r["scheme"], r["against"]) for r in rows]
    names = ["NoPos", "Learned", "Rotary", "SelfExtend", "SeqPE"]
    assert made == [
        *(("train", name, "NoPos") for name in names),
        ("train", "SelfExtend", "Rotary"),
        *(("encode", name, "NoPos") for name in [*names, "SeqPE table"]),
        ("encode", "SeqPE table", "Learned"),
        ("encode", "SelfExtend", "Rotary"),
        *(("attend", name, "NoPos") for name in ("NoPos", "Rotary", "SelfExtend")),
        ("attend", "SelfExtend", "Rotary"),
    ]
    assert all(float(r["ratio"]) == 1 for r in rows if r["scheme"] == "NoPos")
    assert {(r["task"], r["scheme"], r["against"]): r["goal"] for r in rows if r["goal"]} == {
        ("train", "Rotary", "NoPos"): "1.05",
        ("train", "SeqPE", "NoPos"): "1.25",
        ("encode", "SeqPE table", "Learned"): "1",
        ("attend", "SelfExtend", "Rotary"): "2.2",
    }
    assert "below 25% from batch" in capsys.readouterr().out


# ---- the arithmetic of SeqPE -----------------------------------------------------------------------------------------------------


def test_flops_of_seqpe_by_hand(bench):
    image = bench.works(8, False)[0]
    still = bench.share(image, SeqPE(width=384, shift=0.0))
    # 196 cells, 32 pivots with 64 candidates, 32 windows of 64; 2 x 2 digits and the summary token; 2 layers of 12 w^2.
    positions, tokens = 196 + 32 * 65 + 32 * 64, 5
    layer = 2 * tokens * 12 * 384**2 + 4 * tokens**2 * 384
    project = 12 * 2 * 196 * 384 * 768
    assert still.fixed == positions * (2 * layer + 2 * 384 * 384) + project and still.each == 0
    shifted = bench.share(image, SeqPE(width=384, shift=0.1))
    assert shifted.each == project
    assert shifted.fixed == pytest.approx((positions + 0.1 * 32 * 196) * (2 * layer + 2 * 384 * 384))
    assert shifted.encoder == 2 * 196 * 768 * 384 + 12 * (2 * 196 * 384**2 * 12 + 4 * 196**2 * 384)


def test_the_batch_from_which_seqpe_is_cheap(bench):
    share = bench.Share(fixed=30.0, each=1.0, encoder=10.0)
    assert share.overhead(10) == pytest.approx(0.4)
    assert share.batch_below(0.25) == pytest.approx(20) and share.overhead(20) == pytest.approx(0.25)
    assert share.batch_below(0.1) == float("inf")


# ---- what it answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (["--schemes", "Rotari"], r"--schemes: there is no 'Rotari'.*Rotary"),
        (["--inputs", "images"], r"--inputs: there is no 'images'.*image"),
    ],
)
def test_unknown_names(bench, argv, answer):
    with pytest.raises(SystemExit, match=answer):
        bench.main(argv)
