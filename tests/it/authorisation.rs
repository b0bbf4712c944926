//! Nobody reaches what is not theirs: every route of the router (pages, forms, downloads, endpoints, API) and every
//! server function, as everybody there is.
//!
//! The lists come from the program itself. **A new server function needs a row in [`EXPECTED`]; a new axum route, other
//! than a page, a row in [`ROUTES`]**; a new page needs an audience in `access/guard.rs`. Without one this fails and says
//! so.

use crate::{
    process::{Assay, Database},
    visitors::{Answer, MARK, Visitors, client},
};
use Who::{Admins, Anyone, Bearer, Client, KeyOrAdmin, Members, ServiceKey, Signed};
use assay::access::guard::{Audience, audience};
use std::collections::BTreeSet;

/// Server function by the last part of its path, arguments that can be read, and whom it is for.
const EXPECTED: &[(&str, &str, Who)] = &[
    ("page", "room=status", Anyone),
    ("page", "room=nothing", Anyone),
    ("set_theme", "theme=dark&back=%2Flogin", Anyone),
    ("page", "room=clients", Members),
    ("page", "room=clients&first=walked-person", Client),
    ("page", "room=clients&first=walked-person&second=steps", Client),
    ("page", "room=clients&first=walked-person&second=steps&third=2026-01-01", Client),
    ("page", "room=overview", Admins),
    ("page", "room=admin&first=jobs", Admins),
    ("page", "room=admin&first=jobs&second=00000000-0000-0000-0000-000000000000", Admins),
    ("page", "room=admin&first=webhooks", Admins),
    ("page", "room=admin&first=logs&query=%3Ftab%3Daudit", Admins),
    ("page", "room=registry", Admins),
    ("choose_source", "user_id=walked-person&metric=steps&source=oura", Client),
    ("decide_finding", "user_id=walked-person&metric=steps&source=oura&date=2026-01-01&verdict=confirmed", Client),
    ("set_registry", "metric=none&tolerance=1&kind=absolute&low=0&high=1&half_life=24&deed=apply", Admins),
    ("reset_registry", "", Admins),
    ("start_shadow", "", Admins),
    ("promote_shadow", "", Admins),
    ("drop_shadow", "", Admins),
    ("run_calibration", "", Admins),
    ("recalculate_all", "", Admins),
    ("cancel_operation", "id=00000000-0000-0000-0000-000000000000", Admins),
    ("stop_operation", "id=00000000-0000-0000-0000-000000000000&back=", Admins),
    ("retry_failed_jobs", "", Admins),
    ("set_advanced", "advanced=true", Admins),
    ("schedule_deed", "name=retention&deed=pause", Admins),
    ("act_on_job", "deed=retry&id=00000000-0000-0000-0000-000000000000&back=", Admins),
    ("act_on_chosen", "deed=retry&ids[]=00000000-0000-0000-0000-000000000000&back=", Admins),
    ("act_on_jobs", "deed=retry&status=failed&kind=&q=&back=", Admins),
    ("redrive_group", "kind=none&fingerprint=none&since=&back=", Admins),
    ("redrive_letters", "kind=none&since=&back=", Admins),
    ("redrive_letter", "id=00000000-0000-0000-0000-000000000000&back=", Admins),
    ("discard_group", "kind=none&fingerprint=none&since=&note=&back=", Admins),
    ("replay_deliveries", "since=&type=nothing&provider=&user=&status=&error=&back=", Admins),
    ("assign_clients", "trainer=00000000-0000-0000-0000-000000000000&users=nobody&back=", Admins),
    ("unassign_client", "trainer=00000000-0000-0000-0000-000000000000&user_id=nobody&back=", Admins),
    ("replay_delivery", "id=00000000-0000-0000-0000-000000000000", Admins),
    ("pause_kind", "kind=none&paused=on&back=", Admins),
    ("limit_kind", "kind=none&max_running=&per_minute=&back=", Admins),
    ("send_test_event", "type=body&provider=WHOOP&user=", Admins),
];

/// Whom a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Everybody.
    Anyone,
    /// Whoever is logged in.
    Members,
    /// Administrators.
    Admins,
    /// Administrators and the person's own trainers; to another trainer the person does not exist.
    Client,
    /// Whoever has the service key; no cookie helps.
    ServiceKey,
    /// Whoever has the service key, and an administrator from a page of ours.
    KeyOrAdmin,
    /// Whoever signs as Terra does; no cookie helps.
    Signed,
    /// A program with an API key; no cookie helps. It sees what its account sees.
    Bearer,
}

