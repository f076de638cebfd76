"""The measurements of the doctor, in the order in which causes come before effects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.doctor import advice
from jaxemb.doctor.patient import Finding, Patient, grade
from jaxemb.evals.knn import KNN
from jaxemb.evals.probe import Ridge
from jaxemb.evals.raw import RawInputs
from jaxemb.metrics.collapse import image_share, mean_cosine, position_share, spread
from jaxemb.metrics.rankme import rankme
from jaxemb.ops.draws import Draws
from jaxemb.ops.similarity import unit


def data(p: Patient) -> Iterator[Finding]:
    """What the encoder is fed."""
    x = p.images()
    mean, std = float(x.mean()), float(x.std())
    yield Finding(
        "data",
        "mean of the inputs",
        mean,
        grade(abs(mean) / max(std, 1e-6), yellow=0.75, red=2.0),
        "inputs should be centred: a common mean drowns what differs",
        advice.standardised(x),
    )
    yield Finding(
        "data",
        "deviation of the inputs",
        std,
        "red" if not 0.1 <= std <= 10 else "yellow" if not 0.4 <= std <= 2.5 else "green",
        "should be about 1",
        f"{advice.standardised(x)}; else the first layer trains at another pace than the rest",
    )
    constant = float((x.std(1) < 1e-6).mean())
    look = "look at the files: empty, masked or broken images"
    yield Finding("data", "constant examples", constant, grade(constant, yellow=0.01, red=0.2), "share without any content", look)
    copies = 1 - len({row.tobytes() for row in x}) / len(x)
    yield Finding("data", "duplicates", copies, grade(copies, yellow=0.02, red=0.3), "share of exact copies", "drop them")
    yield from _labels(p, x)
    if "targets" in p.batch and "context" in p.batch:
        yield from _coverage(p)


def _labels(p: Patient, x: np.ndarray) -> Iterator[Finding]:
    """Whether labels have anything to do with the inputs: nearest neighbours of raw inputs against guessing."""
    y = p.raw.get("labels")
    if y is None or y.ndim != 1 or (y < 0).any() or len(np.unique(y)) < 2:
        return
    centred = unit(x - x.mean(0))
    cosine = centred @ centred.T
    np.fill_diagonal(cosine, -np.inf)
    agree = float((y[cosine.argmax(1)] == y).mean())
    chance = float((np.bincount(y) / len(y)) @ (np.bincount(y) / len(y)))
    error = math.sqrt(chance * (1 - chance) / len(y))
    level = "green" if agree > chance + 3 * error else "yellow" if agree > chance + error else "red"
    level = "grey" if level != "green" and error > chance / 4 else level  # so few tell nothing
    yield Finding(
        "data",
        "raw neighbours of one class, over chance",
        agree / chance,
        level,
        f"the nearest raw input has the same label in {agree:.1%}, guessing gives {chance:.1%} ± {error:.1%}, {len(y)} examples",
        "labels or images are shuffled, or labels do not show in the inputs: does row i of one belong to row i of the other?",
    )


def _coverage(p: Patient, batches: int = 20) -> Iterator[Finding]:
    """Patches that masks never show or never hide."""
    seen, hidden, count = set(), set(), 0
    fixed = {name: x for name, x in p.batch.items() if name in p.data.spec}
    for i in range(batches):
        drawn = p.objective.prepare(dict(fixed), Draws((1, i), len(next(iter(fixed.values())))))
        seen |= set(np.unique(drawn["context"]).tolist())
        hidden |= set(np.unique(drawn["targets"]).tolist())
        count = max(count, max(seen | hidden) + 1)
    stem = p.objective.encoder.stem
    count = int(np.prod(stem.grid(p.data.spec["images"].shape)))
    for what, patches in (("shown", seen), ("predicted", hidden)):
        share = 1 - len(patches) / count
        level = grade(share, yellow=0.05, red=0.6)
        yield Finding("data", f"patches never {what}", share, level, f"share of the {count} patches", advice.masks(p))
    shown = float(np.mean([len(np.unique(row)) for row in p.batch["context"].reshape(-1, p.batch["context"].shape[-1])])) / count
    yield Finding(
        "data",
        "patches in a context",
        shown,
        grade(shown, yellow=0.15, red=0.0),
        "share of the patches that the context shows",
        "larger contexts: with few patches there is little to predict from",
    )


def optimisation(p: Patient) -> Iterator[Finding]:
    """Whether the parameters move, and how."""
    lr = p.series.get("lr", np.zeros(1))
    wanted = p.experiment.optim.lr
    yield Finding(
        "optimisation",
        "learning rate reached",
        float(lr.max()),
        "red" if lr.max() <= 0 else grade(lr.max() / max(wanted, 1e-30), yellow=0.5, red=0.01),
        f"the highest that was logged; the setting is {wanted:g}",
        advice.unreached(p),
    )
    moved = _distance(p.untrained["params"], p.student["params"])
    yield Finding(
        "optimisation",
        "distance from the start",
        moved,
        grade(moved, yellow=0.02, red=1e-6),
        "|trained - untrained| / |untrained| over all parameters",
        f"the parameters hardly moved: a learning rate above {wanted:g}, or more steps",
    )
    norms = p.series.get("grad_norm")
    if norms is not None and len(norms) > 12:
        around = np.lib.stride_tricks.sliding_window_view(norms, 11)
        peak = float((around[:, -1] / np.maximum(np.median(around[:, :-1], axis=1), 1e-30)).max())
        yield Finding(
            "optimisation",
            "largest gradient over those before",
            peak,
            grade(peak, yellow=20.0, red=1000.0),
            "single steps that undo many others",
            advice.smoother(p),
        )
        if p.experiment.optim.clip:
            cut = float((norms > p.experiment.optim.clip).mean())
            high = f"clip={p.experiment.optim.clip:g} is below the usual gradient and sets the step size: raise it"
            yield Finding("optimisation", "steps clipped", cut, grade(cut, yellow=0.5, red=1.1), "share of the logged steps", high)
    losses = p.series.get("loss")
    if losses is not None and len(losses) > 9:
        jumps = np.diff(losses) / max(float(np.median(np.abs(losses))), 1e-30)
        spikes = float((jumps > 1.0).mean())
        yield Finding(
            "optimisation",
            "loss spikes",
            spikes,
            grade(spikes, yellow=0.02, red=0.3),
            "share of jumps by more than the median loss",
            advice.smoother(p),
        )
    yield from _layers(p)


def _layers(p: Patient) -> Iterator[Finding]:
    """The movement of single layers: one that stays where it was while others move is frozen or starved."""
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for (path, a), b in zip(jax.tree.leaves_with_path(p.untrained["params"]), jax.tree.leaves(p.student["params"]), strict=True):
        keys = [k.key for k in path]
        if np.ndim(a) > 1:
            groups.setdefault("/".join(keys[:2]), []).append((np.asarray(a), np.asarray(b)))
    moves = {name: _norm([b - a for a, b in pairs]) / max(_norm([a for a, _ in pairs]), 1e-12) for name, pairs in groups.items()}
    if len(moves) > 1:
        slow = min(moves, key=lambda name: moves[name])
        ratio = moves[slow] / max(float(np.median(list(moves.values()))), 1e-12)
        yield Finding(
            "optimisation",
            "slowest layer over the median",
            ratio,
            grade(ratio, yellow=0.05, red=0.0),
            f"{slow} moved by {moves[slow]:.2g} of its length",
            "frozen on purpose? else no gradient reaches it",
        )


def teacher(p: Patient) -> Iterator[Finding]:
    """The averaged parameters, where there are any."""
    if p.teacher is None:
        return
    first, last = p.experiment.ema
    apart = _distance(p.student["params"], p.teacher["params"])
    moved = _distance(p.untrained["params"], p.teacher["params"])
    own = _distance(p.untrained["params"], p.student["params"])
    share = moved / max(own, 1e-12)
    yield Finding(
        "teacher",
        "way of the teacher over that of the student",
        share,
        grade(share, yellow=0.3, red=0.02),
        f"the teacher is {moved:.2g} from the start, the student {own:.2g}, and they are {apart:.2g} apart",
        f"the average hardly moves: {advice.faster_average(p)}",
    )
    horizon = 1 / max(1 - first, 1e-9)
    part = horizon / max(p.experiment.steps, 1)
    yield Finding(
        "teacher",
        "EMA horizon over the run",
        part,
        grade(part, yellow=0.2, red=1.0),
        f"1 / (1 - {first:g}) = {horizon:.0f} steps of {p.experiment.steps}",
        f"ema=({max(0.0, 1 - 10 / p.experiment.steps):.3g}, {last:g}) or less for a run of this length",
    )


def context(p: Patient) -> Iterator[Finding]:
    """Whether the prediction uses the context, or the place alone."""
    targets = p.targets
    if targets is None:
        return
    values = np.asarray(targets, np.float64)
    if values.ndim == 3:
        share = position_share(values)
        yield Finding(
            "context",
            "target variance explained by place",
            share,
            grade(share, yellow=0.6, red=0.95),
            "1: a target is the same in all images, and can be predicted from its place",
            advice.placed_targets(p),
        )
        share = image_share(values)
        yield Finding(
            "context",
            "target variance explained by the image",
            share,
            grade(share, yellow=0.8, red=1.0),
            "1: all patches of an image have the same target, and any part of the context tells it",
            "targets that differ within an image, e.g. the patches' own features (I-JEPA)",
        )
    true = p.loss(p.batch, targets)
    ratio = float(np.mean([p.loss(_rolled(p, by), targets) for by in (1, 2, 3)])) / max(true, 1e-12)
    yield Finding(
        "context",
        "loss with swapped contexts over the true loss",
        ratio,
        grade(ratio, yellow=1.05, red=1.01),
        "1: the prediction is as good from another image, so the context is not used",
        "more or larger context, fewer targets, longer training; a predictor that is not too strong",
    )


def _rolled(p: Patient, by: int) -> dict[str, np.ndarray]:
    """The batch with the inputs of other examples; masks and targets stay."""
    return {name: np.roll(x, by, axis=0) if name in p.data.spec else x for name, x in p.batch.items()}


def collapse(p: Patient) -> Iterator[Finding]:
    """Whether embeddings still differ, beside those of the untrained encoder."""
    z = p.embeddings
    base = {"spread": spread(z["untrained"]), "rank": rankme(z["untrained"], centre=True)}
    for name in ("student", "teacher"):
        if name not in z:
            continue
        remedy = f"collapse: {advice.collapse(p)}"
        value = spread(z[name])
        level = "red" if value < min(0.02, base["spread"] / 2) else grade(value / max(base["spread"], 1e-9), yellow=0.7, red=0.1)
        yield Finding(
            "collapse", f"spread of the {name}'s embeddings", value, level, f"0: all alike; untrained {base['spread']:.3g}", remedy
        )
        width = min(z[name].shape)
        rank = rankme(z[name], centre=True)
        level = "red" if rank < min(3.0, base["rank"] / 2) else grade(rank / base["rank"], yellow=0.6, red=0.1)
        yield Finding(
            "collapse",
            f"effective rank of the {name}'s",
            rank,
            level,
            f"RankMe, centred, of {width}; untrained {base['rank']:.3g}",
            remedy,
        )
        cosine = mean_cosine(z[name])
        yield Finding(
            "collapse",
            f"mean cosine of two of the {name}'s",
            cosine,
            grade(cosine, yellow=0.995, red=0.9999),
            "1: all point one way",
            remedy,
        )


def worth(p: Patient) -> Iterator[Finding]:
    """Against the same encoder at random initialisation, and against the inputs themselves."""
    variables = p.student if p.teacher is None else p.teacher
    for name, evaluation in (("k-NN", KNN(train=2_000, test=1_000)), ("probe", Ridge(train=2_000, test=1_000))):
        try:
            count = int((evaluation.rows(p.data, 0)[1].column("labels") >= 0).sum())
            got, base = (evaluation.run(p.model(v), p.data)["top1"] for v in (variables, p.untrained))
            raw = RawInputs(of=evaluation).run(p.model(variables), p.data)["top1"]
        except ConfigError:  # without labels, or without inputs that are numbers
            return
        yield compared(f"{name} over the untrained encoder", got, base, count, "untrained", red=True)
        yield compared(f"{name} over raw inputs", got, raw, count, "from the inputs themselves", red=False)


def compared(name: str, got: float, other: float, rows: int, what: str, *, red: bool) -> Finding:
    """The difference of two shares of the same number of rows, with standard errors. Within two of them nothing is said, unless the
    rows are so many that a difference of a tenth would have shown. (Both are of the same rows, so the errors are rather too large.)

        error of a share p of n rows = sqrt(p (1 - p) / n), with p drawn to 1/2 by two rows of either answer (Agresti & Coull 1998)
    """
    a, b = (error_of(p, rows) for p in (got, other))
    error = math.hypot(a, b)
    meaning = f"{got:.1%} ± {a:.1%} trained, {other:.1%} ± {b:.1%} {what}, {rows} rows"
    if got - other > 2 * error:
        level, try_ = "green", ""
    elif got - other < -2 * error:
        level, try_ = ("red" if red else "yellow"), "the lines above say why; else more steps"
    elif 2 * error < 0.1:
        level, try_ = "yellow", "no difference beyond the noise: the lines above say why; else more steps"
    else:
        level, try_ = "grey", ""
        meaning = f"{meaning}: within the noise: so few rows cannot tell"
    return Finding("worth", name, got - other, level, meaning, try_)


def error_of(share: float, rows: int) -> float:
    p = (share * rows + 2) / (rows + 4)
    return math.sqrt(p * (1 - p) / (rows + 4))


def _distance(a: object, b: object) -> float:
    """|b - a| / |a| over all parameters."""
    before, after = ([np.asarray(x, np.float64) for x in jax.tree.leaves(t)] for t in (a, b))
    return _norm([y - x for x, y in zip(before, after, strict=True)]) / max(_norm(before), 1e-12)


def _norm(arrays: list[np.ndarray]) -> float:
    return math.sqrt(sum(float((np.asarray(x, np.float64) ** 2).sum()) for x in arrays))


CHECKS: dict[str, Callable[[Patient], Iterator[Finding]]] = {
    "data": data,
    "optimisation": optimisation,
    "teacher": teacher,
    "context": context,
    "collapse": collapse,
    "worth": worth,
}


def examine(p: Patient, say: Callable[[str], None] = print) -> list[Finding]:
    """All findings, in order; a check that does not apply to this objective or these data is left out, and said so."""
    found: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            found += check(p)
        except (ConfigError, DataError) as e:
            say(f"{name} is left out: {e}")
    return found
