//! The read API for programs, `/api/v1`: persons, their newest values, their history, their scores with the reasons.
//!
//! It promises: no number leaves without its quality; whoever asks is proven by a key ([`gate`]) and reads under
//! row-level security as the key's owner, so another's client is "not found"; what cannot be used is refused by the
//! name of its field ([`query`]); a page's cursor stays right while rows arrive ([`cursor`]); an unchanged answer costs
//! one 304 ([`answer`]). The description at `/api/v1/openapi.json` is made from the handlers themselves, and from the
//! same list that routes them, so neither can know a path that the other does not.
//!
//! No answer carries a CORS header: keys are for programs, and a page of another site has no business with one.

mod answer;
mod clients;
mod cursor;
mod deliveries;
mod gate;
mod metrics;
mod problem;
mod query;
mod scores;
mod types;
mod values;

#[cfg(test)]
mod tests;

use crate::{gateway::Limiter, store::Db};
use axum::{Router, http::HeaderMap, middleware, response::Response, routing::get};
use problem::Problem;
use std::sync::Arc;
use utoipa::{
    OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Where it is mounted.
pub const BASE: &str = "/api/v1";

/// What the handlers need.
#[derive(Clone)]
pub struct Api {
    /// The pools.
    pub db: Db,
    /// The limiter shared by all nodes.
    pub limiter: Limiter,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Assay read API",
        version = "1",
        description = "How far each number from a wearable can be trusted. Every value carries its quality: a score of \
            0–100 (100 × the probability that the value is within the metric's tolerance of the truth), its interval, \
            its findings and its currency. Unknown is not medium: `score` is null then, and `unknown_because` says why.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/api/v1")),
    components(schemas(problem::Problem)),
    tags(
        (name = "clients", description = "Persons whose data arrive, as far as the key's owner may see them"),
        (name = "values", description = "Day values with their quality"),
        (name = "scores", description = "Scores taken apart"),
        (name = "deliveries", description = "What was sent, and what became of it"),
        (name = "metrics", description = "What is measured, and what counts as good enough")
    )
)]
struct Description;

/// The one list of routes, by the scope that opens them: each entry is routed and described.
fn listed() -> [(&'static str, OpenApiRouter<Api>); 2] {
    let metrics = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(metrics::list_metrics))
        .routes(routes!(clients::list_clients))
        .routes(routes!(clients::get_client))
        .routes(routes!(values::list_latest))
        .routes(routes!(values::list_history))
        .routes(routes!(scores::list_scores))
        .routes(routes!(scores::explain_score));
    [("metrics:read", metrics), ("deliveries:read", OpenApiRouter::new().routes(routes!(deliveries::list_deliveries)))]
}

/// The description, in a form that does not depend on the machine.
pub fn description() -> utoipa::openapi::OpenApi {
    let [(_, first), rest @ ..] = listed();
    described(rest.into_iter().fold(first, |all, (_, more)| all.merge(more)).into_openapi())
}

fn described(mut api: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("assay_<64 hexadecimal digits>")
        .description(Some("A key made under /account. It reads what its owner may see, for the purposes it was made for."))
        .build();
    api.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    api
}

/// The routes below [`BASE`], with their refusals.
pub fn router(api: Api) -> Router {
    let document: Arc<str> = description().to_pretty_json().unwrap_or_default().into();
    let guarded = listed().into_iter().fold(Router::new(), |all, (scope, routes)| {
        let gate = gate::Gate { api: api.clone(), scope };
        all.merge(axum::Router::from(routes).route_layer(middleware::from_fn_with_state(gate, gate::gate)).with_state(api.clone()))
    });
    let open = get(move |headers: HeaderMap| {
        let document = Arc::clone(&document);
        async move { answer::document(&document, &headers) }
    });
    let inner = guarded
        .route("/openapi.json", open)
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .layer(middleware::from_fn(problem::written));
    // A nested router does not see its own root with a slash.
    let root =
        Router::new().route(&format!("{BASE}/"), get(nothing_here).fallback(nothing_here)).layer(middleware::from_fn(problem::written));
    Router::new().nest(BASE, inner).merge(root)
}

async fn nothing_here() -> Response {
    Problem::not_found("There is nothing at this path. The paths are listed in /api/v1/openapi.json.").into()
}

async fn wrong_method() -> Response {
    Problem::wrong_method().into()
}
