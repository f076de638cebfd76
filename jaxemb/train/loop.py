"""The training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import Mesh

from jaxemb.config import to_json
from jaxemb.log.progress import Progress
from jaxemb.log.writer import Writer
from jaxemb.run.files import Where
from jaxemb.run.folder import Run
from jaxemb.run.metrics import changed
from jaxemb.train.cluster import see_the_same
from jaxemb.train.failures import explained
from jaxemb.train.feed import Feed
from jaxemb.train.flops import least_seconds
from jaxemb.train.judge import Judge
from jaxemb.train.remembered import remembered
from jaxemb.train.report import Report
from jaxemb.train.setup import check_tasks, every_batch_shape, layout, own_objects
from jaxemb.train.sharding import check_batch, make_mesh, on_mesh, replicated
from jaxemb.train.signals import Stop
from jaxemb.train.spent import Spent
from jaxemb.train.start import find_start
from jaxemb.train.state import TrainState, items_of
from jaxemb.train.step import make_step
from jaxemb.train.trace import Trace, check

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


def train(
    experiment: Experiment,
    run: Where,
    *,
    tensorboard: bool = False,
    wandb: bool = False,
    profile: tuple[int, int] | None = None,
    on_eval: Callable[[int, Mapping[str, float]], object] | None = None,
    on_save: Callable[[int, Any], object] | None = None,
) -> dict[str, float]:
    """Trains `experiment` in the folder `run` to its last step, and returns all figures of that step.

    The same call goes on with a run that was cut off, as if it never had been: on the same devices bit for bit. After SIGTERM or
    Ctrl-C it saves and raises SystemExit with 128 + the number of the signal, as a shell would report it (143, 130).

    `on_eval(step, figures)` is called after each evaluation, `on_save(step, folder)` when the checkpoint in that folder is whole
    (training then waits for the disk); both in every process, and an error in one ends the training.

    `profile=(start, stop)` writes a trace of the updates after `start` up to `stop` into `profile/` of the folder.
    """
    spent = Spent()
    experiment, twice = own_objects(experiment)
    mesh = make_mesh(experiment.mesh)
    check_batch(experiment.batch, experiment.accumulate, mesh)
    if profile:
        check(profile, experiment.steps)
    folder = Run(run)
    with contextlib.ExitStack() as stack:
        stack.enter_context(spent)
        if jax.process_index() == 0:
            stack.enter_context(folder.claimed(experiment))
        all_are_here()
        see_the_same(folder.path / "env.json")
        experiment = folder.restored(experiment)
        report = stack.enter_context(contextlib.closing(make_report(experiment, folder, mesh, spent, tensorboard, wandb)))
        for fields in twice:
            report.say(f"{' and '.join(fields)} were one object; this run has one for each, as its config says")
        check_tasks(experiment)
        judge = Judge(experiment, mesh, report.say)
        saved = folder.checkpoints(report.say, keep=experiment.keep, best=experiment.best)
        checkpoints = stack.enter_context(contextlib.closing(saved))
        stack.enter_context(explained(experiment, report.say))
        stop = stack.enter_context(Stop())
        start = find_start(experiment, mesh, checkpoints, report.say)
        if lines := changed(folder.path, start.step, start.written):
            report.say(lines)
        if profile and profile[0] < start.step:
            report.say(f"no trace: the run goes on from step {start.step}, and profile={profile[0]}:{profile[1]} began before it")
            profile = None
        if start.step >= experiment.steps:
            report.say(f"nothing is left to do: {folder.path} has reached step {start.step} of {experiment.steps}")
            return folder.figures(start.step)
        feed = stack.enter_context(contextlib.closing(Feed(experiment, mesh, start=start.step, place=start.place)))
        trace = stack.enter_context(contextlib.closing(Trace(profile, folder.path / "profile", spent, report)))
        report.begin(start.step, resumed=start.resumed)
        with report.aside("compiling", "compiling the train step"):
            steps = Steps(experiment, start.state, mesh, report)
            report.against(least_seconds(experiment, mesh))

        state, i = start.state, start.step  # i updates are done
        stack.enter_context(spent.on("host"))
        called = "device" if mesh.devices.flat[0].platform == "cpu" else "host"  # elsewhere a call only starts the step
        while True:
            # Evaluate, save, step, log, in this order. A checkpoint then comes after the figures of its step and the metrics
            # before it, so that a resumed run repeats nothing and misses nothing. Step 0 is the random initialisation.
            last = i == experiment.steps or stop.wanted(i)
            if i > start.step or not start.resumed:
                figures = evaluate(judge, i, state, report)
                if on_eval and figures:
                    with report.aside("rest"):
                        on_eval(i, figures)
                if i > 0 and (last or i % experiment.save_every == 0 or experiment.best in figures):
                    report.flush()  # raises on a loss that is not finite: such a state is never saved
                    with report.aside("saving", parts=("checkpoint",)):
                        checkpoints.save(
                            i, items_of(state), {"data": feed.place, "mesh": dict(mesh.shape), "metrics": report.written()}, figures
                        )
                        if on_save:
                            checkpoints.wait()
                            with spent.on("rest"):
                                on_save(i, folder.path / "checkpoints" / str(i))
            if last:
                break
            trace.begin(i)
            with trace.step(i + 1):
                with jax.transfer_guard("disallow"):  # nothing may move between host and devices unasked
                    report.wait(feed.arrives)
                    batch = next(feed)
                    step = steps.at(i + 1, report.due(i + 1))
                    with spent.on(called):
                        state, metrics = step(state, batch)
                i += 1
                report.step(i, metrics)
            if trace.ends(i):
                report.flush()
                trace.close()

        trace.close()
        feed.close()
        with spent.on("saving"):
            checkpoints.wait()
        report.spent(folder, start.step, i)
        if stop.signal and i < experiment.steps:
            report.say(f"{stop.signal.name}: stopped at step {i}{', which is saved' if i else ''}; the same command goes on")
            raise SystemExit(128 + stop.signal)
    return folder.figures(experiment.steps)


def all_are_here() -> None:
    """Until the first process has written what the others read."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("the run folder is written")


