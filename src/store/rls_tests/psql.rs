//! The same, with the program an attacker would take: `psql`, logged in as the server's own login roles. Every table,
//! view, sequence and function of the catalogue, read, written and called; then all that might make more of a role.

use super::expected::Eyes::{AdminOnly, Closed, Itself, Members, OwnClients};
use super::expected::{ESCALATIONS, FUNCTIONS};
use super::world::{Relation, World, ending, expected, relations};
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

/// psql beside the server that the tests run on, else the one in the path.
fn psql() -> PathBuf {
    let beside = std::env::var_os("PG_BIN").map(|dir| PathBuf::from(dir).join("psql"));
    beside.filter(|p| p.exists()).unwrap_or_else(|| "psql".into())
}

/// Runs statements one by one, each in a transaction of its own that is rolled back, after the persona's own; the
/// SQLSTATE of each, and what it printed.
fn run(world: &World, database: &str, role: &str, prelude: &[String], statements: &[String]) -> Vec<(String, String)> {
    let options = world.t.url.owner_options();
    let mut command = Command::new(psql());
    command.args([
        "--no-psqlrc",
        "--quiet",
        "--no-align",
        "--tuples-only",
        "-h",
        options.get_host(),
        "-p",
        &options.get_port().to_string(),
    ]);
    command.args(["-U", role, "-d", database]).env("PGCONNECT_TIMEOUT", "10");
    if let Some(password) = world.t.url.password_for(role) {
        command.env("PGPASSWORD", password);
    }
    let mut script = String::new();
    for statement in statements {
        script.push_str("BEGIN;\n");
        for line in prelude {
            script.push_str(&format!("{line};\n"));
        }
        script.push_str(&format!("{statement};\n\\echo :SQLSTATE end-of-statement\nROLLBACK;\n"));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("psql");
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found = Vec::new();
    let mut printed = String::new();
    for line in text.lines() {
        match line.strip_suffix(" end-of-statement") {
            Some(state) => found.push((state.to_owned(), std::mem::take(&mut printed))),
            None => printed.push_str(line),
        }
    }
    assert_eq!(found.len(), statements.len(), "psql as {role} said: {text}");
    found
}

const DENIED: &str = "42501";

/// Who tries, as what.
struct Attacker {
    name: &'static str,
    login: &'static str,
    prelude: Vec<String>,
    /// The person whose rows they may see; `Some("*")`: all.
    sees: Option<&'static str>,
    /// The letter in the table of functions.
    letter: Option<char>,
}

fn attackers(world: &World) -> Vec<Attacker> {
    let user = |proof: &str| vec!["SET LOCAL ROLE authenticated".to_owned(), format!("SET LOCAL assay.token = '{proof}'")];
    let as_user = |name, proof: &str, sees| Attacker { name, login: "assay_web", prelude: user(proof), sees, letter: Some('u') };
    let mut forged = user(&world.stored_hash);
    forged.extend(
        [
            "assay.role = 'admin'",
            "assay.account_id = '1'",
            "request.jwt.claims = '{\"role\": \"service_role\"}'",
            "search_path = pg_temp, public",
        ]
        .map(|s| format!("SET LOCAL {s}")),
    );
    vec![
        Attacker { name: "the bare login role", login: "assay_web", prelude: vec![], sees: None, letter: None },
        Attacker { name: "anon", login: "assay_web", prelude: vec!["SET LOCAL ROLE anon".into()], sees: None, letter: Some('a') },
        Attacker { name: "forged settings", login: "assay_web", prelude: forged, sees: None, letter: Some('u') },
        as_user("trainer of a", &world.proofs.1, Some("person-a")),
        as_user("trainer of b", &world.proofs.2, Some("person-b")),
        as_user("administrator", &world.proofs.0, Some("*")),
    ]
}

#[tokio::test]
async fn psql_reads_nothing_it_may_not_and_writes_nothing_at_all() {
    let world = World::new().await;
    let database: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(world.t.db.owner()).await.unwrap();
    let all = relations(&world).await;
    for attacker in attackers(&world) {
        let reads: Vec<String> = all.iter().map(reading).collect();
        let found = run(&world, &database, attacker.login, &attacker.prelude, &reads);
        for (relation, (state, printed)) in all.iter().zip(found) {
            let (eyes, _) = if relation.partition { (Closed, "") } else { expected(&relation.name) };
            let open = attacker.letter == Some('u') && eyes != Closed
                || attacker.letter == Some('a') && relation.name == "public.health_snapshots";
            assert_eq!(state, if open { "00000" } else { DENIED }, "{} reads {}: {printed}", attacker.name, relation.name);
            if !open || attacker.letter == Some('a') {
                continue;
            }
            let rows: i64 = printed.split('|').next().unwrap().parse().unwrap();
            match (eyes, attacker.sees) {
                (_, Some("*")) => assert!(rows > 0, "{} reads {}", attacker.name, relation.name),
                (OwnClients, Some(person)) => assert_eq!(printed, format!("1|{{{person}}}"), "{} reads {}", attacker.name, relation.name),
                (Itself | Members, Some(_)) => assert!(rows > 0, "{} reads {}", attacker.name, relation.name),
                (AdminOnly | OwnClients | Itself | Members | Closed, _) => assert_eq!(rows, 0, "{} reads {}", attacker.name, relation.name),
            }
        }
        let mut writes = Vec::new();
        for relation in all.iter().filter(|r| matches!(r.kind.as_str(), "r" | "p")) {
            let (name, column) = (&relation.name, relation.first_column.clone().unwrap_or_default());
            writes.push(format!("INSERT INTO {name} DEFAULT VALUES"));
            writes.push(format!("UPDATE {name} SET {column} = DEFAULT"));
            writes.push(format!("DELETE FROM {name}"));
            writes.push(format!("TRUNCATE {name}"));
            writes.push(format!("COPY {name} FROM '/dev/null'"));
            writes.push(format!("GRANT ALL ON {name} TO anon; SELECT has_table_privilege('anon', '{name}', 'INSERT')"));
            writes.push(format!("ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"));
            writes.push(format!("CREATE POLICY mine ON {name} USING (true)"));
            writes.push(format!("LOCK TABLE {name}"));
        }
        for (statement, (state, printed)) in writes.iter().zip(run(&world, &database, attacker.login, &attacker.prelude, &writes)) {
            // Whoever may read but not grant gets a warning and gives nothing away; a refusal ends the transaction.
            let nothing_given = statement.starts_with("GRANT") && (state == "25P02" || (state == "00000" && printed == "f"));
            assert!(state == DENIED || nothing_given, "{}: {statement}: {state} {printed}", attacker.name);
        }
    }
}

/// Counts rows, and names the persons where the object names them.
fn reading(relation: &Relation) -> String {
    let name = &relation.name;
    match (relation.has_person, name.as_str()) {
        (true, _) => format!("SELECT count(*), array_agg(DISTINCT user_id) FILTER (WHERE user_id IS NOT NULL) FROM {name}"),
        (false, "public.health_snapshots") => format!("SELECT count(at) FROM {name}"),
        (false, "public.accounts") => format!("SELECT count(id) FROM {name}"),
        (false, _) => format!("SELECT count(*) FROM {name}"),
    }
}

#[tokio::test]
async fn psql_calls_only_the_functions_that_are_listed_for_its_role() {
    let world = World::new().await;
    let database: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(world.t.db.owner()).await.unwrap();
    let calls: Vec<String> = FUNCTIONS
        .iter()
        .map(|(signature, _)| {
            let (name, arguments) = signature.trim_end_matches(')').split_once('(').unwrap();
            let arguments: Vec<String> = arguments.split(',').filter(|a| !a.is_empty()).map(|a| format!("NULL::{a}")).collect();
            format!("SELECT {name}({})", arguments.join(", "))
        })
        .collect();
    for attacker in attackers(&world) {
        let found = run(&world, &database, attacker.login, &attacker.prelude, &calls);
        for ((signature, who), (state, printed)) in FUNCTIONS.iter().zip(found) {
            let may = attacker.letter.is_some_and(|l| who.contains(l));
            // Outside the schema it is as if there were no such function.
            let refused = matches!(state.as_str(), DENIED | "42883" | "42704" | "3F000");
            assert_eq!(!refused, may, "{} calls {signature}: {state} {printed}", attacker.name);
        }
    }
}

#[tokio::test]
async fn psql_makes_no_more_of_its_role() {
    let world = World::new().await;
    let database: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(world.t.db.owner()).await.unwrap();
    let owner: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(world.t.db.owner()).await.unwrap();
    let mut statements: Vec<String> = ESCALATIONS.iter().map(|s| (*s).to_owned()).collect();
    let mut worker = world.t.db.service().acquire().await.unwrap();
    let end_worker = ending(&mut worker).await;
    statements.extend([
        format!("SET ROLE {owner}"),
        format!("SET SESSION AUTHORIZATION {owner}"),
        format!("SELECT set_config('session_authorization', '{owner}', false)"),
        format!("GRANT {owner} TO assay_web"),
        format!("ALTER ROLE {owner} PASSWORD 'mine'"),
        "SET ROLE pg_read_server_files".into(),
        "SET ROLE pg_execute_server_program".into(),
        "SET ROLE pg_monitor".into(),
        "COPY (SELECT 1) TO PROGRAM 'id > /tmp/assay-escalated'".into(),
        "COPY public.login_sessions TO STDOUT".into(),
        "SELECT pg_read_file('/etc/passwd')".into(),
        "SELECT pg_read_binary_file('pg_hba.conf')".into(),
        "SELECT pg_ls_dir('.')".into(),
        "SELECT pg_reload_conf()".into(),
        "SELECT lo_export(lo_creat(-1), '/tmp/assay-escalated')".into(),
        "CREATE EXTENSION dblink".into(),
        "CREATE LANGUAGE plperlu".into(),
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION app.bury_job()".into(),
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'".into(),
        "CREATE TABLE pg_temp.login_sessions (token_hash bytea)".into(),
        "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)".into(),
        "SELECT * FROM pg_authid".into(),
        "SELECT * FROM pg_statistic".into(),
        "SELECT * FROM pg_user_mapping".into(),
        "DO $$ BEGIN EXECUTE 'SET ROLE service_role'; END $$".into(),
        "ALTER SYSTEM SET shared_preload_libraries = 'mine'".into(),
        "LOAD '/tmp/mine.so'".into(),
        "VACUUM FULL public.accounts".into(),
        "REINDEX TABLE public.accounts".into(),
        "COMMENT ON SCHEMA app IS 'mine'".into(),
        "ALTER DATABASE postgres RENAME TO mine".into(),
        "CREATE PUBLICATION mine FOR ALL TABLES".into(),
        "SELECT pg_create_physical_replication_slot('mine')".into(),
    ]);
    for attacker in attackers(&world) {
        let ended = run(&world, &database, attacker.login, &attacker.prelude, std::slice::from_ref(&end_worker));
        assert_eq!(ended[0].0, DENIED, "{}: {end_worker}", attacker.name);
        for (statement, (state, printed)) in statements.iter().zip(run(&world, &database, attacker.login, &attacker.prelude, &statements)) {
            assert!(state != "00000", "{}: {statement}: done: {printed}", attacker.name);
        }
    }
    sqlx::query("SELECT 1").execute(&mut *worker).await.expect("the worker's connection lives");
    // The worker's role reads and writes rows; it becomes nobody, and changes no object and no entry of the audit log.
    let worker: Vec<String> = [
        "SET ROLE authenticated",
        "SET ROLE assay_web",
        "UPDATE public.audit_log SET actor = 'nobody'",
        "DELETE FROM public.audit_log",
        "TRUNCATE public.audit_log",
        "DROP TABLE public.persons",
        "CREATE TABLE public.mine (a int)",
        "ALTER TABLE public.audit_log DISABLE ROW LEVEL SECURITY",
        "CREATE OR REPLACE FUNCTION app.caller_role() RETURNS text LANGUAGE sql AS $$ SELECT 'admin' $$",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
    ]
    .map(str::to_owned)
    .to_vec();
    for (statement, (state, _)) in worker.iter().zip(run(&world, &database, "assay_worker", &[], &worker)) {
        assert_eq!(state, DENIED, "assay_worker: {statement}");
    }
    assert!(!std::path::Path::new("/tmp/assay-escalated").exists());
}
