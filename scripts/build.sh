#!/usr/bin/env bash
# Builds the release, server and WebAssembly, into target/release/assay and target/site. Skipped when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
log=.tools/log/build.log
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
. .tools/env.sh

stamp=target/.assay-built
sources=(Cargo.toml Cargo.lock src style public migrations .cargo/config.toml)
if [ -x target/release/assay ] && [ -f $stamp ] && [ -z "$(find "${sources[@]}" -newer $stamp -print -quit)" ]; then
  note "release build" "already here (target/release/assay)"
  exit 0
fi
began=$(mktemp)
if ! step "release build: cargo leptos (about 6 minutes from nothing, 2 after a change)" cargo leptos build --release --precompress; then
  rm -f "$began"
  grep -E -A 12 '^(error|warning: unused)' $log | head -n 60 >&2 || tail -n 30 $log >&2
  die "the build failed; all of its output is in $log"
fi
# The names of the hashed files travel with the site, so that the program needs nothing else beside it.
cp target/release/hash.txt target/site/hash.txt
wasm=$(ls target/site/pkg/*.wasm)
note "WebAssembly" "$(stat -c %s "$wasm") bytes, $(stat -c %s "$wasm.br") with brotli"
touch -r "$began" $stamp
rm -f "$began"
