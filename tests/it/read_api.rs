//! The read API on the real program, path by path from its own description: nobody, the wrong key, the wrong trainer, the
//! right ones.

use crate::{
    process::{ADMIN, Assay, Database, PASSWORD, api_key, daily, eventually, send},
    visitors::{client, log_in, trainer},
};

const METRICS: &str = "metrics:read";
const DELIVERIES: &str = "deliveries:read";

/// Paths of the read API, the scope that opens each, and whether it is about one person.
const API: &[(&str, &str, bool)] = &[
    ("/metrics", METRICS, false),
    ("/clients", METRICS, false),
    ("/clients/{user_id}", METRICS, true),
    ("/clients/{user_id}/latest", METRICS, true),
    ("/clients/{user_id}/history", METRICS, true),
    ("/clients/{user_id}/scores", METRICS, true),
    ("/clients/{user_id}/scores/{metric}/{source}/{date}", METRICS, true),
    ("/clients/{user_id}/deliveries", DELIVERIES, true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_of_the_read_api_answers_those_it_is_for() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    assert_eq!(send(&client(), &assay.address, "api-1", &daily("person-1", "2026-11-20", 9000)).await.unwrap().status(), 200);
    let mut conn = database.connect().await;
    eventually("the delivery is scored", 20, async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM metric_confidence_cache").fetch_one(&mut conn).await.unwrap() > 0
    })
    .await;
    let (admin, trainer) = (log_in(&assay, ADMIN, PASSWORD).await, trainer(&assay, &database, "trainer@example.com").await);
    let keys = async |cookie: &str| [api_key(&assay, cookie, METRICS).await, api_key(&assay, cookie, DELIVERIES).await];
    let (admin_keys, trainer_keys) = (keys(&admin).await, keys(&trainer).await);
    let fitting = |keys: &[String; 2], scope: &str| keys[usize::from(scope == DELIVERIES)].clone();
    let described = serde_json::to_value(assay::api::description()).unwrap();
    let get = async |path: &str, key: Option<&str>, cookie: Option<&str>| {
        let path = path
            .replace("{user_id}", "person-1")
            .replace("{metric}", "steps")
            .replace("{source}", "fitbit")
            .replace("{date}", "2026-11-20");
        let mut request = client().get(format!("{}/api/v1{path}", assay.address));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let paths: Vec<&String> = described["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths.len(), API.len(), "{paths:?}");
    // Not this trainer's client yet.
    for path in &paths {
        let (_, scope, personal) = API.iter().find(|(p, ..)| p == path).unwrap_or_else(|| panic!("{path} has no expectation here"));
        let other_scope = if *scope == METRICS { DELIVERIES } else { METRICS };
        assert_eq!(get(path, None, None).await, 401, "{path}: anonymous");
        assert_eq!(get(path, None, Some(&admin)).await, 401, "{path}: a cookie opens nothing here");
        assert_eq!(get(path, Some(&fitting(&admin_keys, other_scope)), None).await, 403, "{path}: a key without the scope");
        let of_others = if *personal { 404 } else { 200 };
        assert_eq!(get(path, Some(&fitting(&trainer_keys, scope)), None).await, of_others, "{path}: trainer of others");
        assert_eq!(get(path, Some(&fitting(&admin_keys, scope)), None).await, 200, "{path}: administrator");
    }
    sqlx::query("INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, 'person-1' FROM accounts WHERE role = 'trainer'")
        .execute(&mut conn)
        .await
        .unwrap();
    for (path, scope, _) in API {
        assert_eq!(get(path, Some(&fitting(&trainer_keys, scope)), None).await, 200, "{path}: the person's trainer");
    }
    assert_eq!(get("/openapi.json", None, None).await, 200);
    assert_eq!(get("/nothing", None, None).await, 404);
}
