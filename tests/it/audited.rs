//! Whatever somebody does is in the audit log: every form, every server function and every download that takes data away
//! does its deed here, and its entry is there, under the name of who did it.
//!
//! **A new route that is sent to, or a new server function, needs a row in [`DEEDS`], or one in [`SILENT`] with the reason.**

use crate::process::{ADMIN, Assay, Database, PASSWORD, eventually};
use crate::visitors::{Visitors, client, log_in};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// What a deed is done to; words in braces in the rows below, and the statement that finds or makes it at that moment.
const THINGS: &[(&str, &str)] = &[
    ("{other}", "SELECT id::text FROM accounts WHERE email = 'other@example.com'"),
    ("{session}", "SELECT id::text FROM login_sessions ORDER BY created_at DESC, id DESC LIMIT 1"),
    ("{key}", "SELECT id::text FROM api_keys WHERE name = 'audited'"),
    ("{operation}", "SELECT id::text FROM operations WHERE state = 'running' ORDER BY started_at DESC LIMIT 1"),
    ("{delivery}", "SELECT id::text FROM terra_webhooks_raw WHERE trace_id = 'audited'"),
    ("{later}", "SELECT id::text FROM background_jobs WHERE payload = '{\"n\": 1}'"),
    ("{waiting}", "SELECT id::text FROM background_jobs WHERE payload = '{\"n\": 2}'"),
    (
        "{back}",
        "INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint, failed_at)
           VALUES (gen_random_uuid(), 'log_rollup', '{}', 'planted', 'back', now()) RETURNING fingerprint",
    ),
    (
        "{away}",
        "INSERT INTO background_jobs_dlq (original_job_id, type, payload, error, fingerprint, failed_at)
           VALUES (gen_random_uuid(), 'log_rollup', '{}', 'planted', 'away', now()) RETURNING fingerprint",
    ),
];

const PLANTED: &str = "
    INSERT INTO background_jobs (type, payload, scheduled_at) VALUES
      ('log_rollup', '{\"n\": 1}', now() + interval '1 day'), ('log_rollup', '{\"n\": 2}', now());
    INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, user_id, ordering_ms, body)
      SELECT id, app.received_at(id), 'audited', 'daily', 'walked-person', 1, '{}' FROM (SELECT app.uuid_v7() AS id) made;
    INSERT INTO schedules (name, job_type, every_s, next_run_at) VALUES ('audited', 'log_rollup', 86400, now() + interval '1 day')";

