"""One sentence hidden in a long text, which a query asks for: passkey and needle of LongEmbed, and one of ours, all drawn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError

LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
"""Of documents, in tokens."""
WORDS = 0.75
"""A token."""
FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
FIRST = (
    "Ada Amir Bella Bruno Carla Chen Dana Diego Elena Emil Farah Felix Greta Hugo Ines Ivan Jonas Julia Kaito Karim Laura Leon Maya"
    " Mila Nadia Noah Olga Oscar Paula Pedro Quinn Rosa Ruben Sara Sven Tara Tomas Ulla Viktor Wanda Xenia Yusuf Zoe"
).split()
LAST = (
    "Abbott Baker Castro Diaz Ellis Fischer Garcia Hansen Ibrahim Jensen Keller Lopez Meyer Novak Okafor Patel Quist Rossi Silva"
    " Tanaka Ueda Vargas Weber Xu Young Zimmer"
).split()
TOWNS = (
    "Arden Belmora Corvale Drumhill Eastmere Fallbrook Glenwick Harrow Islay Juniper Kestrel Larkspur Marlow Norwell Oakhurst"
    " Penrith Quarry Redmond Stanmore Thornby Upton Valmont Westbury Yarrow Zandvoort"
).split()
PREFIXES = "North South East West Upper Lower Old New Great Little Saint Port".split()
ESSAY = tuple(
    words.split()
    for words in (
        "quiet early heavy small distant plain careful curious steady hollow",
        "idea market engine garden letter teacher window journey habit machine",
        "changes follows explains carries forgets measures repeats surrounds delays improves",
        "question harvest number winter meeting pattern corner reason story bridge",
        "slowly again today somehow elsewhere together rarely afterwards quickly nearby",
    )
)
"""Adjectives, nouns, verbs, nouns, adverbs."""
NEEDLES: tuple[tuple[str, str, str, Sequence[str]], ...] = (
    ("The bakery in {x} sells its {y} only before sunrise.", "What does the bakery in {x} sell before sunrise?", "town",
     ("rye bread", "plum cake", "almond rolls", "honey buns", "seed loaves")),
    ("The old lighthouse of {x} was painted {y} after the storm.", "Which colour was the lighthouse of {x} painted?", "town",
     ("orange", "violet", "white and green", "copper red", "pale blue")),
    ("{x} keeps a collection of {y} in the attic.", "What does {x} collect in the attic?", "name",
     ("brass compasses", "glass marbles", "train tickets", "pressed ferns", "tin soldiers")),
    ("{x} won the chess tournament with a {y} opening.", "How did {x} open when winning the chess tournament?", "name",
     ("Sicilian", "Catalan", "London", "Bishop's", "Vienna")),
    ("The secret ingredient of {x}'s soup is {y}.", "What is the secret ingredient of {x}'s soup?", "name",
     ("smoked paprika", "grated nutmeg", "dried seaweed", "orange peel", "toasted cumin")),
    ("The museum of {x} owns a meteorite that weighs {y} kilograms.", "How heavy is the meteorite in the museum of {x}?", "town",
     ("twelve", "forty", "ninety", "three", "sixty")),
    ("The ferry to {x} leaves at {y} on Sundays.", "When does the ferry to {x} leave on Sundays?", "town",
     ("dawn", "noon", "half past four", "a quarter to nine", "midnight")),
    ("{x} wrote a doctoral thesis about {y}.", "What was the doctoral thesis of {x} about?", "name",
     ("moss", "bridges", "whale songs", "medieval ink", "sand dunes")),
    ("{x} named the new boat after a {y}.", "After what did {x} name the boat?", "name",
     ("comet", "grandmother", "river", "violin", "sparrow")),
    ("The choir of {x} rehearses in a former {y}.", "Where does the choir of {x} rehearse?", "town",
     ("brewery", "stable", "power station", "post office", "swimming hall")),
)  # fmt: skip
"""(fact, question, what is asked for, what may be the answer): the fact about one subject, which the question names."""


class Haystack(NamedTuple):
    """A search in which each query has one right document."""

    queries: list[str]
    documents: list[str]
    answers: Int[np.ndarray, " q"]
    """The document of each query."""


def passkey(length: int, *, seed: int = 0, queries: int = 50, documents: int = 100) -> Haystack:
    """Sentences about grass, sky and sun over and over, and at a random place one about a person, another in each document:

        Ada Baker's pass key is 54321. Remember it. 54321 is the pass key for Ada Baker.

    A query is "What is the pass key for Ada Baker?": the person tells the document, nobody knows the number. Documents are
    `length` tokens long, at .75 words each.
    """
    rng = np.random.default_rng([seed, length, 0])
    persons = _subjects(rng, "name", documents)
    keys = rng.integers(10_000, 100_000, len(persons))
    facts = [f"{x}'s pass key is {key}. Remember it. {key} is the pass key for {x}." for x, key in zip(persons, keys, strict=True)]
    filler = sentences(FILLER)
    return _hidden(rng, facts, [f"What is the pass key for {x}?" for x in persons], lambda: (filler, 0), length, queries)


def needle(length: int, *, seed: int = 0, queries: int = 50, documents: int = 100, text: str | None = None) -> Haystack:
    """A short fact about a person or a town, another in each document, at a random place between sentences of an essay.

    `text`: from where essays are cut, beginning at a random sentence each; None: sentences drawn from a few words. The facts of the
    paper are GPT-4's; these are templates (`NEEDLES`), of which each subject occurs once.
    """
    rng = np.random.default_rng([seed, length, 1])
    subjects = {kind: iter(_subjects(rng, kind, documents)) for kind in ("name", "town")}
    facts, questions = [], []
    for i in range(documents):
        fact, question, kind, answers = NEEDLES[i % len(NEEDLES)]
        filled = {"x": next(subjects[kind]), "y": str(rng.choice(answers))}
        facts.append(fact.format(**filled))
        questions.append(question.format(**filled))
    if text is None:
        return _hidden(rng, facts, questions, lambda: (_essay(rng, 64), 0), length, queries)
    found = sentences(text)
    if not found:
        raise DataError("the text that essays are cut from holds no sentence")
    return _hidden(rng, facts, questions, lambda: (found, int(rng.integers(len(found)))), length, queries)


def order(length: int, *, seed: int = 0, queries: int = 50, documents: int = 100) -> Haystack:
    """Who taught whom, among the sentences of `passkey`: of each two documents one holds "Ada taught Hugo.", the other one "Hugo
    taught Ada.", and "Did Ada teach Hugo?" asks for the first.

    Not of the paper: words alone, in whatever order, are right one time in two, so that a model must still know who stands before
    whom where its positions were stretched. `documents` is even.
    """
    rng = np.random.default_rng([seed, length, 2])
    most = len(FIRST) * (len(FIRST) - 1) // 2
    if documents % 2 or not 2 <= documents <= 2 * most:
        raise ConfigError(f"documents={documents} must be even and lie in 2 to {2 * most}: two for each two names")
    pairs = list(itertools.combinations(FIRST, 2))
    both = [pairs[i] for i in rng.permutation(most)[: documents // 2]]
    told = [names for pair in both for names in (pair, pair[::-1])]
    filler = sentences(FILLER)
    questions = [f"Did {a} teach {b}?" for a, b in told]
    return _hidden(rng, [f"{a} taught {b}." for a, b in told], questions, lambda: (filler, 0), length, queries)


def first(scores: Float[np.ndarray, "q d"], answers: Int[np.ndarray, " q"], tolerance: float = 1e-6) -> Float[np.ndarray, " q"]:
    """Acc@1 of each query: 1 where its document has the highest score, 1/t where t documents have it, which a model that reads the
    same beginning of them all cannot tell apart."""
    best = scores >= scores.max(1, keepdims=True) - tolerance
    return best[np.arange(len(answers)), answers] / best.sum(1)


def sentences(text: str) -> list[str]:
    """A text cut after full stops, question and exclamation marks; white space becomes one space."""
    return [s for s in (" ".join(part.split()) for part in re.split(r"(?<=[.!?])\s+", text)) if s]


def _hidden(
    rng: np.random.Generator,
    facts: list[str],
    questions: list[str],
    hay: Callable[[], tuple[list[str], int]],
    length: int,
    queries: int,
) -> Haystack:
    """Each fact in a document of its own; `hay` gives sentences that are repeated from one of them on."""
    if not 1 <= queries <= len(facts):
        raise ConfigError(f"queries={queries} must lie in 1 to documents={len(facts)}")
    total, documents = round(length * WORDS), []
    for fact in facts:
        words = total - len(fact.split())
        if words < 1:
            raise ConfigError(f"length={length} tokens are about {total} words, which do not hold a fact of {len(fact.split())}")
        around, start = hay()
        found = _of_length(around, start, words)
        place = int(rng.integers(len(found) + 1))
        documents.append(" ".join([*found[:place], fact, *found[place:]]))
    answers = rng.permutation(len(facts))[:queries]
    return Haystack([questions[i] for i in answers], documents, answers)


def _of_length(around: list[str], start: int, words: int) -> list[str]:
    """Sentences from `start` on, over and over, the last one cut so that there are as many words."""
    found = []
    for sentence in itertools.islice(itertools.cycle(around), start, None):
        parts = sentence.split()
        found.append(" ".join(parts[:words]))
        words -= len(parts)
        if words <= 0:
            return found
    return found


def _essay(rng: np.random.Generator, count: int) -> list[str]:
    """Sentences that say nothing."""
    drawn = [[str(w) for w in rng.choice(words, count)] for words in ESSAY]
    return [f"The {a} {b} {c} the {d} {e}." for a, b, c, d, e in zip(*drawn, strict=True)]


def _subjects(rng: np.random.Generator, kind: str, count: int) -> list[str]:
    """Different names of persons, or of towns."""
    both = (FIRST, LAST) if kind == "name" else (PREFIXES, TOWNS)
    most = len(both[0]) * len(both[1])
    if not 1 <= count <= most:
        raise ConfigError(f"documents={count} must lie in 1 to {most}: each has a {kind} of its own")
    picked = rng.permutation(most)[:count]
    return [f"{both[0][i // len(both[1])]} {both[1][i % len(both[1])]}" for i in picked]
