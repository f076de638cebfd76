"""Adapters beside the matrices of a tiny encoder, layer by layer and scanned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids
from compiled import apply, init

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.lora import BASE, LoRA, adapters, base, merged
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.paths import by_path, map_paths
from jaxemb.posemb.learned import Learned
from jaxemb.train.optim import Optim

PATHS = (r"attention/[qv]/kernel$", r"out/kernel$", r"mlp/down/kernel$", r"^stem/embedding$")
PLAIN = Transformer(stem=Tokens(11), pos=Learned(shape=(8,)), width=8, depth=2, blocks=(Block(Attention(2)),))
IDS = token_ids(0, 11, 2, 5)


def with_lora(**fields):
    return PLAIN.clone(lora=LoRA(2, 3.0, PATHS, **fields))


@pytest.fixture(scope="module", params=[False, True], ids=["layers", "scanned"])
def case(request):
    encoder = with_lora().clone(scan=request.param)
    return encoder, init(encoder, jax.random.key(0), IDS)["params"]


def trained(params):
    return map_paths(lambda path, x: x + normal(len(path), *x.shape) / 3 if path.endswith("lora_b") else x, params)


def tokens(encoder, params, **options):
    return apply(encoder, {"params": params}, IDS, **options).tokens


def test_a_new_adapter_changes_nothing_and_keeps_the_names_of_the_rest(case):
    encoder, params = case
    plain = encoder.clone(lora=None)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), IDS)["params"]
    rest = base(params)
    assert {p: x.shape for p, x in by_path(rest).items()} == {p: x.shape for p, x in by_path(shapes).items()}
    np.testing.assert_allclose(tokens(encoder, params), tokens(plain, rest), rtol=1e-5, atol=1e-6)
    found = {p.rpartition("/")[0].removeprefix("blocks/") for p in by_path(params) if "lora" in p}
    layers = ("attention/q", "attention/v", "attention/out", "mlp/down")
    count = 1 if encoder.scan else 2
    assert found == {"stem", *(f"block_{i}/{layer}" for i in range(count) for layer in layers)}


def test_merged_it_is_the_same(case):
    encoder, params = case
    params, plain = trained(params), encoder.clone(lora=None)
    z = tokens(encoder, params)
    assert not np.allclose(z, tokens(plain, base(params)), atol=1e-2)
    np.testing.assert_allclose(tokens(plain, merged(encoder.lora, params)), z, rtol=1e-4, atol=1e-5)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    assert {x.dtype for x in jax.tree.leaves(merged(encoder.lora, half))} == {jnp.dtype(jnp.bfloat16)}


def test_a_linear_layer_by_hand(case):
    """W + (alpha / r) A B of one matrix, the other adapters at zero."""
    encoder, params = case
    if encoder.scan:
        pytest.skip("the same layer")
    q = params["block_1"]["attention"]["q"]
    one = map_paths(lambda path, x: normal(1, *x.shape) if path == "block_1/attention/q/lora_b" else x, params)
    w = q["kernel"] + 1.5 * jnp.einsum("dr,rhe->dhe", q["lora_a"], one["block_1"]["attention"]["q"]["lora_b"])
    np.testing.assert_allclose(merged(encoder.lora, one)["block_1"]["attention"]["q"]["kernel"], w, rtol=1e-4, atol=1e-6)


def test_dropout_in_training_alone(case):
    encoder, params = case
    params, dropping = trained(params), encoder.clone(lora=LoRA(2, 3.0, PATHS, dropout=0.5))
    rngs = {"dropout": jax.random.key(1)}
    np.testing.assert_array_equal(tokens(dropping, params, rngs=rngs), tokens(encoder, params, rngs=rngs))
    assert not np.allclose(tokens(dropping, params, train=True, rngs=rngs), tokens(encoder, params, rngs=rngs), atol=1e-2)


def test_adapters_alone_have_gradients_and_moments(case):
    encoder, params = case
    params = trained({"encoder": params, "head": jnp.ones((8,))})
    optim = Optim(freeze=(BASE,))
    left = {path for path, on in by_path(optim.trained(params)).items() if on}
    assert left == {path for path in by_path(params) if "lora" in path or path == "head"}
    moments = by_path(optim.make(10).init(params))
    assert sum("lora_a" in path for path in moments) == 2 * sum("lora_a" in path for path in left)
    assert not any(path.endswith("kernel") for path in moments)

    def loss(params, apply=lambda v: encoder.apply({"params": v["params"]["encoder"]}, IDS).tokens):
        return (optim.watch(apply)({"params": params}) ** 2).sum()

    for path, g in by_path(jax.jit(jax.grad(loss))(params)).items():
        assert bool(jnp.any(g != 0)) == ("lora" in path), path


def test_round_trip():
    encoder = with_lora(dropout=0.1)
    assert from_json(to_json(encoder)) == encoder


def test_what_changes_nothing_is_an_error(case, key):
    encoder, params = case
    with pytest.raises(ConfigError, match=r"the adapter changes nothing: all .* of its lora_b are zero"):
        merged(encoder.lora, params)
    with pytest.raises(ConfigError, match="there are no adapters among these parameters"):
        adapters(base(params))
    with pytest.raises(ConfigError, match=r"'atention' finds none of what can be adapted: .*attention/k/kernel.*stem/embedding"):
        encoder.clone(lora=LoRA(paths=("attention", "atention"))).init(key, IDS)


@pytest.mark.parametrize("regex", [r"block_0/attention/q/kernel$", r"^block_1/", "block_[02]/mlp/up"])
def test_a_scan_adapts_all_layers_alike(key, regex):
    """A number would choose one layer without a scan and all of them with it."""
    lora = LoRA(paths=(regex, "attention/v"))
    for blocks in (PLAIN.blocks, PLAIN.blocks * 2):
        encoder = PLAIN.clone(depth=4, blocks=blocks, lora=lora, scan=True)
        with pytest.raises(ConfigError, match=r"chooses 1 of .* layers \(block_|chooses 2 of 4 layers"):
            jax.eval_shape(encoder.init, key, IDS)
            pytest.fail(f"{regex} with a period of {len(blocks)}")
        if "[02]" in regex:
            break  # with a period of two it is all of a kind


def test_a_scan_takes_all_of_a_kind(key):
    two = PLAIN.clone(depth=4, blocks=PLAIN.blocks * 2, scan=True)
    for regex in (r"block_\d+/attention/q", r"block_[02]/attention/q", r"blocks/block_0/attention/q"):
        found = by_path(jax.eval_shape(two.clone(lora=LoRA(paths=(regex,))).init, key, IDS)["params"])
        kinds = {path.split("/")[1] for path in found if path.endswith("lora_a")}
        assert kinds == ({"block_0", "block_1"} if "d+" in regex else {"block_0"}), regex
    whole = PLAIN.clone(blocks=PLAIN.blocks * 2, scan=True, lora=LoRA(paths=("block_1/attention/q",)))  # each kind is one layer
    assert len([p for p in by_path(jax.eval_shape(whole.init, key, IDS)["params"]) if p.endswith("lora_a")]) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"paths": ()}, "must name at least one regex"),
        ({"paths": ("(",)}, "LoRA.paths: .* is no regular expression"),
        ({"rank": 0}, "LoRA.rank=0"),
        ({"alpha": float("nan")}, "LoRA.alpha=nan"),
        ({"dropout": 1.0}, r"LoRA.dropout must be in \[0, 1\)"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        LoRA(**fields)


def test_one_regex_without_its_tuple_is_named():
    lora = LoRA()
    object.__setattr__(lora, "paths", "kernel")  # the tests' own check of types would be first
    with pytest.raises(ConfigError, match=r"LoRA\.paths is a tuple of regexes: \('kernel',\)"):
        lora.__post_init__()
