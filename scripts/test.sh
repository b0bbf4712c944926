#!/usr/bin/env bash
# All tests, over the release build that scripts/build.sh made. Ends with a summary; status 1 when anything failed.
set -uo pipefail
cd "$(dirname "$0")/.."
log=.tools/log/test.log
mkdir -p .tools/log
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/postgres.sh
. scripts/postgres.sh
. .tools/env.sh

trap 'stop_postgres' EXIT
passed=0 failed=0 skipped=0 summary=""
record() { # NAME PASSED FAILED SKIPPED SECONDS
  passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
  summary+=$(printf '  %-34s %5d passed %4d failed %4d skipped %5ds' "$1" "$2" "$3" "$4" "$5")$'\n'
}

name_skipped() { # LINES: each below the line that counts them
  local line
  while read -r line; do [ -z "$line" ] || summary+="    skipped: $line"$'\n'; done <<<"$1"
}

start_postgres
export ASSAY_BIN=$PWD/target/release/assay
# What tests read of the recorded deliveries, where they are; tests that need them say when they are not.
[ -d ../shared/data ] && export ASSAY_TEST_DATA=${ASSAY_TEST_DATA:-$(cd ../shared/data && pwd)}

# ---- Rust: unit, property and integration tests -------------------------------------------------------
began=$SECONDS
out=.tools/log/rust-tests.log
echo "Rust tests (compiling takes a few minutes the first time)"
# What passing tests say is in the log for the sake of those that were skipped; on the terminal it would be long.
cargo test --release --no-default-features --features ssr --no-fail-fast -- --show-output 2>&1 | tee $out |
  sed -unE '/^successes:$/,/^(failures:$|test result)/{/^(skipped:|failures:|test result)/p;d;}
    /^(test .*FAILED|test result|error|     Running|failures:|---- |thread )|panicked/p'
status=("${PIPESTATUS[@]}")
results=$(awk -f scripts/rust-results.awk $out)
read -r p f i <<<"$results"
# A cargo that dies before any test is no success.
{ [ "${status[0]}" != 0 ] || [ "$p" -le 0 ]; } && [ "$f" = 0 ] && f=1
# What each failed test said: the filter above shows only that it failed.
[ "$f" = 0 ] || sed -n '/^failures:$/,/^test result/{/^---- .* stdout ----$/,/^stack backtrace/p;}' $out | head -n 100
record "Rust" "$p" "$f" "$i" $((SECONDS - began))
name_skipped "$(tail -n +2 <<<"$results")"

# ---- end to end in Chromium, over the release binary ---------------------------------------------------
began=$SECONDS
echo "End to end in $ASSAY_CHROMIUM"
if scripts/end2end.sh >.tools/log/end2end.log 2>&1; then status=0; else status=1; fi
grep -E '^  (✘|✓)|^ +[0-9]+ (passed|failed|skipped|flaky)|Error:' .tools/log/end2end.log | tail -n 60
p=$(grep -oE '^ +[0-9]+ passed' .tools/log/end2end.log | grep -oE '[0-9]+' | tail -n 1)
f=$(grep -oE '^ +[0-9]+ failed' .tools/log/end2end.log | grep -oE '[0-9]+' | tail -n 1)
i=$(grep -oE '^ +[0-9]+ skipped' .tools/log/end2end.log | grep -oE '[0-9]+' | tail -n 1)
{ [ $status != 0 ] || [ -z "$p" ]; } && [ -z "$f" ] && { f=1; tail -n 40 .tools/log/end2end.log; }
record "end to end" "${p:-0}" "${f:-0}" "${i:-0}" $((SECONDS - began))

# ---- formatting and lints, on both targets ------------------------------------------------------------
began=$SECONDS
if scripts/lint.sh --offline >.tools/log/lint.log 2>&1; then status=0; else status=1; tail -n 40 .tools/log/lint.log; fi
early=$(sed -n 's/^skipped: //p' .tools/log/lint.log)
record "formatting and lints" $((1 - status)) $status "$(grep -c . <<<"$early")" $((SECONDS - began))
name_skipped "$early"

printf '\n%s\n' "$summary"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
