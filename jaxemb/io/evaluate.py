"""A run or a pretrained model judged from its path alone."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
from etils import epath

from jaxemb.config import ConfigError, assigned, from_json, suggest, to_json
from jaxemb.files import FileError, is_folder, is_regular, read_json
from jaxemb.hub import ID
from jaxemb.io.asked import KINDS, asked
from jaxemb.io.embedder import Embedder
from jaxemb.io.text_model import TextModel
from jaxemb.io.weights import mesh_here, read_weights
from jaxemb.ops.paths import parameter_paths
from jaxemb.run.environment import environment
from jaxemb.run.files import RunError, Where, write_json
from jaxemb.run.folder import Run
from jaxemb.train.judge import Judge, measure
from jaxemb.train.recipe import Recipe, read_fitted
from jaxemb.train.setup import state_shapes

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


def evaluate(
    run: Where,
    *,
    evals: Sequence[str] | None = None,
    weights: str = "ema",
    changes: Sequence[str] = (),
    out: Where | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, float]]:
    """The figures of each evaluation, e.g. {"knn": {"top1": 0.41}}, on whatever devices are here.

    `run` is a run folder, "runs/shapes" or with a step "runs/shapes@500"; `evals` names some of its evaluations (None: all), or
    evaluations of texts (`KINDS`: "retrieval", "sts", ...), whose fields `changes` give: "evals.sts.path=stsb.csv". Other changes
    are fields to read the run with, "objective.encoder.pos=..." or "data.path=...": any that leave its parameters as they are. The
    figures and where they come from are also written to RUN/evals/<name>@<step>.json (-params.json for the trained weights), with
    changes under a name that ends in a hash of them.

    Or `run` is a pretrained folder or an id of the hub: `evals` are those of texts, other changes are arguments of
    `Embedder.from_pretrained`, "max_length=128", and nothing is written there. `out`: a file for all figures and where they come
    from.
    """
    found = _pretrained(run, evals, changes) if is_pretrained(run) else _trained(run, evals, weights, changes, say)
    if out is not None:
        try:
            write_json(epath.Path(out), found)
        except OSError as e:
            raise ConfigError(f"{out} cannot be written: {e.strerror}") from e
    return {name: record["figures"] for name, record in found.items()}


def is_pretrained(model: Where) -> bool:
    """Whether a path or an id is a model of somebody else's rather than a run: its config.json describes no experiment. What is
    neither here nor an id is refused."""
    folder = epath.Path(model)
    if is_regular(folder / "modules.json") or is_hub_id(model):
        return True
    if not is_regular(folder / "config.json"):
        if is_folder(Run(model).path) or is_folder(folder):
            return False  # `Run` says what it lacks
        try:
            Run(model).config()
        except RunError as e:
            raise RunError(f"{e}; {NEITHER}") from None
    try:
        found = read_json(folder / "config.json")
    except FileError:  # `Run` says what is wrong
        return False
    return isinstance(found, dict) and "@" not in found and "model_type" in found


NEITHER = "there is neither a run nor another folder, and models of the Hugging Face hub are written org/name"


def is_hub_id(model: Where) -> bool:
    """Whether it is written org/name, and nothing of that name is here: "runs/smal" is a run mistyped, also where no run is yet."""
    folder = epath.Path(model)
    here = is_folder(folder) or is_folder(Run(model).path) or is_folder(folder.parent)
    return not here and ID.fullmatch(str(model)) is not None and str(model).partition("/")[0].lower() not in ("run", "runs")


def _pretrained(model: Where, names: Sequence[str] | None, changes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Records by the name of the evaluation."""
    if not names and not any(change.startswith("evals.") for change in changes):
        raise ConfigError(f"{model} is a pretrained model without evaluations of its own: --evals with some of {', '.join(KINDS)}")
    own = [change for change in changes if not change.startswith("evals.")]
    evals = asked(str(model), {"evals": {}}, names or (), [c for c in changes if c not in own])["evals"]
    text_model = TextModel(Embedder.from_pretrained(model, **pretrained_options(own)))
    where, found = environment(), {}
    for name in names or evals:
        text_model.notes = {}
        found[name] = {
            "figures": evals[name].run(text_model, None),
            "evaluation": to_json(evals[name]),
            "model": str(model),
            "conditions": evals[name].conditions(text_model) | text_model.notes,
            "changes": list(changes),
            "seed": 0,
            **where,
        }
    return found