def evaluate(judge: Judge, i: int, state: TrainState, report: Report) -> Mapping[str, float]:
    """The figures of step i, written down; none where no evaluation is due."""
    names = judge.due(i)
    if not names:
        return {}
    report.flush()
    with report.aside("evaluation", parts=names) as took:
        figures = judge(state.variables("ema"), names)
    judge.check_best(figures, names)
    report.figures(i, figures, took())
    return figures


class Steps:
    """The train step of these shapes, compiled; where probes are due, one that looks as well. The memory of a state is given to
    its successor."""

    def __init__(self, experiment: Experiment, state: TrainState, mesh: Mesh, report: Report):
        self._experiment, self._mesh, self._report = experiment, mesh, report
        self._state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        self._compiled: dict[tuple[str, ...], Any] = {}
        for names in {(), tuple(experiment.probes)}:  # what is wrong with a probe shows before training
            self._compile(names)

    def at(self, i: int, written: bool) -> Any:
        """The one for update i = 1, 2, ..., whose metrics are written or not."""
        line = i // self._experiment.log_every
        names = tuple(name for name, probe in self._experiment.probes.items() if written and line % probe.every == 0)
        if names not in self._compiled:
            with self._report.aside("compiling", f"compiling the train step with {', '.join(names)}"):
                self._compile(names)
        return self._compiled[names]

    def _compile(self, names: tuple[str, ...]) -> None:
        x = self._experiment
        probes = tuple((name, x.probes[name]) for name in names)
        jitted = placed_step(x, self._state, self._mesh, probes)
        self._compiled[names] = compiled(jitted, self._state, x, self._mesh)


def placed_step(experiment: Experiment, state: TrainState, mesh: Mesh, probes: tuple[tuple[str, Any], ...] = ()) -> Any:
    """The jitted train step; `state` may be shapes with their placement."""
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda x: x.sharding, state))
    x = experiment
    return _placed_step(mesh, x.objective, x.optim, x.steps, x.ema, x.accumulate, probes, tree, tuple(leaves))


@remembered
def _placed_step(
    mesh: Mesh, objective: Any, optim: Any, steps: int, ema: Any, parts: int, probes: Any, tree: Any, leaves: Any
) -> Any:
    step = make_step(objective, optim, steps=steps, ema=ema, accumulate=parts, probes=dict(probes))
    placed = jax.tree.unflatten(tree, leaves)
    return jax.jit(on_mesh(step, mesh), donate_argnums=0, out_shardings=(placed, replicated(mesh)))


def compiled(jitted: Any, state: TrainState, experiment: Experiment, mesh: Mesh) -> Any:
    """A function of the state and a batch, compiled once for each shape that the batches of the data may have."""
    found = {layout(shapes): jitted.lower(state, shapes).compile() for shapes in every_batch_shape(experiment, mesh)}
    return lambda state, batch: found[layout(batch)](state, batch)


def make_report(experiment: Experiment, folder: Run, mesh: Mesh, spent: Spent, tensorboard: bool, wandb: bool) -> Report:
    """Only the first process writes and prints."""
    first = jax.process_index() == 0
    config = to_json(experiment) if wandb else None
    writer = Writer(folder.path if first else None, tensorboard=tensorboard, wandb=wandb, name=experiment.name, config=config)
    unit = "images" if "images" in experiment.data.spec else "examples"
    progress = Progress(experiment.steps, experiment.batch, unit=unit, devices=mesh.size, shown=first)
    return Report(experiment, writer, progress, spent)
