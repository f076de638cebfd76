# The verbs of scripts/tpu/tpu.
# shellcheck shell=sh
# shellcheck disable=SC2154  # archive, dry, here, hosts, scratch, verb are set by scripts/tpu/tpu

create() {
    set -- "$TPU_NAME" "--node-id=$TPU_NAME" "--accelerator-type=$TPU_TYPE" "--runtime-version=$TPU_RUNTIME"
    if [ "$TPU_SPOT" = 1 ]; then set -- "$@" --spot; fi
    if [ -n "$TPU_SERVICE_ACCOUNT" ]; then set -- "$@" "--service-account=$TPU_SERVICE_ACCOUNT"; fi
    # shellcheck disable=SC2086
    if ! tpus queued-resources create "$@" $TPU_CREATE_FLAGS 2>"$scratch/errors"; then
        explain
        return 1
    fi
    say "asked for $TPU_TYPE; billed from the moment it is ACTIVE until: scripts/tpu/tpu delete"
}

await() { # 1: it is not coming
    seen=
    while now=$(state); do
        if [ "$now" != "$seen" ]; then say "$TPU_NAME: $now"; fi
        seen=$now
        case $now in
        ACTIVE) return 0 ;;
        NONE | FAILED | SUSPENDING | SUSPENDED | DELETING) return 1 ;;
        esac
        sleep "$TPU_POLL"
    done
    return 1
}

pack() { # the files that git knows in TPU_CODE, with what was changed in them
    known=$(git -C "$TPU_CODE" status --porcelain 2>"$scratch/errors") || fail "TPU_CODE: $TPU_CODE is no git checkout: $(cat "$scratch/errors")"
    left=$(printf '%s\n' "$known" | sed -n 's/^?? //p' | head -n 5 | tr '\n' ' ')
    if [ -n "$left" ]; then say "not copied, since git does not know them (git add): $left"; fi
    call mkdir -p "${archive%/*}"
    if [ "$dry" = 1 ]; then # a stash writes objects
        printf '%s "$(%s | grep . || echo HEAD)"\n' "$(quote git -C "$TPU_CODE" archive --format=tar.gz -o "$archive")" "$(quote git -C "$TPU_CODE" stash create)" >&3
        return
    fi
    commit=$(git -C "$TPU_CODE" stash create)
    git -C "$TPU_CODE" archive --format=tar.gz -o "$archive" "${commit:-HEAD}" 3>&-
}

reach() { # a new host takes a moment until it knows the key
    tried=0
    until on all true </dev/null; do
        tried=$((tried + 1))
        if [ "$tried" -ge "$TPU_RETRIES" ]; then return 1; fi
        say "a host does not answer yet"
        sleep "$TPU_POLL"
    done
}

setup() {
    pack || return 1
    reach || return 1
    set -- "$archive" "$here/worker.sh"
    install="sh worker.sh setup $TPU_PYTHON"
    if [ -n "$TPU_WHEEL" ]; then
        set -- "$@" "$TPU_WHEEL"
        install="$install $(quote "${TPU_WHEEL##*/}")"
    fi
    copy all "$@" "$TPU_NAME:" && everywhere ready "$install"
}

checked() { # ARGS...: of jaxemb, refused where hosts or a next slice would not find the run folder
    [ "$1" = train ] || return 0
    folder='' before=''
    for word; do
        case $before,$word in
        --run,*) folder=$word ;;
        *,--run=*) folder=${word#--run=} ;;
        esac
        before=$word
    done
    case $folder in
    gs://?* | /?*) return 0 ;; # a path is that of a disk which all share: the user's word
    esac
    if [ "$hosts" -gt 1 ] || [ "$verb" = watch ]; then
        fail "--run ${folder:-(none)}: every host, and the slice after a preemption, must see the run folder: --run gs://BUCKET/NAME"
    fi
}

start() { # ARGS...: the job; hosts of a slice join
    if [ "$hosts" -gt 1 ] && [ "$1" = train ]; then
        case " $* " in
        *' --distributed'*) ;;
        *) set -- "$@" --distributed ;;
        esac
    fi
    if everywhere started "sh worker.sh start $(quote jaxemb "$@")"; then return 0; fi
    if grep -q ' busy$' "$scratch/answers"; then
        say 'a job runs there already: scripts/tpu/tpu stop, or watch with the same arguments'
        return 1
    fi
    say "stopping what has started, which would wait for the others in vain"
    on all 'sh worker.sh stop 10' </dev/null || true
    return 1
}

# A new host has no worker.sh yet.
# shellcheck disable=SC2016  # expanded there
ask='if [ -e worker.sh ]; then sh worker.sh state; else echo "$(hostname) absent"; fi'

