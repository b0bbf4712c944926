//! `/admin/connect` of the real program, with something that answers as Terra does: a link, and the days of a gap, by the
//! page's own forms.

use crate::process::{ADMIN, Assay, Database, PASSWORD, eventually, send};
use crate::visitors::{client, log_in};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use std::sync::{Arc, Mutex};

const KEY: &str = "a-key-of-terras-rest-side";

/// What was asked for: method, path and query.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers at its address as Terra does, to whoever has the key; says what it was asked.
async fn terra() -> (String, Asked) {
    async fn door(State(asked): State<Asked>, request: Request, next: Next) -> Response {
        asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        let known = request.headers().get("x-api-key").is_some_and(|k| k == KEY) && request.headers().contains_key("dev-id");
        if known { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
    }
    let asked = Asked::default();
    let link = async |Json(body): Json<serde_json::Value>| {
        assert!(body["auth_success_redirect_url"].is_null(), "no public address is configured: {body}");
        Json(
            json!({ "url": format!("https://widget.tryterra.co/session/for-{}", body["reference_id"].as_str().unwrap()), "expires_in": 900 }),
        )
    };
    let data = async || Json(json!({ "status": "success" }));
    let app = ["daily", "sleep", "activity", "body", "nutrition"]
        .into_iter()
        .fold(Router::new(), |app, model| app.route(&format!("/v2/{model}"), get(data)))
        .route("/v2/auth/generateWidgetSession", post(link))
        .layer(from_fn_with_state(asked.clone(), door));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v2", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_makes_a_link_and_asks_for_missing_days_by_form() {
    let (database, (terra, asked)) = (Database::new().await, terra().await);
    let settings =
        |key: &'static str| [("TERRA_API_URL", terra.clone()), ("TERRA_API_KEY", key.to_owned()), ("TERRA_DEV_ID", "dev".to_owned())];
    let start = async |key: &'static str| {
        let settings = settings(key);
        Assay::start_with(&database, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await
    };
    let assay = start(KEY).await;
    let admin = log_in(&assay, ADMIN, PASSWORD).await;
    let post = async |assay: &Assay, path: &str, form: &[(&str, &str)]| {
        let answer = client()
            .post(format!("{}/admin/connect/{path}", assay.address))
            .header("origin", &assay.address)
            .header("cookie", &admin)
            .form(form)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, page) = post(&assay, "link", &[("user", " anna ")]).await;
    assert!(status == 200 && page.contains("<code>https://widget.tryterra.co/session/for-anna</code>"), "{status}: {page}");
    assert!(page.contains("15 minutes") && !page.contains("alert warn"), "{page}");
    // An id that names somebody: the link is made, under a warning.
    let (status, page) = post(&assay, "link", &[("user", "anna@example.com")]).await;
    let (warning, link) = (page.find("looks like an e-mail address"), page.find("session/for-anna@example.com"));
    assert!(status == 200 && warning.is_some() && warning < link, "{status}: {page}");
    assert!(!assay.log().contains("anna@example.com"), "the process's own log names nobody");
    // Nobody is connected yet: there is nobody to ask.
    let days = [("user", "anna"), ("from", "2026-07-01"), ("to", "2026-07-03")];
    let (status, page) = post(&assay, "backfill", &days).await;
    assert!(status == 422 && page.contains("no active connection"), "{status}: {page}");
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), ["POST /v2/auth/generateWidgetSession"; 2]);
    // The person opened the link; Terra says so.
    let auth =
        json!({ "type": "auth", "status": "success", "user": { "user_id": "t-anna", "provider": "GARMIN", "reference_id": "anna" } });
    assert_eq!(send(&reqwest::Client::new(), &assay.address, "auth-1", &auth.to_string()).await.unwrap().status(), 200);
    let mut conn = database.connect().await;
    eventually("the connection is known", 20, async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM connections WHERE user_id = 'anna'").fetch_one(&mut conn).await.unwrap() == 1
    })
    .await;
    let (status, page) = post(&assay, "backfill", &[("user", "anna"), ("from", "2026-07-03"), ("to", "2026-07-01")]).await;
    assert!(status == 422 && page.contains("ends before"), "{status}: {page}");
    let (status, page) = post(&assay, "backfill", &days).await;
    assert!(status == 200 && page.contains("kind=backfill"), "{status}: {page}");
    eventually("Terra was asked for every model", 20, async || asked.lock().unwrap().len() >= 5).await;
    let mut seen = std::mem::take(&mut *asked.lock().unwrap());
    seen.sort();
    let wanted =
        |model: &str| format!("GET /v2/{model}?user_id=t-anna&to_webhook=true&start_date=2026-07-01&end_date=2026-07-04&with_samples=true");
    assert_eq!(seen, ["activity", "body", "daily", "nutrition", "sleep"].map(wanted));
    let deeds: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', actor, action, subject) FROM audit_log WHERE action NOT LIKE 'login%' AND actor = $1 ORDER BY id",
    )
    .bind(ADMIN)
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let expected = ["person.connect_link anna", "person.connect_link anna@example.com", "backfill.start anna"];
    assert_eq!(deeds, expected.map(|deed| format!("{ADMIN} {deed}")));
    drop(assay);
    // A key that Terra refuses: a sentence, and no trace of the key.
    let assay = start("some-other-key").await;
    let (status, page) = post(&assay, "link", &[("user", "anna")]).await;
    assert!(status == 502 && page.contains("Check TERRA_API_KEY") && !page.contains("some-other-key"), "{status}: {page}");
}
