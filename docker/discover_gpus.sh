#!/bin/sh
# Discovery script of a Spark worker: prints the GPUs of this machine as JSON. Without a GPU it fails, and so does the worker.
set -eu
indices=$(nvidia-smi --query-gpu=index --format=csv,noheader | awk '{ printf "%s\"%s\"", (NR > 1 ? ", " : ""), $1 }')
printf '{"name": "gpu", "addresses": [%s]}\n' "$indices"
