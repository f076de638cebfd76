"""Arrays cut out of the tensors of a folder: each device its part, everything that does not fit named at once."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.io.takes import Filled, fit, read, taken
from jaxemb.io.tensors import SINGLE, TensorFiles
from jaxemb.nn.hf.base import Part, Port, Take, Towers
from jaxemb.tensor_file import Tensor, name_of, write_tensors
from jaxemb.train.sharding import make_mesh

SHAPE = jax.ShapeDtypeStruct


def folder(path, arrays):
    write_tensors(path / SINGLE, {k: Tensor(x.shape, name_of(x.dtype), lambda x=x: x) for k, x in arrays.items()})
    return TensorFiles(path)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def part(**names):
    return Part(None, {path.replace("__", "/"): source for path, source in names.items()})


# ---- reading ---------------------------------------------------------------------------------------------------------------------

HEADS = Take("w", (12, 24), (3, 4, 8), (2, 0, 1))
"""Keys of 3 heads of 4 features, from rows q | k | v of 12 each."""


def test_the_shape_of_a_take_is_known_from_that_of_the_tensor():
    for take, shape in (
        (HEADS, (36, 8)),
        (Take("w"), (5, 6)),
        (Take("w", (1, 4)), (1, 6, 8)),
        (Take("w", (0, 1), (1, 1, 8)), (1, 6, 8)),
        (Take("w", None, (6, 2, 2), (1, 2, 0)), (6, 4)),
        (Take("w", order=(3, 0, 2, 1)), (2, 3, 4, 5)),
    ):
        whole = normal(0, *shape)
        assert taken(take, shape) == take.of(whole).shape and np.shares_memory(take.of(whole), whole)
    assert taken(HEADS, (36, 8)) == (8, 3, 4) and taken(Take("w", (1, 4)), (1, 1, 1)) is None
    assert taken(HEADS, (20, 8)) is None and taken(HEADS, (36, 9)) is None and taken(HEADS, ()) is None
    assert taken(Take("w", order=(1, 0)), (3,)) is None


@pytest.mark.parametrize("cut", [P(), P("fsdp"), P(None, None, "model"), P("data", None, ("fsdp", "model"))])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_each_device_has_its_part(tmp_path, cut, dtype):
    w = normal(1, 36, 8)
    mesh = make_mesh({"data": 2, "fsdp": 2, "model": 2})
    like = SHAPE((8, 3, 4), dtype, sharding=NamedSharding(mesh, cut))
    x = read(folder(tmp_path, {"w": w}), Filled(((HEADS,),), False), like)
    assert x.sharding == like.sharding and x.dtype == dtype
    np.testing.assert_array_equal(np.asarray(x), w[12:24].reshape(3, 4, 8).transpose(2, 0, 1).astype(dtype))


def test_layers_are_stacked_where_each_device_holds_its_own(tmp_path):
    layers = [normal(i, 4, 6) for i in range(4)]
    files = folder(tmp_path, {f"{i}.w": x for i, x in enumerate(layers)})
    filled = Filled(tuple((Take(f"{i}.w", order=(1, 0)),) for i in range(4)), True)
    mesh = make_mesh({"fsdp": 2, "model": 2})
    for cut in (P(), P("fsdp", None, "model"), P(None, "fsdp")):
        x = read(files, filled, SHAPE((4, 6, 4), np.float32, sharding=NamedSharding(mesh, cut)))
        np.testing.assert_array_equal(np.asarray(x), np.stack([w.T for w in layers]))


def test_several_takes_are_summed_and_rounded_once(tmp_path):
    a, b = normal(0, 1, 1, 8).astype(ml_dtypes.bfloat16), normal(1, 5, 8).astype(ml_dtypes.bfloat16)
    takes = (Take("a"), Take("b", (0, 1), (1, 1, 8)))
    x = read(folder(tmp_path, {"a": a, "b": b}), Filled((takes,), False), SHAPE((1, 1, 8), np.float32))
    np.testing.assert_array_equal(np.asarray(x), a.astype(np.float32) + b[:1, None].astype(np.float32))


def test_parts_that_several_devices_share_are_read_once(tmp_path, monkeypatch):
    files, reads = folder(tmp_path, {"w": normal(0, 8, 4)}), []
    monkeypatch.setattr(TensorFiles, "copy", lambda self, name, out, index, view: reads.append(index))
    read(
        files,
        Filled(((Take("w"),),), False),
        SHAPE((8, 4), np.float32, sharding=NamedSharding(make_mesh({"fsdp": 2, "data": 4}), P("fsdp"))),
    )
    assert [i[0] for i in reads] == [slice(0, 4, 1), slice(4, 8, 1)]


PEAK = """
import json, sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxemb.io.takes import Filled, read
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.hf.base import Take
from jaxemb.train.sharding import make_mesh

