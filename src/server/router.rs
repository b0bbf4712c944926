//! What answers under which path: the one list.
//!
//! Endpoints for machines come first, each with an authorisation of its own (signature, service key, none); everything
//! else are pages and server functions, behind the same-origin check and the guard that decides before anything is
//! rendered.

use super::{Services, context::Request as PageRequest, login, metrics};
use crate::{
    access::{self, Access, Identity, Vault, service_key},
    api,
    app::{App, shell},
    gateway::{self, Networks},
    health, jobs,
    logbook::{self, Level, Line},
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::FutureExt;
use leptos::prelude::{LeptosOptions, provide_context, use_context};
use leptos_axum::{LeptosRoutes, generate_route_list};
use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
};
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};
use tracing::Instrument;

/// In the answer's headers, the log and error messages.
#[derive(Clone)]
struct RequestId(Arc<str>);

impl RequestId {
    fn write(&self, headers: &mut HeaderMap) {
        // Letters, digits and dashes: it always is one.
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(REQUEST_ID, value);
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The whole application.
///
/// # Errors
/// A sentence when the pages' files are incomplete.
pub fn build(services: Arc<Services>, leptos: LeptosOptions) -> Result<Router, String> {
    let access = Access {
        db: services.db.clone(),
        site: Arc::new(services.site.clone()),
        vault: services.config.secret_key.as_ref().and_then(|k| Vault::new(k.expose())).map(Arc::new),
    };
    let stylesheet: Arc<str> = super::frame::stylesheet(std::path::Path::new(leptos.hash_file.as_ref()))?.into();
    let preferences = super::preferences::router(Arc::clone(&services), Arc::clone(&stylesheet));
    let connect = super::connect::router(Arc::clone(&services), Arc::clone(&stylesheet));
    let forms = access::forms::Forms {
        access: access.clone(),
        limit: login::limit(&services),
        frame: Arc::new(move |sheet| super::frame::document(&stylesheet, sheet)),
        terra: services.terra.clone(),
    };
    let guarded = pages(Arc::clone(&services), leptos)
        .merge(login::router(access.clone(), Arc::clone(&services)))
        .merge(access::forms::router(forms))
        .merge(access::downloads::router(access.clone()))
        .merge(preferences)
        .merge(connect)
        .merge(crate::pages::clients::download::router(Arc::clone(&services)))
        .route("/live", get(live).with_state(Arc::clone(&services)))
        .layer(middleware::from_fn(access::guard::guard))
        .layer(middleware::from_fn(super::preferences::apply))
        .layer(middleware::from_fn(super::failure::carry))
        .layer(middleware::from_fn_with_state(access.clone(), access::identify::identify))
        .layer(middleware::from_fn_with_state(access.clone(), access::origin::same_origin))
        .layer(middleware::from_fn_with_state(services.config.trusted_proxies.clone(), visit))
        .layer(CompressionLayer::new().br(true).gzip(true).quality(tower_http::CompressionLevel::Fastest));
    // Programs with a key; cookies mean nothing here.
    let programs = api::router(api::Api { db: services.db.clone(), limiter: services.gateway.limiter().clone() })
        .layer(middleware::from_fn_with_state(services.config.trusted_proxies.clone(), visit))
        .layer(CompressionLayer::new().br(true).gzip(true).quality(tower_http::CompressionLevel::Fastest));
    let app = machines(&services)
        .merge(programs)
        .merge(guarded)
        .layer(middleware::from_fn_with_state(access, access::headers::security_headers))
        .layer(middleware::from_fn(nonce))
        // Terra reads a status and no page: its answers need no policy for scripts, nor the randomness for one.
        .merge(gateway::routes().with_state(Arc::clone(&services.gateway)).layer(middleware::from_fn(log_call)))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(request_id));
    Ok(app)
}

/// Endpoints that no cookie authenticates.
fn machines(services: &Arc<Services>) -> Router {
    let key = services.config.service_key.clone();
    let authorised: health::Authorised =
        Arc::new(move |headers: &HeaderMap| key.as_ref().is_some_and(|k| service_key::matches(headers, k.expose())));
    Router::new()
        .merge(jobs::router(jobs::RouterState {
            db: services.db.clone(),
            kinds: services.kinds.clone(),
            service_key: services.config.service_key.as_ref().map(|k| k.expose().into()),
        }))
        .merge(health::router(services.monitor.clone(), Arc::clone(&authorised)))
        .merge(metrics::router(Arc::clone(services), authorised))
        .layer(middleware::from_fn(log_call))
}

/// A line in `edge_function_logs` for each call of a function. What a successful call of job-worker did it logs itself;
/// a probe that is answered well is no news.
async fn log_call(request: Request, next: Next) -> Response {
    let Some(function) = request.uri().path().strip_prefix("/functions/v1/").and_then(|name| match name {
        "webhook-terra" => Some("webhook-terra"),
        "terra-webhook-test" => Some("terra-webhook-test"),
        "job-worker" => Some("job-worker"),
        "health-check" => Some("health-check"),
        _ => None,
    }) else {
        return next.run(request).await;
    };
    let request_id = request.extensions().get::<RequestId>().cloned();
    let begin = std::time::Instant::now();
    let response = next.run(request).await;
    log_answer(function, &response, begin.elapsed(), request_id);
    response
}

fn log_answer(function: &'static str, response: &Response, took: std::time::Duration, request_id: Option<RequestId>) {
    let status = response.status();
    if status.is_success() && matches!(function, "job-worker" | "health-check") {
        return;
    }
    let level = match status.as_u16() {
        500.. => Level::Error,
        400.. => Level::Warn,
        _ => Level::Info,
    };
    logbook::write(function, level, took, || {
        let said = response.extensions().get::<logbook::Said>().map_or_else(|| status.canonical_reason().unwrap_or("answered"), |s| s.0);
        let subject = response.extensions().get::<logbook::Subject>();
        let mut metadata = serde_json::json!({ "status": status.as_u16() });
        if let (Some(subject), Some(map)) = (subject, metadata.as_object_mut()) {
            map.insert("delivery_id".into(), subject.delivery_id.to_string().into());
        }
        let user_id = subject.and_then(|s| s.user_id.clone());
        let request_id = request_id.map(|r| r.0.to_string());
        Line { level, function, message: said.to_owned(), metadata, request_id, user_id, took }
    });
}

/// The application with a way of their own for Terra's deliveries, which come by the thousand a second: past the routing and its
/// layers, each of which boxes and copies, to the same handler with the same request id, log line and answer to a panic. These
/// took a sixth of the program's processor time for a delivery.
#[derive(Clone)]
pub struct Front {
    gateway: Arc<gateway::Gateway>,
    app: Router,
}

impl Front {
    /// In front of the whole application.
    pub fn new(gateway: Arc<gateway::Gateway>, app: Router) -> Self {
        Self { gateway, app }
    }
}

impl tower::Service<Request> for Front {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        tower::Service::<Request>::poll_ready(&mut self.app, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() == Method::POST && request.uri().path() == gateway::WEBHOOK {
            let gateway = Arc::clone(&self.gateway);
            Box::pin(async move { Ok(deliver(gateway, request).await) })
        } else {
            Box::pin(self.app.call(request))
        }
    }
}

async fn deliver(gateway: Arc<gateway::Gateway>, mut request: Request) -> Response {
    let begin = std::time::Instant::now();
    let id = identified(&mut request);
    let answered = AssertUnwindSafe(gateway.answer_delivery(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|cause| {
        tracing::error!(id = %id.0, "a delivery could not be answered");
        panicked(cause)
    });
    id.write(response.headers_mut());
    log_answer("webhook-terra", &response, begin.elapsed(), Some(id));
    response
}

/// Pages, their server functions and their files.
fn pages(services: Arc<Services>, leptos: LeptosOptions) -> Router {
    let context = move || request_context(&services);
    let files = leptos_axum::file_and_error_handler_with_context::<LeptosOptions, _>(context.clone(), shell);
    let routes = generate_route_list(App);
    let shell_options = leptos.clone();
    Router::new()
        .leptos_routes_with_context(&leptos, routes, context, move || shell(shell_options.clone()))
        .fallback(files)
        .layer(middleware::from_fn(keep_hashed_files))
        .with_state(leptos)
}

/// What pages and server functions find in their context. While routes are listed there is no request, and nobody asks.
fn request_context(services: &Arc<Services>) {
    let Some(parts) = use_context::<axum::http::request::Parts>() else { return };
    let extension = &parts.extensions;
    if let Some(nonce) = extension.get::<leptos::nonce::Nonce>() {
        provide_context(nonce.clone());
    }
    if let Some(failure) = extension.get::<super::failure::Failure>() {
        provide_context(failure.clone());
    }
    if let Some(preferences) = extension.get::<crate::components::preferences::Preferences>() {
        provide_context(*preferences);
    }
    let peer = extension.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    provide_context(PageRequest {
        services: Arc::clone(services),
        caller: extension.get::<Identity>().and_then(|i| i.0.clone()),
        unknown: extension.get::<access::identify::Unavailable>().is_some(),
        request_id: extension.get::<RequestId>().map(|r| r.0.to_string()).unwrap_or_default(),
        address: peer.map(|p| client_address(p, &parts.headers, &services.config.trusted_proxies)),
    });
}

/// Where a request comes from, after trusted proxies.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    gateway::address::client(peer, headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()), trusted)
}

/// Of the page that opens a stream: how long ago it was asked for, in milliseconds, and which person it is about. Unreadable:
/// now, and nobody in particular.
#[derive(Default, serde::Deserialize)]
struct OpenPage {
    #[serde(default)]
    age: u32,
    #[serde(default)]
    about: String,
}

/// The stream of live events of whoever is logged in.
async fn live(
    State(services): State<Arc<Services>>,
    axum::Extension(identity): axum::Extension<Identity>,
    page: Result<Query<OpenPage>, QueryRejection>,
) -> Response {
    let OpenPage { age, about } = page.map(|Query(page)| page).unwrap_or_default();
    let age = std::time::Duration::from_millis(age.into());
    match identity.caller() {
        Ok(caller) => services.live.stream(caller.clone(), services.db.clone(), age, about).into_response(),
        Err(denied) => (StatusCode::UNAUTHORIZED, denied.to_string()).into_response(),
    }
}

/// Who came, for the audit log and the limits of forms.
async fn visit(State(trusted): State<Networks>, mut request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let address = extensions.get::<ConnectInfo<SocketAddr>>().map(|c| client_address(c.0.ip(), request.headers(), &trusted).to_string());
    let request_id = extensions.get::<RequestId>().map(|r| r.0.to_string());
    request.extensions_mut().insert(access::Visit { address, request_id });
    next.run(request).await
}

/// Mints the nonce that both the policy in the header and the scripts in the page carry.
async fn nonce(mut request: Request, next: Next) -> Response {
    let nonce = leptos::nonce::Nonce::new();
    request.extensions_mut().insert(access::Nonce(nonce.to_string()));
    request.extensions_mut().insert(nonce);
    next.run(request).await
}

/// Hashed names never change their content; everything else is asked for again.
async fn keep_hashed_files(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let hashed = path.starts_with("/pkg/") && !path.starts_with("/pkg/snippets/");
    let mut response = next.run(request).await;
    if hashed && response.status().is_success() {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }
    response
}

/// Takes a proxy's id when it looks like one, else makes one; rooms below find it where a proxy would have put it.
fn identified(request: &mut Request) -> RequestId {
    let sane = |v: &HeaderValue| {
        v.to_str()
            .ok()
            .filter(|t| (8..=64).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
            .map(str::to_owned)
    };
    let id = request.headers().get(REQUEST_ID).and_then(sane).unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
    let id = RequestId(id.into());
    id.write(request.headers_mut());
    id
}

/// The request's id, for whoever serves it, in the log and on the answer.
async fn request_id(mut request: Request, next: Next) -> Response {
    let id = identified(&mut request);
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!("request", id = %id.0);
    let mut response = next.run(request).instrument(span).await;
    id.write(response.headers_mut());
    response
}

/// A handler panicked: the cause goes to the log, a plain answer to the reader.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(cause = text, "a request handler panicked");
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something went wrong on our side. Try again; if it stays, quote the request id in the header x-request-id.\n",
    )
        .into_response()
}
