"""`jaxemb compile`: for eight devices of the CPU, for a TPU slice where libtpu is installed, and what it answers to mistakes."""

import csv
import dataclasses
import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import pytest
from home import EXPERIMENT, FILE, at_home_in, forget, refused

from jaxemb.aot.chips import CHIPS
from jaxemb.aot.plan import Plan, plan, plan_one, remat_of
from jaxemb.aot.program import Program, build
from jaxemb.aot.report import COLUMNS, show_sweep, sources, verdict
from jaxemb.aot.roofline import Roofline
from jaxemb.aot.sweep import Tried, candidates, estimate, largest, sweep
from jaxemb.aot.topology import ENVIRONMENT, topology
from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits
from jaxemb.experiment import Experiment, find, replace
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.ops.flops import Flops
from jaxemb.train.optim import Optim
from jaxemb.train.sharding import make_mesh
from jaxemb.train.summary import count_parameters

WIDTH, DEPTH, TOKENS, CLASSES, BATCH = 8, 2, 4, 10, 8
TINY = Experiment(
    name="tiny",
    objective=Classify(encoder=Transformer(stem=Patches(4), width=WIDTH, depth=DEPTH, blocks=(Block(Attention(2)),), scan=True)),
    data=Digits(),
    optim=Optim("sgd", lr=0.1),
    steps=10,
    batch=BATCH,
    mesh={"fsdp": -1},
    sharding="fsdp",
)
FORWARD = 2 * BATCH * (TOKENS * 16 * WIDTH + DEPTH * (TOKENS * 12 * WIDTH**2 + 2 * TOKENS**2 * WIDTH) + WIDTH * CLASSES)
"""Patches, two layers of 12 width^2 and two products of attention, the head. A gradient is twice that, but for the patches once."""
UPDATE = 3 * FORWARD - 2 * BATCH * TOKENS * 16 * WIDTH


