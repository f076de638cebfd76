"""A trained encoder, ready to embed."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxemb.config import ConfigError, suggest
from jaxemb.hub import resolve
from jaxemb.io.assemble import Wishes, assemble
from jaxemb.io.export import save_pretrained
from jaxemb.io.feeding import Piece, Tally, ahead, ids_in_pieces, pieces
from jaxemb.io.finishing import Finish, choose, collect, fetched, placed, progress, refuse_packed, whole_number
from jaxemb.io.origin import Origin
from jaxemb.io.report import Report, brief
from jaxemb.io.weights import read_weights
from jaxemb.io.windows import Windowed
from jaxemb.ops.closeness import SIMILARITIES, all_pairs, row_by_row
from jaxemb.ops.maxsim import maxsim, maxsim_row_by_row, ragged, texts
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.preprocess.base import Preprocess
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.run.files import Where
from jaxemb.run.folder import Run
from jaxemb.train.encode import Bound, Encoder, compiled, length
from jaxemb.train.recipe import trained
from jaxemb.train.rules import Rules
from jaxemb.train.sharding import batch_sharding, make_mesh, replicated, row_shards

OUTPUTS = {"sentence_embedding": "encode", "token_embeddings": "features"}
"""The method of a model behind each `output_value`."""
AHEAD = 2
"""Batches that are on the devices at a time."""

log = logging.getLogger("jaxemb")


class Embedder:
    """A model, its variables and its preprocessing: from files, images or strings to vectors.

    model = Embedder.from_run("runs/shapes")
    z = model.encode(["cat.jpg", "dog.jpg"])       # n d, float32
    model.similarity(z, z)                         # n n, cosines
    """

    def __init__(
        self,
        model: Any,
        variables: Mapping[str, Any],
        preprocess: Preprocess,
        prompts: Mapping[str, str] | None = None,
        mesh: Mesh | None = None,
        *,
        default_prompt_name: str | None = None,
        similarity_fn_name: str = "cosine",
        truncate_dim: int | None = None,
        windows: Windowed | None = None,
    ):
        """`variables` are what `model.apply` takes; `prompts` go before text, by name: {"query": "query: "}, None: those that the
        preprocessing was made with; None as `mesh`: all devices side by side. `windows`: how long texts are taken apart."""
        self.model, self.preprocess = model, preprocess
        self.prompts = dict(getattr(preprocess, "prompts", {}) if prompts is None else prompts)
        self.mesh = make_mesh({"data": -1}) if mesh is None else mesh
        self.variables = variables
        if default_prompt_name is not None and default_prompt_name not in self.prompts:
            raise ConfigError(
                f"default_prompt_name={default_prompt_name!r}: no such prompt{suggest(default_prompt_name, self.prompts)}"
            )
        self.default_prompt_name = default_prompt_name
        choose("similarity_fn_name", similarity_fn_name, SIMILARITIES)
        self.similarity_fn_name = similarity_fn_name
        self.truncate_dim = truncate_dim
        self.windows = windows
        self.origin: Origin | None = None
        """What it was loaded from or trained on from, where that is an architecture of Hugging Face."""
        self.run: Run | None = None
        """Where it was trained."""
        self._encoders: dict[int, Encoder] = {}

    @classmethod
    def from_run(cls, run: Where, *, step: int | None = None, weights: str = "ema", say: Callable[[str], None] = print) -> Embedder:
        """The encoder of a run folder, trained on any number of devices, on the devices that are here.

        `step`: which checkpoint (None: the newest intact one; "runs/shapes@500" says it too). `weights`: "ema" is the average
        where one was kept, "params" are the trained parameters. Neither the training data nor anything outside the folder is read.
        """
        folder = Run(run)
        folder.step = folder.step if step is None else step
        experiment = trained(folder.experiment(), run)
        preprocess = folder.preprocess()
        found = read_weights(folder, experiment, weights=weights, say=say)
        made = cls(experiment.objective, jax.block_until_ready(found.variables), preprocess, mesh=found.mesh)
        folder.step, made.run, made.origin = found.step, folder, Origin.read(folder.path)
        return made

    @classmethod
    def from_pretrained(
        cls,
        folder_or_id: Where,
        *,
        causal: bool | None = None,
        extend: Any = None,
        pooling: Any = None,
        dtype: str = "float32",
        max_length: int | None = None,
        revision: str | None = None,
        ignore: Sequence[str] | None = None,
        mesh: Mesh | None = None,
        sharding: Rules = "replicate",
    ) -> Embedder:
        """A sentence-transformers or Hugging Face folder, or an id "org/name" of the hub, with the same vectors as there.

        `causal`: of decoders, whether a token sees those before it alone (None: as the model was trained). `extend`: how longer
        texts are read, around the model's own positions, `Grouped(factor=None, original=512)`, `LogitScale(of=SelfExtend(...))`,
        or `ParallelWindows()`; texts may then be as long as it reaches, or `max_length` where that is given. `pooling`: a
        mode ("mean", "cls", "lasttoken", ..., "pooler") or a `Pooling`, in the place of the folder's. `dtype`: of weights and
        computation. `revision`: of a hub id. `ignore`: regular expressions of tensors that are of no use here, such as those of a
        head of one's own; others that the architecture does not know are refused. `mesh` and `sharding`: the devices, and how
        parameters are cut over them as in an experiment (make_mesh({"fsdp": -1}), ((".*", "fsdp"),)); each device reads its part.
        """
        mesh = make_mesh({"data": -1}) if mesh is None else mesh
        wishes = Wishes(causal, extend, pooling, dtype, max_length, ignore, sharding)
        found = assemble(resolve(folder_or_id, revision), wishes, mesh, str(folder_or_id))
        s = found.settings
        own = {"default_prompt_name": s.default_prompt_name, "similarity_fn_name": s.similarity, "truncate_dim": s.truncate_dim}
        made = cls(found.model, found.variables, found.preprocess, s.prompts, mesh, windows=found.windows, **own)
        made.origin = found.origin
        return made

    def save_pretrained(self, folder: Where) -> str | None:
        """Writes config, weights, preprocessing and a card into a new folder, which `from_pretrained` opens again; where the
        architecture has a name there, sentence-transformers opens it as well and gives the same vectors. Where it does not, the
        reason is given back."""
        return save_pretrained(self, folder)

    def encode(
        self,
        inputs: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        ranges: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        report: bool = False,
    ) -> Any:
        """The embeddings of inputs, a row each: strings for a model of text, in a list, a tuple or an array; file names, Pillow
        images or arrays in a list, or one array n H W c, for a model of images (uint8 or floats in [0, 1], of any size).

        A single string or file name gives a single vector. `prompt` goes before each text, or the one of `prompts` that
        `prompt_name` names, or the one that `default_prompt_name` does. `batch_size`: inputs prepared and encoded at a time; of
        texts those of 128 tokens (on a CPU of 32), so that a batch has as many tokens whatever their length. `show_progress_bar`,
        None: where somebody is looking on.

        `output_value="token_embeddings"`: a list of arrays, a vector a token. `truncate_dim`: only the first entries, before
        `normalize_embeddings`, rows of length 1. `precision`: "int8", "uint8" (dimensions cut in 255 steps between their `ranges`
        (2 d), or between the smallest and largest of these embeddings), "binary", "ubinary" (a bit a dimension). `report=True`:
        (embeddings, what was done: rows cut, tokens lost, padding, prompt, pooling, speed).
        """
        how = locals()
        return self._encode("document", **{k: v for k, v in how.items() if k != "self"})

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """`encode` for the questions of a search: in the role "query", with the prompt "query" where there is one."""
        return self._in_role("query", ("query",), inputs, options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """`encode` for what is searched: in the role "document", with the prompt "document", else "passage" or "corpus"."""
        return self._in_role("document", ("document", "passage", "corpus"), inputs, options)

    def _in_role(self, role: str, names: Sequence[str], inputs: Any, options: dict[str, Any]) -> Any:
        defaults = {name: p.default for name, p in inspect.signature(self.encode).parameters.items() if name != "inputs"}
        if wrong := [name for name in options if name not in defaults]:
            raise TypeError(f"encode_{role} has no argument {wrong[0]!r}")
        options = defaults | options
        if options["prompt_name"] is None and options["prompt"] is None:
            options["prompt_name"] = next((name for name in names if name in self.prompts), None)
        return self._encode(role, inputs, **options)

    def _prompt(self, name: str | None, prompt: Any) -> str:
        if name is not None and prompt is not None:
            raise ConfigError(f"two prompts: prompt_name={name!r} and prompt={prompt!r}; give one")
        name = self.default_prompt_name if name is None and prompt is None else name
        if name is not None and name not in self.prompts:
            raise ConfigError(f"prompt_name={name!r}: there is no such prompt{suggest(name, self.prompts)}")
        if prompt is not None and not isinstance(prompt, str):
            raise ConfigError(f"prompt is a string, not a {type(prompt).__name__}")
        return prompt if prompt is not None else self.prompts[name] if name is not None else ""

    def _encode(
        self,
        role: str,
        inputs: Any,
        prompt_name: str | None,
        prompt: Any,
        batch_size: int,
        show_progress_bar: bool | None,
        output_value: str,
        precision: str,
        ranges: Any,
        normalize_embeddings: bool,
        truncate_dim: int | None,
        report: bool,
    ) -> Any:
        began, text = time.perf_counter(), self._prompt(prompt_name, prompt)
        items, single = self._items(inputs)
        whole_number("batch_size", batch_size)
        choose("output_value", output_value, OUTPUTS)
        finish = Finish(precision, ranges, normalize_embeddings, self.truncate_dim if truncate_dim is None else truncate_dim)
        if single and finish.finds_ranges:
            raise ConfigError(f"precision={precision!r} of a single input needs `ranges`: it has none of its own")
        method, tally = OUTPUTS[output_value], Tally()
        shown = not single and (sys.stderr.isatty() if show_progress_bar is None else show_progress_bar)
        if self.windows is not None and len(items):
            z = self._in_windows(items, role, text, batch_size, method, tally, finish, shown)
        else:
            made = pieces(self.preprocess, items, role, text, batch_size, row_shards(self.mesh), tally)
            z = collect(self._run(made, len(items), role, method, finish, shown), len(items))
        z = finish.none(self._width(method)) if z is None else finish.whole(z)
        if tally.cut:
            self._say_cut(tally)
        z = z[0] if single else z
        return (z, self._report(tally, text, finish, time.perf_counter() - began)) if report else z

    def _items(self, inputs: Any) -> tuple[Any, bool]:
        """(inputs in a row, whether it was a single one)."""
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "UO" and inputs.ndim < 2:
            inputs = inputs.tolist()  # strings, file names or images; without an axis a single one
        if isinstance(inputs, (str, Path)):
            return [inputs], True
        array = isinstance(inputs, np.ndarray)
        if not isinstance(inputs, (Sequence, np.ndarray)) or isinstance(inputs, (bytes, bytearray)) or (array and inputs.ndim < 2):
            shape = f" of shape {inputs.shape} and type {inputs.dtype}" if array else ""
            raise ConfigError(
                f"encode takes a list of inputs (strings, file names, images), or one array with a row each, not a "
                f"{type(inputs).__name__}{shape}; write [input] for a single one"
            )
        if array and inputs.dtype.kind in "UOS":
            raise ConfigError(f"an array of strings or objects has one axis, a row each, not the shape {inputs.shape}")
        if array and inputs.ndim != 4 and "images" in self.preprocess.spec:
            raise ConfigError(f"an array of images has the shape (n, H, W, c), not {inputs.shape}; write [image] for a single one")
        return inputs, False

    def _in_windows(
        self, items: Any, role: str, prompt: str, size: int, method: str, tally: Tally, finish: Finish, shown: bool
    ) -> Any:
        if method != "encode" or self.windows is None:
            raise ConfigError("a vector a token is one of a whole text, which ParallelWindows never shows the model")
        if not isinstance(self.preprocess, PretrainedText):
            raise ConfigError(f"windows are of texts with a tokenizer of their own, not of {type(self.preprocess).__name__}")
        cut, counts = self.windows.cut(self.preprocess, items, prompt)
        made = ids_in_pieces(self.preprocess, cut, prompt, size, row_shards(self.mesh), tally)
        z = collect(self._run(made, len(cut.lengths), role, method, Finish("float32", None, False, None), shown), len(cut.lengths))
        tally.rows = len(items)
        return self.windows.join(z, counts, finish)

    def _run(
        self, made: Iterator[Piece], count: int, role: str, method: str, finish: Finish, shown: bool
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """(rows, what the method gives for them), in any order. Batches are made ahead, and fetched while the next is computed."""
        run = compiled(self.model, method, role, replicated(self.mesh))
        place = batch_sharding(self.mesh)
        running: deque[tuple[Piece, Any]] = deque()
        with contextlib.closing(ahead(made)) as ready, progress(count, shown) as advance:
            for piece in ready:
                running.append((piece, run(self.variables, jax.tree.map(lambda x: placed(x, place), piece.arrays))))
                if len(running) > AHEAD:
                    advance(len(running[0][0].rows))
                    yield fetched(*running.popleft(), finish)
            for piece, out in running:
                yield fetched(piece, out, finish)
                advance(len(piece.rows))

    def _width(self, method: str) -> int:
        """Of an embedding, without computing one."""
        spec = self.preprocess.spec
        example = {n: jax.ShapeDtypeStruct((1, *s.shape), s.dtype) for n, s in spec.get("text", spec).items()}
        out = jax.eval_shape(lambda v, b: self.model.apply(v, b, method=method), self.variables, example)
        return (out.tokens if method == "features" else out).shape[-1]

    def _say_cut(self, tally: Tally) -> None:
        log.warning(
            "%d of %d texts were longer than %d tokens and were cut: %d of %d tokens are not in the embeddings",
            tally.cut,
            tally.rows,
            self.max_length,
            tally.lost,
            tally.lost + tally.tokens,
        )

    def _report(self, tally: Tally, prompt: str, finish: Finish, seconds: float) -> Report:
        return Report(
            rows=tally.rows,
            rows_cut=tally.cut,
            tokens=tally.tokens,
            tokens_lost=tally.lost,
            padding=1 - tally.tokens / tally.places if tally.places else 0.0,
            max_length=self.max_length,
            prompt=prompt,
            prompt_tokens=tally.prompt_tokens,
            pooling=brief(getattr(self.model, "pooling", None)),
            dtype=str(getattr(getattr(getattr(self.model, "text", self.model), "encoder", None), "dtype", "float32")),
            width=finish.width,
            precision=finish.precision,
            seconds=seconds,
        )

    @property
    def max_length(self) -> int | None:
        """Tokens of a text at most; None where inputs are none."""
        return getattr(self.preprocess, "length", None)

    def similarity(self, a: Any, b: Any) -> Float[np.ndarray, "n m"]:
        """Of all pairs of rows, by `similarity_fn_name`: "cosine", "dot", "euclidean" or "manhattan" (negative: -|a - b|). Packed
        bits are refused: their bytes are no numbers.

        Where a text is a matrix: of late interaction MaxSim, the sum over the tokens of a text of a, a query, of the largest
        similarity with a token of b's, a document; with ParallelWindows(reduce="max") the largest cosine of their windows."""
        self._refuse_packed(a, b)
        if self.matrices(a, b):
            return maxsim(texts(a), texts(b), *self.how_matrices)
        return all_pairs(a, b, self.similarity_fn_name)

    def similarity_pairwise(self, a: Any, b: Any) -> Float[np.ndarray, " n"]:
        """Of the first row of each, of the second, and so on."""
        self._refuse_packed(a, b)
        if self.matrices(a, b):
            return maxsim_row_by_row(texts(a), texts(b), *self.how_matrices)
        return row_by_row(a, b, self.similarity_fn_name)

    def _refuse_packed(self, *embeddings: Any) -> None:
        for z in (x for e in embeddings for x in (e if isinstance(e, list) else [e])):
            if getattr(z, "dtype", None) in (np.int8, np.uint8):
                refuse_packed(z, self.truncate_dim or self._width("encode"))

    def matrices(self, *embeddings: Any) -> bool:
        """Whether each text has a matrix in these embeddings; of such a model a matrix alone is a single text."""
        own = self.how_matrices[1] == "max" or isinstance(getattr(self.model, "pooling", None), LateInteraction)
        return own or any(map(ragged, embeddings))

    @property
    def how_matrices(self) -> tuple[str, str]:
        """How two texts with a matrix each are compared, as `maxsim` calls it."""
        windows = self.windows is not None and self.windows.how.reduce == "max"
        return ("cosine", "max") if windows else (self.similarity_fn_name, "sum")

    def features(self, arrays: dict[str, np.ndarray], role: str = "document") -> Any:
        """The token features (see `jaxemb.types.Features`) of preprocessed arrays, as `preprocess` gives them."""
        return self._encoder(length(arrays)).encode(arrays, role=role, of="features")

    def attention(self, arrays: dict[str, np.ndarray]) -> list[Float[np.ndarray, "b n h m"]]:
        """The attention weights of every layer of the encoder, queries first, class and register tokens before the patches."""
        run = jax.jit(lambda v, b: self.model.apply(v, b, method="features", mutable=["intermediates"])[1])
        found: Any = run(self.variables, arrays).get("intermediates", {}).get("encoder", {})
        scanned = "blocks" in found  # each block of a period for all its layers, layers first
        left = {name: x["attention"]["weights"][0] for name, x in found.get("blocks", found).items() if name.startswith("block_")}
        if not left:
            raise ConfigError(f"{type(getattr(self.model, 'encoder', None)).__name__} has no attention to look at")
        every = [np.asarray(left[name], np.float32) for name in sorted(left, key=lambda n: int(n.removeprefix("block_")))]
        return [layer for period in zip(*every, strict=True) for layer in period] if scanned else every

    def _encoder(self, batch: int) -> Bound:
        if batch not in self._encoders:
            self._encoders[batch] = Encoder(self.model, self.mesh, batch)
        return self._encoders[batch].bind(self.variables)


def load(run: Where, *, step: int | None = None, weights: str = "ema", say: Callable[[str], None] = print) -> Embedder:
    """`Embedder.from_run`."""
    return Embedder.from_run(run, step=step, weights=weights, say=say)
