"""Folders that sentence-transformers wrote: their embeddings, tokens, poolings, precisions and similarities."""

import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from jaxemb.io.embedder import Embedder
from jaxemb.nn.pooled import Pooled
from jaxemb.ops.closeness import all_pairs
from jaxemb.ops.quantize import find_ranges, quantize_embeddings
from jaxemb.pooling.concat import MODES, of_modes
from jaxemb.train.sharding import make_mesh

ROOT = pathlib.Path(os.environ.get("JAXEMB_GOLDEN", pathlib.Path(__file__).parents[3] / "shared" / "golden")) / "hf"
FOLDERS = sorted(f.parent for f in ROOT.glob("*/embeddings.npz")) if ROOT.is_dir() else []
LEGACY = [f for f in FOLDERS if (f / "legacy_json").is_dir()]


class Case:
    def __init__(self, folder):
        self.folder = folder
        self.texts = json.loads((folder / "sentences.json").read_text())
        self.tolerances = json.loads((folder / "tolerances.json").read_text())
        with np.load(folder / "embeddings.npz") as z:
            self.z = dict(z)
        self.prompts = json.loads((folder / "config_sentence_transformers.json").read_text()).get("prompts", {})
        self.model = Embedder.from_pretrained(folder, mesh=make_mesh({"data": 1}, jax.devices()[:1]))
        self.names = [name for name in self.prompts if name in self.z]
        self.own = {"plain": self.model.encode(self.texts)}

    def close(self, got, name, like=None):
        atol = self.tolerances[like or name]["atol"]
        np.testing.assert_allclose(got, self.z[name], rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda f: f.name)
def case(request):
    return Case(request.param)


def test_there_are_folders_to_compare_with():
    if not FOLDERS:
        pytest.skip(f"no folders: {ROOT} is not there (name its parent in the environment variable JAXEMB_GOLDEN)")
    assert LEGACY


def test_tokens(case):
    """Ids, padding on the side that the folder says, special tokens that survive the cut, and how long a prompt is."""
    pre = case.model.preprocess
    for name in ("plain", *case.names):
        ids, mask = (case.z[f"tokens__{name}__{part}"] for part in ("input_ids", "attention_mask"))
        prompt = case.prompts.get(name, "")
        cut = pre.cut(case.texts, prompt)
        got = pre.padded(cut, np.arange(len(case.texts)), ids.shape[1])
        np.testing.assert_array_equal(got["mask"], mask.astype(bool), err_msg=name)
        np.testing.assert_array_equal(got["tokens"][got["mask"]], ids[got["mask"]], err_msg=name)
        np.testing.assert_array_equal(got["tokens"], ids, err_msg=name)
        assert pre.prompt_length(prompt) == case.z[f"tokens__{name}__prompt_length"]


def test_embeddings_by_prompt_and_role(case):
    case.close(case.own["plain"], "plain")
    for name in case.names:
        case.own[name] = case.model.encode(case.texts, prompt_name=name)
        case.close(case.own[name], name)
    if "query" in case.names:
        np.testing.assert_array_equal(case.model.encode_query(case.texts), case.own["query"])
    if "document" in case.names:
        np.testing.assert_array_equal(case.model.encode_document(case.texts), case.own["document"])