@pytest.fixture(autouse=True)
def _environment_stays(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, ENVIRONMENT[name])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an experiment file; nothing was trained there."""
    forget()
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_text(EXPERIMENT)
    at_home_in(tmp_path, monkeypatch)
    yield tmp_path
    forget()


def test_the_train_step_and_encode_on_devices_of_the_cpu(here, capsys, tmp_path):
    file, table = tmp_path / "it.json", tmp_path / "it.csv"
    command = ["compile", FILE, "--topology", "cpu:8", "--set", 'mesh={"data": -1}', "--out", str(file), "--csv", str(table)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "train step, 16 examples on cpu:8 (8 chips), mesh data 8" in said and "encode, 16 examples on cpu:8" in said
    assert "no published memory to hold it against" in said and "all-reduce" in said and str(file) in said
    step, encode = json.loads(file.read_text())["plans"]
    assert step["memory"]["parameters"] == 4 * count_parameters(find(FILE)) == step["memory"]["average"]
    assert step["memory"]["optimiser"] >= 2 * step["memory"]["parameters"] and "optimiser" not in encode["memory"]
    assert step["fits"] is None and step["roofline"] is None and step["model_flops"] == step["executed_flops"]
    assert step["model_flops"] > 2 * encode["model_flops"] > 0 and step["moved"] > 0
    sums = [c for c in step["collectives"] if c["kind"] == "all-reduce"]
    assert {tuple(c["axes"]) for c in sums} == {("data",)}
    gradient = sum(c["size"] * c["count"] for c in sums)
    assert step["memory"]["parameters"] <= gradient <= 1.1 * step["memory"]["parameters"] + 1e4  # of the gradient, and figures
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [r["program"] for r in rows] == ["train step", "encode"] and rows[0]["command"] and tuple(rows[0]) == tuple(COLUMNS)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'jaxemb[tpu-aot]'")
def test_a_small_model_for_a_slice_of_v5e():
    step, encode = plan(TINY, topology("v5e:2x2"), say=lambda text: None)
    assert step.fits and encode.fits and step.available == 15.75 * 2**30 and step.chips == 4
    total = 4 * count_parameters(TINY)
    assert total / 4 <= step.memory["parameters"] < 0.6 * total  # biases of 10 and 2 numbers are whole
    assert step.model_flops == UPDATE == step.executed_flops and encode.model_flops == FORWARD - 2 * BATCH * WIDTH * CLASSES
    assert not step.guessed and {c.axes for c in step.collectives} == {("fsdp",)}
    assert any(c.count >= DEPTH for c in step.collectives)  # those of the loop over layers
    assert step.roofline and step.roofline.bound == "fsdp links" and step.mfu
    assert step.mfu == pytest.approx(UPDATE / (4 * 197e12 * step.roofline.seconds))
    assert 0 < step.moved < 1e6 and step.needed == pytest.approx(sum(step.memory.values()))


def test_a_program_that_the_compiler_lets_pass_may_still_be_too_large(monkeypatch):
    """Two arguments of which each has room."""
    found = topology("cpu:8")
    chip = dataclasses.replace(CHIPS["v5e"], usable=1e4)
    mesh = make_mesh({"data": -1}, found.devices)
    there = dataclasses.replace(found, chip=chip, shape=(2, 4))
    monkeypatch.setattr("jaxemb.aot.plan.roofline", lambda *args: Roofline(1.0, 1.0, {}))
    monkeypatch.setattr("jaxemb.aot.plan.places", lambda mesh: [])
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    for count, fits in ((1, True), (3, False)):
        program = Program(
            "it", 1, lambda n=count: jax.jit(lambda *xs: xs[0][:1]).lower(*[x] * n), {"batch": 4000.0 * count}, Flops, Flops
        )
        p = plan_one(program, mesh, there, say=lambda text: None)
        assert p.fits is fits and not p.failure and ("fits: " if fits else "does not fit: ") in verdict(p)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'jaxemb[tpu-aot]'")
def test_a_program_that_is_too_large_is_an_answer():
    mesh = jax.sharding.Mesh(topology("v5e:2x2").devices, ("data",))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    x = jax.ShapeDtypeStruct((2**13, 2**20), jnp.float32, sharding=whole)
    program = Program("it", 1, lambda: jax.jit(lambda x: jnp.sort(x[::-1], 0)).lower(x), {"batch": 2.0**35}, Flops, Flops)
    built = build(program)
    assert built.failure.startswith("RESOURCE_EXHAUSTED") and built.needed and built.needed > 15.75 * 2**30


# ---- mistakes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, answer",
    [
        (["--topology", "v9:2x2"], "there is no chip 'v9'; valid: cpu, tpu7x, v4, v5e, v5p, v6e"),
        (["--topology", "cpu:8", "--set", "batch=12", "--set", 'mesh={"data": -1}'], "batch=12 cannot be divided by 8 = data 8"),
        (["--topology", "cpu:8", "--set", 'mesh={"data": 3}'], "takes 3 of the 8 devices of cpu:8; {'data': -1} takes them all"),
        (["--topology", "cpu:8", "--set", 'mesh={"data": 16}'], "asks for 16 devices, there are 8"),
        (["--topology", "cpu:8", "--sweep", "bath"], "--sweep bath: there is nothing of this name to vary; did you mean 'batch'?"),
        (["--topology", "cpu:8", "--sweep", "batch"], "--sweep batch: nothing is known of the memory of cpu:8"),
    ],
)
def test_mistakes(here, capsys, options, answer):
    assert answer in refused(capsys, "compile", FILE, *options)


def test_another_table_is_not_written_into(here, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxemb.aot.plan.plan", lambda *args, **options: pytest.fail("minutes of compiling"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    said = refused(capsys, "compile", FILE, "--topology", "cpu:8", "--csv", str(tmp_path / "other.csv"))
    assert "that is another table; name a new file" in said


# ---- sweeps, of plans whose memory is a line in the batch ------------------------------------------------------------------------


def pretended(fixed, example, limit=16e9):
    """What `plan` would give: memory fixed + example batch, a time an example that falls with the batch."""

    def plan(experiment, topology, *, encodes, say):
        needed = fixed + example * experiment.batch
        roof = Roofline(1e-3 * experiment.batch + 1.0 + (experiment.mesh.get("data", 1) > 1), 0.0, {})
        fits = needed <= limit
        return [
            Plan(
                program="train step", topology="v5e:2x4", chips=8, mesh=dict(experiment.mesh), rows=experiment.batch,
                compile_seconds=1.0, memory={"parameters": fixed}, available=limit, needed=needed, fits=fits,
                failure="" if fits else "no", model_flops=1.0, executed_flops=1.0, moved=1.0, collectives=(), guessed=(),
                roofline=roof, mfu=0.5, remat=remat_of(experiment),
            )
        ]  # fmt: skip

    return plan


@pytest.fixture
def slice_of_eight(monkeypatch):
    from jaxemb.aot.chips import CHIPS
    from jaxemb.aot.topology import Topology

    return Topology("v5e:2x4", CHIPS["v5e"], (2, 4), tuple(jax.devices()))


def test_a_sweep_from_the_command_line(here, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("jaxemb.aot.sweep.plan", pretended(2e9, 1e6))
    file = tmp_path / "sweep.json"
    command = ["compile", FILE, "--topology", "cpu:8", "--sweep", " mesh, mesh", "--set", "sharding=fsdp", "--out", str(file)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 of 3: mesh fsdp 8, remat none" in said and "lowest roofline an example: --set 'mesh={" in said
    assert [p["mesh"]["fsdp"] for p in json.loads(file.read_text())["plans"]] == [8, 4, 1]


def test_rows_of_a_sweep_have_their_own_rematerialisation_and_what_failed_is_one(here, monkeypatch, tmp_path):
    tried = pretended(2e9, 1e6)

    def plan(experiment, topology, **options):
        if experiment.mesh["fsdp"] == 4:
            raise ConfigError("no such mesh")
        return tried(experiment, topology, **options)

    monkeypatch.setattr("jaxemb.aot.sweep.plan", plan)
    monkeypatch.setattr("jaxemb.aot.sweep.state_bytes", lambda *args: 0.0)
    file, table = tmp_path / "sweep.json", tmp_path / "sweep.csv"
    command = ["compile", FILE, "--topology", "cpu:8", "--sweep", "mesh, remat", "--set", "sharding=fsdp"]
    assert main([*command, "--out", str(file), "--csv", str(table)]) == 0
    doc = json.loads(file.read_text())
    assert sorted((p["mesh"]["fsdp"], p["remat"] or "none") for p in doc["plans"]) == [
        (f, r) for f in (1, 8) for r in ("full", "none")
    ]
    assert {(t["mesh"]["fsdp"], t["remat"], t["why"]) for t in doc["refused"]} == {(4, r, "no such mesh") for r in (None, "full")}
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [r["remat"] for r in rows] == [p["remat"] or "none" for p in doc["plans"]] + [
        t["remat"] or "none" for t in doc["refused"]
    ]
    assert {(r["fits"], r["mesh"], r["arithmetic"]) for r in rows[4:]} == {("no", "data=2 fsdp=4", "none: no such mesh")}


def test_a_fault_of_the_code_is_no_line_of_the_table(monkeypatch, slice_of_eight):
    monkeypatch.setattr("jaxemb.aot.sweep.state_bytes", lambda *args: int("fault"))
    with pytest.raises(ValueError, match="fault"):
        sweep(TINY, slice_of_eight, ["remat"], say=lambda text: None)


def test_a_sweep_says_what_is_missing_and_what_nothing_is_known_of(slice_of_eight, capsys):
    (p,) = pretended(2e10, 1e6)(TINY, slice_of_eight, encodes=False, say=print)
    show_sweep([Tried({"data": 8}, None, 8, dataclasses.replace(p, failure=""), "")])
    said = capsys.readouterr().out
    assert "needs 20.01 of 16 GB" in said and "none of them fits" in said
    show_sweep([Tried({"data": 8}, None, 8, dataclasses.replace(p, fits=None, failure="", roofline=None, available=None), "")])
    said = capsys.readouterr().out
    assert "unknown" in said and "none is called the best" in said and "none of them fits" not in said
    assert [line.partition(":")[0] for line in sources([dataclasses.replace(p, topology="v5litepod-8")])] == ["v5e"]


@pytest.mark.parametrize("example, best", [(1e9, 8), (0.4e9, 32), (2.5e8, 32), (1.7e9, 8), (5e9, 2)])
def test_the_largest_batch_in_few_compilations(monkeypatch, slice_of_eight, example, best):
    """Of batches 8, 16, 32, ...: the memory is 2 GB and so much an example."""
    monkeypatch.setattr("jaxemb.aot.sweep.plan", pretended(2e9, example))
    tried = largest(TINY, slice_of_eight, say=lambda text: None)
    fitting = [t.batch for t in tried if t.plan and t.plan.fits]
    assert len(tried) <= 3 and max(fitting, default=None) == best


def test_a_sweep_puts_the_fastest_example_first(monkeypatch, slice_of_eight):
    monkeypatch.setattr("jaxemb.aot.sweep.plan", pretended(2e9, 1e9))
    tried = sweep(TINY, slice_of_eight, ["batch", "mesh", "remat"], say=lambda text: None)
    assert {tuple(t.mesh.values()) for t in tried} == {(8, 1, 1), (1, 8, 1), (2, 4, 1)}
    assert {t.remat for t in tried} == {None, "full"} and len(tried) == 6
    seconds = [t.seconds for t in tried]
    assert seconds == sorted(seconds) and dict(tried[0].mesh)["fsdp"] == 8


def test_tensor_parallel_meshes_are_tried_where_the_rules_have_them(slice_of_eight):
    rules = replace(TINY, sharding="fsdp+tensor")
    found = {tuple(mesh.get(a, 1) for a in ("data", "fsdp", "model")) for mesh, _, _ in candidates(rules, slice_of_eight, ["mesh"])}
    assert {(8, 1, 1), (1, 8, 1), (4, 1, 2), (1, 4, 2), (1, 2, 4)} <= found and all(math.prod(m) == 8 for m in found)


def test_a_candidate_that_fails_is_a_line_of_the_table(monkeypatch, slice_of_eight, capsys):
    def broken(*args, **options):
        raise ConfigError("batch=8 cannot be divided\nby nine")

    monkeypatch.setattr("jaxemb.aot.sweep.plan", broken)
    tried = sweep(TINY, slice_of_eight, ["remat"], say=lambda text: None)
    assert [t.why for t in tried] == ["batch=8 cannot be divided"] * 2
    show_sweep(tried)
    assert "none of them could be compiled" in capsys.readouterr().out
    best = Tried({"data": 2, "fsdp": 4, "model": 1}, "full", 8, pretended(1e9, 1e6)(TINY, None, encodes=False, say=print)[0], "")
    show_sweep([best])
    assert """--set 'mesh={"data": 2, "fsdp": 4, "model": 1}' --set batch=8, remat full""" in capsys.readouterr().out


def test_what_cannot_hold_its_own_state_is_not_compiled(monkeypatch, slice_of_eight):
    monkeypatch.setattr("jaxemb.aot.sweep.state_bytes", lambda *args: 1e12)
    (tried,) = largest(TINY, slice_of_eight, say=lambda text: None)
    assert tried.plan is None and "are 1000.0 GB a chip" in tried.why


def test_without_a_word_of_the_compiler_the_batch_is_halved(slice_of_eight):
    (p,) = pretended(2e9, 5e9)(TINY, slice_of_eight, encodes=False, say=print)
    assert estimate(p.__class__(**{**p.__dict__, "needed": None})) == 0.5
