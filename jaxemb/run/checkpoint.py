"""Checkpoints: Orbax writes them (asynchronously, atomically), a manifest of checksums says which of them are intact.

A step is a folder of items, so that an evaluation reads only what it needs:

    params   ema (if an average is kept)   stats (if the model has any)   rest: optimiser, random key, step
    meta     JSON: place in the data, and what else the loop wants to find again
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxemb.files import is_local, is_regular
from jaxemb.ops.paths import by_path, map_paths
from jaxemb.run.files import RunError, Where, absolute, read_json
from jaxemb.run.manifest import UNSEALED, fault, manifest_path, remove, seal

LOST = re.compile(r"Gloo|coordination|[Bb]arrier|DEADLINE_EXCEEDED|UNAVAILABLE|[Hh]eartbeat|Connection (closed|reset)")
"""How errors read that say that another process is gone."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, found or read."""


class Restored(NamedTuple):
    """What `Checkpoints.restore` gives back."""

    step: int
    items: dict[str, Any]
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run. Reading needs nothing but the folder; the writing side opens at the first `save`."""

    def __init__(self, folder: Where, *, keep: int = 3, best: str | None = None, say: Callable[[str], None] = print):
        """`keep`: how many of the newest stay. `best`: the figure whose highest value is kept as well."""
        self.folder, self.keep, self.best, self.say = absolute(folder), keep, best, say
        self._intact: set[int] = set()  # steps whose bytes were looked at: once is enough
        self._manager: ocp.CheckpointManager | None = None
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._sealing: Future | None = None

    # ---- writing -----------------------------------------------------------------------------------------------------------------

    def save(
        self, step: int, items: Mapping[str, Any], meta: Mapping[str, Any], figures: Mapping[str, float] | None = None
    ) -> None:
        """Starts to save trees by item, and returns as soon as their arrays may be overwritten. Waits for an earlier save; raises
        what that met."""
        saved = {name: ocp.args.PyTreeSave(tree) for name, tree in items.items()}
        figure = (figures or {}).get(self.best or "")
        try:
            self._settle()
            self._intact.discard(step)
            manager = self._manager = self._manager or self._open(items)
            meta = {**meta, **({} if figure is None or not math.isfinite(figure) else {"best": float(figure)})}
            manager.save(step, args=ocp.args.Composite(**saved, meta=ocp.args.JsonSave(meta)))
        except Exception as e:
            raise self._failed(step, e) from e
        if jax.process_index() == 0:
            self._sealing = self._sealer.submit(self._seal, manager, step)

    def wait(self) -> None:
        """Until everything is on disk and sealed."""
        try:
            self._settle()
        except Exception as e:
            raise self._failed(None, e) from e

    def close(self) -> None:
        """Waits, and ends the threads."""
        try:
            self.wait()
        finally:
            self._sealer.shutdown()
            if self._manager is not None:
                manager, self._manager = self._manager, None
                manager.close()

    def _open(self, names: Iterable[str]) -> ocp.CheckpointManager:
        # Orbax removes nothing: it would begin before the new step has its manifest, and with a process that is killed meanwhile
        # go the old step and the new one (seen). `_make_room` does it afterwards.
        options = ocp.CheckpointManagerOptions(
            cleanup_tmp_directories=True,  # what a killed process left half-written
            save_root_metadata=False,
        )
        # zstd takes 7 % off float32 weights, for a third more CPU time of the threads that write them (354 MB: 1.2 s without).
        handlers = {name: ocp.PyTreeCheckpointHandler(use_compression=False) for name in names}
        return ocp.CheckpointManager(self.folder, options=options, item_handlers={**handlers, "meta": ocp.JsonCheckpointHandler()})

    def _settle(self) -> None:
        if self._manager is not None:
            self._manager.wait_until_finished()
        if self._sealing is not None:
            sealing, self._sealing = self._sealing, None
            sealing.result()

    def _seal(self, manager: ocp.CheckpointManager, step: int) -> None:
        while manager.is_saving_in_progress():
            time.sleep(0.02)
        if self._committed(step):  # else the save failed, which the next `_settle` raises
            seal(self.folder, step)
            self._make_room(step)

    def _committed(self, step: int) -> bool:
        """Whether Orbax came to the end of a save. A folder gets its name then; in a bucket, where it cannot be renamed, a mark."""
        folder = self.folder / str(step)
        return folder.is_dir() if is_local(folder) else is_regular(folder / "commit_success.txt")

    def _make_room(self, newest: int) -> None:
        """Of what was complete before, and of what earlier removals left: the newest `keep` stay, and the best."""
        complete = [s for s in self.sealed() if s <= newest]
        kept = {newest, *complete[-self.keep :]}
        figures = {s: figure for s in complete if (figure := self._figure(s)) is not None} if self.best else {}
        if figures:
            kept.add(max(figures, key=lambda s: (figures[s], s)))
        for step in self.steps():
            if step < newest and step not in kept:
                remove(self.folder, step)

    def _figure(self, step: int) -> float | None:
        try:
            figure = read_json(self.folder / str(step) / "meta" / "metadata").get("best")
        except RunError:  # damaged: it will not be restored either
            return None
        return figure if isinstance(figure, float) else None

    def _failed(self, step: int | None, e: Exception) -> Exception:
        if isinstance(e, jax.errors.JaxRuntimeError):
            return e  # another process is gone, or a device: not a matter of the disk
        if jax.process_count() > 1 and LOST.search(str(e)):
            return jax.errors.JaxRuntimeError(str(e))  # the same, said by the threads of Orbax
        what = "the last checkpoint" if step is None else f"checkpoint {step}"
        left = f"checkpoint {self.sealed()[-1]} is complete" if self.sealed() else "there is no earlier checkpoint"
        reason = str(e).strip().splitlines()[0][:300] if str(e).strip() else type(e).__name__
        return CheckpointError(
            f"could not save {what} in {self.folder}: {reason}; {left}. Is the disk full, or the folder not writable? "
            "Once that is mended the same command goes on"
        )

    # ---- reading -----------------------------------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """All steps with a folder, ascending, intact or not."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if re.fullmatch("[0-9]{1,12}", p.name) and p.is_dir())

    def sealed(self) -> list[int]:
        """The steps whose save came to its end."""
        return [s for s in self.steps() if manifest_path(self.folder, s).exists()]

    def newest(self, *, set_aside: bool = False) -> int | None:
        """The newest intact step; says which it passes over, and why. `set_aside` moves those out of the way of later saves.

        All processes call it together: each reads its own share of the bytes, and they agree.
        """
        first = jax.process_index() == 0
        passed: dict[int, str] = {}
        found = None
        for step in reversed(_from_the_first(self.steps())):
            reason = self._fault(step)
            if reason is None:
                found = step
                break
            self.say(f"checkpoint {step} is passed over: {reason}")
            passed[step] = reason
        unsealed = [s for s, reason in passed.items() if reason == UNSEALED and self._committed(s)]
        if found is None and unsealed:
            # Killed between Orbax's commit and ours, with no other step left (keep=1): better than to start anew.
            found = unsealed[0]
            self.say(f"checkpoint {found} is used after all, unchecked: there is no other")
        if set_aside and first:
            for step in passed:
                if step != found:
                    self._set_aside(step)
            if found in passed:
                seal(self.folder, found)
        if passed and found is not None:
            self.say(f"going back to checkpoint {found}, the newest intact one")
        return found

    def _fault(self, step: int) -> str | None:
        """What is wrong with a step, as all processes see it; the bytes of one that was found intact are not read again."""
        if step in self._intact:
            return None
        reason = _first_of_all(fault(self.folder, step, (jax.process_index(), jax.process_count())))
        self._intact |= {step} if reason is None else set()
        return reason

    def _set_aside(self, step: int) -> None:
        aside = self.folder / f"{step}.rejected"
        aside.rmtree(missing_ok=True)
        (self.folder / str(step)).rename(aside)
        manifest_path(self.folder, step).unlink(missing_ok=True)

    def pick(self, step: int | None = None) -> int:
        """The step that was asked for, or the newest; an error if it is not there or not intact."""
        if step is None:
            step = self.newest()
            if step is None:
                raise CheckpointError(f"there is no complete checkpoint in {self.folder}")
            return step
        if step not in _from_the_first(self.steps()):
            raise CheckpointError(f"there is no checkpoint {step} in {self.folder}; there are {self.steps() or 'none'}")
        if reason := self._fault(step):
            raise CheckpointError(
                f"checkpoint {step} in {self.folder} cannot be used: {reason}; complete are {self.sealed() or 'none'}"
            )
        return step

    def has(self, step: int, item: str) -> bool:
        """Whether a step holds an item, e.g. "ema"."""
        return (self.folder / str(step) / item).is_dir()

    def shapes(self, step: int, item: str) -> dict[str, tuple[int, ...]]:
        """The arrays of an item as they are stored, by path."""
        found: dict[str, tuple[int, ...]] = {}
        metadata = self._metadata(step, item)
        map_paths(lambda path, leaf: found.update({path: tuple(leaf.shape)}), metadata)
        return found

    def read(self, step: int, item: str, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
        """Some arrays of an item by path, in the dtype and on the devices that `wanted` says; the others are not read."""

        def pruned(tree: Any, path: str = "") -> Any:
            if not isinstance(tree, Mapping):
                return wanted[path]
            below = {k: f"{path}/{k}" if path else str(k) for k in tree}
            return {
                k: pruned(sub, below[k])
                for k, sub in tree.items()
                if any(p == below[k] or p.startswith(f"{below[k]}/") for p in wanted)
            }

        tree = pruned(self._metadata(step, item))
        arguments = ocp.args.PyTreeRestore(
            tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree), partial_restore=True
        )
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            return by_path(reader.restore(self.folder / str(step) / item, args=arguments))

    def _metadata(self, step: int, item: str) -> Any:
        """The tree of an item, shapes and dtypes in place of arrays."""
        where: Any = self.folder / str(step) / item
        return ocp.StandardCheckpointHandler().metadata(where).tree

    def restore(self, wanted: Mapping[str, Any], step: int | None = None) -> Restored:
        """Reads items onto the devices that the shardings of `wanted` (trees of ShapeDtypeStruct by item) name."""
        step = self.pick(step)
        for item, tree in wanted.items():
            if not self.has(step, item):
                raise CheckpointError(f"checkpoint {step} in {self.folder} holds no {item!r}")
            if item in ("params", "ema", "stats"):
                self._compare(step, item, tree)
        items = {}
        with ocp.StandardCheckpointer() as reader:
            for item, tree in wanted.items():
                try:
                    items[item] = reader.restore(self.folder / str(step) / item, tree)
                except (ValueError, KeyError) as e:
                    message = f"checkpoint {step} in {self.folder}: its {item!r} does not fit this experiment: {str(e)[:500]}"
                    raise CheckpointError(message) from e
        try:
            meta = read_json(self.folder / str(step) / "meta" / "metadata")
        except RunError as e:
            raise CheckpointError(f"checkpoint {step}: {e}") from e
        return Restored(step, items, meta)

    def _compare(self, step: int, item: str, tree: Any) -> None:
        stored = self.shapes(step, item)
        asked: dict[str, tuple[int, ...]] = {}
        map_paths(lambda path, leaf: asked.update({path: tuple(leaf.shape)}), tree)
        differing = [path for path in {**asked, **stored} if asked.get(path) != stored.get(path)]
        if differing:
            lines = [f"  {p}: stored {stored.get(p, 'nothing')}, the model has {asked.get(p, 'nothing')}" for p in differing[:5]]
            more = f"\n  and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise CheckpointError(
                f"checkpoint {step} in {self.folder} is of another architecture, {len(differing)} of its {item} differ:\n"
                + "\n".join(lines)
                + more
            )


def _from_the_first(steps: list[int]) -> list[int]:
    """The steps as process 0 sees them, so that all decide alike though a shared file system may lag."""
    if jax.process_count() == 1:
        return steps
    from jax.experimental import multihost_utils

    count = int(multihost_utils.broadcast_one_to_all(np.int32(len(steps))))
    padded = np.resize(np.asarray(steps or [0], np.int32), count)
    return multihost_utils.broadcast_one_to_all(padded).tolist() if count else []


def _first_of_all(reason: str | None) -> str | None:
    """The first fault that any process found."""
    if jax.process_count() == 1:
        return reason
    from jax.experimental import multihost_utils

    text = np.frombuffer((reason or "").encode()[:400].ljust(400), np.uint8)
    said = [bytes(row).decode(errors="replace").rstrip() for row in np.asarray(multihost_utils.process_allgather(text))]
    return next(filter(None, said), None)