def test_normalized_and_truncated(case):
    width = int(case.z["truncate_dim"])
    scale = 1 / np.linalg.norm(case.z["plain"], axis=1).min()  # what rounding becomes when a short vector is divided by its length
    for name, how in (
        ("normalized", {"normalize_embeddings": True}),
        ("truncated", {"truncate_dim": width}),
        ("truncated_normalized", {"truncate_dim": width, "normalize_embeddings": True}),
    ):
        got = case.model.encode(case.texts, **how)
        lengths = np.linalg.norm(case.z["truncated" if "truncated" in name else "plain"], axis=1).min()
        atol = case.tolerances["plain"]["atol"] * (max(1 / lengths, scale) if "normal" in name else 1)
        np.testing.assert_allclose(got, case.z[name], rtol=0, atol=atol, err_msg=name)
    if "query_normalized" in case.z:
        got = case.model.encode(case.texts, prompt_name="query", normalize_embeddings=True)
        atol = case.tolerances["query"]["atol"] / np.linalg.norm(case.z["query"], axis=1).min()
        np.testing.assert_allclose(got, case.z["query_normalized"], rtol=0, atol=max(atol, case.tolerances["query"]["atol"]))


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_precisions(case, precision):
    """The codes of the stored floats exactly; of own floats one more or less, where rounding decides."""
    z, stored = case.z["plain"], case.z[precision]
    got = quantize_embeddings(z, precision)
    assert got.dtype == stored.dtype
    np.testing.assert_array_equal(got, stored)
    own = case.model.encode(case.texts, precision=precision)
    assert own.dtype == stored.dtype
    if "binary" in precision:
        np.testing.assert_array_equal(own, stored)
        return
    np.testing.assert_array_equal(find_ranges(z), case.z["ranges"])
    _one_off(own, stored, z, case.z["ranges"], case.tolerances["plain"]["atol"])
    calibrated = case.z[f"{precision}_query_calibrated"]
    np.testing.assert_array_equal(quantize_embeddings(case.z["query"], precision, ranges=case.z["ranges"]), calibrated)
    np.testing.assert_array_equal(quantize_embeddings(case.z["query"], precision, calibration_embeddings=z), calibrated)
    own = case.model.encode(case.texts, prompt_name="query", precision=precision, ranges=case.z["ranges"])
    _one_off(own, calibrated, case.z["query"], case.z["ranges"], case.tolerances["query"]["atol"])


def _one_off(got, stored, z, ranges, atol):
    step = (ranges[1] - ranges[0]) / 255
    place = (z - ranges[0]) / step
    near = np.abs(place - np.rint(place)) <= 3 * atol / step  # the value, and both ends of the range
    off = np.abs(got.astype(int) - stored.astype(int))
    assert off.max() <= 1 and not (off > 0)[~near].any()


def test_similarities(case):
    kind = case.model.similarity_fn_name
    for name, a, b in (("similarity_plain", "plain", "plain"), ("similarity_query_document", "query", "document")):
        if name not in case.z:
            continue
        scale = np.abs(case.z[name]).max()
        np.testing.assert_allclose(all_pairs(case.z[a], case.z[b], kind), case.z[name], rtol=0, atol=2e-6 * scale)
        np.testing.assert_allclose(case.model.similarity(case.z[a], case.z[b]), case.z[name], rtol=0, atol=2e-6 * scale)
        np.testing.assert_allclose(
            case.model.similarity_pairwise(case.z[a], case.z[b]), np.diagonal(case.z[name]), rtol=0, atol=2e-6 * scale
        )


def test_every_pooling_mode_before_later_modules(case):
    """All of them side by side, with prompts in and out."""
    pre, model = case.model.preprocess, case.model.model
    every = Pooled(model.encoder, of_modes(list(MODES)))
    variables = {"params": {"encoder": case.model.variables["params"]["encoder"]}}
    run = jax.jit(lambda v, b: every.apply(v, b))
    whole, without = (type(pre)(**{**vars(pre), "include_prompt": include}) for include in (True, False))
    for group, prompt, how in (
        ("plain", "", whole),
        ("query", case.prompts.get("query", ""), whole),
        ("query_without_prompt", case.prompts.get("query", ""), without),
    ):
        arrays = how.padded(how.cut(case.texts, prompt), np.arange(len(case.texts)), how.length, how.prompt_length(prompt), "right")
        arrays = {**arrays, "pooled": arrays.get("pooled", arrays["mask"])}  # one shape for all, one compilation
        parts = np.split(np.asarray(run(variables, arrays)), len(MODES), axis=1)
        for mode, got in zip(MODES, parts, strict=True):
            name = f"pooling__{group}__{mode}"
            stored, finite = case.z[name], np.isfinite(case.z[name])
            np.testing.assert_array_equal(np.isfinite(got), finite, err_msg=name)
            atol = case.tolerances[name]["atol"]
            np.testing.assert_allclose(got[finite], stored[finite], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("folder", LEGACY, ids=lambda f: f.name)
def test_files_as_older_releases_wrote_them(folder, tmp_path):
    """Other names of fields and classes, the length in a file of its own: the same model."""
    new, old = Embedder.from_pretrained(folder), tmp_path / "old"
    shutil.copytree(folder, old, copy_function=shutil.copyfile)
    shutil.copytree(old / "legacy_json", old, dirs_exist_ok=True, copy_function=shutil.copyfile)
    settings = json.loads((old / "tokenizer_config.json").read_text())
    (old / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 10**30}))
    again = Embedder.from_pretrained(old)
    assert again.model == new.model and again.preprocess == new.preprocess and again.prompts == new.prompts
