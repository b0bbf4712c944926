//! Attacks on the real program over real HTTP: what only a whole server can show. The others are named in SECURITY.md.

use crate::{
    process::{ADMIN, Assay, Database, PASSWORD, SERVICE_KEY},
    visitors::{Visitors, client},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Every secret there is, sent to the program at its most talkative; none may be in what it writes down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_reaches_the_log() {
    let database = Database::new().await;
    let assay = Assay::start_with(
        &database,
        &[("RUST_LOG", "trace"), ("ASSAY_LOG", "trace"), ("ASSAY_SECRET_KEY", "an-encryption-key-of-this-test-0123456789")],
    )
    .await;
    let visitors = Visitors::new(&assay, &database).await;
    let cookie = visitors.cookie("administrator").to_owned();
    let post = |path: &str, body: String| {
        client()
            .post(format!("{}{path}", assay.address))
            .header("origin", &assay.address)
            .header("cookie", &cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
    };
    // An invitation: its link is a password until it is used.
    let page = post("/admin/users/invite", "email=guest%40example.com&name=Guest&role=trainer".into()).await.unwrap().text().await.unwrap();
    let token = page.split_once("/invite/").unwrap().1.get(..64).unwrap().to_owned();
    let link = format!("/invite/{token}");
    assert_eq!(client().get(format!("{}{link}", assay.address)).send().await.unwrap().status(), 200);
    assert_eq!(post(&link, "password=short-pass1".into()).await.unwrap().status(), 422);
    assert_eq!(post(&link, "password=the+guests+own+password".into()).await.unwrap().status(), 303);
    // A key, a wrong password, a wrong second factor, a wrong service key.
    let page = post("/account/keys", "name=k&scope=metrics%3Aread&days=30".into()).await.unwrap().text().await.unwrap();
    let key = page.split_once("<code>assay_").unwrap().1.get(..64).unwrap().to_owned();
    client().get(format!("{}/api/v1/metrics", assay.address)).bearer_auth(format!("assay_{key}")).send().await.unwrap();
    let form = [("email", ADMIN), ("password", "typed-by-mistake-3141"), ("next", "/admin?x=typed-in-address-2718")];
    client().post(format!("{}/login", assay.address)).header("origin", &assay.address).form(&form).send().await.unwrap();
    client().post(format!("{}/functions/v1/job-worker", assay.address)).bearer_auth("guessed-service-key-1618").send().await.unwrap();
    client().post(format!("{}/functions/v1/job-worker", assay.address)).bearer_auth(SERVICE_KEY).send().await.unwrap();
    let account = client().get(format!("{}/account", assay.address)).header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    let totp = account.split_once("<code>").unwrap().1.split_once("</code>").unwrap().0.to_owned();
    assert_eq!(totp.len(), 32, "{account}");

    let session = cookie.split_once('=').unwrap().1;
    let log = assay.log();
    assert!(log.len() > 1000, "the log says something at all");
    for (what, secret) in [
        ("invitation", token.as_str()),
        ("API key", &key),
        ("session", session),
        ("second factor", &totp),
        ("service key", SERVICE_KEY),
        ("signing secret", crate::process::SECRET),
        ("password", PASSWORD),
        ("mistyped password", "typed-by-mistake-3141"),
        ("guest's password", "the guests own password"),
        ("encryption key", "an-encryption-key-of-this-test"),
        ("guessed key", "guessed-service-key-1618"),
        ("database password", "assay_owner:"),
    ] {
        assert!(!log.contains(secret), "the log holds the {what}: {}", log.lines().find(|l| l.contains(secret)).unwrap_or_default());
    }
    // Nor does any table hold one in clear.
    let mut conn = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    for table in tables {
        for secret in [token.as_str(), &key, session, &totp, SERVICE_KEY, PASSWORD, "typed-by-mistake-3141"] {
            let sql = format!("SELECT count(*) FROM {table} t WHERE position($1 IN t::text) > 0");
            let n: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(secret).fetch_one(&mut conn).await.unwrap();
            assert_eq!(n, 0, "{table} holds a secret in clear");
        }
    }
}

/// What a search, a filter, an id or a page number may hold when somebody tries to leave the statement or the page.
const INJECTIONS: [&str; 9] = [
    "' OR '1'='1",
    "'; DROP TABLE accounts; --",
    "\" UNION SELECT password_hash FROM accounts --",
    "$1); DELETE FROM persons; --",
    "%' OR user_id LIKE '%",
    "\0",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "../../etc/passwd",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_typed_becomes_a_statement_or_markup() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let visitors = Visitors::new(&assay, &database).await;
    let before = visitors.state().await;
    let encode = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    for attack in INJECTIONS.map(encode) {
        for path in [
            "/admin/jobs?status=X&kind=X&q=X&page=X&id=X",
            "/admin/dead-letters?q=X&kind=X&since=X",
            "/admin/webhooks?status=X&q=X&provider=X&user=X&from=X",
            "/admin/logs?q=X&level=X&function=X",
            "/admin/audit?text=X&action=X&from=X&until=X&before=X",
            "/admin/audit.csv?text=X&action=X&from=X&until=X",
            "/admin/jobs/X",
            "/admin/webhooks/X",
            "/admin/people/X",
            "/clients?q=X&tier=X&page=X&sort=X",
            "/clients/X",
            "/clients/X/export.json",
            "/clients/X/export.csv",
            "/login?error=X&notice=X&next=X",
            "/status?x=X",
            "/invite/X",
        ] {
            let path = path.replace('X', &attack);
            let answer =
                client().get(format!("{}{path}", assay.address)).header("cookie", visitors.cookie("administrator")).send().await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.text().await.unwrap();
            assert!(status < 500, "{path}: {status}");
            assert!(!body.contains("<script>alert(1)") && !body.contains("<img src=x"), "{path}: markup came back");
            assert!(!body.contains("$argon2") && !body.contains("root:x:"), "{path}");
        }
    }
    assert_eq!(before, visitors.state().await);
}

/// Bytes as they are, so that no library tidies them up.
fn raw(assay: &Assay, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(assay.address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_too_large_or_smuggled_are_refused_and_the_server_goes_on() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let large = format!("GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Large: {}\r\n\r\n", "a".repeat(1 << 20));
    let cookies = format!("GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: assay={}\r\n\r\n", "b".repeat(60_000));
    let many = format!("GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", "X-Many: 1\r\n".repeat(5000));
    for (what, request) in [("one of a megabyte", large), ("five thousand", many)] {
        let answer = raw(&assay, request.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {}", answer.get(..80).unwrap_or(&answer));
    }
    let answer = raw(&assay, cookies.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 4"), "{}", answer.get(..80).unwrap_or(&answer));
    // What a reader types never becomes a header of the answer.
    for next in ["%0d%0aSet-Cookie:%20injected=1", "/%0d%0aSet-Cookie:%20injected=1", "/admin%0aX-Injected:%201"] {
        let body = format!("email=a%40b&password=c&next={next}");
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(&assay, request.as_bytes()).to_lowercase();
        let head = answer.split("\r\n\r\n").next().unwrap_or_default();
        assert!(
            head.starts_with("http/1.1 303") && !head.contains("\r\nset-cookie: injected") && !head.contains("\r\nx-injected"),
            "{head}"
        );
    }
    for id in ["abc\r\nX-Injected: 1", "<script>", &"a".repeat(500)] {
        let answer = raw(&assay, format!("GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: {id}\r\n\r\n").as_bytes());
        let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
        assert!(!head.contains("x-injected") && !head.contains("<script>") && !head.contains(&"a".repeat(100)), "{head}");
    }
    // Two lengths, or a length and chunks: the request behind it is nobody's.
    for smuggled in ["Content-Length: 5\r\nContent-Length: 50", "Content-Length: 5\r\nTransfer-Encoding: chunked, identity"] {
        let request = format!(
            "POST /logout HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{smuggled}\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answer = raw(&assay, request.as_bytes());
        assert!(!answer.contains("assay_"), "{answer}");
    }
    assert_eq!(client().get(format!("{}/status", assay.address)).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_worth_nothing_after_logout_a_change_of_role_and_a_foreign_end() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let visitors = Visitors::new(&assay, &database).await;
    let status = async |cookie: &str, path: &str| {
        client().get(format!("{}{path}", assay.address)).header("cookie", cookie).send().await.unwrap().status().as_u16()
    };
    let post = async |cookie: &str, path: &str| {
        let request = client().post(format!("{}{path}", assay.address)).header("origin", &assay.address).header("cookie", cookie);
        request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap().status().as_u16()
    };
    let (admin, own, other) = (visitors.cookie("administrator"), visitors.cookie("trainer"), visitors.cookie("another's trainer"));
    let id = async |email: &str| -> uuid::Uuid {
        sqlx::query_scalar("SELECT id FROM accounts WHERE email = $1").bind(email).fetch_one(&mut database.connect().await).await.unwrap()
    };
    assert_eq!((status(own, "/clients").await, status(other, "/clients").await), (200, 200));
    // Made an administrator: the session of the old role is over, nobody grows inside one.
    assert_eq!(post(admin, &format!("/admin/users/{}/admin", id("own@example.com").await)).await, 303);
    assert_eq!((status(own, "/clients").await, status(own, "/admin").await), (303, 303));
    assert_eq!(post(admin, &format!("/admin/users/{}/sign-out", id("other@example.com").await)).await, 303);
    assert_eq!(status(other, "/clients").await, 303);
    assert_eq!(post(admin, "/logout").await, 303);
    assert_eq!((status(admin, "/admin").await, status(admin, "/admin/audit").await), (303, 303));
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT action FROM audit_log ORDER BY 1").fetch_all(&mut database.connect().await).await.unwrap();
    for action in ["account.role", "account.sessions_ended", "login", "logout"] {
        assert!(actions.iter().any(|a| a == action), "{action} is not among {actions:?}");
    }
}

#[test]
fn every_test_that_the_security_document_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => sources.push_str(&std::fs::read_to_string(path).unwrap_or_default()),
            }
        }
    }
    let text = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let table = text.split("## What was tried").nth(1).unwrap().split("## Known limits").next().unwrap();
    let names: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| name.matches('_').count() >= 2 && !name.contains('/'))
        .map(|name| name.trim_end_matches('…'))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(sources.contains(&format!("fn {name}")), "SECURITY.md names {name}, and there is no such test");
    }
}