def memory(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

files, mesh, side = TensorFiles(sys.argv[1]), make_mesh({"fsdp": 8}), int(sys.argv[2])
place = NamedSharding(mesh, P("fsdp"))
def get(name, like):
    return read(files, Filled(((Take(name, None, None, (1, 0)),),), False), like)
get("small", jax.ShapeDtypeStruct((8, 8), np.float32, sharding=place))
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
held = [get(f"w{i}", jax.ShapeDtypeStruct((side, side), np.float32, sharding=place)) for i in range(4)]
assert all(len(x.addressable_shards) == 8 for x in held)
print(json.dumps(memory("VmHWM") - before))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from /proc")
def test_the_host_holds_the_shards_and_one_tensor(tmp_path):
    """Of four tensors of 64 MiB, transposed on 8 devices: what they hold and one tensor more, never the file beside them."""
    side = 4096
    size = 4 * side * side
    header = {"small": {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, 256]}}
    header |= {
        f"w{i}": {"dtype": "F32", "shape": [side, side], "data_offsets": [256 + i * size, 256 + (i + 1) * size]} for i in range(4)
    }
    text = json.dumps(header).encode()
    with open(tmp_path / SINGLE, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + 256 + 4 * size)  # zeros that take no room on the disk
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path), str(side)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout.splitlines()[-1])
    assert 4 * size <= grown <= 4 * size + size + 2**24, f"{grown / 2**20:.0f} MiB for {4 * size / 2**20:.0f} MiB of shards"


# ---- fitting ---------------------------------------------------------------------------------------------------------------------


def like(*shape):
    return SHAPE(shape, np.float32)


def test_the_prefix_is_found(tmp_path):
    names = {"a.w": normal(0, 2), "b.w": normal(1, 2)}
    for i, prefix in enumerate(("", "bert.", "model.language_model.", "_orig_mod.")):
        (tmp_path / str(i)).mkdir()
        files = folder(tmp_path / str(i), {prefix + n: x for n, x in names.items()} | {"head.w": normal(2, 2)})
        found = fit(files, {"encoder": part(x=Take("a.w"), y=Take("b.w"))}, {"encoder/x": like(2), "encoder/y": like(2)})
        assert found.prefix == prefix and set(found.found) == {"encoder/x", "encoder/y"}
        # What stands outside of a prefix is somebody's head; without one it could be anything.
        assert (found.left, found.unexpected) == ((["head.w"], []) if prefix else ([], ["head.w"]))


def test_everything_that_does_not_fit_is_named_at_once(tmp_path):
    files = folder(
        tmp_path,
        {
            "a.w": normal(0, 3, 2),
            "b.w": normal(0, 4),
            "c.w": np.arange(3),
            "q.w": normal(0, 6, 2),
            "more.w": normal(0, 1),
            "head.w": normal(0, 1),
            "position_ids": np.arange(4),
        },
    )
    names = part(
        x=Take("a.w", order=(1, 0)), y=Take("b.w"), z=Take("gone.w"), i=Take("c.w"), q=Take("q.w", (0, 4)), k=Take("q.w", (4, 8))
    )
    wanted = {"x": like(2, 5), "y": like(4), "z": like(1), "i": like(3), "q": like(4, 2), "k": like(4, 2), "other": like(1)}
    found = fit(files, {"": names}, wanted, Port(names, part(), ignored=(r"^head\.",)))
    assert found.complaint(strict=True) == (
        "\n  3 of another shape or dtype:"
        "\n    a.w: (3, 2) there, (5, 2) wanted for x"
        "\n    c.w: I64 there, floats wanted (F64, F32, F16, BF16)"
        "\n    q.w, rows 4 to 8: (6, 2) there, (4, 2) wanted for k"
        "\n  1 missing there:\n    gone.w"
        "\n  1 parameters that no tensor is known for:\n    other"
        "\n  1 unexpected, not in this model:\n    more.w"
    )
    assert found.complaint(strict=False).count("\n") == 4
    assert found.left == ["head.w", "position_ids"]
    assert fit(files, {"": names}, wanted, ignored=("more", "head")).unexpected == []


