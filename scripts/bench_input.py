"""How many training images a second one core makes ready, against a PyTorch DataLoader on the same files, and how many a step
needs.

    python scripts/bench_input.py --core 1                              CIFAR-10 crops, 224 px JPEGs of a folder and of shards
    python scripts/bench_input.py --tasks jpeg --images 128 --batches 4 --rounds 3          a try
    python scripts/bench_input.py --workers 4                           processes: without --core

Tasks: `cifar` (32 px: shift by up to 4, flip, normalise; --tfds names a folder with a prepared cifar10, else drawn images of its
size are used, which are kept in memory by all systems), `jpeg` (files of 500 x 375 pixels, drawn from --seed: decode, random
resized crop to 224, flip, normalise), `records` (the same files in ArrayRecord) and `parquet` (in Parquet).

Systems: `jaxemb` (`data.batches`), `torch_pil` (a Dataset as torchvision's users write it: Pillow, torchvision's transforms where
it is installed, else their like written out here) and `torch_cv2` (OpenCV and NumPy), both in a DataLoader. What is not installed
is left out, and said. There is no tf.data here: it needs TensorFlow.

A round times every system: two batches that are not timed, then --batches; the first system changes from round to round. With
--core all threads share one core, and a ratio of CPU time is the figure to look at. `needed_*` is what one chip asks for: MFU x
peak / FLOPs of training ViT-S/16 at 224 px (three forward passes), from published peaks; `cores_*` is that over images a second of
one core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("cifar", "jpeg", "records", "parquet")
SYSTEMS = ("jaxemb", "torch_pil", "torch_cv2")
CHIPS = {"v5e": 197, "h100": 989}
"""Dense bfloat16 TFLOP/s as Google Cloud's and NVIDIA's data sheets have them."""
MFU = 0.4
IDLE = 2
"""Batches of a round that are not timed."""
COLUMNS = {
    "task": "cifar, jpeg, records, parquet",
    "system": "jaxemb, torch_pil, torch_cv2",
    "setting": "what a system is made of",
    "batch": "images",
    "workers": "processes",
    "pinned": "the core that all share, or empty",
    "images_s": "images a second, by wall time, median of the rounds",
    "images_cpu_s": "images a second of CPU time, of all threads of this process, median; empty with workers",
    "ratio": "images a second over those of torch_pil in the same round, median: above 1, faster",
    "cpu_ratio": "the same, of CPU time",
    "ratio_low": "of all rounds",
    "ratio_high": "of all rounds",
    "bytes": "of an encoded image, mean",
    **{
        f"needed_{chip}": f"images a second of one {chip} that trains ViT-S/16 at {MFU:.0%} of its peak; of 224 px"
        for chip in CHIPS
    },
    **{f"cores_{chip}": "cores that make as many ready, by images_cpu_s (wall with workers)" for chip in CHIPS},
    "rounds": "number of rounds",
    "seed": "of the drawn images",
    **dict.fromkeys(("time", "commit", "device", "cpu", "simd", "cores", "load", "huge_pages", "versions", "command"), ""),
}
Batches = Callable[[], tuple[Iterator[Any], Callable[[], Any]]]
"""Starts: (batches, what ends them)."""


def step_flops(width: int = 384, depth: int = 12, patch: int = 16, image: int = 224) -> float:
    """Of training on one image: a forward pass of ViT-S/16, two for each weight and token and attention over all pairs, three
    times."""
    tokens = (image // patch) ** 2
    layer = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    return 3 * (depth * layer + 2 * tokens * 3 * patch**2 * width)


# ---- files -----------------------------------------------------------------------------------------------------------------------


def draw_jpegs(folder: Path, count: int, seed: int) -> None:
    """Smooth colours with some noise, so that they are as large as photos are: about 55 kB."""
    import cv2

    rng = np.random.default_rng(seed)
    for i in range(count):
        image = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC)
        image = np.clip(image + rng.integers(-14, 15, image.shape), 0, 255).astype(np.uint8)
        (folder / f"class{i % 10}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"class{i % 10}" / f"{i:06d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 88])


def make_files(folder: Path, tasks: Sequence[str], args: argparse.Namespace) -> None:
    from jaxemb.data.folder import ImageFolder
    from jaxemb.data.write_shards import write_images

    if "cifar" in tasks and not args.tfds:
        rng = np.random.default_rng(args.seed)
        shape = (args.images, 32, 32, 3)
        np.savez(folder / "cifar.npz", images=rng.integers(0, 256, shape, np.uint8), labels=rng.integers(0, 10, args.images))
    if set(tasks) - {"cifar"}:
        draw_jpegs(folder / "jpeg", args.images, args.seed)
        for task, form in (("records", "array_record"), ("parquet", "parquet")):
            if task in tasks:
                write_images(ImageFolder(str(folder / "jpeg")), folder / task, form=form)


def jaxemb_data(task: str, folder: Path, args: argparse.Namespace) -> Any:
    from jaxemb.data import Arrays, Flip, ImageFolder, Images, ImageShards, PadCrop, RandomResizedCrop

    if task == "cifar":
        fields: dict[str, Any] = {"augment": (PadCrop(), Flip()), "workers": args.workers}
        if args.tfds:
            return Images("cifar10", args.tfds, train=f"train[:{args.images}]", **fields)
        return Arrays(str(folder / "cifar.npz"), **fields)
    fields = {"size": 224, "augment": (RandomResizedCrop(), Flip()), "workers": args.workers, "memory": 0}
    return ImageFolder(str(folder / "jpeg"), **fields) if task == "jpeg" else ImageShards(str(folder / task), **fields)


# ---- systems ---------------------------------------------------------------------------------------------------------------------


def jaxemb_batches(task: str, folder: Path, args: argparse.Namespace) -> Batches:
    stream = jaxemb_data(task, folder, args).batches(args.batch, seed=args.seed)
    # Setting the place ends the threads: nothing is made ahead while another system is timed.
    return lambda: (stream, lambda: stream.set_state(stream.get_state()))


class TorchDataset:
    """Items of a training set: encoded bytes or pixels, decoded and augmented one by one, as a Dataset does."""

    def __init__(self, task: str, folder: Path, args: argparse.Namespace, transform: Callable[[Any], Any]):
        self.task, self.transform = task, transform
        data = jaxemb_data(task, folder, args)
        examples = data.examples("train")
        self.count = len(examples)
        if task == "cifar":
            rows = examples.rows(range(self.count))
            self.pixels = [r["images"] for r in rows]
        elif task == "jpeg":
            self.files = [str(Path(data._root, f.path)) for f in data._listing.files["train"]]
        else:
            from jaxemb.data.shards import opened

            self.shards = opened([str(f) for f in sorted((folder / task).glob("train-*"))], ["image"], keep=20)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Any:
        if self.task == "cifar":
            return self.transform(self.pixels[i])
        return self.transform(Path(self.files[i]).read_bytes() if self.task == "jpeg" else self.shards.rows([i])[0]["image"])


class Pillow:
    """Pillow and the transforms of torchvision."""

    def __init__(self, task: str, statistics: Any):
        self.crops, self.statistics = task != "cifar", statistics
        try:
            from torchvision import transforms as t  # pyright: ignore[reportMissingImports]

            first = t.RandomResizedCrop(224) if self.crops else t.RandomCrop(32, padding=4, padding_mode="reflect")
            self.chain = t.Compose([first, t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(*statistics)])
        except (ImportError, RuntimeError):  # RuntimeError: built for another torch
            self.chain = None
        self.setting = "Pillow, torchvision" if self.chain else "Pillow, transforms written out"

    def __call__(self, item: Any) -> Any:
        import io

        from PIL import Image

        image = Image.open(io.BytesIO(item)).convert("RGB") if self.crops else Image.fromarray(item)
        return self.chain(image) if self.chain else self._own(image)

    def _own(self, image: Any) -> Any:
        """What the chain does, without torchvision: the same calls of Pillow and torch."""
        import torch  # pyright: ignore[reportMissingImports]
        from PIL import Image, ImageOps

        rng = np.random.default_rng(torch.randint(2**31, ()).item())
        if self.crops:
            top, left, height, width = crop_box(image.height, image.width, rng)
            image = image.crop((left, top, left + width, top + height)).resize((224, 224), Image.Resampling.BILINEAR)
        else:
            top, left = rng.integers(0, 9, 2)
            image = Image.fromarray(
                np.pad(np.asarray(image), ((4, 4), (4, 4), (0, 0)), "reflect")[top : top + 32, left : left + 32]
            )
        image = ImageOps.mirror(image) if rng.random() < 0.5 else image
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = (torch.tensor(v)[:, None, None] for v in self.statistics)
        return x.sub_(mean).div_(std)


class OpenCV:
    """OpenCV and NumPy."""

    setting = "OpenCV"

    def __init__(self, task: str, statistics: Any):
        self.crops = task != "cifar"
        self.mean, self.std = (np.array(v, np.float32) for v in statistics)

    def __call__(self, item: Any) -> Any:
        import cv2
        import torch  # pyright: ignore[reportMissingImports]

        rng = np.random.default_rng(torch.randint(2**31, ()).item())
        if self.crops:
            x: Any = cv2.imdecode(np.frombuffer(item, np.uint8), cv2.IMREAD_COLOR_RGB)
            top, left, height, width = crop_box(x.shape[0], x.shape[1], rng)
            x = cv2.resize(x[top : top + height, left : left + width], (224, 224), interpolation=cv2.INTER_AREA)
        else:
            top, left = rng.integers(0, 9, 2)
            x = cv2.copyMakeBorder(item, 4, 4, 4, 4, cv2.BORDER_REFLECT_101)[top : top + 32, left : left + 32]
        x = x[:, ::-1] if rng.random() < 0.5 else x
        return torch.from_numpy((x.astype(np.float32) / 255 - self.mean) / self.std)


def crop_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    from jaxemb.data import RandomResizedCrop

    return RandomResizedCrop().box(height, width, rng)


def torch_batches(task: str, folder: Path, args: argparse.Namespace, kind: Callable) -> tuple[Batches, str]:
    import torch  # pyright: ignore[reportMissingImports]
    from torch.utils.data import DataLoader  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    transform = kind(task, jaxemb_data(task, folder, args).statistics)
    dataset = TorchDataset(task, folder, args, transform)
    loader = DataLoader(dataset, args.batch, shuffle=True, drop_last=True, num_workers=args.workers)  # pyright: ignore

    def start() -> Any:
        def endless() -> Generator[Any, None, None]:
            while True:
                yield from loader

        batches = endless()
        return batches, batches.close

    return start, transform.setting


def systems(task: str, folder: Path, args: argparse.Namespace) -> dict[str, tuple[Batches, str]]:
    """Those that can be had, with what they are made of."""
    found: dict[str, tuple[Batches, str]] = {}
    for name in args.systems:
        if name == "jaxemb":
            found[name] = jaxemb_batches(task, folder, args), "Grain, OpenCV"
            continue
        try:
            found[name] = torch_batches(task, folder, args, {"torch_pil": Pillow, "torch_cv2": OpenCV}[name])
        except ImportError as e:
            print(f"{task}: {name} is left out: {e}", file=sys.stderr)
    return found


# ---- measuring -------------------------------------------------------------------------------------------------------------------


def timed(runs: Mapping[str, Batches], count: int, rounds: int) -> dict[str, np.ndarray]:
    """{system: (rounds, 2) wall and CPU seconds of `count` batches}."""
    from bench import clock

    names, times = list(runs), {name: [] for name in runs}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            batches, end = runs[name]()
            for _ in range(IDLE):
                next(batches)
            start = clock()
            for _ in range(count):
                next(batches)
            times[name].append(clock() - start)
            end()
    return {name: np.array(t) for name, t in times.items()}


def measure(task: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    found = systems(task, folder, args)
    times = timed({name: batches for name, (batches, _) in found.items()}, args.batches, args.rounds)
    sizes = [f.stat().st_size for f in (folder / "jpeg").rglob("*.jpg")] if task != "cifar" else []
    rows = []
    for name, (_, setting) in found.items():
        wall, cpu = np.median(args.batch * args.batches / times[name], axis=0)
        row: dict[str, Any] = {"task": task, "system": name, "setting": setting, "batch": args.batch, "workers": args.workers}
        row |= {"pinned": "" if args.core is None else args.core, "images_s": wall, "images_cpu_s": "" if args.workers else cpu}
        if "torch_pil" in times:
            ratios = times["torch_pil"] / times[name]
            row |= {"ratio": np.median(ratios[:, 0]), "ratio_low": ratios[:, 0].min(), "ratio_high": ratios[:, 0].max()}
            row["cpu_ratio"] = "" if args.workers else np.median(ratios[:, 1])
        if task != "cifar":
            for chip, peak in CHIPS.items():
                row[f"needed_{chip}"] = MFU * peak * 1e12 / step_flops()
                row[f"cores_{chip}"] = row[f"needed_{chip}"] / (wall / max(1, args.workers) if args.workers else cpu)
        row["bytes"] = float(np.mean(sizes)) if sizes else ""
        rows.append({name: "" for name in COLUMNS} | row | {"rounds": args.rounds, "seed": args.seed})
    return rows


def versions() -> str:
    found = []
    for name in ("grain", "numpy", "opencv-python-headless", "pillow", "pyarrow", "array-record", "torch", "torchvision"):
        try:
            found.append(f"{name}={version(name)}")
        except PackageNotFoundError:
            continue
    return " ".join(found)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    described = "\n".join(f"  {name:<13} {meaning}" for name, meaning in COLUMNS.items() if meaning)
    p = argparse.ArgumentParser(
        description=__doc__, epilog=f"columns:\n{described}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words = lambda text: text.split(",")  # noqa: E731
    p.add_argument("--tasks", type=words, default=list(TASKS), help=f"of {', '.join(TASKS)}, with commas")
    p.add_argument("--systems", type=words, default=list(SYSTEMS), help=f"of {', '.join(SYSTEMS)}, with commas")
    p.add_argument("--images", type=int, default=2048, help="drawn JPEGs, and images of CIFAR-10")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--batches", type=int, default=12, help="timed in a round")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--workers", type=int, default=0)
    p.add_argument("--core", type=int, help="run on this core alone")
    p.add_argument("--tfds", help="a folder of TFDS with a prepared cifar10")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=ROOT / "results" / "bench_input.csv")
    args = p.parse_args(argv)
    for name, valid in (("tasks", TASKS), ("systems", SYSTEMS)):
        if wrong := set(getattr(args, name)) - set(valid):
            p.error(f"--{name}: there is no {min(wrong)!r}; valid: {', '.join(valid)}")
    if args.core is not None and args.workers:
        p.error("--core pins one core, and --workers needs several")
    if args.batch > args.images * 0.7:
        p.error(f"--batch {args.batch} is too large for the training part of --images {args.images}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    args = parse(argv)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX says where figures come from, and needs no device for it
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    from bench import check, provenance, save

    from jaxemb.log.table import table

    check(args.out, COLUMNS)
    folder = Path(tempfile.mkdtemp(prefix="bench_input_"))
    try:
        make_files(folder, args.tasks, args)
        rows = []
        for task in args.tasks:
            found = [row | provenance() | {"versions": versions()} for row in measure(task, folder, args)]
            save(args.out, found, COLUMNS)
            rows += found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    shown = "task system setting images_s images_cpu_s ratio cpu_ratio cores_v5e cores_h100".split()
    table(
        [f">{x}" if x not in shown[:3] else x for x in shown], [[row[x] for x in shown] for row in rows], title=rows[0]["versions"]
    )


if __name__ == "__main__":
    main()
