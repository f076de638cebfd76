import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import token_ids
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.extend import extended, extended_variables
from jaxemb.nn.mlp import MLP
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.posemb.alibi import ALiBi
from jaxemb.posemb.extended import Extended
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.logit_scale import LogitScale
from jaxemb.posemb.none import NoPos
from jaxemb.posemb.rescale import NTK, DynamicNTK, Interpolated, YaRN
from jaxemb.posemb.reuse import Grouped, Recurrent
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.self_extend import SelfExtend, relative_positions


def encoder(pos, *blocks):
    return Transformer(stem=Tokens(20, std=1.0), width=8, depth=2, pos=pos, blocks=blocks or (Block(Attention(2)),))


BERT = encoder(Learned(shape=(6,), std=1.0))
LLAMA = encoder(Rotary(base=100.0))
IDS = token_ids(0, 20, 2, 16)
LENGTHS = np.array([[16], [10]])
PADDED = {"allow": Allow(jnp.asarray(np.arange(16)[None] < LENGTHS))}
ALONE = {"allow": Allow(jnp.ones((1, 10), bool))}


@pytest.fixture(scope="module")
def variables():
    return {model: init(model, jax.random.key(0), IDS[:, :6]) for model in (BERT, LLAMA)}


def tokens(model, variables, ids, **how):
    return apply(model, variables, ids, **how).tokens


@pytest.mark.parametrize(
    ("model", "extend"),
    [
        (BERT, Grouped(factor=None, original=6)),
        (BERT, Interpolated(factor=None, original=6)),
        (LLAMA, DynamicNTK(original=6)),
        (LLAMA, LogitScale(of=SelfExtend(group=3, window=2, original=6, chunk=0), original=6)),
    ],
    ids=["grouped", "interpolated", "dynamic", "self-extend"],
)
def test_a_text_is_read_by_its_own_length_and_not_that_of_its_row(model, extend, variables):
    """Ten tokens: alone they are what they are beside sixteen others, padded; short texts are what they are without extension."""
    longer = extended(model, extend)
    assert jax.tree.structure(init(longer, jax.random.key(0), IDS[:, :6])) == jax.tree.structure(variables[model])
    mates = tokens(longer, variables[model], IDS, **PADDED)
    alone = tokens(longer, variables[model], IDS[1:, :10], **ALONE)
    np.testing.assert_allclose(mates[1, :10], alone[0], atol=1e-5)
    assert bool(jnp.isfinite(mates[0]).all())
    short = tokens(longer, variables[model], IDS[:, :6])
    np.testing.assert_allclose(short, tokens(model, variables[model], IDS[:, :6]), atol=1e-6)