impl Who {
    /// Whether it is for this visitor.
    fn means(self, name: &str) -> bool {
        match self {
            Anyone => true,
            Members => matches!(name, "another's trainer" | "trainer" | "administrator"),
            Admins => name == "administrator",
            Client => matches!(name, "trainer" | "administrator"),
            ServiceKey => name == "service key",
            KeyOrAdmin => matches!(name, "administrator" | "service key"),
            Signed => name == "signed",
            Bearer => matches!(name, "another's trainer's key" | "trainer's key" | "administrator's key"),
        }
    }
}

/// The administrator's lists, as the program itself tells them apart.
fn lists() -> Vec<&'static str> {
    let code = include_str!("../../src/pages/admin/lists.rs");
    let named = code.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", \"\")"));
    let mut lists: Vec<&str> = named.map(|(list, _)| list).collect();
    lists.dedup();
    assert!(lists.len() > 10 && lists.contains(&"jobs"), "{lists:?}");
    lists
}

/// Method, path as the router has it, a body that can be read, whom it is for. Pages are not listed: the guard's table
/// says whom they are for.
const ROUTES: &[(&str, &str, &str, Who)] = &[
    ("GET", "/healthz", "", Anyone),
    ("GET", "/readyz", "", Anyone),
    ("GET", "/functions/v1/health-check", "", Anyone),
    // From another machine it asks for the service key; this test comes from this machine.
    ("GET", "/metrics", "", Anyone),
    ("GET", "/functions/v1/webhook-terra", "", Anyone),
    ("POST", "/functions/v1/webhook-terra", "{}", Signed),
    ("POST", "/functions/v1/terra-webhook-test", "{}", KeyOrAdmin),
    ("POST", "/functions/v1/job-worker", "{}", ServiceKey),
    ("GET", "/live", "", Members),
    ("POST", "/login", "email=nobody%40example.com&password=wrong&next=", Anyone),
    ("POST", "/logout", "", Anyone),
    ("GET", "/invite/{token}", "", Anyone),
    ("POST", "/invite/{token}", "password=a+password+nobody+uses", Anyone),
    ("GET", "/preferences", "", Anyone),
    ("POST", "/preferences", "zone=UTC&units=metric&dates=iso&back=", Anyone),
    ("GET", "/account", "", Members),
    ("POST", "/account/password", "present=wrong&fresh=another+long+password", Members),
    ("POST", "/account/sessions/end-others", "", Members),
    ("POST", "/account/sessions/{id}/end", "", Members),
    ("POST", "/account/second-factor", "sealed=00&code=000000", Members),
    ("POST", "/account/second-factor/off", "present=wrong", Members),
    ("POST", "/account/keys", "name=&scope=metrics%3Aread&days=30", Members),
    ("GET", "/account/keys/{id}/revoke", "", Members),
    ("POST", "/account/keys/{id}/revoke", "", Members),
    ("GET", "/admin/connect", "", Admins),
    ("POST", "/admin/connect/link", "user=nobody", Admins),
    ("POST", "/admin/connect/backfill", "user=nobody&from=2026-01-01&to=2026-01-02", Admins),
    ("GET", "/admin/users", "", Admins),
    ("POST", "/admin/users/invite", "email=no&name=&role=trainer", Admins),
    ("POST", "/admin/users/second-factor", "demand=off", Admins),
    ("GET", "/admin/users/{id}/{deed}", "", Admins),
    ("POST", "/admin/users/{id}/{deed}", "", Admins),
    ("GET", "/admin/people/{user_id}", "", Admins),
    ("POST", "/admin/people/{user_id}/label", "label=Zq7+Walked+Label", Admins),
    ("POST", "/admin/people/{user_id}/trainers", "trainer=00000000-0000-0000-0000-000000000000", Admins),
    ("POST", "/admin/people/{user_id}/trainers/{id}/remove", "", Admins),
    ("POST", "/admin/people/{user_id}/erase", "confirm=somebody+else", Admins),
    ("GET", "/admin/settings/retention", "", Admins),
    ("POST", "/admin/settings/retention", "log_days=0", Admins),
    ("GET", "/admin/audit", "", Admins),
    ("GET", "/admin/audit.csv", "", Admins),
    ("GET", "/api/v1/", "", Anyone),
    ("GET", "/api/v1/openapi.json", "", Anyone),
    ("GET", "/api/v1/metrics", "", Bearer),
    ("GET", "/api/v1/clients", "", Bearer),
    ("GET", "/api/v1/clients/{user_id}", "", Bearer),
    ("GET", "/api/v1/clients/{user_id}/latest", "", Bearer),
    ("GET", "/api/v1/clients/{user_id}/history", "", Bearer),
    ("GET", "/api/v1/clients/{user_id}/scores", "", Bearer),
    ("GET", "/api/v1/clients/{user_id}/scores/{metric}/{source}/{date}", "", Bearer),
    ("GET", "/api/v1/clients/{user_id}/deliveries", "", Bearer),
    ("GET", "/clients.csv", "", Members),
    ("GET", "/clients/{user_id}/export.json", "", Client),
    ("GET", "/clients/{user_id}/export.csv", "", Client),
];

