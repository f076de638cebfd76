# What scripts/tpu/tpu needs to know. Fill this in, keep a copy elsewhere and name it with --settings FILE, or set the variables in
# the environment, which wins.

: "${TPU_PROJECT:=}"            # the Google Cloud project, as in `gcloud projects list`
: "${TPU_ZONE:=}"               # e.g. us-west4-a; which zones have which types: docs/tpu.md
: "${TPU_NAME:=}"               # of the slice and of its queued resource: small letters, digits, dashes
: "${TPU_TYPE:=v5litepod-8}"    # as gcloud calls it; v5litepod-64 is 64 chips on 16 hosts
: "${TPU_RUNTIME:=}"            # the image of the hosts; empty: the one that belongs to the type
: "${TPU_SPOT:=1}"              # 1: spot, cheap, may be taken away at any moment; 0: on demand
: "${TPU_SERVICE_ACCOUNT:=}"    # who the hosts are at the bucket; empty: the project's default account
: "${TPU_CREATE_FLAGS:=}"       # more words for `queued-resources create`, e.g. --internal-ips --valid-until-duration=6h
: "${TPU_SSH_FLAGS:=}"          # more words for `tpu-vm ssh` and `scp`, e.g. --internal-ip from a machine in the same network

: "${TPU_CODE:=}"               # the folder to run in, a git checkout; empty: this one
: "${TPU_WHEEL:=}"              # a wheel of jaxemb to install; empty: TPU_CODE is jaxemb, and is installed
: "${TPU_PYTHON:=3.12}"         # of the hosts; images bring 3.10, which is too old

: "${TPU_POLL:=30}"             # seconds between two looks at the slice
: "${TPU_RETRIES:=5}"           # failures after which `watch` gives up; forgotten once a job has run for 20 looks
