//! Who gets nothing, and how they are told.
use super::*;

const PATHS: [&str; 7] = [
    "metrics",
    "clients",
    "clients/anna",
    "clients/anna/latest",
    "clients/anna/history",
    "clients/anna/scores",
    "clients/anna/scores/steps/garmin/2026-07-10",
];

#[tokio::test]
async fn each_path_for_each_caller() {
    let world = World::new().await;
    let session = Token::from_bytes([7; 32]);
    sqlx::query(
        "INSERT INTO login_sessions (token_hash, account_id, idle_until, expires_at)
         SELECT $1, id, now() + interval '1 hour', now() + interval '1 hour' FROM accounts WHERE role = 'admin'",
    )
    .bind(session.hash().to_vec())
    .execute(world.t.db.owner())
    .await
    .unwrap();
    for path in PATHS {
        let address = format!("/api/v1/{path}");
        let of = async |key: &str| world.ask(key, &address, &[]).await.status;
        let personal = path.starts_with("clients/");
        assert_eq!(of("").await, 401, "{path}: nobody");
        assert_eq!(of("nonsense").await, 401, "{path}: not a key");
        assert_eq!(of(&format!("{PREFIX}{}", "0".repeat(64))).await, 401, "{path}: unknown key");
        assert_eq!(of(&format!("{PREFIX}{}", session.expose())).await, 401, "{path}: a session is no key");
        assert_eq!(of(&world.scopeless).await, 403, "{path}: made for something else");
        assert_eq!(of(&world.other).await, if personal { 404 } else { 200 }, "{path}: another trainer");
        assert_eq!((of(&world.mine).await, of(&world.admin).await), (200, 200), "{path}: trainer and administrator");
    }
    let deliveries = "/api/v1/clients/anna/deliveries";
    assert_eq!(world.ask(&world.mine, deliveries, &[]).await.status, 403, "made for something else");
    let of_trainer = world.key("mine@example.test", "deliveries:read").await;
    let of_other = world.key("other@example.test", "deliveries:read").await;
    assert_eq!((world.ask("", deliveries, &[]).await.status, world.ask(&of_other, deliveries, &[]).await.status), (401, 404));
    let answer = world.ask(&of_trainer, &format!("{deliveries}?limit=2"), &[]).await;
    let found = answer.json();
    assert_eq!((found["data"].as_array().unwrap().len(), found["data"][0]["trace_id"].as_str()), (2, Some("trace-3")));
    let next = format!("{deliveries}?cursor={}", found["next"].as_str().unwrap());
    let rest = world.ask(&of_trainer, &next, &[]).await.json();
    assert_eq!((rest["data"].as_array().unwrap().len(), rest["data"][0]["note"].as_str()), (1, Some("why")));
    let names = async |key: &str| {
        let found = world.ask(key, "/api/v1/clients", &[]).await.json();
        found["data"].as_array().unwrap().iter().map(|c| c["user_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&world.mine).await, ["anna", "bert/b"]);
    assert_eq!(names(&world.other).await, ["carl"]);
    assert_eq!(names(&world.admin).await, ["anna", "bert/b", "carl"]);
    assert_eq!(world.ask(&world.mine, "/api/v1/clients/bert%2Fb", &[]).await.status, 200, "any string is an id");
    world.sql("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE account_id = (SELECT id FROM accounts WHERE email = 'mine@example.test')").await;
    world
        .sql("UPDATE api_keys SET revoked_at = now() WHERE account_id = (SELECT id FROM accounts WHERE email = 'other@example.test')")
        .await;
    world.sql("UPDATE accounts SET disabled_at = now() WHERE role = 'admin'").await;
    for key in [&world.mine, &world.other, &world.admin] {
        let answer = world.ask(key, "/api/v1/metrics", &[]).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer realm=\"assay\", error=\"invalid_token\""));
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_the_requests_id() {
    let world = World::new().await;
    let fields = |answer: &Answer| {
        let json = answer.json();
        json["errors"]
            .as_array()
            .map(|a| a.iter().map(|e| e["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(","))
            .unwrap_or_default()
    };
    for (path, status, named) in [
        ("clients?limit=0", 422, "limit"),
        ("clients?q=a", 422, "q"),
        ("clients/anna/latest?metric=hr", 422, "metric"),
        ("clients/anna/latest?format=xml", 422, "format"),
        ("clients/anna/history?from=yesterday&to=2026-13-01&source=A", 422, "source,from,to"),
        ("clients/anna/history?from=2026-02-02&to=2026-02-01", 422, "to"),
        ("clients/anna/scores?cursor=AAAA", 422, "cursor"),
        ("clients/anna/scores/hr/Garmin/today", 422, "metric,source,date"),
        ("metrics?metric=steps", 422, "metric"),
        ("clients/nobody", 404, ""),
        ("clients/nobody/latest", 404, ""),
        ("clients/%00", 404, ""),
        ("clients/%ff/history", 404, ""),
        ("nothing", 404, ""),
        ("", 404, ""),
    ] {
        let answer = world.ask(&world.mine, &format!("/api/v1/{path}"), &[]).await;
        assert_eq!((answer.status, fields(&answer).as_str()), (status, named), "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        let json = answer.json();
        assert_eq!((json["status"].as_u64(), json["request_id"].as_str()), (Some(status.into()), Some("request-7")), "{path}");
    }
    let png = world.ask(&world.mine, "/api/v1/clients", &[("accept", "image/png")]).await;
    assert_eq!((png.status, png.header("content-type")), (406, "application/problem+json"));
    for method in ["POST", "DELETE", "OPTIONS"] {
        let request = Request::builder().method(method).uri("/api/v1/clients").header("authorization", format!("Bearer {}", world.mine));
        let answer = world.send(request.header("origin", "https://elsewhere.example").body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET,HEAD"), "{method}");
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{method}");
    }
    let head = Request::head("/api/v1/clients").header("authorization", format!("Bearer {}", world.mine)).body(Body::empty()).unwrap();
    let head = world.send(head).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_key_has_a_limit_of_its_own() {
    let world = World::new().await;
    let first = world.ask(&world.mine, "/api/v1/metrics", &[]).await;
    assert_eq!(first.header("ratelimit-policy"), "\"api\";q=600;w=60");
    assert!(first.header("ratelimit").starts_with("\"api\";r=599;"), "{}", first.header("ratelimit"));
    let mut refused = None;
    for _ in 0..800 {
        let answer = world.ask(&world.mine, "/api/v1/clients?limit=0", &[]).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("nobody may ask for ever");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(refused.json()["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(world.ask(&world.other, "/api/v1/metrics", &[]).await.status, 200, "another key has its own");
    // Guessed keys cost something too, by address.
    let guess = format!("{PREFIX}{}", "1".repeat(64));
    let mut answers = Vec::new();
    for _ in 0..80 {
        answers.push(world.ask(&guess, "/api/v1/metrics", &[]).await.status);
    }
    assert!(answers[..60].iter().all(|s| *s == 401) && answers.contains(&429), "{answers:?}");
}