job() { # what the hosts do together: running, partly, lost, failed, stopped, ended, absent, unknown
    if ! on all "$ask" >"$scratch/answers" 2>"$scratch/errors" </dev/null; then
        echo unknown
        return
    fi
    # 70: jaxemb lost another process; above 128: killed.
    awk -v hosts="$hosts" '
        { n[$2 != "ended" ? $2 : $3 == 0 ? "ended" : $3 == 70 || $3 > 128 ? "lost" : "failed"]++ }
        END {
            if (n["failed"]) print "failed"
            else if (n["stopped"]) print "stopped"
            else if (n["running"] && (n["lost"] || n["absent"])) print "partly"
            else if (n["running"]) print "running"
            else if (n["ended"] == hosts) print "ended"
            else if (n["absent"] == NR) print "absent"
            else print "lost"
        }' "$scratch/answers"
}

steady=20 # looks in a row at a running job after which earlier failures are forgotten: one that soon dies again is not well

again() { # WHAT: a failure; gives up after too many in a row
    failures=$((failures + 1))
    if [ "$failures" -ge "$TPU_RETRIES" ]; then
        fail "$1, $failures times in a row (TPU_RETRIES). The slice may still be there, and be billed: scripts/tpu/tpu status, delete"
    fi
    say "$1; trying again ($failures)"
}

renew() { # the slice was taken away
    tpus queued-resources delete "$TPU_NAME" --force || true
    create || again 'cannot be created anew'
}

rehearse() { # ARGS...: what `watch` runs where all goes well
    create
    state >/dev/null
    setup
    start "$@"
    on all "$ask"
}

watch() { # ARGS...
    if [ "$dry" = 1 ]; then rehearse "$@"; return; fi
    trap 'say "left; the slice and its job go on, and are billed. The same command watches again; scripts/tpu/tpu delete ends it"; exit 130' INT
    failures=0 had=0 seen='' looks=0
    while :; do
        now=$(state) || { again 'gcloud does not answer'; now=unknown; }
        if [ "$now" = ACTIVE ]; then now=$(job); fi
        case $had,$seen,$now in
        *,partly,partly | 0,*,partly) now=lost ;;                 # the others had time to leave
        0,*,ended | 0,*,failed | 0,*,stopped) now='not started' ;; # that was an earlier job
        esac
        if [ "$now" != "$seen" ]; then say "$TPU_NAME: $now"; fi
        seen=$now
        if [ "$now" = running ]; then looks=$((looks + 1)); else looks=0; fi
        case $now in
        running)
            had=1
            if [ "$looks" -ge "$steady" ]; then failures=0; fi
            ;;
        NONE) if ! create; then
            if [ "$had" = 0 ]; then fail "the slice cannot be created"; fi
            again 'cannot be created anew'
        fi ;;
        SUSPENDED | FAILED)
            again "$now: the slice was taken away, or cannot be had"
            renew
            ;;
        absent | 'not started') if setup && start "$@"; then had=1; else again 'the job could not be started on every host'; fi ;;
        lost)
            cat "$scratch/answers"
            again 'a host was lost, or its job was killed'
            if on all 'sh worker.sh stop 30' </dev/null; then start "$@" || true; fi
            ;;
        stopped) fail 'the job was stopped, and the slice is still there' ;;
        failed)
            cat "$scratch/answers"
            on 0 'tail -n 30 job/log' || true
            fail 'the job failed: see above, and scripts/tpu/tpu logs DIR. The slice is still there, and is billed'
            ;;
        ended)
            say 'the job has ended well'
            return
            ;;
        esac
        sleep "$TPU_POLL"
    done
}

fetch() { # FROM DIR
    call mkdir -p "$2"
    case $1 in
    gs://*) call gcloud storage rsync --recursive "$1" "$2" ;;
    *) copy 0 --recurse "$TPU_NAME:code/$1" "$2" ;;
    esac
}

logs() { # DIR
    call mkdir -p "$1"
    worker=0
    while [ "$worker" -lt "$hosts" ]; do
        copy "$worker" "$TPU_NAME:job/log" "$1/worker-$worker.log"
        worker=$((worker + 1))
    done
}

shell() { # [WORKER] [COMMAND...]
    where=0
    case ${1:-} in
    all | [0-9] | [0-9][0-9] | [0-9][0-9][0-9])
        where=$1
        shift
        ;;
    esac
    if [ $# -gt 0 ]; then
        on "$where" "$*"
    else
        # shellcheck disable=SC2086
        tpus tpu-vm ssh "$TPU_NAME" "--worker=$where" $TPU_SSH_FLAGS
    fi
}

status() {
    now=$(state)
    printf '%s %s in %s: %s\n' "$TPU_NAME" "$TPU_TYPE" "$TPU_ZONE" "$now"
    if [ "$now" = ACTIVE ]; then on all "$ask"; fi
}
