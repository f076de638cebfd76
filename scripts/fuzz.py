"""Feeds the command line with damaged and hostile input, in one process, and counts what must never happen.

    python scripts/fuzz.py --cases 2000 --seed 0

Holes: code of the input ran (a canary file appeared). Hangs: a case took longer than `--limit` seconds. Tracebacks: an error
that is not one line for the user. Each is printed with its command and seed; the exit status is 1 if there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CANARY = "canary"
NAMES = [
    "jaxemb.__main__:E", "jaxemb.cli:main", "os:system", "experiments.evil.own:Own", "evil:Own", "__main__:X", "jaxemb.a.a.a:X",
    "jaxemb" + ".a" * 40 + ":X", "jaxemb.posemb.none:NoPos", "jaxemb.nn.transformer:Transformer", "jaxemb.train.optim:Optim",
    "jaxemb.experiment:Experiment", ":", "a:b:c", "", "\ud800:X", "jaxemb.posemb.none:NoPos.paper", "builtins:eval",
    "antigravity:fly", "jaxemb.data.images:Images", "jaxemb.evals.knn:KNN", "jaxemb.objectives.ijepa:IJEPA",
    "jaxemb.files:FileError", "subprocess:Popen",
]  # fmt: skip
PLAIN: list[Any] = [
    None, True, False, 0, 1, -1, 2, -16, 10**6, 2**31, 2**63, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), "", "x",
    "²", "fp16", "../..", "a/b", "(", "(.|.)*!", "(a+)+$", "[[a]]", "\x1b[2J", "\udcff", "a\nb", "é" * 50, "x" * 5000, [], {},
    [[]], [1, "a"], {"a": 1}, {"@": []}, {"@": {}}, {"@": 3}, {"@": "x"}, [["(.|.)*!", "fsdp"]], {"data": 0},
    {"data": -5, "x": 1}, "float16", "bfloat16", "/dev/zero",
]  # fmt: skip
TEXTS = [
    "", "=", "a", "a=", "=1", "@=os:system", "evals.@=os:system", "ema.²=1", "ema.0=2", "ema.-1=3",
    "ema.99999999999999999999=1", "sharding.0.0=(", "name=", "name=../x", "name=a/b", "steps=1e400", "steps=" + "9" * 400,
    "optim.lr=nan", "optim.lr=-1", "optim.lr=1e999", "evals.knn.every=0", "best=knn/nope", "sharding=[['(.|.)*!', 'fsdp']]",
    "data.size=0", "data.size=99999999", "seed=-1", "objective=jaxemb.__main__:E()", "objective=experiments.evil.own:Own()",
    "objective=" + "[" * 200, "objective=" + "(" * 5000, "objective=" + "-" * 5000 + "1", "objective=" + "1+" * 3000 + "1",
    "objective=x" * 3000, "a." * 500 + "b=1", "objective.encoder.heads=0", "objective.encoder.width=-16",
    "objective.encoder.depth=1000000", "objective.encoder.dtype=fp16", "objective.encoder.drop_path=2", "data.std=[NaN]",
    "batch=0", "batch=999999999999", "mesh={'data': 0}", "mesh={'x': 1}",
    "objective.masks=jaxemb.masks.fixed_blocks:FixedBlocks(size=(0, 0))",
]  # fmt: skip


class Hang(BaseException):
    """A case that did not end."""


# ---- making things up ------------------------------------------------------------------------------------------------------------


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that JSON holds, and what it does not."""
    kind = rng.random()
    if kind < 0.6 or depth > 4:
        return copy.deepcopy(rng.choice(PLAIN))
    if kind < 0.7:
        return {"@": rng.choice(NAMES)} | {rng.choice(["n", "path", "depth", "width", "name", "x"]): value(rng, depth + 1)}
    if kind < 0.85:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(["a", "@", "", "x" * 300, "\udcff"]): value(rng, depth + 1) for _ in range(rng.randrange(3))}


def mutated(rng: random.Random, doc: Any) -> Any:
    """A stored config with one to three places changed, taken away or added."""
    doc = json.loads(json.dumps(doc))
    for _ in range(rng.randint(1, 3)):
        places = list(_places(doc))
        holder, key = rng.choice(places) if places else (None, None)
        if holder is None:
            return value(rng)
        kind = rng.random()
        if kind < 0.75:
            holder[key] = rng.choice(NAMES) if key == "@" else value(rng)
        elif kind < 0.9:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(["x", "@", "parent", "name", "__class__"])] = value(rng)
    return doc


