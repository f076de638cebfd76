#!/bin/sh
# What a machine with one GPU has to show, in one call of under 8 minutes and without network.
set -eu

usage() {
    cat <<'END'
usage: scripts/gpu_check.sh [--tiny] [--dry-run] [--parts A,B] [FOLDER]

  parity32, parity16   attention of this GPU against the einsum path: values and gradients, every kind of Allow, float32 and bfloat16
  steps                train steps of I-JEPA and DMT-JEPA with ViT-B/16, against supervised training of the same encoder
  tract                what TrAct in the first layer of ViT-S costs
  vit                  a train step of ViT-B/16, 224 px, bfloat16, and its MFU, against PyTorch with torch.compile and SDPA, if installed
  encode               texts to vectors with BERT-base, bfloat16
  search               exact top-10 among 10 M rows of 384 numbers, bfloat16: queries a second, share of the memory's speed

  FOLDER       for a CSV a part, summary.csv and log.txt ($OUT, else results/gpu): nine files
  --tiny       small sizes: whether it runs at all, on a CPU too
  --parts      some of them
  --dry-run    print the commands

Each part has a time limit, and one that fails does not stop the others; the exit status is then 1. BUDGET (460) is the number of
seconds for all of them, PYTHON (python3) what runs them: Python 3.11 to 3.13 with jax 0.10 to 0.12 and its CUDA plugin, flax, optax,
orbax-checkpoint, jaxtyping, tokenizers, safetensors, rich. Neither grain nor tensorflow-datasets nor beartype is needed. What
a machine lacks is carried as wheels in an ignored folder, WHEELS (.whl), and installed into a temporary one; made elsewhere by
  pip download --no-deps --only-binary=:all: --python-version 3.12 -d .whl NAME
END
}

