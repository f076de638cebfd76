#!/bin/sh
# What scripts/tpu/tpu has each host of a slice do; it is copied there with the code. The job of a host lives in ~/job:
# command, pid (the leader of its process group), log, and status once it has ended.
set -eu
cd "$HOME"
job=$HOME/job

setup() { # PYTHON [WHEEL]: the code from code.tar.gz, and an environment with jaxemb[tpu]
    rm -rf code.new
    mkdir code.new
    tar -xzf code.tar.gz -C code.new
    if [ -d code/runs ]; then mv code/runs code.new/runs; fi # what was trained here
    rm -rf code
    mv code.new code
    # The image's own Python is too old, and uv brings another.
    python3 -m pip install --quiet --disable-pip-version-check --user uv
    uv=$HOME/.local/bin/uv
    if [ ! -x venv/bin/python ]; then "$uv" venv --quiet --python "$1" venv; fi
    if [ $# -gt 1 ]; then
        "$uv" pip install --quiet --python venv/bin/python "jaxemb[tpu] @ file://$HOME/$2" gcsfs # reads and writes gs://
    else
        "$uv" pip install --quiet --python venv/bin/python --constraint code/constraints.txt --editable "code[tpu]" gcsfs
    fi
    venv/bin/python -c 'import jaxemb, jax; print(f"jax {jax.__version__}")' >/dev/null # asks no TPU: those of a slice answer together
    echo "$(hostname) ready"
}

running() {
    [ -s "$job/pid" ] && [ ! -e "$job/status" ] && kill -0 "-$(cat "$job/pid")" 2>/dev/null
}

start() { # WORDS...: the job, which goes on when ssh has ended
    if running; then
        echo "$(hostname) busy"
        return
    fi
    mkdir -p "$job"
    rm -f "$job/status" "$job/stopped" "$job/pid"
    printf '%s\n' "$*" >"$job/command"
    cd code
    PATH=$HOME/venv/bin:$PATH
    export PATH
    # A session of its own: its process group outlives the connection, and is stopped as one. The shell waits for what it started
    # even then, and says how that ended: once it has written its number, it minds no SIGTERM any more.
    # shellcheck disable=SC2016  # expanded by the inner shell
    setsid nohup sh -c 'trap : TERM; echo "$$" >"$HOME/job/pid"; status=0; "$@" || status=$?; echo "$status" >"$HOME/job/status"' job "$@" >>"$job/log" 2>&1 </dev/null &
    left=100
    until [ -s "$job/pid" ] || [ "$left" = 0 ]; do
        left=$((left - 1))
        sleep 0.1
    done
    echo "$(hostname) started"
}

state() { # one line: running, stopped, ended STATUS, lost (without a status), or absent
    if running; then
        echo "$(hostname) running"
    elif [ -e "$job/stopped" ]; then
        echo "$(hostname) stopped"
    elif [ -s "$job/status" ]; then
        echo "$(hostname) ended $(cat "$job/status")"
    elif [ -s "$job/pid" ]; then
        echo "$(hostname) lost"
    else
        echo "$(hostname) absent"
    fi
}

gone() { # SECONDS: whether the job is, by then
    left=$(($1 * 5))
    while running; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.2
    done
}

stop() { # SECONDS [asked]: SIGTERM, on which a training saves and leaves, and SIGKILL after so many; the user asked for it
    mkdir -p "$job"
    if [ $# -gt 1 ]; then : >"$job/stopped"; fi
    if running; then
        pid=$(cat "$job/pid")
        kill -TERM "-$pid"
        gone "$1" || kill -KILL "-$pid"
        gone 10 || echo "$(hostname): $pid does not end" >&2
    fi
    # libtpu of a process that was killed leaves it behind, and the next one would say that the TPU is in use.
    rm -f /tmp/libtpu_lockfile 2>/dev/null || sudo -n rm -f /tmp/libtpu_lockfile || true
    echo "$(hostname) stopped"
}

"$@"
