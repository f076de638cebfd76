"""Does attention on this machine's accelerator give what the einsum path gives, for every kind of `Allow`, forward and backward?

    python scripts/check_backends.py --csv results/backends_gpu.csv

A row a case: the largest difference from the einsum path in float32, as a share of the largest entry, of the output and of the
gradients of q, k and v. In half precision both paths see the same rounded inputs. Exit status 1 where a case is off. On a CPU the
path of the GPU runs with XLA's implementation.
"""

from __future__ import annotations

import argparse
import csv
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.posemb import SeqPE

B, M, H, E = 2, 256, 4, 64
CLOSE = {"float32": 2e-5, "bfloat16": 3e-2}
"""What rounding explains: bfloat16 has 8 bits."""
TINY = (("float32", M, "prefix", False), ("bfloat16", 1, "everything", True), ("float32", 64, "nothing", False))


def cases(n: int) -> dict[str, Allow]:
    """By name; n queries are the last of M tokens."""
    valid = jnp.arange(M)[None] < jnp.array([[M], [M // 3]])
    segments = (jnp.arange(M)[None] * jnp.array([[3], [5]])) // M
    return {
        "all": Allow(),
        "padding": Allow(valid),
        "causal": Allow(causal=True),
        "window": Allow(window=9),
        "prefix": Allow(valid, window=9, prefix=3),
        "segments": Allow(None, segments),
        "everything": Allow(valid, segments, causal=True, window=31),
        "nothing": Allow(jnp.zeros((B, M), bool)),
    }


def off(backend: str, dtype: str, n: int, allow: Allow, bias: bool) -> tuple[float, float]:
    """Shares by which output and gradients differ."""
    keys = jax.random.split(jax.random.key(n), 5)
    q, k, v = (jax.random.normal(key, (B, rows, H, E)).astype(dtype) for key, rows in zip(keys[:3], (n, M, M), strict=True))
    weight = jax.random.normal(keys[3], q.shape)
    added = jax.random.normal(keys[4], (1, H, n, M)) if bias else None

    def run(path: str, kind: str) -> list[np.ndarray]:
        def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
            b = None if added is None else added.astype(kind)
            out = attention(q.astype(kind), k.astype(kind), v.astype(kind), allow=allow, bias=b, backend=path)
            return (out.astype(jnp.float32) * weight).sum(), out

        wide = [x.astype(jnp.float32) for x in (q, k, v)]
        grads, out = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*wide)
        return [np.asarray(x, np.float64) for x in (out, *grads)]

    ours, exact = run(backend, dtype), run("cpu", "float32")
    shares = [float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)) for a, b in zip(ours, exact, strict=True)]
    return shares[0], max(shares[1:])


def distinct_embeddings() -> int:
    """Of SeqPE's embeddings of 100 positions: its last block has one query, of the last token."""
    model = SeqPE(axes=1, limit=100, width=32, depth=2, heads=2)
    pos = jnp.arange(100)[:, None]
    variables = jax.jit(lambda key: model.init(key, pos, 32, method="embeddings"))(jax.random.key(0))
    rows = np.asarray(jax.jit(lambda v: model.apply(v, pos, 32, method="embeddings"))(variables))
    return len(np.unique(rows.round(6), axis=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv")
    parser.add_argument("--dtype", choices=list(CLOSE), help="one of the two")
    parser.add_argument("--tiny", action="store_true", help="three cases: whether it runs at all")
    args = parser.parse_args()
    backend = "gpu" if jax.default_backend() == "cpu" else jax.default_backend()
    device = jax.devices()[0].device_kind
    rows, wrong = [], 0
    asked = [(dtype, n, name, bias) for dtype in CLOSE for n in (M, 64, 1) for name in cases(n) for bias in (False, True)]
    for dtype, n, name, bias in [case for case in (TINY if args.tiny else asked) if args.dtype in (None, case[0])]:
        out, grad = off(backend, dtype, n, cases(n)[name], bias)
        fine = max(out, grad) < CLOSE[dtype]
        wrong += not fine
        what = {"dtype": dtype, "queries": n, "keys": M, "allow": name, "bias": bias}
        rows.append({"device": device, "backend": backend, **what, "output": out, "gradients": grad, "fine": fine})
        said = f"{dtype:9} {n:4} of {M} {name:10} {'bias' if bias else '    '} {out:.1e} {grad:.1e}"
        print(said if fine else f"{said} OFF", flush=True)
    count = distinct_embeddings()
    print(f"SeqPE: {count} distinct embeddings of 100 positions on {device}")
    if args.csv:
        with open(args.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    print(f"{len(rows) - wrong} of {len(rows)} cases agree with the einsum path")
    return bool(wrong or count != 100)


if __name__ == "__main__":
    sys.exit(main())
