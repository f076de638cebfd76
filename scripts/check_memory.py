"""What a device holds of an experiment that is cut over many: parameters, average and optimiser, against an even share.

    python scripts/check_memory.py                                   results/sharding_memory.csv: the models of experiments/scale
    python scripts/check_memory.py experiments/jepa/shapes.py --devices 1,8 --set batch=8 --compile
    python scripts/check_memory.py experiments/jepa/shapes.py --topology v5e:2x2,v5e:2x4 --set batch=8 --compile

By shapes: the bytes of each array's share, which are the arguments of a compiled step. With --compile the step is compiled for as
many virtual CPU devices, or for the slices of --topology, and XLA says the bytes of its arguments (without the batch) and
temporaries; minutes for large models. `excess` is what a device holds beyond an even share:
(bytes a device) x devices / (bytes of one device) - 1.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

MODELS = ("ijepa.py:vit_b", "ijepa.py:vit_l", "ijepa.py:vit_h", "ijepa.py:vit_g", "text_7b.py")
COMPILED = ("argument_bytes", "argument_excess", "temporary_bytes")
COLUMNS = (
    "experiment",
    "sharding",
    "topology",
    "mesh",
    "devices",
    "state_bytes",
    "device_bytes",
    "excess",
    *COMPILED,
    "commit",
    "command",
)
MESHES = {"fsdp": lambda n: {"fsdp": n}, "fsdp+tensor": lambda n: {"fsdp": max(n // 4, 1), "model": min(n, 4)}}
"""By preset, of n devices."""


def numbers(text: str) -> list[int]:
    words = text.split(",")
    if wrong := [w for w in words if not (w.isdecimal() and 1 <= int(w) <= 4096)]:
        raise argparse.ArgumentTypeError(f"numbers of devices from 1 to 4096 are needed, as in 2,8, not {wrong[0]!r}")
    return [int(w) for w in words]


def presets(text: str) -> list[str]:
    words = text.split(",")
    if wrong := [w for w in words if w not in MESHES]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not one of {', '.join(MESHES)}")
    return words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=[f"experiments/scale/{m}" for m in MODELS], help="FILE[:NAME], several")
    parser.add_argument(
        "--devices", type=numbers, default="1,2,4,8,32,64,128,256", help="how many of the CPU (default %(default)s)"
    )
    parser.add_argument("--topology", help="slices instead of --devices: v5e:2x2,v5e:2x4")
    parser.add_argument("--sharding", type=presets, default="fsdp,fsdp+tensor", help="presets (default %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v", help="a change to every experiment")
    parser.add_argument("--compile", action="store_true", help="ask XLA too")
    parser.add_argument("--csv", help="where to write the rows")
    args = parser.parse_args()
    from jaxemb.config import ConfigError

    try:
        measure(args)
    except ConfigError as e:
        parser.exit(2, f"error: {e}\n")


def measure(args: argparse.Namespace) -> None:
    from jaxemb.aot.topology import prepare, topology
    from jaxemb.config import override
    from jaxemb.experiment import find

    names = args.topology.split(",") if args.topology else [f"cpu:{n}" for n in args.devices]
    prepare(names)
    rows: list[dict[str, Any]] = []
    print("  ".join(COLUMNS[:-1]))
    for target in args.targets:
        for preset in args.sharding:
            x = override(find(target), [*args.set, f"sharding={preset}"])
            for there in map(topology, names):
                rows.append(measured(x, there, MESHES[preset](len(there.devices)), args.compile))
                print("  ".join(str(rows[-1][name]) for name in COLUMNS[:-1]), flush=True)
                if args.csv:
                    write(Path(args.csv), rows)


def measured(x: Any, there: Any, axes: dict[str, int], compiles: bool) -> dict[str, Any]:
    """A row. The state is that of a train step, with what mirrors the parameters."""
    from dataclasses import replace

    from jaxemb.aot.program import build, train_step
    from jaxemb.run.environment import environment
    from jaxemb.train.setup import state_shapes
    from jaxemb.train.sharding import make_mesh
    from jaxemb.train.summary import nbytes, on_device

    x = replace(x, mesh=axes)
    mesh = make_mesh(axes, there.devices)
    state, n = state_shapes(x, mesh), mesh.size
    whole, own = nbytes(state), int(on_device(state))
    row = dict.fromkeys(COLUMNS, "") | {name: environment()[name] for name in ("commit", "command")}
    row |= {"experiment": x.name, "sharding": x.sharding, "topology": there.name, "devices": n}
    row |= {"mesh": " x ".join(f"{axis} {size}" for axis, size in axes.items()), "state_bytes": whole}
    row |= {"device_bytes": own, "excess": f"{own * n / whole - 1:.4f}", "commit": (row["commit"] or "")[:12]}
    if compiles:
        program = train_step(x, mesh)
        built = build(program)
        arguments = int(built.arguments - program.memory["batch"])
        row |= zip(COMPILED, (arguments, f"{arguments * n / whole - 1:.4f}", int(built.temporaries)), strict=True)
    return row


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as stream:
        writer: csv.DictWriter[Any] = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
