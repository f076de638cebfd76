"""`encode` on small pretrained folders; the complaints that people have about other libraries, each by name."""

import logging

import jax
import numpy as np
import pytest
from pretrained import WIDTH, bert, chain, write_json
from safetensors.numpy import load_file, save_file

from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder
from jaxemb.io.finishing import whole_number
from jaxemb.pooling.concat import of_modes
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.preprocess.base import DataError
from jaxemb.tensor_file import WeightsError
from jaxemb.train.sharding import make_mesh

TEXTS = ["the cat", "", "the cat sat on the mat", "a dog", "the big red dog ran on the mat", "cat"]
PROMPTS = {"query": "query : ", "passage": "a dog ", "empty": ""}
DENSE = {"in_features": WIDTH, "out_features": 9, "activation_function": "torch.nn.modules.activation.Tanh"}


def one():
    return make_mesh({"data": 1}, jax.devices()[:1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Transformer, mean, Dense to 9 features, Normalize."""
    at = bert(tmp_path_factory.mktemp("st"))
    return chain(at, ("Pooling", {"pooling_mode": "mean"}), ("Dense", DENSE), ("Normalize", None), prompts=PROMPTS)


@pytest.fixture(scope="module")
def model(folder):
    return Embedder.from_pretrained(folder, mesh=one())


@pytest.fixture(scope="module")
def z(model):
    return model.encode(TEXTS)


def of(tmp_path, mode, *, dense=False, include_prompt=True, **settings):
    """A folder without layers after its pooling."""
    modules = [("Pooling", {"pooling_mode": mode, "include_prompt": include_prompt}), *([("Dense", DENSE)] * dense)]
    return Embedder.from_pretrained(chain(bert(tmp_path, **settings), *modules, prompts=PROMPTS), mesh=one())


# ---- complaints ------------------------------------------------------------------------------------------------------------------


def test_truncation_is_told(model, caplog):
    """In the log once a call, in the report exactly."""
    with caplog.at_level(logging.WARNING, "jaxemb"):
        _, report = model.encode([*TEXTS, "the " * 30, "cat " * 15], report=True)
    assert [r.getMessage() for r in caplog.records] == [
        "2 of 8 texts were longer than 16 tokens and were cut: 17 of 80 tokens are not in the embeddings"
    ]
    assert (report.rows, report.rows_cut, report.tokens_lost, report.tokens, report.max_length) == (8, 2, 17, 63, 16)
    assert "2 rows cut to 16 tokens, 17 of 80 tokens lost" in str(report)
    caplog.clear()
    model.encode(TEXTS)
    assert not caplog.records


def test_the_pooling_of_the_folder_is_obeyed(tmp_path):
    """Each mode is what it says of the tokens, whatever the architecture would do by itself."""
    tokens = None
    for i, mode in enumerate(("cls", "mean", "max", "lasttoken")):
        model = of(tmp_path / str(i), mode)
        tokens = model.encode(TEXTS, output_value="token_embeddings") if tokens is None else tokens
        f = {"cls": lambda x: x[0], "mean": lambda x: x.mean(0), "max": lambda x: x.max(0), "lasttoken": lambda x: x[-1]}[mode]
        np.testing.assert_allclose(model.encode(TEXTS), [f(x) for x in tokens], atol=1e-5, err_msg=mode)


def test_a_dense_module_is_not_skipped(model, z, folder):
    from safetensors.numpy import load_file

    weights = load_file(folder / "2_Dense" / "model.safetensors")
    means = np.stack([x.mean(0) for x in model.encode(TEXTS, output_value="token_embeddings")])
    wanted = np.tanh(means @ weights["linear.weight"].T + weights["linear.bias"])
    np.testing.assert_allclose(z, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    assert z.shape == (6, 9)


@pytest.mark.parametrize("mode", ["cls", "mean", "lasttoken", "weightedmean"])
def test_left_padding_gives_what_right_padding_gives(tmp_path, mode):
    """The class token of a row that is padded on the left is no padding."""
    right, left = of(tmp_path / "r", mode), of(tmp_path / "l", mode, padding_side="left")
    assert left.preprocess.side == "left" and not left.preprocess(TEXTS)["mask"][0, 0]
    np.testing.assert_allclose(left.encode(TEXTS), right.encode(TEXTS), rtol=0, atol=1e-6)


def test_batch_size_order_and_mates_change_nothing(model, z):
    alone = np.stack([model.encode(text) for text in TEXTS])
    np.testing.assert_allclose(alone, z, rtol=0, atol=1e-6)
    rng = np.random.default_rng(0)
    for size in (1, 3, 64):
        order = rng.permutation(40) % 6
        got = model.encode([TEXTS[i] for i in order], batch_size=size)
        np.testing.assert_allclose(got, z[order], rtol=0, atol=1e-6)
    with_long = model.encode([*TEXTS, "the " * 30])[:6]
    np.testing.assert_allclose(with_long, z, rtol=0, atol=1e-6)


def test_several_devices_give_what_one_gives(folder, z):
    many = Embedder.from_pretrained(folder, mesh=make_mesh({"data": 8}))
    np.testing.assert_allclose(many.encode(TEXTS), z, rtol=0, atol=1e-6)


def test_kernels_are_cut_over_devices(folder, z, tmp_path):
    """Each device holds its part of a matrix, of the encoder, of a head, and of a folder in our own form as well."""
    many = {"mesh": make_mesh({"fsdp": -1}), "sharding": "fsdp"}
    cut = Embedder.from_pretrained(folder, **many)
    np.testing.assert_allclose(cut.encode(TEXTS), z, rtol=0, atol=1e-6)
    cut.origin = None
    cut.save_pretrained(tmp_path / "own")
    again = Embedder.from_pretrained(tmp_path / "own", **many)
    np.testing.assert_allclose(again.encode(TEXTS), z, rtol=0, atol=1e-6)
    for model in (cut, again):
        params = model.variables["params"]
        for kernel in (params["encoder"]["block_0"]["attention"]["q"]["kernel"], params["heads_0"]["dense"]["kernel"]):
            assert len({str(s.index) for s in kernel.addressable_shards}) == 8
            assert {s.data.size for s in kernel.addressable_shards} == {kernel.size // 8}
    with pytest.raises(ConfigError, match="sharding: 'atention' finds none of the parameters"):
        Embedder.from_pretrained(folder, mesh=many["mesh"], sharding=(("atention", "fsdp"),))


def test_packed_bits_of_nine_dimensions(model, z):
    bits = model.encode(TEXTS, precision="ubinary")
    assert bits.shape == (6, 2)
    np.testing.assert_array_equal(np.unpackbits(bits, axis=1)[:, :9], z > 0)
    np.testing.assert_array_equal(model.encode(TEXTS, precision="binary").astype(int) + 128, bits)


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_packed_bits_have_no_cosine(model, z, precision):
    bits = model.encode(TEXTS, precision=precision)
    for compare in (model.similarity, model.similarity_pairwise):
        with pytest.raises(ConfigError, match="of 2 bytes .* of a model of 9 dimensions are packed bits"):
            compare(bits, bits)
    codes = model.encode(TEXTS, precision="int8")
    assert model.similarity(codes, codes).shape == (6, 6)
    short = model.encode(TEXTS, precision="uint8", truncate_dim=3)  # more than bits of nine dimensions take
    assert model.similarity_pairwise(short, short).shape == (6,)


def test_int8_ranges_are_the_same_wherever_they_are_given(model, z):
    ranges = np.stack([z.min(0), z.max(0)])
    whole = model.encode(TEXTS, precision="int8")
    assert whole.dtype == np.int8 and whole.min() == -128 and whole.max() >= 126
    parts = [model.encode(TEXTS[i : i + 3], precision="int8", ranges=ranges) for i in (0, 3)]
    assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1  # own floats may lie on either side of a step
    with pytest.raises(ConfigError, match="precision='int8' of a single input needs `ranges`"):
        model.encode("the cat", precision="int8")
    assert model.encode("the cat", precision="int8", ranges=ranges).shape == (9,)


def test_memory_does_not_grow(model):
    """What a call leaves on the devices, and how many shapes are compiled for however many texts."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["the", "cat", "sat"], n)) for n in rng.integers(0, 14, 600)]
    model.encode(texts)
    before = len(jax.live_arrays())
    for _ in range(3):
        model.encode(texts)
    assert len(jax.live_arrays()) == before


# ---- inputs and outputs ----------------------------------------------------------------------------------------------------------


def test_nothing_has_the_width_of_something(model):
    assert model.encode([]).shape == (0, 9) and model.encode([]).dtype == np.float32
    for precision, width in (("int8", 9), ("uint8", 9), ("binary", 2), ("ubinary", 2)):
        assert model.encode([], precision=precision).shape == (0, width)
        assert model.encode([], precision=precision).dtype == model.encode(TEXTS, precision=precision).dtype
    assert model.encode([], truncate_dim=3).shape == (0, 3)
    empty, report = model.encode([], report=True)
    assert report.rows == 0 and report.padding == 0 and report.width == 9


def test_entries_are_cut_after_all_modules_then_brought_to_length_one(model, z):
    np.testing.assert_array_equal(model.encode(TEXTS, truncate_dim=4), z[:, :4])
    unit = z[:, :4] / np.linalg.norm(z[:, :4], axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(TEXTS, truncate_dim=4, normalize_embeddings=True), unit, atol=1e-6)
    with pytest.raises(ConfigError, match="truncate_dim must lie in 1 to 9, the width of the embeddings, not 10"):
        model.encode(TEXTS, truncate_dim=10)


def test_prompts(model, z):
    asked = model.encode([f"query : {t}" for t in TEXTS])
    for same in (
        model.encode(TEXTS, prompt_name="query"),
        model.encode(TEXTS, prompt="query : "),
        model.encode_query(TEXTS),
    ):
        np.testing.assert_array_equal(same, asked)
    np.testing.assert_array_equal(model.encode_document(TEXTS), model.encode([f"a dog {t}" for t in TEXTS]))  # "passage"
    np.testing.assert_array_equal(model.encode_document(TEXTS, prompt=""), z)
    assert model.encode_query(TEXTS, report=True)[1].prompt == "query : "
    with pytest.raises(ConfigError, match="two prompts: prompt_name='query' and prompt='x'; give one"):
        model.encode(TEXTS, prompt_name="query", prompt="x")
    with pytest.raises(ConfigError, match="prompt_name='qury': there is no such prompt; did you mean 'query'"):
        model.encode(TEXTS, prompt_name="qury")
    with pytest.raises(ConfigError, match="prompt is a string, not a int"):
        model.encode_query(TEXTS, prompt=3)
    usual = Embedder(model.model, model.variables, model.preprocess, mesh=model.mesh, default_prompt_name="query")
    np.testing.assert_array_equal(usual.encode(TEXTS), asked)
    np.testing.assert_array_equal(usual.encode(TEXTS, prompt_name="empty"), z)
    with pytest.raises(ConfigError, match="default_prompt_name='no': no such prompt"):
        Embedder(model.model, model.variables, model.preprocess, mesh=model.mesh, default_prompt_name="no")


def test_a_prompt_that_the_pooling_leaves_out(tmp_path):
    model = of(tmp_path, "mean", include_prompt=False)
    z, report = model.encode_query(TEXTS, report=True)
    tokens = model.encode_query(TEXTS, output_value="token_embeddings")
    np.testing.assert_allclose(z, [x[3:].mean(0) for x in tokens], atol=1e-5)  # [CLS] query :
    assert report.prompt_tokens == 3 and "3 tokens of a row left out of the pooling" in str(report)


def test_a_vector_a_token(model):
    tokens, report = model.encode(TEXTS, output_value="token_embeddings", report=True)
    assert [x.shape for x in tokens] == [(len(t.split()) + 2, WIDTH) for t in TEXTS] and report.tokens == sum(map(len, tokens))
    assert model.encode("the cat", output_value="token_embeddings").shape == (4, WIDTH)
    with pytest.raises(ConfigError, match="output_value='tokens'; valid: sentence_embedding, token_embeddings"):
        model.encode(TEXTS, output_value="tokens")
    with pytest.raises(ConfigError, match="precision='int8' of a vector a token needs `ranges`"):
        model.encode(TEXTS, output_value="token_embeddings", precision="int8")


def test_late_interaction_from_a_chain_without_pooling(tmp_path):
    dense = {"in_features": WIDTH, "out_features": 3, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    folder = chain(bert(tmp_path), ("Dense", dense), ("Normalize", None))
    late = Embedder.from_pretrained(folder, mesh=one())
    assert late.model.pooling == LateInteraction(3)
    found = late.encode(TEXTS)
    assert [x.shape for x in found] == [(len(t.split()) + 2, 3) for t in TEXTS]
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)
    write_json(folder / "1_Dense" / "config.json", {**dense, "bias": True})
    with pytest.raises(ConfigError, match="without a Pooling, one Dense without bias and activation is supported"):
        Embedder.from_pretrained(folder)


def test_the_report(model):
    _, report = model.encode_document(TEXTS, report=True, precision="ubinary")
    assert report.prompt == "a dog " and report.pooling == "Mean()" and report.dtype == "float32" and report.precision == "ubinary"
    assert 0 < report.padding < 1 and report.tokens_per_second > 0 and report.width == 9
    assert str(report).count("\n") == 2 and "tokens/s" in str(report)


def test_a_bar_of_rows(model, z, capsys):
    np.testing.assert_array_equal(model.encode(TEXTS, show_progress_bar=True), z)
    assert "encoding" in capsys.readouterr().out


# ---- wishes ----------------------------------------------------------------------------------------------------------------------


def test_half_precision_by_one_argument(folder, z):
    half = Embedder.from_pretrained(folder, dtype="bfloat16", mesh=one())
    assert {x.dtype.name for x in jax.tree.leaves(half.variables)} == {"bfloat16"}
    got, report = half.encode(TEXTS, report=True)
    assert got.dtype == np.float32 and report.dtype == "bfloat16"
    assert 1e-5 < np.abs(got - z).max() < 0.05


def test_another_pooling_and_length(folder, model):
    plain = Embedder.from_pretrained(folder, pooling="cls", max_length=4, mesh=one())
    assert plain.model.pooling == of_modes(["cls"]) and plain.max_length == 4
    tokens = plain.encode(["the cat sat on"], output_value="token_embeddings")[0]
    assert len(tokens) == 4
    assert Embedder.from_pretrained(folder, pooling=LateInteraction(), mesh=one()).model.pooling == LateInteraction()
    with pytest.raises(ConfigError, match="there is no pooling mode 'average'"):
        Embedder.from_pretrained(folder, pooling="average")


def test_a_plain_folder_has_the_mean_or_its_own_pooler(tmp_path):
    plain = Embedder.from_pretrained(bert(tmp_path), mesh=one())
    tokens = plain.encode(TEXTS, output_value="token_embeddings")
    np.testing.assert_allclose(plain.encode(TEXTS), [x.mean(0) for x in tokens], atol=1e-5)
    assert plain.prompts == {} and plain.similarity_fn_name == "cosine"
    pooler = Embedder.from_pretrained(tmp_path, pooling="pooler", mesh=one())
    assert np.abs(pooler.encode(TEXTS)).max() <= 1 and pooler.encode(TEXTS).shape == (6, WIDTH)


def test_similarity_is_the_folders(tmp_path):
    folder = chain(bert(tmp_path), ("Pooling", {"pooling_mode": "mean"}), similarity_fn_name="euclidean")
    model = Embedder.from_pretrained(folder, mesh=one())
    a = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    np.testing.assert_allclose(model.similarity(a, a), [[0, -5], [-5, 0]])
    np.testing.assert_allclose(model.similarity_pairwise(a, a[::-1]), [-5, -5])
    with pytest.raises(ConfigError, match="similarity_fn_name='cosin'; did you mean 'cosine'"):
        Embedder(model.model, model.variables, model.preprocess, similarity_fn_name="cosin")


@pytest.mark.parametrize(
    "how, message",
    [
        ({"precision": "int4"}, "precision='int4'; did you mean 'int8'\\? valid: binary, float32"),
        ({"precision": "binary", "ranges": [[0] * 9, [1] * 9]}, "ranges are for the precisions int8 and uint8, not binary"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": True}, "batch_size is a whole number, not True"),
        ({"truncate_dim": True}, "truncate_dim is a whole number, not True"),
    ],
)
def test_refused(model, how, message):
    with pytest.raises(ConfigError, match=message):
        model.encode(TEXTS, **how)


@pytest.mark.parametrize("given", ["8", None, 8.5, True])
def test_whole_numbers(given):
    """By the function itself: these tests check types before it can."""
    whole_number("n", np.int64(3))
    with pytest.raises(ConfigError, match=f"n is a whole number, not {given!r}"):
        whole_number("n", given)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"max_length": True}, "max_length is a whole number, not True"),
        ({"dtype": "float64"}, "dtype='float64': JAX has no float64 unless it is told so"),
    ],
)
def test_wishes_that_cannot_be(folder, how, message):
    with pytest.raises(ConfigError, match=message):
        Embedder.from_pretrained(folder, **how, mesh=one())


def test_rows_that_are_no_text(model):
    with pytest.raises(DataError, match="row 1 is None; a text is a string"):
        model.encode(["a", None])
    with pytest.raises(DataError, match="row 2 has half of a surrogate pair"):
        model.encode(["a", "b", "\ud83d"])


def test_a_head_of_ones_own_is_refused_unless_it_is_named(tmp_path):
    """What an architecture does not know may be a part of it that would be missing: it is told, and left out when asked to."""
    at = bert(tmp_path)
    save_file(load_file(at / "model.safetensors") | {"my_head.weight": np.ones((3, WIDTH), np.float32)}, at / "model.safetensors")
    with pytest.raises(WeightsError, match=r"unexpected(.|\n)*my_head\.weight(.|\n)*`ignore`"):
        Embedder.from_pretrained(at, mesh=one())
    assert Embedder.from_pretrained(at, mesh=one(), ignore=("^my_head",)).encode("the cat").shape == (WIDTH,)
