#!/bin/sh
# W1 to W4, the million-item row and a cohort of LoRA on the accelerator at hand, in at most nine
# minutes.
#
#   benchmarks/device.sh            results in $OUT, by default benchmarks/results/device
#   benchmarks/device.sh --small    small sizes, to try it on a CPU
#   PYTHON=/path/to/python benchmarks/device.sh
#                                   that interpreter as it is: nothing is installed
#
# Without PYTHON, an environment is made in $VENV (by default .venv-device) unless it is there.
set -eu

began=$(date +%s)
limit=${SECONDS_IN_ALL:-530}

caller=$(pwd)
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results/device}
case ${OUT:-} in
  "" | /*) ;;
  *) out=$caller/$OUT ;;  # as the caller meant it
esac

fail() {
  echo "benchmarks/device.sh: $1" >&2
  exit 2
}

case $# in
  0) ;;
  1) [ "$1" = --small ] || fail "unknown option $1; the only one is --small" ;;
  *) fail "unknown options $*; the only one is --small" ;;
esac

works() {
  "$1" -c 'import fedjax_rec.simulation, jax; jax.devices()' >/dev/null 2>&1
}

# pip gets at most five minutes, so that something is left to measure in
within() {
  if command -v timeout >/dev/null 2>&1; then timeout 300 "$@"; else "$@"; fi
}

if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
  works "$python" || fail "PYTHON=$python cannot run fedjax_rec: '$python -c \"import fedjax_rec\"' says why"
else
  venv=${VENV:-.venv-device}
  python=$venv/bin/python
  if ! works "$python"; then
    if command -v nvidia-smi >/dev/null 2>&1; then jax='jax[cuda12]'; else jax=jax; fi
    echo "installing fedjax_rec and $jax into $venv" >&2
    python3 -m venv --clear "$venv" || fail "python3 -m venv $venv failed; set PYTHON to an interpreter that has jax"
    within "$python" -m pip --disable-pip-version-check --quiet install --editable . "$jax" ||
      fail "pip could not install into $venv; set PYTHON to an interpreter that has jax, numpy and what pyproject.toml names"
    works "$python" || fail "the environment $venv does not work; remove it and start again"
  fi
fi

left=$((limit - $(date +%s) + began))
exec "$python" -m benchmarks.device --seconds "$left" --out "$out" "$@"
