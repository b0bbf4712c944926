#!/usr/bin/env bash
# Starts the release binary twice, on a database with simulated clients and on an empty one, and runs Playwright against
# both. Called by scripts/test.sh, which started PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. .tools/env.sh
free_port() { node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'; }
work=$(mktemp -d /tmp/assay-end2end.XXXXXX)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait "${pids[@]}" 2>/dev/null; cp "$work/full.log" .tools/log/assay-end2end.log; rm -rf "$work"' EXIT
export ASSAY_ADMIN_EMAIL=admin@example.com ASSAY_ADMIN_PASSWORD="end to end $(node -p 'crypto.randomBytes(9).toString("hex")')"
export ASSAY_SERVICE_KEY="end2end-$(node -p 'crypto.randomBytes(16).toString("hex")')"
start() { # NAME DATABASE PORT [VARIABLE=VALUE…]: starts a server and waits until it is ready
  local name=$1 database=$2 port=$3
  shift 3
  "$PG_BIN/psql" -q "$ASSAY_TEST_DATABASE_URL" -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" -c "CREATE DATABASE $database"
  mkdir "$work/$name"
  env "$@" DATABASE_URL="${ASSAY_TEST_DATABASE_URL%/*}/$database" LEPTOS_SITE_ADDR="127.0.0.1:$port" ASSAY_DATA_DIR="$work/$name" \
    TERRA_SIGNING_SECRETS="end2end-signing-secret" "${ASSAY_BIN:-target/release/assay}" >"$work/$name.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 1 600); do
    curl -fsS "http://127.0.0.1:$port/readyz" >/dev/null 2>&1 && return
    kill -0 "${pids[-1]}" 2>/dev/null || { cat "$work/$name.log"; die "the program ended"; }
    sleep 0.1
  done
  cat "$work/$name.log"
  die "the program is not ready after a minute"
}
port=$(free_port)
start full assay_test_end2end "$port" ASSAY_DEMO=1
export ASSAY_BASE_URL="http://127.0.0.1:$port"
port=$(free_port)
start empty assay_test_end2end_empty "$port" ASSAY_DEMO=0
export ASSAY_EMPTY_URL="http://127.0.0.1:$port" ASSAY_EMPTY_DATABASE_URL="${ASSAY_TEST_DATABASE_URL%/*}/assay_test_end2end_empty"
# The simulated history has arrived and is scored when the queue is empty.
n=f
for _ in $(seq 1 2400); do
  n=$("$PG_BIN/psql" -qAt "${ASSAY_TEST_DATABASE_URL%/*}/assay_test_end2end" -c "SELECT (SELECT count(*) FROM metric_confidence_cache) > 20000 AND (SELECT count(*) FROM background_jobs WHERE status = 'pending' AND scheduled_at <= now()) < 20" 2>/dev/null || true)
  [ "$n" = t ] && break
  sleep 0.1
done
[ "$n" = t ] || die "the simulated history is not scored after four minutes"
(cd end2end && npx playwright test "$@")
