//! A PostgreSQL of a test's own, to be stopped in the middle of things.

use super::process::Database;
use std::path::PathBuf;
use std::process::Command;

/// A running server with a data directory of its own; removed at the end.
pub struct Cluster {
    variables: Vec<(String, String)>,
    url: String,
}

/// Runs the lines with the functions of `scripts/postgres.sh` at hand; what they print.
fn shell(lines: &str, variables: &[(String, String)]) -> String {
    let script = format!(". scripts/lib.sh; . scripts/postgres.sh; {lines}");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("bash").args(["-ec", &script]).current_dir(root).envs(variables.iter().cloned()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Cluster {
    /// Starts one.
    pub fn start() -> Self {
        let said = shell(
            r#"start_postgres; for v in PG_BIN PG_DIR PG_PORT PG_USER PG_GROUP ASSAY_TEST_DATABASE_URL; do echo "$v=${!v}"; done"#,
            &[],
        );
        let variables: Vec<(String, String)> =
            said.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let url = variables.iter().find(|(name, _)| name == "ASSAY_TEST_DATABASE_URL").map(|(_, url)| url.clone()).unwrap();
        Self { variables, url }
    }

    /// An empty database on it; it goes with the server.
    pub async fn database(&self) -> Database {
        Database::on(&self.url).await
    }

    /// From now on logging in takes the right password, as on a server that is more than a test's.
    pub fn ask_for_passwords(&self) {
        self.let_in("host all all 127.0.0.1/32 scram-sha-256");
    }

    /// From now on only the owner logs in without a password.
    pub fn trust_the_owner_alone(&self) {
        self.let_in("host all assay_owner 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256");
    }

    /// Who logs in over the network, as lines of `pg_hba.conf`.
    fn let_in(&self, lines: &str) {
        shell(
            &format!(
                r#"printf '%s\n' 'local all postgres trust' '{lines}' > "$PG_DIR/data/pg_hba.conf"
                   cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" reload"#
            ),
            &self.variables,
        );
    }

    /// The owner's password is another one; the address of a database with it.
    pub fn change_password(&self, url: &str, password: &str) -> String {
        let sql = format!("ALTER ROLE assay_owner PASSWORD '{password}'");
        shell(&format!(r#""$PG_BIN/psql" -q -h "$PG_DIR" -p "$PG_PORT" -U postgres -d postgres -c "{sql}""#), &self.variables);
        url.replace("assay_owner:test@", &format!("assay_owner:{password}@"))
    }

    /// `pg_ctl stop -m immediate`: as if the power went.
    pub fn stop_immediately(&self) {
        shell(r#"cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -m immediate -w stop"#, &self.variables);
    }

    /// `kill -9` of a process and an immediate stop of the server in the same moment: the power went for both.
    pub fn stop_together_with(&self, pid: u32) {
        shell(
            &format!(
                r#"kill -QUIT "$(head -n 1 "$PG_DIR/data/postmaster.pid")"; kill -KILL {pid}
                   for _ in $(seq 1500); do [ -e "$PG_DIR/data/postmaster.pid" ] || exit 0; sleep 0.02; done; die "it does not stop""#
            ),
            &self.variables,
        );
    }

    /// What a power cut does to the server, and a new start.
    pub fn crash(&self) {
        shell("crash_postgres", &self.variables);
    }

    /// Ends every connection of the program, as the server's administrator does; how many of its login roles these were.
    pub fn end_connections(&self) -> i64 {
        let sql = r"SELECT count(*) FILTER (WHERE ended AND usename LIKE 'assay\_w%') FROM (
                      SELECT usename, pg_terminate_backend(pid) AS ended FROM pg_stat_activity
                       WHERE datname LIKE 'assay\_test\_%' AND usename <> 'postgres' OFFSET 0) t";
        let said =
            shell(&format!(r#""$PG_BIN/psql" -XqAt -h "$PG_DIR" -p "$PG_PORT" -U postgres -d postgres -c "{sql}""#), &self.variables);
        said.trim().parse().unwrap()
    }

    /// Starts it again, with the options it had; it recovers from its log.
    pub fn restart(&self) {
        shell(
            r#"cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -l "$PG_DIR/log" -w -t 60 \
                 -o "-k $PG_DIR -p $PG_PORT -c listen_addresses=127.0.0.1 -c max_connections=300 -c jit=off" start"#,
            &self.variables,
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        shell("stop_postgres", &self.variables);
    }
}