def _places(doc: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(doc.items() if isinstance(doc, dict) else enumerate(doc) if isinstance(doc, list) else ()):
        yield doc, key
        yield from _places(inner)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes cut off, changed, doubled, or others altogether."""
    kind = rng.randrange(6)
    at = rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(rng.randrange(256) for _ in range(8)) + data[at + 8 :]
    if kind == 2:
        return b""
    if kind == 3:
        return rng.choice(
            [b"null", b"5", b"[]", b"{}", b"\xff\xfe\x00", b"[" * 5000, b'{"a":' * 3000, b"9" * 5000, b'"text"', b"NaN"]
        )
    if kind == 4:
        return (
            data[:at]
            + rng.choice([b"\n5\n", b"\n{}\n", b"\x00", b"\r\n", b'{"step": 1e999}', b'\n{"step": 3, "a": "b"}\n'])
            + data[at:]
        )
    return data + data


# ---- the world and the cases -----------------------------------------------------------------------------------------------------


class World:
    """A folder with a run of `shapes`, an experiment file, images and arrays, and evil code that must never run."""

    def __init__(self, root: Path):
        from jaxemb.config import to_json
        from jaxemb.experiment import find

        self.root, self.file = root, str(Path(__file__).resolve().parents[1] / "experiments/jepa/shapes.py")
        self.config = to_json(find(self.file))
        evil = (
            f"import dataclasses\nopen({str(root / CANARY)!r}, 'w').close()\n@dataclasses.dataclass\nclass Own:\n    n: int = 1\n"
        )
        for name in ("experiments/evil/own.py", "evil.py", "run/experiments/evil/own.py", "run/evil.py"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(evil)
        self.run = root / "run"
        self.whole = {
            "config.json": json.dumps(self.config).encode(),
            "env.json": b'{"devices": ["cpu"], "versions": {"jax": "0"}, "commit": "0123456789", "earlier": []}',
            "metrics.jsonl": b"".join(
                b'{"step": %d, "knn/top1": 0.%d, "loss": 1.5, "seconds": 2}\n' % (s, s + 1) for s in range(5)
            ),
        }
        self.reset()

    def reset(self) -> None:
        for name, data in self.whole.items():
            (self.run / name).write_bytes(data)

    def ran(self) -> bool:
        """Whether code of the input ran; the sign is taken away for the next case."""
        there = (self.root / CANARY).exists()
        (self.root / CANARY).unlink(missing_ok=True)
        return there


def config_case(rng: random.Random, world: World) -> list[str]:
    doc = mutated(rng, world.config) if rng.random() < 0.8 else value(rng)
    (world.run / "config.json").write_text(json.dumps(doc))
    return ["show", rng.choice([str(world.run), f"{world.run}@3"])]


def set_case(rng: random.Random, world: World) -> list[str]:
    paths = [".".join(map(str, p)) for p in _paths(world.config)]
    text = rng.choice(TEXTS) if rng.random() < 0.5 else f"{rng.choice(paths)}={json.dumps(value(rng), ensure_ascii=False)}"
    return ["show", world.file, "--set", text.replace("\0", "")]


def _paths(doc: Any, path: tuple = ()) -> Iterator[tuple]:
    for key, inner in doc.items() if isinstance(doc, dict) else enumerate(doc) if isinstance(doc, list) else ():
        if key != "@":
            yield (*path, key)
            yield from _paths(inner, (*path, key))


def files_case(rng: random.Random, world: World) -> list[str]:
    name = rng.choice(list(world.whole))
    (world.run / name).write_bytes(damaged(rng, world.whole[name]))
    run = str(world.run)
    figure = rng.choice(["knn/top1", "loss", "*", "x*y", "", "$"])
    return rng.choice(
        [["compare", run], ["compare", run, "--y", figure], ["compare", run, run, "--csv", str(world.root / "out.csv")],
         ["compare", run, "--pick", "loss", "--oracle", figure], ["show", run]]
    )  # fmt: skip


def path_case(rng: random.Random, world: World) -> list[str]:
    end = rng.choice(
        [
            "",
            "@²",
            "@" + "9" * 400,
            "@-1",
            "@",
            "/",
            "/..",
            "x" * 5000,
            "/x" * 2000,
            "\udcff",
            "\n",
            ":main",
            ":*",
            ":[",
            ":²",
            "@1:2",
        ]
    )
    target = rng.choice([str(world.run), world.file, "nowhere", str(world.root), "/dev/zero", "", ".", "/"]) + end
    return rng.choice(
        [["show", target], ["compare", target], ["plot", target, "--x", "²"], ["eval", target], ["plot", target, "--masks"]]
    )


def inputs_case(rng: random.Random, world: World) -> Callable[[], Any]:
    """What `encode` reads, without a model: images and array files."""
    import numpy as np

    from jaxemb.data.digits import Digits

    kind = rng.choice(["npy", "npz", "png", "jpg", "gif", "bmp", "tiff", "webp"])
    out = io.BytesIO()
    if kind in ("npy", "npz"):
        x = np.zeros((2, 8, 8, 1), np.uint8)
        np.save(out, x) if kind == "npy" else np.savez(out, images=x)
    else:
        from PIL import Image

        Image.new("L", (9, 7), 100).save(out, {"jpg": "jpeg"}.get(kind, kind))
    folder = world.root / "inputs"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    file = folder / f"a.{rng.choice([kind, 'png', 'npy'])}"
    file.write_bytes(damaged(rng, out.getvalue()))
    target = rng.choice([file, folder, folder / "nothing.png"])
    preprocess = Digits().preprocess

    def read() -> None:
        items, _ = preprocess.read(target)
        preprocess(items)

    return read


CASES = {"config": config_case, "set": set_case, "files": files_case, "path": path_case, "inputs": inputs_case}


# ---- running them ----------------------------------------------------------------------------------------------------------------


def judge(case: list[str] | Callable, world: World, limit: float) -> str | None:
    """ "hole", "hang", "traceback" or None, the last one after the case said something sensible."""
    from jaxemb.cli import for_the_user, main

    def alarm(*_: Any) -> None:
        raise Hang

    said = io.StringIO()
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, limit)
    verdict = None
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            case() if callable(case) else main(case)
    except Hang:
        verdict = "hang"
    except SystemExit as e:
        verdict = None if e.code == 2 else "traceback"
    except Exception as e:
        if not (callable(case) and for_the_user(e)):
            verdict = "traceback"
            said.write(traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if world.ran():
        verdict = "hole"
    judge.said = said.getvalue()  # pyright: ignore[reportFunctionMemberAccess]
    return verdict


def fuzz(cases: int, seed: int, *, kinds: list[str], limit: float = 20.0, shapes: bool = True) -> Counter:
    """How often each verdict fell; `shapes` False: `show` ends before it traces a model, for speed."""
    import jaxemb.cli.verbs as verbs

    counts: Counter = Counter()
    show_one = verbs.show_one
    if not shapes:
        verbs.show_one = lambda experiment: None
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            world = World(Path(folder))
            for i in range(cases):
                rng = random.Random(f"{seed} {i}")
                case = CASES[kind := kinds[i % len(kinds)]](rng, world)
                began = time.perf_counter()
                verdict = judge(case, world, limit)
                counts["cases"] += 1
                counts[verdict or "fine"] += 1
                if verdict:
                    shown = ascii(case if isinstance(case, list) else kind)[:300]
                    last = judge.said.strip()[-1500:]  # pyright: ignore[reportFunctionMemberAccess]
                    print(f"{verdict}: seed {seed}, case {i}, {time.perf_counter() - began:.1f} s: {shown}\n{last}\n", flush=True)
                world.reset()
    finally:
        verbs.show_one = show_one
    return counts


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cases", type=int, default=1000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--limit", type=float, default=20.0, metavar="SECONDS")
    p.add_argument("--kinds", default=",".join(CASES), help="which of " + ", ".join(CASES))
    p.add_argument("--shapes", action="store_true", help="let `show` trace the models as well: a second for each")
    args = p.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    began = time.perf_counter()
    counts = fuzz(args.cases, args.seed, kinds=args.kinds.split(","), limit=args.limit, shapes=args.shapes)
    print(
        f"{counts['cases']} cases, seed {args.seed}: {counts['hole']} holes, {counts['hang']} hangs, "
        f"{counts['traceback']} tracebacks, "
        f"{time.perf_counter() - began:.0f} s"
    )
    return int(any(counts[bad] for bad in ("hole", "hang", "traceback")))


if __name__ == "__main__":
    sys.exit(main())