def pretrained_options(changes: Sequence[str]) -> dict[str, Any]:
    """Arguments of `Embedder.from_pretrained` as the command line gives them, "max_length=128"."""
    options = from_json(assigned({}, changes))
    known = {*inspect.signature(Embedder.from_pretrained).parameters} - {"folder_or_id", "mesh"}
    if strange := [name for name in options if name not in known]:
        raise ConfigError(f"--set {strange[0]}=...: a pretrained model is not opened with it{suggest(strange[0], known)}")
    return options


def _trained(
    run: Where, evals: Sequence[str] | None, weights: str, changes: Sequence[str], say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Records by the name of the evaluation, of those that apply; each is written into the run."""
    folder = Run(run)
    experiment = folder.restored(changed(folder.experiment(), changes, evals or (), what=str(folder.path)))
    names = list(experiment.evals) if evals is None else list(evals)
    if not names:
        raise ConfigError(f"{folder.path}: its experiment has no evaluations")
    judge, step, kind = _judge(folder, experiment, weights, say)
    where = environment()
    records = {}
    for name in names:
        own = {key.partition("/")[2]: value for key, value in judge(name).items()}
        if not own:
            continue
        records[name] = {
            "figures": own,
            "evaluation": to_json(experiment.evals[name]),
            "run": str(folder.path),
            "step": step,
            "weights": kind,
            "conditions": experiment.evals[name].conditions() | _read_with(experiment),
            "changes": list(changes),
            "seed": experiment.seed,
            **where,
        }
        mark = "-" + hashlib.sha256("\n".join(changes).encode()).hexdigest()[:8] if changes else ""
        file = folder.path / "evals" / f"{name}@{step}{'-params' if weights == 'params' else ''}{mark}.json"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, records[name])
        except OSError as e:  # a run of somebody else's: the figures are what was asked for
            say(f"{file} cannot be written: {e.strerror}")
    return records


def _read_with(experiment: Any) -> dict[str, Any]:
    """In what is computed, and of texts how many tokens are read, with which prompts."""
    dtype = getattr(getattr(getattr(experiment, "objective", None), "encoder", None), "dtype", None)
    found = {} if dtype is None else {"dtype": str(dtype)}
    spec = experiment.data.spec
    towers = [spec, *(tower for tower in spec.values() if isinstance(tower, Mapping))]
    lengths = [tower["tokens"].shape[0] for tower in towers if "tokens" in tower]
    if not lengths:
        return found
    prompts = getattr(experiment.data.preprocess, "prompts", {})
    return found | {"max_length": max(lengths)} | ({"prompts": dict(prompts)} if prompts else {})


def _judge(folder: Run, experiment: Any, weights: str, say: Callable[[str], None]) -> tuple[Callable, int, str]:
    """(evaluation's name -> figures, step, what is judged) of a training or of a recipe."""
    if isinstance(experiment, Recipe):
        model, step = read_fitted(folder, experiment, say)
        return lambda name: measure(experiment, model, [name], say), step, "arrays"
    found = read_weights(folder, experiment, weights=weights, say=say)
    judge = Judge(experiment, found.mesh, say=say)
    return lambda name: judge(found.variables, [name]), found.step, found.name


def changed(experiment: Experiment, changes: Sequence[str], evals: Sequence[str] = (), what: str = "the run") -> Experiment:
    """The experiment with fields changed that do not touch its parameters, e.g. how positions beyond the training are read, and
    with `evals` of texts that it does not have."""
    new = asked(what, to_json(experiment), evals, changes)
    if all(change.startswith("evals.") for change in changes):
        return new
    if isinstance(experiment, Recipe):
        if new.fit != experiment.fit:
            raise ConfigError(f"--set {' --set '.join(changes)}: what was fitted cannot be changed afterwards; compute it anew")
        return new
    was, now = (shapes(e) for e in (experiment, new))
    if was != now:
        paths = sorted(path for path in was | now if was.get(path) != now.get(path))
        shown = ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")
        raise ConfigError(
            f"--set {' --set '.join(changes)}: the model would have other parameters than the run ({shown}); a run can be read "
            "with changes that leave its parameters alone"
        )
    return new


def shapes(experiment: Experiment) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter and of everything else that a checkpoint holds for the model, by its path."""
    state = state_shapes(experiment, mesh_here(experiment))
    tree = {**state.params, **state.stats}
    return dict(zip(parameter_paths(tree), (x.shape for x in jax.tree.leaves(tree)), strict=True))
