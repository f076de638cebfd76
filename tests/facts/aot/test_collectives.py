"""Collectives of programs whose communication is known, on eight devices of the CPU, and of a text as TPUs get it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.aot.collectives import axes_of, collectives, groups_of
from jaxemb.aot.hlo import Module, parse
from jaxemb.aot.traffic import traffic

AXES = {"data": 2, "fsdp": 2, "model": 2}


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh(tuple(AXES.values()), tuple(AXES), axis_types=(AxisType.Auto,) * 3)


def found(mesh, f, specs, out, *shapes):
    """[(kind, axes, size, members, times)] of the compiled f."""
    args = [jax.ShapeDtypeStruct(s, jnp.float32, sharding=NamedSharding(mesh, p)) for s, p in zip(shapes, specs)]
    text = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)).lower(*args).compile().as_text()
    return [(c.kind, c.axes, c.size, len(c.group), c.count) for c in collectives(Module(text), AXES)]


def test_a_sum_over_one_axis(mesh):
    f = found(mesh, lambda x: jax.lax.psum(x, "fsdp"), (P("fsdp"),), P(), (16, 4))
    assert f == [("all-reduce", ("fsdp",), 8 * 4 * 4, 2, 1)]


def test_a_gather_over_two_axes(mesh):
    """Its size is the whole array's."""
    f = found(mesh, lambda x: jax.lax.all_gather(x, ("data", "fsdp"), tiled=True), (P(("data", "fsdp")),), P(), (16, 4))
    assert f == [("all-gather", ("data", "fsdp"), 16 * 4 * 4, 4, 1)]


def test_a_scattered_sum_and_an_exchange(mesh):
    def f(x):
        x = jax.lax.psum_scatter(x, "data", tiled=True)
        return jax.lax.all_to_all(x, "model", 0, 1, tiled=True)

    known = [("reduce-scatter", ("data",), 16 * 4 * 4, 2, 1), ("all-to-all", ("model",), 8 * 4 * 4, 2, 1)]
    assert found(mesh, f, (P(),), P("data", "model"), (16, 4)) == known


def test_what_stands_in_a_loop_counts_with_its_turns(mesh):
    def f(x):
        return jax.lax.scan(lambda x, _: (jnp.sin(jax.lax.psum(x, "model")), None), x, None, length=7)[0]

    assert found(mesh, f, (P("model"),), P("model"), (8, 4)) == [("all-reduce", ("model",), 4 * 4 * 4, 2, 7)]


@pytest.mark.parametrize(
    "written, groups, axes",
    [
        ("replica_groups={{0,2},{4,6},{1,3},{5,7}}, to_apply=%add", [(0, 2), (4, 6), (1, 3), (5, 7)], ("fsdp",)),
        ("replica_groups=[4,2]<=[8], dimensions={0}", [(0, 1), (2, 3), (4, 5), (6, 7)], ("model",)),
        ("replica_groups=[4,2]<=[4,2]T(1,0), dimensions={0}", [(0, 2), (4, 6), (1, 3), (5, 7)], ("fsdp",)),
        ("replica_groups=[2,4]<=[2,2,2]T(1,0,2)", [(0, 1, 4, 5), (2, 3, 6, 7)], ("data", "model")),
        ("replica_groups=mesh['a'=2,'b'=1,'c'=4] {'c'}, x", [(0, 1, 2, 3), (4, 5, 6, 7)], ("fsdp", "model")),
        ("replica_groups=mesh['a'=2,'b'=4], x", [tuple(range(8))], ("data", "fsdp", "model")),
        ("source_target_pairs={{0,4},{4,0},{1,1}}, x", [(0, 4), (4, 0)], ("data",)),
        ("channel_id=1, to_apply=%add", [tuple(range(8))], ("data", "fsdp", "model")),
    ],
)
def test_groups_in_every_way_they_are_written(written, groups, axes):
    i = parse(f"  %x = f32[8]{{0}} all-gather(%y), channel_id=1, {written}")
    assert i is not None and groups_of(i, 8) == groups and axes_of(groups, AXES) == axes


