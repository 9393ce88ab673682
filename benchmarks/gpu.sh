#!/usr/bin/env bash
# What a machine with a CUDA device should do first, in about eight minutes: the CUDA tests, then the paper's transformer on
# fresh strings, the most telling runs first, with step times beside the device's limit between its parts. Tables go to
# results/, a run at a time; called again, only what is missing is done.
#
#   PYTHON=python3 bash benchmarks/gpu.sh [FOLDER]   copies tables to FOLDER after every part
#   MINUTES=8 TESTS=1                                all in all, and whether to run the tests
#   TESTS=0 SCALE=quick                              a try on a CPU
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
MINUTES=${MINUTES:-8}
OUT=${1:-}
START=$(date +%s)
rhm() { "$PYTHON" -c 'import sys; from rhmlib.cli import main; sys.exit(main())' "$@"; }
left() { "$PYTHON" -c "print(max(0.01, $MINUTES - ($(date +%s) - $START) / 60))"; }
keep() { if [ -n "$OUT" ]; then cp -f results/online.csv results/replica_step.csv "$OUT"/ 2>/dev/null; fi; echo "== $1: $(($(date +%s) - START)) s"; }

if [ "${TESTS:-1}" = 1 ]; then
  "$PYTHON" -m pytest -q -x --override-ini=addopts= --import-mode=importlib tests/test_cuda.py tests/test_replica_transformer.py || true
  keep tests
fi
for scale in ${SCALE:-first second third}; do
  rhm sweep params/sweeps/online.yaml --scale "$scale" --jobs "${JOBS:-4}" --limit-minutes "$(left)"
  keep "online, $scale"
  if [ "$scale" != third ]; then  # times want the device alone
    rhm sweep params/sweeps/replica_step.yaml --scale "${SCALE:-gpu}" --jobs 1 --limit-minutes "$(left)"
    keep "step times"
  fi
done
