//! Nobody reaches what is not theirs: every server function there is, and every page, as everybody there is.
//!
//! The list of server functions comes from the program itself; one without an expectation here fails the test.

use crate::process::{ADMIN, Assay, Database, PASSWORD, binary};
use assay::access::guard::{Audience, audience};
use reqwest::{Client, redirect::Policy};
use std::process::Command;

/// Server function by the last part of its path, arguments that can be read, and whom it is for.
const EXPECTED: &[(&str, &str, Audience)] = &[
    ("status", "", Audience::Public),
    ("set_theme", "theme=dark&back=%2Flogin", Audience::Public),
    ("clients", "q=&tier=&page=1", Audience::Members),
    ("client", "user_id=nobody", Audience::Members),
    ("findings", "user_id=nobody", Audience::Members),
    ("decide_finding", "user_id=nobody&metric=steps&source=garmin&date=2026-01-01&verdict=confirmed", Audience::Members),
    ("screen", "list=jobs&id=&query=", Audience::Admins),
    ("overview", "range=30&metric=", Audience::Admins),
    ("recalculate_all", "", Audience::Admins),
    ("cancel_operation", "id=00000000-0000-0000-0000-000000000000", Audience::Admins),
    ("stop_operation", "id=00000000-0000-0000-0000-000000000000&back=", Audience::Admins),
    ("retry_failed_jobs", "", Audience::Admins),
    ("set_advanced", "advanced=true", Audience::Admins),
    ("schedule_deed", "name=retention&deed=pause", Audience::Admins),
    ("act_on_job", "deed=retry&id=00000000-0000-0000-0000-000000000000&back=", Audience::Admins),
    ("act_on_jobs", "deed=retry&status=failed&kind=&q=&back=", Audience::Admins),
    ("redrive_group", "kind=none&fingerprint=none&since=&back=", Audience::Admins),
    ("discard_group", "kind=none&fingerprint=none&since=&note=&back=", Audience::Admins),
    ("replay_delivery", "id=00000000-0000-0000-0000-000000000000", Audience::Admins),
    ("send_test_event", "type=body&provider=WHOOP&user=", Audience::Admins),
];

fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

async fn log_in(assay: &Assay, email: &str, password: &str) -> String {
    let answer = client()
        .post(format!("{}/login", assay.address))
        .header("origin", &assay.address)
        .form(&[("email", email), ("password", password), ("next", "")])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 303, "{email}");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

async fn trainer(assay: &Assay, database: &Database) -> String {
    let made = Command::new(binary())
        .args(["user", "add", "--email", "trainer@example.com", "--role", "trainer"])
        .env("DATABASE_URL", &database.url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
    let password = said.split_whitespace().rfind(|w| w.len() >= 12 && !w.contains('@')).unwrap().trim_end_matches('.').to_owned();
    log_in(assay, "trainer@example.com", &password).await
}

async fn call(assay: &Assay, path: &str, body: &str, cookie: Option<&str>) -> u16 {
    let mut request = client()
        .post(format!("{}{path}", assay.address))
        .header("origin", &assay.address)
        .header("accept", "application/json")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned());
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_function_refuses_whoever_it_is_not_for() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let (admin, trainer) = (log_in(&assay, ADMIN, PASSWORD).await, trainer(&assay, &database).await);
    let _ = leptos_axum::generate_route_list(assay::app::App);
    let paths: Vec<String> = leptos::server_fn::axum::server_fn_paths().map(|(path, _)| path.to_owned()).collect();
    assert!(paths.len() >= 8, "{paths:?}");
    let mut wrong = Vec::new();
    for path in &paths {
        let name = path.trim_start_matches("/_fn/").trim_end_matches(|c: char| c.is_ascii_digit());
        let Some((_, body, audience)) = EXPECTED.iter().find(|(n, ..)| *n == name) else {
            // No arguments fit, yet nobody may get in: what is not listed is for administrators.
            assert!(call(&assay, path, "", None).await >= 400, "{path} answers anybody and has no expectation here");
            assert!(call(&assay, path, "", Some(&trainer)).await >= 400, "{path} answers a trainer and has no expectation here");
            continue;
        };
        let (anonymous, as_trainer, as_admin) = (
            call(&assay, path, body, None).await,
            call(&assay, path, body, Some(&trainer)).await,
            call(&assay, path, body, Some(&admin)).await,
        );
        let fits = match audience {
            Audience::Public | Audience::Start => anonymous < 400,
            Audience::Members => anonymous == 401 && !matches!(as_trainer, 401 | 403),
            Audience::Admins => anonymous == 401 && as_trainer == 403 && !matches!(as_admin, 401 | 403),
        };
        if !fits {
            wrong.push(format!("{path} for {audience:?}: anonymous {anonymous}, trainer {as_trainer}, admin {as_admin}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} server functions walked", paths.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_guarded_before_it_is_rendered() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let trainer = trainer(&assay, &database).await;
    let routes = leptos_axum::generate_route_list(assay::app::App);
    assert!(routes.len() >= 6);
    for route in &routes {
        let path = route.path().replace("{id}", "0").replace("{user_id}", "nobody");
        let who = audience(&path).unwrap_or_else(|| panic!("{path} is in no audience"));
        let get = async |cookie: Option<&str>| {
            let mut request = client().get(format!("{}{path}", assay.address));
            if let Some(cookie) = cookie {
                request = request.header("cookie", cookie);
            }
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap().len())
        };
        let (status, length) = get(None).await;
        match who {
            Audience::Public => assert_eq!(status, 200, "{path}"),
            // The redirect must carry no page.
            _ => assert_eq!((status, length), (303, 0), "{path}"),
        }
        if who == Audience::Admins {
            assert_eq!(get(Some(&trainer)).await.0, 403, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_site_cannot_make_a_browser_act() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let admin = log_in(&assay, ADMIN, PASSWORD).await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        for path in ["/logout", "/login", "/account/password"] {
            let answer =
                client().post(format!("{}{path}", assay.address)).header("cookie", &admin).header("origin", origin).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{origin} {path}");
        }
    }
    // The session still lives.
    let page = client().get(format!("{}/admin", assay.address)).header("cookie", &admin).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let headers = page.headers();
    let policy = headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("'nonce-") && !policy.contains("unsafe-inline"), "{policy}");
    assert_eq!(headers["cache-control"], "no-store");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let html = page.text().await.unwrap();
    assert!(html.contains(&format!("nonce=\"{nonce}\"")), "the page's scripts carry another nonce than the policy");
}