CHAIN = 'frontend_attributes={chain_id="3"}, backend_config={"async_collective_fusion_config":{}}'
TPU = """HloModule it, entry_computation_layout={()->f32[]}

%all-reduce-scatter.7 (input: f32[8192,128]) -> f32[4096,128] {
  %input = f32[8192,128]{1,0:T(8,128)} parameter(0)
  %all-reduce.1 = f32[8192,128]{1,0:T(8,128)} all-reduce(%input), channel_id=1, replica_groups={{0,1}}, to_apply=%add
  ROOT %dynamic-slice.1 = f32[4096,128]{1,0:T(8,128)} dynamic-slice(%all-reduce.1, %i, %z), dynamic_slice_sizes={4096,128}
}

%start (p: bf16[32,128]) -> bf16[64,128] {
  %p = bf16[32,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %g = bf16[64,128]{1,0} all-gather(%p), channel_id=9, replica_groups=[1,2]<=[2], CHAIN
}

%done (p: bf16[32,128]) -> bf16[64,128] {
  %p = bf16[32,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %g = bf16[64,128]{1,0} all-gather(%p), channel_id=9, replica_groups=[1,2]<=[2], CHAIN
}

%layer (a: f32[12,64], b: f32[12,64], i: s32[]) -> f32[12,64] {
  %a = f32[12,64]{1,0} parameter(0)
  %b = f32[12,64]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %one = f32[1,64]{1,0} dynamic-slice(%a, %i, %zero), dynamic_slice_sizes={1,64}
  %two = f32[1,64]{1,0} negate(%one)
  ROOT %out = f32[12,64]{1,0} dynamic-update-slice(%b, %two, %i, %zero)
}

%body (s: (s32[], f32[12,64], f32[12,64])) -> (s32[], f32[12,64], f32[12,64]) {
  %s = (s32[], f32[12,64]{1,0}, f32[12,64]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%s), index=0
  %a = f32[12,64]{1,0} get-tuple-element(%s), index=1
  %b = f32[12,64]{1,0} get-tuple-element(%s), index=2
  %c = f32[12,64]{1,0} fusion(%a, %b, %n), kind=kLoop, calls=%layer, output_to_operand_aliasing={{}: (1, {})}
  ROOT %t = (s32[], f32[12,64]{1,0}, f32[12,64]{1,0}) tuple(%n, %a, %c)
}

%less (s: (s32[], f32[12,64], f32[12,64])) -> pred[] {
  %s = (s32[], f32[12,64]{1,0}, f32[12,64]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%s), index=0
  %twelve = s32[] constant(12)
  ROOT %lt = pred[] compare(%n, %twelve), direction=LT
}

ENTRY %main (x: f32[8192,128], y: bf16[32,128], a: f32[12,64]) -> f32[4096,128] {
  %x = f32[8192,128]{1,0:T(8,128)S(1)} parameter(0)
  %y = bf16[32,128]{1,0:T(8,128)(2,1)S(1)} parameter(1)
  %a = f32[12,64]{1,0} parameter(2)
  %s = (s32[], f32[12,64]{1,0}, f32[12,64]{1,0}) tuple(%n, %a, /*index=2*/%a)
  %w = (s32[], f32[12,64]{1,0}, f32[12,64]{1,0}) while(%s), condition=%less, body=%body
  %f1 = bf16[64,128]{1,0:T(8,128)(2,1)S(1)} fusion(%y), kind=kCustom, calls=%start
  %f2 = bf16[64,128]{1,0:T(8,128)(2,1)S(1)} fusion(%y), kind=kCustom, calls=%done
  ROOT %r = f32[4096,128]{1,0:T(8,128)S(1)} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.7
}
""".replace("CHAIN", CHAIN)


def test_a_tpu_program():
    """A sum of which each keeps a part is a scattered one, a gather spread over two fusions one gather; a loop of 12 layers reads
    and writes a layer a turn; and what lies on the chip itself moves nothing."""
    module = Module(TPU)
    known = [("reduce-scatter", ("data",), 8192 * 128 * 4, 2, 1.0), ("all-gather", ("data",), 64 * 128 * 2, 2, 1.0)]
    assert [(c.kind, c.axes, c.size, len(c.group), c.count) for c in collectives(module, {"data": 2})] == known
    assert not module.unknown
    assert traffic(module) == 12 * (64 * 4 + 64 * 4 + 4)  # and the index


def test_a_loop_whose_turns_are_not_written_is_named():
    module = Module(TPU.replace("constant(12)", "parameter(1)"))
    assert traffic(module) == 64 * 4 + 64 * 4 + 4 and module.unknown == {"w"}


def test_bytes_of_what_a_program_on_the_cpu_reads_and_writes():
    x = jax.ShapeDtypeStruct((64, 32), np.float32)
    text = jax.jit(lambda x: x.T @ x).lower(x).compile().as_text()
    assert 64 * 32 * 4 + 32 * 32 * 4 <= traffic(Module(text)) <= 4 * (64 * 32 * 4 + 32 * 32 * 4)
