# A throw-away PostgreSQL for tests and benches. Sourced after lib.sh; callers stand in the project's root.
# start_postgres sets PG_DIR, PG_PORT and ASSAY_TEST_DATABASE_URL; stop_postgres removes all of it.

as_postgres() { # PostgreSQL refuses to run as root
  if [ "$(id -u)" != 0 ]; then
    "$@"
  elif setpriv --reuid "$PG_USER" --regid "$PG_GROUP" --clear-groups true 2>/dev/null; then
    setpriv --reuid "$PG_USER" --regid "$PG_GROUP" --clear-groups "$@"
  else
    unshare -U --map-user=1000 "$@"
  fi
}

start_postgres() {
  local bin
  bin=$(pg_bin) || die "no PostgreSQL programs; run scripts/setup.sh first."
  PG_USER=$(id -u postgres 2>/dev/null || id -u nobody)
  PG_GROUP=$(id -g postgres 2>/dev/null || id -g nobody)
  PG_DIR=$(mktemp -d /tmp/assay-postgres.XXXXXX)
  [ "$(id -u)" = 0 ] && chown "$PG_USER:$PG_GROUP" "$PG_DIR"
  PG_PORT=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
  (cd / && as_postgres "$bin/initdb" -D "$PG_DIR/data" -U postgres -A trust --locale=C -E UTF8) >"$PG_DIR.initdb" 2>&1 || { cat "$PG_DIR.initdb"; die "initdb failed"; }
  mv "$PG_DIR.initdb" "$PG_DIR/initdb.log"
  (cd / && as_postgres "$bin/pg_ctl" -D "$PG_DIR/data" -l "$PG_DIR/log" -w -t 60 \
    -o "-k $PG_DIR -p $PG_PORT -c listen_addresses=127.0.0.1 -c max_connections=300 -c shared_buffers=${PG_SHARED_BUFFERS:-256MB} -c max_wal_size=8GB -c jit=off ${PG_OPTIONS:-}" start) >/dev/null ||
    die "the test PostgreSQL did not start; see $PG_DIR/log"
  # An owner that is no superuser, so that row-level security is in force in the tests too.
  "$bin/psql" -q -h "$PG_DIR" -p "$PG_PORT" -U postgres -d postgres -c "CREATE ROLE assay_owner LOGIN CREATEROLE CREATEDB PASSWORD 'test'" >/dev/null
  export PG_BIN=$bin PG_DIR PG_PORT
  export ASSAY_TEST_DATABASE_URL="postgres://assay_owner:test@127.0.0.1:$PG_PORT/postgres"
}

stop_postgres() {
  [ -n "${PG_DIR:-}" ] || return 0
  (cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -m immediate stop) >/dev/null 2>&1 || true
  rm -rf "$PG_DIR"
  PG_DIR=""
}

crash_postgres() { # what a power cut does to the server, and a new start; for whoever knows PG_BIN and PG_DIR
  PG_USER=$(id -u postgres 2>/dev/null || id -u nobody)
  PG_GROUP=$(id -g postgres 2>/dev/null || id -g nobody)
  (cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -l "$PG_DIR/log" -m immediate -w -t 60 restart) >/dev/null
}
