#!/usr/bin/env bash
# Starts the release binary on a database of its own with simulated clients, and runs Playwright against it.
# Called by scripts/test.sh, which started PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. .tools/env.sh
port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
work=$(mktemp -d /tmp/assay-end2end.XXXXXX)
"$PG_BIN/psql" -q "$ASSAY_TEST_DATABASE_URL" -c "DROP DATABASE IF EXISTS assay_test_end2end WITH (FORCE)" -c "CREATE DATABASE assay_test_end2end"
export ASSAY_ADMIN_EMAIL=admin@example.com ASSAY_ADMIN_PASSWORD="end to end $(node -p 'crypto.randomBytes(9).toString("hex")')"
export ASSAY_BASE_URL="http://127.0.0.1:$port"
export ASSAY_SERVICE_KEY="end2end-$(node -p 'crypto.randomBytes(16).toString("hex")')"
DATABASE_URL="${ASSAY_TEST_DATABASE_URL%/*}/assay_test_end2end" LEPTOS_SITE_ADDR="127.0.0.1:$port" ASSAY_DATA_DIR="$work" ASSAY_DEMO=1 \
  TERRA_SIGNING_SECRETS="end2end-signing-secret" target/release/assay >"$work/assay.log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; cp "$work/assay.log" .tools/log/assay-end2end.log; rm -rf "$work"' EXIT
for _ in $(seq 1 600); do
  curl -fsS "$ASSAY_BASE_URL/readyz" >/dev/null 2>&1 && break
  kill -0 $pid 2>/dev/null || { cat "$work/assay.log"; die "the program ended"; }
  sleep 0.1
done
# The simulated history has arrived and is scored when the queue is empty.
for _ in $(seq 1 1200); do
  n=$("$PG_BIN/psql" -qAt "${ASSAY_TEST_DATABASE_URL%/*}/assay_test_end2end" -c "SELECT (SELECT count(*) FROM metric_confidence_cache) > 20000 AND (SELECT count(*) FROM background_jobs WHERE status = 'pending' AND scheduled_at <= now()) < 20" 2>/dev/null || true)
  [ "$n" = t ] && break
  sleep 0.1
done
(cd end2end && npx playwright test "$@")