here=${0%/*}
# shellcheck source=scripts/tpu/commands.sh
. "$here/tpu/commands.sh"

misused() { # TEXT
    printf 'error: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

all='parity32 parity16 steps tract vit encode search'
parts=$all tiny=0 dry=0 out=${OUT:-}
while [ $# -gt 0 ]; do
    case $1 in
    --tiny) tiny=1 ;;
    --dry-run) dry=1 ;;
    --parts)
        [ $# -gt 1 ] || misused '--parts needs names'
        parts=$(printf '%s' "$2" | tr ',' ' ')
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*) misused "unknown option: $1" ;;
    *) out=$1 ;;
    esac
    shift
done
for name in $parts; do
    case " $all " in
    *" $name "*) ;;
    *) misused "unknown part: $name; there are $all" ;;
    esac
done
root=$(cd "$here/.." && pwd)
out=${out:-$root/results/gpu}
if [ "$tiny" = 1 ]; then budget=${BUDGET:-1800}; else budget=${BUDGET:-460}; fi
python=${PYTHON:-python3} wheels=${WHEELS:-$root/.whl}
exec 3>&1

# ---- one part ------------------------------------------------------------------------------------------------------------------

left() { echo $((budget - ($(date +%s) - begin))); }

part() { # NAME SECONDS WORDS...: runs the words for so long at most, and notes how that went
    part=$1 most=$2
    shift 2
    if [ "$dry" = 1 ]; then
        call timeout "$most" "$@"
        return
    fi
    rest=$(left)
    if [ "$tiny" = 1 ] || [ "$most" -gt "$rest" ]; then most=$rest; fi # the limits are those of a GPU
    if [ "$most" -lt 5 ]; then
        echo 'no time left,0' >"$scratch/$part.result"
        return
    fi
    started=$(date +%s) status=0
    timeout -k 5 "$most" "$@" >"$scratch/$part.log" 2>&1 || status=$?
    case $status in
    0) word=pass ;;
    124 | 137) word="out of time ($most s)" ;;
    *) word="FAIL ($status)" ;;
    esac
    echo "$word,$(($(date +%s) - started))" >"$scratch/$part.result"
}

asked() { # NAME
    case " $parts " in
    *" $1 "*) return 0 ;;
    esac
    return 1
}

# The sizes of a part, and the seconds that it may take.
# shellcheck disable=SC2317  # called by name
parity() { # NAME DTYPE
    set -- "$1" --dtype "$2" --csv "$out/$1.csv"
    if [ "$tiny" = 1 ]; then set -- "$@" --tiny; fi
    name=$1
    shift
    # Products of float32 are rounded to TF32 otherwise, on both sides.
    part "$name" 170 env JAX_DEFAULT_MATMUL_PRECISION=highest "$python" "$root/scripts/check_backends.py" "$@"
}

vit() {
    case $tiny in
    1) set -- --models micro --batch 2 --systems jaxemb --rounds 1 --seconds 0 ;;
    *) set -- --models vit_b --batch 128 --dtype bfloat16 --systems jaxemb,compile --rounds 5 ;;
    esac
    part vit 170 "$python" "$root/scripts/bench.py" --only train --no-memory "$@" --out "$out/vit.csv"
}

steps() { # NAME SECONDS ROUNDS CSV
    case $tiny in
    1) size='--small --batch 2' ;;
    *) size='--model vit_b --batch 128 --dtype bfloat16' ;;
    esac
    # shellcheck disable=SC2086
    part "$1" "$2" "$python" "$root/scripts/bench_steps.py" --groups masked --systems Classify,IJEPA,DMTJEPA $size --rounds "$3" --csv "$4"
}

tract() { # NAME SECONDS ROUNDS CSV
    case $tiny in
    1) size='--networks micro --small --batch 2' ;;
    *) size='--networks vit_s --batch 128 --dtype bfloat16' ;;
    esac
    # shellcheck disable=SC2086
    part "$1" "$2" "$python" "$root/scripts/bench_steps.py" --groups tract $size --rounds "$3" --csv "$4"
}

encode() {
    case $tiny in
    1) set -- --shape bert_tiny --tasks 32 --tiny ;;
    *) set -- --shape bert_base --dtype bfloat16 --scale 20 --rounds 3 ;;
    esac
    part encode 60 "$python" "$root/scripts/bench_encode.py" --systems jaxemb --no-fresh "$@" --out "$out/encode.csv"
}

search() {
    case $tiny in
    1) set -- --rows 5000 --rounds 1 ;;
    *) set -- --rows 10000000 ;;
    esac
    part search 60 "$python" "$root/scripts/search_at_scale.py" "$@" --csv "$out/search.csv"
}

# ---- all of them ---------------------------------------------------------------------------------------------------------------

beside() { # WORDS...: without waiting for it
    if [ "$dry" = 1 ]; then "$@"; else "$@" & fi
}

install_wheels() {
    for wheel in "$wheels"/*.whl; do
        [ -e "$wheel" ] || return 0
        call "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$scratch/site" "$wheels"/*.whl
        break
    done
}

check() {
    install_wheels
    # Four processes, whose times are of no interest: what two of the parts below compile goes into the cache meanwhile.
    if asked parity32; then beside parity parity32 float32; fi
    if asked parity16; then beside parity parity16 bfloat16; fi
    if asked steps; then beside steps compile-steps 170 1 "$scratch/steps.csv"; fi
    if asked tract; then beside tract compile-tract 170 1 "$scratch/tract.csv"; fi
    wait
    if asked steps; then steps steps 90 10 "$out/steps.csv"; fi
    if asked tract; then tract tract 60 20 "$out/tract.csv"; fi
    if asked vit; then vit; fi
    if asked encode; then encode; fi
    if asked search; then search; fi
}

summary() { # a line a part; 1 where one did not pass
    bad=0
    echo 'part,result,seconds' >"$out/summary.csv"
    printf '\n%-9s %-20s %7s\n' part result seconds
    for name in $parts; do
        IFS=, read -r word took <"$scratch/$name.result"
        echo "$name,$word,$took" >>"$out/summary.csv"
        printf '%-9s %-20s %7s\n' "$name" "$word" "$took"
        if [ "$word" != pass ]; then bad=1; fi
    done
    for log in "$scratch"/*.log; do
        printf '==== %s\n' "${log##*/}"
        cat "$log"
    done >"$out/log.txt"
    if [ "$bad" = 1 ]; then
        for name in $parts; do
            IFS=, read -r word took <"$scratch/$name.result"
            if [ "$word" != pass ] && [ -e "$scratch/$name.log" ]; then
                printf '\n==== %s: %s\n' "$name" "$word"
                tail -n 25 "$scratch/$name.log"
            fi
        done
    fi
    printf '\n%s of %s s are left. Tables and log.txt: %s\n' "$(left)" "$budget" "$out"
    return "$bad"
}

hint() {
    cat <<'END'
What a GPU is wanted for beyond this, hours each (these read data sets, so they need grain and tensorflow-datasets):
  jaxemb train 'experiments/tract/cifar10_resnet.py:paper_sgd_*' --seed 0      TrAct at the paper's budgets, seeds 0 to 2
  jaxemb train 'experiments/tract/cifar10_vit.py:paper_*' --seed 0
  python scripts/speedup.py 'SGD=runs/tract_paper_sgd_plain_*,runs/tract_paper_sgd_tract_*' --epoch 390 --csv results/tract_paper.csv
  jaxemb train experiments/jepa/cifar10.py:hour --set steps=300000             a long I-JEPA on CIFAR-10
END
}

if [ "$dry" = 1 ]; then
    scratch=/tmp/gpu_check
else
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "$out"
    for name in $parts; do rm -f "$out/$name.csv"; done
fi
PYTHONPATH=$root:$scratch/site${PYTHONPATH:+:$PYTHONPATH}
JAX_COMPILATION_CACHE_DIR=$scratch/cache
export PYTHONPATH JAX_COMPILATION_CACHE_DIR
export XLA_PYTHON_CLIENT_PREALLOCATE=false JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
begin=$(date +%s)
if [ "$dry" = 1 ]; then
    for name in PYTHONPATH JAX_COMPILATION_CACHE_DIR XLA_PYTHON_CLIENT_PREALLOCATE JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS \
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES; do
        eval "call export $name=\"\$$name\""
    done
    check
    exit 0
fi
check
bad=0
summary || bad=1
hint
exit "$bad"
