//! Terra, as far as the tests need it: the paths, parameters, headers and answers of its published description, in this
//! process, on a port of its own. It keeps users, forgets those that are ended, and limits when told to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::Client;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

/// The key the stand-in asks for.
pub(crate) const KEY: &str = "key-of-the-stand-in";
/// The developer id it asks for.
pub(crate) const DEV_ID: &str = "dev-of-the-stand-in";

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
}

#[derive(Default)]
struct World {
    users: BTreeMap<String, Value>,
    /// Known to `/userInfo` only by `is_authenticated: false`.
    shut_out: Vec<String>,
    /// Those for which `/userInfo` answers with an error in this status.
    faults: BTreeMap<String, StatusCode>,
    seen: Vec<Seen>,
    /// Answers to be given first, before the usual one.
    next: Vec<Response>,
    page_size: usize,
}

/// A running stand-in.
#[derive(Clone)]
pub(crate) struct Terra {
    /// Where it listens.
    pub address: String,
    world: Arc<Mutex<World>>,
}

impl Terra {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let world = Arc::new(Mutex::new(World { page_size: 2, ..World::default() }));
        let models = ["activity", "body", "daily", "sleep", "nutrition", "menstruation", "athlete"];
        let mut app = Router::new()
            .route("/v2/auth/generateWidgetSession", post(widget))
            .route("/v2/auth/deauthenticateUser", delete(deauthenticate))
            .route("/v2/userInfo", get(user_info))
            .route("/v2/subscriptions", get(subscriptions));
        for model in models {
            app = app.route(&format!("/v2/{model}"), get(data));
        }
        let app = app.layer(from_fn_with_state(world.clone(), at_the_door)).with_state(world.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/v2", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, world }
    }

    /// A client with the right key.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address, KEY, DEV_ID).unwrap()
    }

    /// Adds a user, or changes one.
    pub(crate) fn user(&self, id: &str, reference: Option<&str>, active: bool) {
        let user = json!({ "user_id": id, "provider": "GARMIN", "reference_id": reference, "scopes": "A,B", "active": active,
                           "created_at": "2026-01-01T00:00:00Z", "last_webhook_update": null });
        self.world.lock().unwrap().users.insert(id.to_owned(), user);
    }

    /// Forgets a user.
    pub(crate) fn forget(&self, id: &str) {
        self.world.lock().unwrap().users.remove(id);
    }

    /// The provider does not let Terra in for this user.
    pub(crate) fn shut_out(&self, id: &str) {
        self.world.lock().unwrap().shut_out.push(id.to_owned());
    }

    /// For this user `/userInfo` answers with an error in this status, until it is mended.
    pub(crate) fn fault(&self, id: &str, status: StatusCode) {
        self.world.lock().unwrap().faults.insert(id.to_owned(), status);
    }

    /// All users are answered for again.
    pub(crate) fn mend(&self) {
        self.world.lock().unwrap().faults.clear();
    }

    /// Answers the next request so, whatever it is.
    pub(crate) fn answer_next(&self, answer: impl IntoResponse) {
        self.world.lock().unwrap().next.insert(0, answer.into_response());
    }

    /// What was asked so far; begins anew.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.world.lock().unwrap().seen)
    }

    /// Who is left.
    pub(crate) fn users(&self) -> Vec<String> {
        self.world.lock().unwrap().users.keys().cloned().collect()
    }
}

type Shared = State<Arc<Mutex<World>>>;
type Asked = Query<HashMap<String, String>>;

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "status": "error", "message": message }))).into_response()
}

/// The key, the book of requests, and the answers prepared by the test.
async fn at_the_door(State(world): Shared, headers: HeaderMap, request: Request, next: Next) -> Response {
    let Query(query) = Query::<BTreeMap<String, String>>::try_from_uri(request.uri()).unwrap();
    let path = request.uri().path().trim_start_matches("/v2").to_owned();
    let seen = Seen { method: request.method().to_string(), path, query };
    let prepared = {
        let mut world = world.lock().unwrap();
        world.seen.push(seen);
        world.next.pop()
    };
    let given = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if given("x-api-key") != KEY || given("dev-id") != DEV_ID {
        return error(StatusCode::UNAUTHORIZED, "Invalid API key");
    }
    match prepared {
        Some(answer) => answer,
        None => next.run(request).await,
    }
}

async fn widget(Json(body): Json<Value>) -> Response {
    match body["reference_id"].as_str() {
        Some(id) if !id.is_empty() => {
            Json(json!({ "status": "success", "session_id": "s", "url": "https://widget.tryterra.co/session/s", "expires_in": 900 }))
                .into_response()
        }
        _ => error(StatusCode::BAD_REQUEST, "reference_id is missing"),
    }
}

async fn deauthenticate(State(world): Shared, Query(query): Asked) -> Response {
    match world.lock().unwrap().users.remove(&query["user_id"]) {
        Some(_) => Json(json!({ "status": "success" })).into_response(),
        None => error(StatusCode::NOT_FOUND, "User not found"),
    }
}

async fn user_info(State(world): Shared, Query(query): Asked) -> Response {
    let world = world.lock().unwrap();
    let id = &query["user_id"];
    if let Some(status) = world.faults.get(id) {
        return error(*status, "Cannot answer for this user");
    }
    match world.users.get(id) {
        Some(user) => Json(json!({ "status": "success", "user": user, "is_authenticated": !world.shut_out.contains(id) })).into_response(),
        None => error(StatusCode::NOT_FOUND, "User not found"),
    }
}

async fn subscriptions(State(world): Shared, Query(query): Asked) -> Response {
    let world = world.lock().unwrap();
    let page: usize = query["page"].parse().unwrap();
    let results: Vec<&Value> = world.users.values().skip(page * world.page_size).take(world.page_size).collect();
    let last = world.users.len().saturating_sub(1) / world.page_size;
    let next = (page < last).then_some(page + 1);
    Json(json!({ "data": { "next": next, "max_page": last, "results": results } })).into_response()
}

async fn data(State(world): Shared, Query(query): Asked) -> Response {
    let world = world.lock().unwrap();
    let Some(user) = world.users.get(&query["user_id"]) else { return error(StatusCode::NOT_FOUND, "User not found") };
    let headers = [("x-terra-ratelimit-limit", "6000"), ("x-terra-ratelimit-remaining", "5000"), ("x-terra-ratelimit-reset-after", "1200")];
    (headers, Json(json!({ "status": "success", "type": "daily", "reference": "r", "user": user }))).into_response()
}
