#!/usr/bin/env bash
# Fuzzes the read API against its own description with schemathesis, on the binary ASSAY_BIN (default: the release) and a
# database of its own with one person. Run by hand, with ASSAY_TEST_DATABASE_URL and PG_BIN set as scripts/test.sh does.
# Takes ASSAY_FUZZ_SECONDS (300) of fuzzing and of walks along the links between answers, after the fixed cases; options go
# to schemathesis.
# Status 77: skipped, because schemathesis cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
. .tools/env.sh
venv=.tools/schemathesis version=4.32.5
if ! "$venv/bin/schemathesis" --version 2>/dev/null | grep -q "$version"; then
  rm -rf "$venv"
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"; } >.tools/log/schemathesis.log 2>&1; then
    rm -rf "$venv"
    echo "skipped: schemathesis $version cannot be installed from PyPI (see .tools/log/schemathesis.log)"
    exit 77
  fi
fi
binary=${ASSAY_BIN:-target/release/assay}
database=assay_test_api_fuzz_$$
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
work=$(mktemp -d /tmp/assay-api-fuzz.XXXXXX)
psql() { "$PG_BIN/psql" -X -q "$@"; }
psql "$ASSAY_TEST_DATABASE_URL" -c "CREATE DATABASE $database"
url="${ASSAY_TEST_DATABASE_URL%/*}/$database"
password="fuzz $(head -c 9 /dev/urandom | od -An -tx1 | tr -d ' \n')"
DATABASE_URL="$url" LEPTOS_SITE_ADDR="127.0.0.1:$port" ASSAY_DATA_DIR="$work" ASSAY_ADMIN_EMAIL=admin@example.com ASSAY_ADMIN_PASSWORD="$password" \
  "$binary" >"$work/log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; psql "$ASSAY_TEST_DATABASE_URL" -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"; rm -rf "$work"' EXIT
base="http://127.0.0.1:$port"
for _ in $(seq 1 600); do
  curl -fsS "$base/readyz" >/dev/null 2>&1 && break
  kill -0 $pid 2>/dev/null || { cat "$work/log"; exit 1; }
  sleep 0.1
done
psql "$url" <<'SQL'
INSERT INTO persons (user_id) VALUES ('anna');
INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
SELECT 'anna', 'steps', 'garmin', current_date - d, 9000 + d, 'count', 1, 't', now(), gen_random_uuid(), '{"model": "daily"}' FROM generate_series(0, 200) d;
INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, provider, user_id, status, ordering_ms, body, processed_count)
SELECT gen_random_uuid(), now() - n * interval '1 hour', 'trace-' || n, 'daily', 'garmin', 'anna', 'completed', n, '{}', 1 FROM generate_series(1, 30) n;
INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
SELECT user_id, metric_name, source, measurement_date, 71, 0.71, 0.6, 0.8, '{"evidence": 0.9}', 1, 1 FROM unified_metrics;
SQL
curl -sS -c "$work/jar" -o /dev/null -H "Origin: $base" --data-urlencode email=admin@example.com --data-urlencode "password=$password" -d next= "$base/login"
key=$(curl -sS -b "$work/jar" -H "Origin: $base" -d name=fuzz -d scope=metrics:read -d scope=deliveries:read -d days=30 "$base/account/keys" | grep -oE 'assay_[0-9a-f]{64}' | head -n 1)
[ -n "$key" ] || { echo "no key could be made"; exit 1; }
# Whether a cursor was given out and whether `to` lies behind `from` no schema can say, so good-looking input may be refused.
# A key may ask 600 times a minute; the run stays below that. Time is bounded twice: schemathesis stops by itself, and if it
# does not, it is stopped and that is a failure.
seconds=${ASSAY_FUZZ_SECONDS:-300}
timeout --kill-after=10 $((seconds + 120)) \
  "$venv/bin/schemathesis" run "$base/api/v1/openapi.json" --header "Authorization: Bearer $key" --phases examples,coverage,fuzzing,stateful \
  --exclude-checks positive_data_acceptance --max-examples 25 --max-time "$seconds" --rate-limit 600/m --no-shrink --continue-on-failure \
  --request-timeout 10 --seed 20260701 --no-color --report-dir "$work/report" "$@"