/// Method, where to (a server function by its name), what is sent, and the entry's action. In this order: a deed may need
/// what an earlier one left.
const DEEDS: &[(&str, &str, &str, &str)] = &[
    ("POST", "/login", "email=nobody%40example.com&password=wrong&next=", "login.failed"),
    ("POST", "choose_source", "user_id=walked-person&metric=steps&source=oura", "source.choose"),
    ("POST", "decide_finding", "user_id=walked-person&metric=steps&source=oura&date=2026-01-01&verdict=confirmed", "finding.decide"),
    ("POST", "recalculate_all", "", "operation.start"),
    ("POST", "cancel_operation", "id={operation}", "operation.cancel"),
    ("POST", "set_registry", "metric=steps&tolerance=12&kind=relative&low=0&high=100000&half_life=48&deed=apply", "registry.change"),
    ("POST", "reset_registry", "", "registry.change"),
    ("POST", "stop_operation", "id={operation}&back=", "operation.cancel"),
    ("POST", "start_shadow", "", "operation.start"),
    ("POST", "drop_shadow", "", "shadow.drop"),
    ("POST", "run_calibration", "", "calibration.run"),
    ("POST", "retry_failed_jobs", "", "jobs.retry"),
    ("POST", "act_on_job", "deed=run-now&id={later}&back=", "jobs.run_now"),
    ("POST", "act_on_chosen", "deed=put-off&ids[]={waiting}&back=", "jobs.put_off"),
    ("POST", "act_on_jobs", "deed=cancel&status=pending&kind=log_rollup&q=&back=", "jobs.cancel"),
    ("POST", "redrive_letters", "kind=log_rollup&since=&asked=&back=", "operation.start"),
    ("POST", "redrive_letter", "id=00000000-0000-0000-0000-000000000000&back=", "operation.start"),
    ("POST", "redrive_group", "kind=log_rollup&fingerprint={back}&since=&back=", "operation.start"),
    ("POST", "discard_group", "kind=log_rollup&fingerprint={away}&since=&note=&back=", "operation.start"),
    ("POST", "set_advanced", "advanced=on", "settings.change"),
    ("POST", "schedule_deed", "name=audited&deed=pause", "schedule.pause"),
    ("POST", "schedule_deed", "name=audited&deed=resume", "schedule.resume"),
    ("POST", "schedule_deed", "name=audited&deed=run", "schedule.run"),
    ("POST", "pause_kind", "kind=confidence_calculation&paused=on&back=", "kind.pause"),
    ("POST", "pause_kind", "kind=confidence_calculation&paused=off&back=", "kind.resume"),
    ("POST", "limit_kind", "kind=confidence_calculation&max_running=2&per_minute=&back=", "kind.limit"),
    ("POST", "replay_deliveries", "since=&type=daily&provider=&user=walked-person&status=&error=&back=", "deliveries.replay"),
    ("POST", "replay_delivery", "id={delivery}", "deliveries.replay"),
    ("POST", "send_test_event", "type=body&provider=WHOOP&user=", "test_event.send"),
    ("POST", "assign_clients", "trainer={other}&users=walked-person&back=", "client.assign"),
    ("POST", "unassign_client", "trainer={other}&user_id=walked-person&back=", "client.unassign"),
    ("POST", "/admin/people/walked-person/trainers", "trainer={other}", "client.assign"),
    ("POST", "/admin/people/walked-person/trainers/{other}/remove", "", "client.unassign"),
    ("POST", "/admin/people/walked-person/label", "label=Another", "person.label"),
    ("GET", "/clients/walked-person/export.json", "", "person.export"),
    ("GET", "/clients/walked-person/export.csv", "", "person.export"),
    ("GET", "/clients.csv", "", "clients.export"),
    ("POST", "/admin/people/walked-person/erase", "confirm=walked-person", "person.erase"),
    ("POST", "/admin/users/invite", "email=invited%40example.com&name=&role=trainer", "account.invite"),
    ("POST", "/invite/{token}", "password=a+long+password+of+theirs", "account.invitation_accepted"),
    ("POST", "/admin/users/{other}/link", "", "account.reset_link"),
    ("POST", "/admin/users/{other}/admin", "", "account.role"),
    ("POST", "/admin/users/{other}/disable", "", "account.disabled"),
    ("POST", "/admin/users/{other}/sign-out", "", "account.sessions_ended"),
    ("POST", "/admin/users/second-factor", "demand=off", "settings.change"),
    (
        "POST",
        "/admin/settings/retention",
        "raw_days=&key_days=&history_days=30&log_days=30&letter_days=90&figure_days=400&audit_days=&useless_days=",
        "settings.change",
    ),
    ("POST", "/account/keys", "name=audited&scope=metrics%3Aread&days=30", "api_key.create"),
    ("POST", "/account/keys/{key}/revoke", "", "api_key.revoke"),
    ("POST", "/account/sessions/{session}/end", "", "session.revoke"),
    ("POST", "/account/sessions/end-others", "", "session.revoke_others"),
    ("POST", "/account/password", "present=integration+test+password&fresh=another+long+password", "account.password"),
];

/// What changes nothing of anybody's, or is tried elsewhere: a route or server function, and why it has no row above.
const SILENT: &[(&str, &str)] = &[
    ("page", "it shows a page"),
    ("set_theme", "it is the reader's own cookie"),
    ("/preferences", "they are the reader's own cookies"),
    ("/logout", "it ends one's own session"),
    ("promote_shadow", "it needs a finished trial: src/rescore/tests.rs"),
    ("/account/second-factor", "it needs an authenticator's code: src/access/form_tests.rs"),
    ("/account/second-factor/off", "it needs one that is on: src/access/form_tests.rs"),
    ("/admin/connect/link", "it needs Terra: tests/it/connecting.rs"),
    ("/admin/connect/backfill", "it needs Terra: tests/it/connecting.rs"),
    ("/functions/v1/webhook-terra", "deliveries are kept as they came"),
    ("/functions/v1/terra-webhook-test", "it is the door that send_test_event goes through: src/gateway/tests/trial.rs"),
    ("/functions/v1/job-worker", "it works off what is due; who asked for that has an entry"),
];