/// What does not fit, as a line for the message.
fn misfit(method: &str, path: &str, who: Who, v: &[(&str, Answer)]) -> Option<String> {
    let of = |name: &str| v.iter().find(|(n, _)| *n == name).map(|(_, a)| a.clone()).unwrap_or_default();
    let turned_away = |a: &Answer| a.status == 401 || (a.status == 303 && a.location.starts_with("/login") && a.body.is_empty());
    // 503: a probe of a process without workers says so.
    let let_in = |a: &Answer| !matches!(a.status, 401 | 403 | 500);
    let (anonymous, other, own, admin) = (of("anonymous"), of("another's trainer"), of("trainer"), of("administrator"));
    let fits = match who {
        Anyone => v.iter().all(|(_, a)| let_in(a)),
        Members => turned_away(&anonymous) && let_in(&other) && let_in(&own) && let_in(&admin),
        Admins => turned_away(&anonymous) && other.status == 403 && own.status == 403 && let_in(&admin),
        Client => {
            let shown = method != "GET" || admin.body.to_lowercase().contains("steps");
            turned_away(&anonymous) && other.status == 404 && own.status == 200 && admin.status == 200 && shown
        }
        ServiceKey => [&anonymous, &other, &admin].iter().all(|a| a.status == 401) && let_in(&of("service key")),
        KeyOrAdmin => [&anonymous, &other, &own].iter().all(|a| a.status == 401) && let_in(&admin) && let_in(&of("service key")),
        Signed => [&anonymous, &other, &admin, &of("service key")].iter().all(|a| a.status == 401) && let_in(&of("signed")),
        Bearer => [&anonymous, &other, &admin, &of("a wrong key")].iter().all(|a| a.status == 401) && let_in(&of("administrator's key")),
    };
    // Whatever a route is for: a person's name is for the person's trainers.
    let leaks = v.iter().any(|(n, a)| matches!(*n, "anonymous" | "another's trainer" | "another's trainer's key") && a.body.contains(MARK));
    let statuses: Vec<String> = v.iter().map(|(n, a)| format!("{n} {}", a.status)).collect();
    (!fits || leaks).then(|| format!("{method} {path} for {who:?}{}: {}", if leaks { ", LEAKS" } else { "" }, statuses.join(", ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_refuses_whoever_it_is_not_for() {
    let database = Database::new().await;
    // No workers: what changes in the tables, a request changed.
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let visitors = Visitors::new(&assay, &database).await;
    let declared = crate::visitors::declared().await;
    let pages: BTreeSet<String> = leptos_axum::generate_route_list(assay::app::App).iter().map(|r| r.path().to_owned()).collect();
    assert!(declared.len() > 40 && pages.len() >= 6, "{declared:?}");
    let missing: Vec<_> = declared
        .iter()
        .filter(|(m, p)| {
            let known = p.starts_with("/_fn/") || (m == "GET" && pages.contains(p));
            !known && !ROUTES.iter().any(|(rm, rp, ..)| rm == m && rp == p)
        })
        .collect();
    assert!(missing.is_empty(), "routes without a case: add a row to ROUTES in tests/it/authorisation.rs for {missing:#?}");
    let gone: Vec<_> = ROUTES.iter().filter(|(m, p, ..)| !declared.iter().any(|(dm, dp)| dm == m && dp == p)).collect();
    assert!(gone.is_empty(), "rows of ROUTES without a route: {gone:#?}");

    let mut walks = Vec::new();
    for (method, path) in declared.iter().filter(|(_, p)| !p.starts_with("/_fn/")) {
        let row = ROUTES.iter().find(|(rm, rp, ..)| rm == method && rp == path);
        let (body, who) = match row {
            Some((_, _, body, who)) => (*body, *who),
            None => match audience(path) {
                Some(Audience::Members) if path.starts_with("/clients/{user_id}") => ("", Client),
                Some(Audience::Public) => ("", Anyone),
                Some(Audience::Members) => ("", Members),
                Some(Audience::Admins) => ("", Admins),
                Some(Audience::Start) => continue,
                None => panic!("{path} is a page without an audience: add it to PAGES in src/access/guard.rs"),
            },
        };
        match path.as_str() {
            "/admin/{list}" => walks.extend(lists().into_iter().map(|list| (method.as_str(), format!("/admin/{list}"), body, who))),
            path => walks.push((method.as_str(), path.to_owned(), body, who)),
        }
    }
    let before = visitors.state().await;
    for (method, path, body, who) in &walks {
        visitors.those(|name| !who.means(name), &assay, method, path, body).await;
    }
    assert_eq!(before, visitors.state().await, "somebody whom a route is not for changed something");
    let mut wrong = Vec::new();
    for gets in [true, false] {
        for (method, path, body, who) in walks.iter().filter(|(m, ..)| (*m == "GET") == gets) {
            let answers = visitors.all(&assay, method, path, body).await;
            wrong.extend(misfit(method, path, *who, &answers));
            // A page or list that stands at a fixed address is there.
            let fixed = *who == Admins && gets && !path.contains('{');
            if let Some((_, answer)) = answers.iter().find(|(name, a)| fixed && *name == "administrator" && a.status != 200) {
                wrong.push(format!("{path} is answered {} to an administrator", answer.status));
            }
        }
        assert!(!gets || before == visitors.state().await, "a GET changed something");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} routes walked", walks.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_function_refuses_whoever_it_is_not_for() {
    let database = Database::new().await;
    // No workers: what changes in the tables, a request changed.
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let visitors = Visitors::new(&assay, &database).await;
    let _ = leptos_axum::generate_route_list(assay::app::App);
    let paths: Vec<String> = leptos::server_fn::axum::server_fn_paths().map(|(path, _)| path.to_owned()).collect();
    let name = |path: &str| path.trim_start_matches("/_fn/").trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let missing: Vec<_> = paths.iter().filter(|p| !EXPECTED.iter().any(|(n, ..)| *n == name(p))).collect();
    assert!(missing.is_empty(), "server functions without a case: add a row to EXPECTED in tests/it/authorisation.rs for {missing:#?}");
    let gone: Vec<_> = EXPECTED.iter().filter(|(n, ..)| !paths.iter().any(|p| name(p) == *n)).collect();
    assert!(gone.is_empty(), "rows of EXPECTED without a server function: {gone:#?}");
    let walks: Vec<_> = paths.iter().flat_map(|p| EXPECTED.iter().filter(|(n, ..)| *n == name(p)).map(move |row| (p, row))).collect();
    let before = visitors.state().await;
    for (path, (_, body, who)) in &walks {
        visitors.those(|name| !who.means(name), &assay, "POST", path, body).await;
    }
    assert_eq!(before, visitors.state().await, "somebody whom a function is not for changed something");
    let mut wrong = Vec::new();
    for (path, (_, body, who)) in walks {
        let answers = visitors.all(&assay, "POST", path, body).await;
        wrong.extend(misfit("POST", path, *who, &answers));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} server functions walked", paths.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_site_cannot_make_a_browser_act() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let visitors = Visitors::new(&assay, &database).await;
    let admin = visitors.cookie("administrator");
    let before = visitors.state().await;
    let mut walked = 0;
    for (method, path) in crate::visitors::declared().await.iter().filter(|(m, _)| m != "GET") {
        // What no cookie authenticates needs no such fence: the service key and the signature are no browser's.
        if ROUTES.iter().any(|(m, p, _, who)| m == method && p == path && matches!(who, ServiceKey | Signed | Bearer)) {
            continue;
        }
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:1"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let address = format!("{}{}", assay.address, crate::visitors::filled(path));
            let request = client().request(method.parse().unwrap(), address).header("cookie", admin).header(name, value);
            // Where a session is only the second way in, another site's request is one without any.
            let second = ROUTES.iter().any(|(m, p, _, who)| m == method && p == path && matches!(who, KeyOrAdmin));
            let refused = if second { 401 } else { 403 };
            assert_eq!(request.send().await.unwrap().status(), refused, "{method} {path} with {name}: {value}");
        }
        walked += 1;
    }
    assert!(walked > 15, "{walked}");
    assert_eq!(before, visitors.state().await);
    // The session still lives.
    let page = client().get(format!("{}/admin", assay.address)).header("cookie", admin).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let headers = page.headers();
    let policy = headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("'nonce-") && !policy.contains("unsafe-inline"), "{policy}");
    assert_eq!(headers["cache-control"], "no-store");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let html = page.text().await.unwrap();
    assert!(html.contains(&format!("nonce=\"{nonce}\"")), "the page's scripts carry another nonce than the policy");
}
