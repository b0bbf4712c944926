#!/usr/bin/env bash
# Measurements by hand, on a PostgreSQL of their own with durable commits. Compare figures of one run only, as ratios:
# machines differ and are noisy. What was measured where is in docs/BENCHMARKS.md.
# An argument picks some by name: bench_drain, bench_single, bench_idle_pickup, bench_beside, bench_pinned, bench_idle …
# ASSAY_BENCH_JOBS: jobs a drain (100000); ASSAY_BENCH_PINNED_S: how long the transaction is held open (120).
# ASSAY_BENCH_VALUES: values of a Recalculate All (1000000); ASSAY_BENCH_STRICT=1: the scorer and Recalculate All fail where their aim is missed.
set -euo pipefail
cd "$(dirname "$0")/.."
log=.tools/log/bench.log
. scripts/lib.sh
. scripts/postgres.sh
. .tools/env.sh
export PG_SHARED_BUFFERS=1GB
trap 'stop_postgres' EXIT
start_postgres
export ASSAY_BIN=$PWD/target/release/assay
[ -d ../shared/data ] && export ASSAY_TEST_DATA=${ASSAY_TEST_DATA:-$(cd ../shared/data && pwd)}
nproc | sed 's/$/ cores/'
"$PG_BIN/pg_test_fsync" -s 1 -f "$(mktemp)" 2>/dev/null | grep -m 1 fdatasync || true
cargo test --release --no-default-features --features ssr --lib --test it -- --ignored --nocapture --test-threads 1 "${1:-bench}"