/// A server function's name: the last part of its path, without the number.
fn name(path: &str) -> Option<&str> {
    Some(path.strip_prefix("/_fn/")?.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Whether a row's path is one of a route: what stands in braces in the route stands for anything.
fn is_of(row: &str, route: &str) -> bool {
    let (row, route): (Vec<_>, Vec<_>) = (row.split('/').collect(), route.split('/').collect());
    row.len() == route.len() && row.iter().zip(route).all(|(a, b)| *a == b || b.starts_with('{'))
}

/// Entries of an action by somebody; `None`: by whomever.
async fn entries(conn: &mut PgConnection, action: &str, by: Option<&str>) -> i64 {
    let sql = "SELECT count(*) FROM audit_log WHERE action = $1 AND actor = coalesce($2, actor)";
    sqlx::query_scalar(sql).bind(action).bind(by).fetch_one(conn).await.unwrap()
}

/// A row's text with the things that it names.
async fn named(conn: &mut PgConnection, text: &str, token: &str) -> String {
    let mut text = text.replace("{token}", token);
    for (word, sql) in THINGS {
        if text.contains(word) {
            let id: Option<String> = sqlx::query_scalar(AssertSqlSafe(*sql)).fetch_optional(&mut *conn).await.unwrap();
            text = text.replace(word, &id.unwrap_or_else(|| panic!("there is no {word} for {text}")));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_is_in_the_audit_log() {
    let database = Database::new().await;
    // No workers: what is planted stays as it is until somebody does something to it.
    let settings = [("ASSAY_ROLE", "web"), ("ASSAY_SECRET_KEY", "an-encryption-key-of-this-test-0123456789")];
    let assay = Assay::start_with(&database, &settings).await;
    let visitors = Visitors::new(&assay, &database).await;
    let mut conn = database.connect().await;
    conn.execute(PLANTED).await.unwrap();
    log_in(&assay, ADMIN, PASSWORD).await; // a second session, to be ended
    let _ = leptos_axum::generate_route_list(assay::app::App);
    let functions: Vec<String> = leptos::server_fn::axum::server_fn_paths().map(|(path, _)| path.to_owned()).collect();
    let routes: Vec<String> = crate::visitors::declared()
        .await
        .into_iter()
        .filter(|(method, path)| method != "GET" && !path.starts_with("/_fn/"))
        .map(|(_, path)| path)
        .collect();
    let without: Vec<_> = functions
        .iter()
        .filter_map(|path| name(path))
        .filter(|name| !DEEDS.iter().any(|(_, to, ..)| to == name) && !SILENT.iter().any(|(to, _)| to == name))
        .chain(routes.iter().map(String::as_str).filter(|route| {
            !DEEDS.iter().any(|(method, to, ..)| *method != "GET" && is_of(to, route)) && !SILENT.iter().any(|(to, _)| to == route)
        }))
        .collect();
    assert!(routes.len() > 15 && functions.len() > 15 && without.is_empty(), "neither in DEEDS nor in SILENT of this file: {without:#?}");

    let (mut token, mut wrong) = (String::new(), Vec::new());
    for (method, to, sent, action) in DEEDS {
        let path = match to.starts_with('/') {
            true => named(&mut conn, to, &token).await,
            false => functions.iter().find(|path| name(path) == Some(*to)).unwrap_or_else(|| panic!("there is no {to}")).clone(),
        };
        let sent = named(&mut conn, sent, &token).await;
        // Whoever knocks at these doors is nobody yet.
        let by = (!to.starts_with("/login") && !to.starts_with("/invite")).then_some(ADMIN);
        let before = entries(&mut conn, action, by).await;
        let request = client()
            .request(method.parse().unwrap(), format!("{}{path}", assay.address))
            .header("origin", &assay.address)
            .header("accept", if to.starts_with('/') { "text/html" } else { "application/json" })
            .header("content-type", "application/x-www-form-urlencoded")
            .body(sent);
        let request = if by.is_some() { request.header("cookie", visitors.cookie("administrator")) } else { request };
        let answer = request.send().await.unwrap();
        let (status, page) = (answer.status(), answer.text().await.unwrap());
        if let Some((_, rest)) = page.split_once("/invite/") {
            token = rest.chars().take(64).collect();
        }
        if entries(&mut conn, action, by).await <= before {
            wrong.push(format!("{method} {to} is answered {status} and leaves no entry {action}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // What was asked for and is done in the background is entered when it is done, under the name of who asked.
    let _worker = Assay::start_with(&database, &[("ASSAY_ROLE", "worker")]).await;
    for action in ["dead_letters.redrive", "dead_letters.discard"] {
        eventually(action, 30, async || entries(&mut conn, action, Some(ADMIN)).await > 0).await;
    }
    println!("{} deeds, each in the audit log", DEEDS.len());
}
