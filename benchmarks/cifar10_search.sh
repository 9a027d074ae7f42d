#!/bin/sh
# A CIFAR-10 search on one GPU, in pieces: the same command goes on.
#
#   benchmarks/cifar10_search.sh --minutes=9 --workdir=runs/cifar10_search
#   benchmarks/cifar10_search.sh --tiny --workdir=/tmp/tiny   # on a CPU
set -eu
cd "$(dirname "$0")/.."
config=configs/cifar10_search.py
if [ "${1:-}" = --tiny ]; then
  config=$config:tiny
  shift
fi
exec "${PYTHON:-python3}" -m benchmarks.cifar10_search --config="$config" "$@"
