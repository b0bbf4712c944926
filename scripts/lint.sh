#!/usr/bin/env bash
# Formatting, clippy on both targets, licences and bans. Advisories need the outside: skipped, and said so, without it
# or with --offline.
set -uo pipefail
cd "$(dirname "$0")/.."
. .tools/env.sh
status=0
cargo fmt --check || status=1
cargo clippy --no-default-features --features ssr --all-targets -- -D warnings || status=1
cargo clippy --no-default-features --features hydrate --lib --target wasm32-unknown-unknown -- -D warnings || status=1
# `make lint` installs cargo-deny; `make test`, which passes --offline, does not spend eight minutes on it.
if command -v cargo-deny >/dev/null 2>&1; then cargo deny check licenses bans sources || status=1; else echo "skipped: licences and bans (make lint installs cargo-deny)"; fi
if [ "${1:-}" != --offline ]; then
  if cargo deny fetch db >/dev/null 2>&1; then cargo deny check advisories || status=1; else echo "skipped: advisories (their database cannot be reached)"; fi
fi
if [ "${1:-}" != --offline ]; then npm audit --omit=optional || echo "note: npm audit found something or could not reach the registry"; fi
exit $status
