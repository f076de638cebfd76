# What scripts/tpu/tpu is made of: words for the shell, calls of gcloud or their print, what its errors mean.
# shellcheck shell=sh
# shellcheck disable=SC2154  # dry, hosts, scratch are set by scripts/tpu/tpu

fail() { # TEXT
    printf 'error: %s\n' "$1" >&2
    exit 1
}

say() { # TEXT
    printf '%s %s\n' "$(date '+%H:%M:%S')" "$1" >&2
}

quote() { # WORDS...: the text that a shell reads as these words
    line=
    for word; do
        case $word in
        '' | *[!A-Za-z0-9_./:=,@%+-]*)
            word=$(printf '%s.' "$word" | sed "s/'/'\\\\''/g") # the dot: $( ) would drop line breaks at the end
            word="'${word%.}'"
            ;;
        esac
        line="$line${line:+ }$word"
    done
    printf '%s\n' "$line"
}

call() { # WORDS...: runs a command, or prints it
    if [ "$dry" = 1 ]; then quote "$@" >&3; else "$@" 3>&-; fi
}

tpus() { # WORDS...: gcloud compute tpus, of this project and zone
    call gcloud compute tpus "$@" "--project=$TPU_PROJECT" "--zone=$TPU_ZONE" --quiet
}

on() { # WORKER COMMAND
    # shellcheck disable=SC2086  # words of the settings
    tpus tpu-vm ssh "$TPU_NAME" "--worker=$1" "--command=$2" $TPU_SSH_FLAGS
}

copy() { # WORKER FROM... TO
    worker=$1
    shift
    # shellcheck disable=SC2086
    tpus tpu-vm scp "$@" "--worker=$worker" $TPU_SSH_FLAGS
}

everywhere() { # WORD COMMAND: on all hosts, each of which must answer with its name and WORD
    status=0
    on all "$2" >"$scratch/answers" </dev/null || status=$?
    [ "$dry" = 0 ] || return 0
    cat "$scratch/answers"
    count=$(grep -c " $1\$" "$scratch/answers" || true)
    if [ "$status" != 0 ] || [ "$count" != "$hosts" ]; then
        who=$(sed -n "s/ $1\$//p" "$scratch/answers" | tr '\n' ' ')
        say "$1 on $count of $hosts hosts: ${who:-none}(gcloud's status: $status)"
        return 1
    fi
}

state() { # of the queued resource, in gcloud's words; NONE where it is not there
    if found=$(tpus queued-resources describe "$TPU_NAME" '--format=value(state.state)' 2>"$scratch/errors"); then
        if [ "$dry" = 1 ]; then found=ACTIVE; fi
        printf '%s\n' "$found"
    elif grep -qi 'not[_ ]found' "$scratch/errors"; then
        echo NONE
    else
        explain
        return 1
    fi
}

explain() { # what gcloud said, and what to do
    cat "$scratch/errors" >&2
    of="--project=$TPU_PROJECT --zone=$TPU_ZONE"
    case $(tr '[:upper:]' '[:lower:]' <"$scratch/errors") in
    *quota*) hint="the project may not have so many chips of this kind in $TPU_ZONE; spot and on demand are counted apart. docs/tpu.md, Quota" ;;
    *'accelerator type'* | *accelerator_type* | *acceleratortype*) hint="types that $TPU_ZONE has: gcloud compute tpus accelerator-types list $of" ;;
    *'runtime version'* | *runtime_version* | *runtimeversion*) hint="images that $TPU_ZONE has: gcloud compute tpus versions list $of" ;;
    *'already exists'* | *already_exists*) hint="see what it is with: scripts/tpu/tpu status; or take another TPU_NAME" ;;
    *service_disabled* | *'has not been used'*) hint="gcloud services enable tpu.googleapis.com --project=$TPU_PROJECT" ;;
    *permission*) hint="the account of gcloud needs the role TPU Admin in $TPU_PROJECT. docs/tpu.md, Project" ;;
    *'auth login'* | *credential*) hint="gcloud auth login" ;;
    *) return 0 ;;
    esac
    printf 'hint: %s\n' "$hint" >&2
}
