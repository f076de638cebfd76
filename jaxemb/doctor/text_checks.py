"""What may be wrong with a model of texts, in the order in which causes come before effects."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.doctor.checks import error_of
from jaxemb.doctor.patient import Finding, grade
from jaxemb.doctor.text_patient import TextPatient
from jaxemb.metrics.collapse import mean_cosine
from jaxemb.metrics.correlation import pearson, spearman
from jaxemb.metrics.rankme import rankme
from jaxemb.ops.similarity import unit
from jaxemb.preprocess.hf_text import PretrainedText, opened

COMMON_PROMPTS = ("query: ", "passage: ", "search_query: ", "search_document: ")
"""That several published models want, and score badly without."""


def tokenizer(p: TextPatient) -> Iterator[Finding]:
    """Whether the tokenizer is the one of the weights."""
    preprocess = p.embedder.preprocess
    if not isinstance(preprocess, PretrainedText):
        return
    cut = dataclasses.replace(preprocess, vocabulary=None).cut(p.texts)
    rows = preprocess.vocabulary
    other = "the tokenizer belongs to other weights: take tokenizer.json from the folder of these"
    if rows is not None:
        beyond = float((cut.ids >= rows).mean())
        said = f"share of ids that the table of {rows:,} rows does not have"
        yield Finding("tokenizer", "ids beyond the table", beyond, grade(beyond, yellow=0.0, red=0.0), said, other)
    unknown = unknown_id(preprocess)
    if unknown is not None:
        share = float((cut.ids == unknown).mean())
        said = "share of tokens that the tokenizer does not know; these texts, or another language than that of the model"
        yield Finding("tokenizer", "unknown tokens", share, grade(share, yellow=0.02, red=0.2), said, other)


def unknown_id(preprocess: PretrainedText) -> int | None:
    """The id that stands for what is in no vocabulary; None where everything is, in bytes."""
    tokenizer = opened(preprocess.learned or "")
    token = getattr(tokenizer.model, "unk_token", None)
    if token is None and type(tokenizer.model).__name__ == "Unigram":
        token = next((t for t in ("<unk>", "[UNK]") if tokenizer.token_to_id(t) is not None), None)
    return None if token is None else tokenizer.token_to_id(token)


def vectors(p: TextPatient) -> Iterator[Finding]:
    """Whether there are any."""
    share = float((~np.isfinite(p.encoded[0])).any(1).mean())
    advice = "float32 in place of bfloat16; else the weights are damaged"
    yield Finding("vectors", "that are not finite", share, grade(share, yellow=0.0, red=0.0), "share of texts", advice)


def texts(p: TextPatient) -> Iterator[Finding]:
    """What the model is given."""
    if p.given:
        copies = 1 - len({" ".join(text.lower().split()) for text in p.texts}) / len(p.texts)
        yield Finding("texts", "duplicates", copies, grade(copies, yellow=0.02, red=0.3), "share of exact copies", "drop them")
    report = p.encoded[1]
    if report.max_length is not None:
        share = report.rows_cut / len(p.texts)
        lost = report.tokens_lost / max(report.tokens + report.tokens_lost, 1)
        yield Finding(
            "texts",
            "texts cut",
            share,
            grade(share, yellow=0.02, red=0.3),
            f"share of texts longer than {report.max_length} tokens; {lost:.1%} of all tokens are in no vector",
            "a larger max_length where the model has positions for it, extend=..., parallel windows, or pieces of the texts",
        )


def pooling(p: TextPatient) -> Iterator[Finding]:
    """Whether the vector is made of the tokens as it was in training."""
    if not p.pairs:
        raise DataError("no text has 8 words, so none has halves to compare")
    best = max(p.pooled, key=lambda name: p.pooled[name])
    gain = p.pooled[best] - p.own
    yield Finding(
        "pooling",
        "halves found by another pooling, over its own",
        gain,
        "red" if clearly(p, gain) else "green",
        f"the other half of a text is nearest in {p.own:.1%}, by {best} of the same states in {p.pooled[best]:.1%}",
        f"the model was trained with another pooling, perhaps {best}: see its card, and 1_Pooling/config.json",
    )


def prompts(p: TextPatient) -> Iterator[Finding]:
    """Whether texts go in as the model was trained: with its prompt, and with one."""
    e = p.embedder
    known = {name: prompt for name, prompt in e.prompts.items() if prompt}
    doubled = float(np.mean([any(text.startswith(prompt) for prompt in known.values()) for text in p.texts])) if known else 0.0
    if known:
        yield Finding(
            "prompt",
            "texts that have one already",
            doubled,
            grade(doubled, yellow=0.01, red=0.5),
            f"share that begins with one of {', '.join(map(repr, known.values()))}, which the model puts before texts itself",
            "take it off the texts, or encode with prompt=''",
        )
    if doubled > 0.5 or not p.pairs:
        return
    gains = {prompt: p.recognised(prompt) - p.own for prompt in dict.fromkeys(["", *known.values(), *COMMON_PROMPTS])}
    best = max(gains, key=lambda prompt: gains[prompt])
    clear = clearly(p, gains[best])
    yield Finding(
        "prompt",
        "halves found with another prompt, over the usual",
        gains[best],
        "red" if clear and best != p.usual else "green",
        f"the other half of a text is nearest in {p.own:.1%} with {p.usual!r}, {p.own + gains[best]:.1%} with {best!r}",
        f"the model wants {best!r}: encode_query and encode_document where it has prompts of these roles, or prompt={best!r}",
    )


def clearly(p: TextPatient, gain: float) -> bool:
    """Whether a share of halves is better by a tenth, and beyond two standard errors of the difference."""
    return gain > max(0.1, 2 * math.hypot(error_of(p.own, p.pairs), error_of(p.own + gain, p.pairs)))


def geometry(p: TextPatient) -> Iterator[Finding]:
    """How the vectors of the texts lie in space."""
    z = p.encoded[0]
    cosine = mean_cosine(z)
    centre = "vectors share a direction: subtract their mean or whiten them, or a model trained by contrast"
    yield Finding(
        "geometry", "mean cosine of two texts", cosine, grade(cosine, yellow=0.5, red=0.95), "1: all point one way", centre
    )
    values = np.linalg.svd(z - z.mean(0), compute_uv=False) ** 2
    first = float(values[0] / max(values.sum(), 1e-30))
    said = "of the variance around the mean; one direction tells texts apart, and often it is their length"
    yield Finding("geometry", "share of the first component", first, grade(first, yellow=0.3, red=0.7), said, centre)
    deviation = z.std(0)
    dead = float((deviation <= 1e-3 * np.median(deviation)).mean()) if np.median(deviation) > 0 else 1.0
    drop = "these dimensions say nothing: leave them out, or look for a truncated or zeroed head"
    level = grade(dead, yellow=0.01, red=0.25)
    yield Finding("geometry", "dimensions that do not vary", dead, level, f"share of {z.shape[1]} dimensions", drop)
    rank = rankme(z, centre=True) / min(z.shape)
    said = f"RankMe, centred, over {min(z.shape)}"
    yield Finding("geometry", "effective rank", rank, grade(rank, yellow=0.2, red=0.02), said, centre)


def length(p: TextPatient) -> Iterator[Finding]:
    """Whether vectors tell how long a text is rather than what it says."""
    n, z = p.lengths.astype(np.float64), p.encoded[0]
    if len(np.unique(n)) < 3:
        return
    norms = np.linalg.norm(z, axis=1)
    if norms.std() > 1e-4 * norms.mean():
        r = pearson(n, norms)
        advice = "compare by cosine, or normalise: products prefer texts of one length"
        yield Finding("length", "correlation with the norm", r, grade(abs(r), yellow=0.5, red=2.0), "of vectors", advice)
    near = unit(z)
    mean = (near @ near.sum(0) - 1) / (len(z) - 1)
    r = spearman(n, mean)
    said = "rank correlation of a text's length with its mean cosine to all others: such texts are found whatever is asked"
    advice = "texts of like length, another pooling, or training on texts of mixed lengths"
    yield Finding("length", "correlation with the mean cosine", r, grade(abs(r), yellow=0.6, red=0.9), said, advice)


def worth(p: TextPatient) -> Iterator[Finding]:
    """Whether vectors of what belongs together are near."""
    if not p.pairs:
        return
    chance = 1 / p.pairs
    level = grade(p.own, yellow=max(0.3, 5 * chance), red=max(0.1, 3 * chance))
    yield Finding(
        "worth",
        "halves found",
        p.own,
        level,
        f"how often the other half of a text is nearest, ± {error_of(p.own, p.pairs):.1%}; by chance {chance:.1%}",
        "the lines above say why; else the weights were not loaded, or the model was trained for something else",
    )


CHECKS: dict[str, Callable[[TextPatient], Iterator[Finding]]] = {
    "tokenizer": tokenizer,
    "vectors": vectors,
    "texts": texts,
    "pooling": pooling,
    "prompt": prompts,
    "geometry": geometry,
    "length": length,
    "worth": worth,
}


ENDS = ("ids beyond the table", "that are not finite")


def examine_texts(p: TextPatient, say: Callable[[str], None] = print) -> list[Finding]:
    """All findings, in order; what does not apply is left out, and said so. Of vectors that are none nothing is measured."""
    found: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            found += check(p)
        except (ConfigError, DataError) as e:
            say(f"{name} is left out: {e}")
        if any(f.name in ENDS and f.level == "red" for f in found):
            say("nothing else can be measured")
            break
    return found
