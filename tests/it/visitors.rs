//! Everybody who may come to a route, and what they are answered.

use crate::process::{ADMIN, Assay, Database, PASSWORD, SERVICE_KEY, binary, signature};
use assay::{
    access::api_key,
    server::{config::Options, paths},
    store::{DatabaseUrl, Token, api_keys},
};
use clap::Parser;
use reqwest::{Client, redirect::Policy};
use std::{process::Command, time::Duration};

/// A person who has one trainer.
pub const PERSON: &str = "walked-person";
/// What that trainer calls the person; nobody else may read it.
pub const MARK: &str = "Zq7 Walked Label";
/// A day of which the person has a value.
const DAY: &str = "2026-01-01";

const SECRET: &str = crate::process::SECRET;

/// A browser that follows nothing.
pub fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// Every route of the program's router.
pub async fn declared() -> Vec<paths::Declared> {
    let config = Cli::parse_from(["assay"]).options.parse().unwrap();
    paths::of(config).await.unwrap()
}

/// A path with something for each parameter.
pub fn filled(path: &str) -> String {
    let known = [
        ("{user_id}", PERSON),
        ("{metric}", "steps"),
        ("{day}", DAY),
        ("{id}", "00000000-0000-0000-0000-000000000000"),
        ("{deed}", "enable"),
        ("{token}", &"0".repeat(64)),
    ];
    let path = known.iter().fold(path.to_owned(), |p, (name, value)| p.replace(name, value));
    // Whatever else a route calls its parameters: a word.
    let mut out = String::new();
    for part in path.split_inclusive('}') {
        match part.split_once('{') {
            Some((before, _)) => out.push_str(&format!("{before}steps")),
            None => out.push_str(part),
        }
    }
    out
}

/// An answer's essentials.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub location: String,
    pub body: String,
}

/// Their cookies and keys. Everybody has a session of their own for each request that could end it.
pub struct Visitors {
    cookies: Vec<(&'static str, String)>,
    keys: Vec<(&'static str, String)>,
    db: assay::store::Db,
}

pub async fn log_in(assay: &Assay, email: &str, password: &str) -> String {
    let form = [("email", email), ("password", password), ("next", "")];
    let answer = client().post(format!("{}/login", assay.address)).header("origin", &assay.address).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 303, "{email}");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

pub async fn trainer(assay: &Assay, database: &Database, email: &str) -> String {
    let made = Command::new(binary())
        .args(["user", "add", "--email", email, "--role", "trainer"])
        .env("DATABASE_URL", &database.url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
    let password = said.split_whitespace().rfind(|w| w.len() >= 12 && !w.contains('@')).unwrap().trim_end_matches('.').to_owned();
    log_in(assay, email, &password).await
}

impl Visitors {
    pub async fn new(assay: &Assay, database: &Database) -> Self {
        let cookies = vec![
            ("another's trainer", trainer(assay, database, "other@example.com").await),
            ("trainer", trainer(assay, database, "own@example.com").await),
            ("administrator", log_in(assay, ADMIN, PASSWORD).await),
        ];
        let db = DatabaseUrl::parse(&database.url).unwrap().pools(2, 2);
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "INSERT INTO persons (user_id, label) VALUES ('{PERSON}', '{MARK}');
             INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, '{PERSON}' FROM accounts WHERE email = 'own@example.com';
             INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
               SELECT '{PERSON}', 'steps', 'oura', day, 1234, 'count', 1, 't', now(), app.uuid_v7() FROM unnest(ARRAY[current_date, '{DAY}'::date]) AS day"
        )))
        .execute(db.owner())
        .await
        .unwrap();
        let mut keys = vec![("a wrong key", format!("{}{}", api_key::PREFIX, "7".repeat(64)))];
        let scopes: Vec<String> = api_key::SCOPES.iter().map(|(s, _)| (*s).to_owned()).collect();
        for (seed, name, email) in [
            (1, "another's trainer's key", "other@example.com"),
            (2, "trainer's key", "own@example.com"),
            (3, "administrator's key", ADMIN),
        ] {
            let id = assay::store::accounts::by_email(db.service(), email).await.unwrap().unwrap().id;
            let token = Token::from_bytes([seed; 32]);
            api_keys::add(db.service(), &token, id, name, &scopes, None).await.unwrap();
            keys.push((name, format!("{}{}", api_key::PREFIX, token.expose())));
        }
        keys.push(("service key", SERVICE_KEY.to_owned()));
        Self { cookies, keys, db }
    }

    pub fn cookie(&self, name: &str) -> &str {
        &self.cookies.iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// What everybody is answered to the same request.
    pub async fn all(&self, assay: &Assay, method: &str, path: &str, body: &str) -> Vec<(&'static str, Answer)> {
        self.those(|_| true, assay, method, path, body).await
    }

    /// What those whose name fits are answered to the same request, sent as a page of ours would send it.
    pub async fn those(
        &self,
        fits: impl Fn(&str) -> bool,
        assay: &Assay,
        method: &str,
        path: &str,
        body: &str,
    ) -> Vec<(&'static str, Answer)> {
        let request = || {
            let kind = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
            let accept = if path.starts_with("/_fn/") { "application/json" } else { "text/html,*/*" };
            client()
                .request(method.parse().unwrap(), format!("{}{}", assay.address, filled(path)))
                .header("origin", &assay.address)
                .header("accept", accept)
                .header("content-type", kind)
                .body(body.to_owned())
        };
        let mut answers = Vec::new();
        if fits("anonymous") {
            answers.push(("anonymous", answer(request()).await));
        }
        // Logging out would end the walk.
        let members = if path == "/logout" { &self.cookies[..0] } else { &self.cookies[..] };
        for (name, cookie) in members.iter().filter(|(name, _)| fits(name)) {
            answers.push((*name, answer(request().header("cookie", cookie)).await));
        }
        if !path.starts_with("/_fn/") {
            for (name, key) in self.keys.iter().filter(|(name, _)| fits(name)) {
                answers.push((*name, answer(request().bearer_auth(key)).await));
            }
        }
        if path.starts_with("/functions/") && fits("signed") {
            answers.push(("signed", answer(request().header("terra-signature", signature(SECRET, body.as_bytes()))).await));
        }
        answers
    }

    /// A fingerprint of what requests can change; logs apart.
    pub async fn state(&self) -> Vec<(String, Option<String>)> {
        let mut state = Vec::new();
        for table in [
            "accounts",
            "invitations",
            "login_sessions",
            "api_keys",
            "trainer_clients",
            "settings",
            "persons",
            "schedules",
            "operations",
            "background_jobs",
            "background_jobs_dlq",
            "source_choices",
            "finding_reviews",
            "unified_metrics",
            "connections",
        ] {
            // When somebody was last seen is no change.
            let sql = format!(
                "SELECT md5(string_agg((to_jsonb(t) - '{{last_seen_at,idle_until,last_used_at}}'::text[])::text, '' ORDER BY (to_jsonb(t) - '{{last_seen_at,idle_until,last_used_at}}'::text[])::text)) FROM {table} t"
            );
            state.push((table.to_owned(), sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(self.db.owner()).await.unwrap()));
        }
        state
    }
}

/// Sends it. A stream of events has no end; its head is enough.
async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.timeout(Duration::from_secs(30)).send().await.unwrap();
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (status, location, stream) = (response.status().as_u16(), header("location"), header("content-type").contains("event-stream"));
    let body = if stream { String::new() } else { response.text().await.unwrap() };
    Answer { status, location, body }
}
