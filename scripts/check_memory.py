"""What a device holds of an experiment that is cut over many: parameters, average and optimiser, against an even share.

    python scripts/check_memory.py                                   results/sharding_memory.csv: the models of experiments/scale
    python scripts/check_memory.py experiments/jepa/shapes.py --devices 1,8 --set batch=8 --compile

By shapes: the bytes of each array's share, which are the arguments of a compiled step. With --compile the step is compiled for as
many virtual CPU devices, and XLA says the bytes of its arguments and temporaries; minutes for large models. `excess` is what a
device holds beyond an even share: (bytes a device) x devices / (bytes of one device) - 1.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import Any

MODELS = ("ijepa.py:vit_b", "ijepa.py:vit_l", "ijepa.py:vit_h", "ijepa.py:vit_g", "text_7b.py")
COLUMNS: tuple[str, ...] = (
    "experiment",
    "sharding",
    "mesh",
    "devices",
    "state_bytes",
    "device_bytes",
    "excess",
    "argument_bytes",
    "temporary_bytes",
)
MESHES = {"fsdp": lambda n: {"fsdp": n}, "fsdp+tensor": lambda n: {"fsdp": max(n // 4, 1), "model": min(n, 4)}}
"""By preset, of n devices."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=[f"experiments/scale/{m}" for m in MODELS], help="FILE[:NAME], several")
    parser.add_argument("--devices", default="1,2,4,8,32,64,128,256", help="how many (default %(default)s)")
    parser.add_argument("--sharding", default="fsdp,fsdp+tensor", help="presets (default %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v", help="a change to every experiment")
    parser.add_argument("--compile", action="store_true", help="ask XLA too")
    parser.add_argument("--csv", help="where to write the rows")
    args = parser.parse_args()
    counts = [int(n) for n in args.devices.split(",")]
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={max(counts)}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    from jaxemb.config import override
    from jaxemb.experiment import find

    rows: list[dict[str, Any]] = []
    print("  ".join(COLUMNS))
    for target in args.targets:
        for preset in args.sharding.split(","):
            x = override(find(target), [*args.set, f"sharding={preset}"])
            for n in counts:
                rows.append(measured(x, n, MESHES[preset](n), args.compile))
                print("  ".join(str(v) for v in rows[-1].values()), flush=True)
                if args.csv:
                    write(Path(args.csv), rows)


def measured(x: Any, n: int, axes: dict[str, int], compiles: bool) -> dict[str, Any]:
    """A row. The state is that of a train step, with what mirrors the parameters."""
    from dataclasses import replace

    import jax

    from jaxemb.aot.program import on_device
    from jaxemb.train.setup import batch_shapes, state_shapes
    from jaxemb.train.sharding import make_mesh
    from jaxemb.train.summary import nbytes

    x = replace(x, mesh=axes)
    mesh = make_mesh(axes, jax.devices()[:n])
    state = state_shapes(x, mesh)
    whole, own = nbytes(state), int(on_device(state))
    row = {"experiment": x.name, "sharding": x.sharding, "mesh": " x ".join(f"{a} {s}" for a, s in axes.items()), "devices": n}
    row |= {"state_bytes": whole, "device_bytes": own, "excess": f"{own * n / whole - 1:.4f}"}
    if not compiles:
        return row | {"argument_bytes": "", "temporary_bytes": ""}
    from jaxemb.train.loop import _placed_step

    leaves, tree = jax.tree.flatten(jax.tree.map(lambda s: s.sharding, state))
    step = _placed_step(mesh, x.objective, x.optim, x.steps, x.ema, x.accumulate, (), tree, tuple(leaves))
    batch = batch_shapes(x, mesh)
    found = step.lower(state, batch).compile().memory_analysis()
    return row | {
        "argument_bytes": found.argument_size_in_bytes - int(on_device(batch)),
        "temporary_bytes": found.temp_size_in_bytes,
    }


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(COLUMNS))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