def test_more_than_forty_are_counted(tmp_path):
    files = folder(tmp_path, {f"t{i}.w": normal(0, 1) for i in range(50)})
    assert fit(files, {"": part()}, {}).complaint(strict=True).endswith("t39.w\n    and 10 more")


def test_a_vocabulary_may_have_rows_to_spare_and_never_too_few(tmp_path):
    table = normal(0, 10, 4)
    files = folder(tmp_path, {"emb": table})
    names = {"": part(stem__embedding=Take("emb"), pos__table=Take("emb"))}
    found = fit(files, names, {"stem/embedding": like(8, 4)})
    assert found.cut == ["emb: the last 2 of 10 rows, beyond the vocabulary"] and not found.complaint(strict=True)
    np.testing.assert_array_equal(np.asarray(read(files, found.found["stem/embedding"], like(8, 4))), table[:8])
    assert "(10, 4) there, (11, 4) wanted" in fit(files, names, {"stem/embedding": like(11, 4)}).complaint(strict=True)
    assert "(10, 4) there, (8, 4) wanted" in fit(files, names, {"pos/table": like(8, 4)}).complaint(strict=True)


@pytest.mark.parametrize(
    "there", [["lm_head.weight"], ["model.embed_tokens.weight"], ["model.embed_tokens.weight", "lm_head.weight"]]
)
def test_tied_tables_are_there_under_one_name_or_both(tmp_path, there):
    table = normal(0, 5, 4)
    files = folder(tmp_path, dict.fromkeys(there, table) | {"model.norm.weight": table[0], "model.layers.0.w": table[0]})
    parts = {"": part(stem__embedding=Take("embed_tokens.weight"), norm__scale=Take("norm.weight"), w=Take("layers.0.w"))}
    wanted = {"stem/embedding": like(5, 4), "norm/scale": like(4), "w": like(4)}
    found = fit(files, parts, wanted, Port(parts[""], part(), ignored=(r"^lm_head\.",)))
    assert not found.complaint(strict=True) and len(found.found) == 3


def test_stacked_layers_of_a_period(tmp_path):
    files = folder(tmp_path, {f"{i}.w": normal(i, 3) for i in range(6)})
    names = {"encoder": part(**{f"block_{i}__w": Take(f"{i}.w") for i in range(6)})}
    wanted = {f"encoder/blocks/block_{j}/w": like(3, 3) for j in range(2)}
    found = fit(files, names, wanted)
    assert not found.complaint(strict=True)
    for j in range(2):
        x = read(files, found.found[f"encoder/blocks/block_{j}/w"], like(3, 3))
        np.testing.assert_array_equal(np.asarray(x), np.stack([normal(i, 3) for i in range(j, 6, 2)]))
    assert "6 layers there, 7 wanted" in fit(files, names, {"encoder/blocks/block_0/w": like(7, 3)}).complaint(strict=True)


def test_of_two_towers_the_tensors_of_the_other_are_not_unexpected(tmp_path):
    files = folder(tmp_path, {"text.w": normal(0, 2), "image.w": normal(0, 2), "logit_scale": normal(0, 1)})
    text, image = (Port(part(x=Take(f"{name}.w")), part()) for name in ("text", "image"))
    found = fit(files, {"encoder": text.encoder}, {"encoder/x": like(2)}, Towers(text, image, Take("logit_scale")))
    assert not found.unexpected and found.unused == ["image.w", "logit_scale"]