def test_what_an_extension_changes_is_what_its_positions_say(variables):
    """Grouped by 2 is the model itself at the positions 0 0 1 1 2 2 ..."""
    pos = jnp.asarray(np.arange(10)[None, :, None] // 2)
    expected = tokens(BERT.clone(stem=Tokens(20, std=1.0)), variables[BERT], IDS[:, :6], pos=pos[:, :6])
    got = tokens(extended(BERT, Grouped(factor=2)), variables[BERT], IDS[:, :6])
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert not np.allclose(got, tokens(BERT, variables[BERT], IDS[:, :6]), atol=1e-3)


def test_tuned_rows_begin_as_the_interpolated_table(variables):
    grown = Extended(original=6, factor=2)
    longer, own = extended(BERT, grown), extended_variables(grown, variables[BERT], ())
    assert own["params"]["pos"]["rows"].shape == (6, 8) and own["constants"]["pos"]["table"].shape == (6, 8)
    assert {*own["params"]} == {*variables[BERT]["params"]}
    expected = tokens(extended(BERT, Interpolated(factor=2, original=6)), variables[BERT], IDS[:, :12])
    np.testing.assert_allclose(tokens(longer, own, IDS[:, :12]), expected, atol=1e-5)
    np.testing.assert_array_equal(tokens(longer, own, IDS[:, :6]), tokens(BERT, variables[BERT], IDS[:, :6]))
    two = np.concatenate([np.zeros((2, 8), np.float32), variables[BERT]["params"]["pos"]["table"]])
    roberta = extended_variables(grown, {"params": {"pos": {"table": two}}}, ())  # whose table begins with rows that no token reads
    np.testing.assert_array_equal(roberta["constants"]["pos"]["table"], own["constants"]["pos"]["table"])
    assert isinstance(extended(encoder(Learned(shape=(8,), first=2)), grown).pos, Extended)
    assert extended_variables(Grouped(), variables[BERT]) == variables[BERT]
    nested = extended_variables(grown, {"params": {"encoder": variables[BERT]["params"]}})
    np.testing.assert_array_equal(nested["constants"]["encoder"]["pos"]["table"], own["constants"]["pos"]["table"])


def test_blocks_with_positions_of_their_own():
    """As ModernBERT and Gemma 3 have them: another base for local attention, whose distances stay those of training."""
    far, near = Block(Attention(2, pos=Rotary(base=1000.0))), Block(Attention(2, pos=Rotary(), window=3))
    got = extended(encoder(NoPos(), near, far), YaRN(factor=4.0, original=6))
    assert isinstance(got.pos, NoPos) and got.blocks[0] == near
    pos = got.blocks[1].attention.pos
    assert isinstance(pos, YaRN) and pos.of.base == 1000.0 and pos.factor == 4.0


def test_extensions_around_extensions():
    for own in (Rotary(base=7.0), YaRN(of=Rotary(base=7.0), factor=2.0)):
        pos = extended(encoder(own), LogitScale(of=Grouped(factor=2), original=6)).pos
        assert isinstance(pos, LogitScale) and isinstance(pos.of, Grouped) and type(pos.of.of) is type(own)
    out = tokens(
        extended(encoder(own), LogitScale(of=Grouped(factor=2), original=6)), init(encoder(own), jax.random.key(0), IDS), IDS
    )
    assert bool(jnp.isfinite(out).all())


@pytest.mark.parametrize(
    ("extend", "window", "reach"),
    [
        (Learned(shape=(512,)), 512, 512),
        (Grouped(factor=2), 512, 1024),
        (Grouped(factor=2, original=100), 512, 200),
        (Grouped(factor=None, original=512), 512, None),
        (Interpolated(factor=1.5), 512, 768),
        (Recurrent(original=512), 512, None),
        (Extended(original=512, factor=8), 512, 4096),
        (NTK(lam=3.0), 512, None),
        (NTK(lam=None, factor=4.0), 512, 2048),
        (DynamicNTK(original=512), 512, None),
        (YaRN(factor=4.0, original=512), None, 2048),
        (SelfExtend(group=9, window=64), 512, 4095),
        (SelfExtend(group=3, window=256, original=512), 4096, 1023),
        (SelfExtend(), None, None),
        (LogitScale(of=Grouped(factor=2)), 512, 1024),
        (LogitScale(), 512, 512),
    ],
)
def test_how_long_an_input_may_be(extend, window, reach):
    assert extend.reach(window) == reach


def test_self_extend_reaches_the_last_distance_of_training():
    for group, near in ((3, 4), (9, 5)):
        n = SelfExtend(group=group, window=near).reach(20)
        farthest = np.asarray(relative_positions(jnp.arange(n + 1), jnp.arange(n + 1), group, near))
        assert farthest[n - 1, 0] == 19 and farthest[n, 0] == 20


@pytest.mark.parametrize(
    ("model", "extend", "message"),
    [
        (
            BERT,
            SelfExtend(),
            "cannot wrap Learned, only Rotary; the positions of this model are Learned.*takes: Interpolated, Group",
        ),
        (BERT, LogitScale(of=SelfExtend()), "cannot wrap Learned, only Rotary; the positions of this model are Learned"),
        (
            BERT,
            YaRN(),
            "YaRN changes the frequencies of Rotary, it cannot wrap Learned; .*Recurrent, Extended, LogitScale, Parallel",
        ),
        (LLAMA, Extended(original=6), "Extended.original=6. grows a learned table of so many rows; .* are Rotary, which takes:"),
        (BERT, Extended(original=7), r"Extended.original=7. grows .*; the positions of this model are Learned, 6 rows"),
        (
            encoder(Learned(shape=(8,), first=2)),
            Grouped(factor=2, original=7),
            "Grouped.original=7 is more than the 6 rows of the table",
        ),
        (BERT, Grouped(factor=2, original=7), "Grouped.original=7 is more than the 6 rows of the table"),
        (encoder(ALiBi()), NTK(), "cannot wrap ALiBi; the positions of this model are ALiBi, which takes: Interpolated, Grouped"),
        (encoder(YaRN()), SelfExtend(), "it cannot wrap YaRN, only Rotary; the positions of this model are YaRN around Rotary"),
        (encoder(NoPos()), Grouped(), "would change nothing in an encoder with positions that nothing tells; it takes: ParallelW"),
        (
            encoder(NoPos(), Block(Attention(2, pos=Rotary(), window=2))),
            Grouped(),
            "change nothing in an encoder with local attent",
        ),
        (BERT, "grouped", "extend=str is no extension"),
        (BERT, Rotary(), "extend=Rotary is no extension; valid: DynamicNTK, Extended, Grouped"),
        (MLP(), Grouped(), "extended in a Transformer, and MLP is none: ParallelWindows fits any model"),
    ],
)
def test_what_a_model_cannot_take_is_refused_with_what_it_can(model, extend, message):
    with pytest.raises(ConfigError, match=message):
        extended(model, extend)


@pytest.mark.parametrize(
    ("model", "extend", "window", "message"),
    [
        (BERT, Recurrent(original=5), None, r"Recurrent.original=5 is less than the 6 positions .*; write Recurrent\(original=6\)"),
        (BERT, LogitScale(original=4), 9, "LogitScale.original=4 is less than the 6 positions"),  # the table, whatever is said
        (BERT, LogitScale(of=Grouped(original=5), original=6), None, "Grouped.original=5 is less than the 6"),
        (LLAMA, YaRN(factor=4.0), 4096, "YaRN.original=128 is less than the 4096 positions"),
        (LLAMA, DynamicNTK(original=(128,)), 4096, "DynamicNTK.original=128 is less than the 4096 positions"),
        (LLAMA, SelfExtend(original=512), 4096, "SelfExtend.original=512 is less than the 4096 positions"),
        (encoder(NoPos(), Block(Attention(2, pos=Rotary()))), YaRN(), 4096, "YaRN.original=128 is less than the 4096 positions"),
    ],
)
def test_no_extension_makes_the_window_of_a_model_smaller(model, extend, window, message):
    with pytest.raises(ConfigError, match=message):
        extended(model, extend, window)


def test_the_window_itself_is_taken():
    for model, extend, window in ((BERT, Recurrent(original=6), None), (LLAMA, YaRN(original=64), 64), (LLAMA, Grouped(), 64)):
        assert type(extended(model, extend, window).pos) is type(extend)


def test_a_model_without_the_table():
    with pytest.raises(ConfigError, match="grows the table encoder/pos/table, and the parameters have no 'encoder' there"):
        extended_variables(Extended(original=6), {"params": {}})
