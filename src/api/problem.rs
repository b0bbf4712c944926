//! Refusals as `application/problem+json` (RFC 9457), each with the request's id and, where input is to blame, the
//! fields. Sentences hold no cause and no person.

use crate::access::Visit;
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder, Type, response::Response as Described},
};

/// A field that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The parameter.
    pub field: String,
    /// What is wrong with it, and what is right.
    pub detail: String,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// What kind: a URI, `about:blank` where the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// Finds the request in the log; also in the header `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Each field that cannot be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    #[serde(skip)]
    #[schema(ignore)]
    headers: Box<HeaderMap>,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        let (kind, errors, headers) = ("about:blank", Vec::new(), Box::default());
        Self { kind, title, status: status.as_u16(), detail: detail.into(), request_id: None, errors, headers }
    }

    fn with(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// 401: no key, or none that lives.
    pub fn unauthenticated(given: bool) -> Self {
        let (detail, challenge) = if given {
            (
                "The key is not known, has expired or was revoked. Make a new one under /account.",
                "Bearer realm=\"assay\", error=\"invalid_token\"",
            )
        } else {
            ("Send a key: `Authorization: Bearer assay_…`. Keys are made under /account.", "Bearer realm=\"assay\"")
        };
        Self::new(StatusCode::UNAUTHORIZED, "A key is needed", detail).with(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403: the key was made for something else.
    pub fn scope(scope: &str) -> Self {
        let detail = format!("The key was not made for this. Make one with the scope {scope} under /account.");
        let mut problem = Self::new(StatusCode::FORBIDDEN, "Not for this key", detail);
        let challenge = format!("Bearer realm=\"assay\", error=\"insufficient_scope\", scope=\"{scope}\"");
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            problem.headers.insert(header::WWW_AUTHENTICATE, value);
        }
        problem
    }

    /// 404, also for what exists but is not the caller's to see.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", detail)
    }

    /// 405.
    pub fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Only reading", "This API is read with GET or HEAD.").with(header::ALLOW, "GET,HEAD")
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        let detail = "The answer comes as application/json or text/csv; `Accept` allows neither.";
        Self::new(StatusCode::NOT_ACCEPTABLE, "No such form", detail)
    }

    /// 422 with the fields.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let named = errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>().join(", ");
        let detail = format!("Nothing was read. Correct: {named}.");
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Input that cannot be used", detail) }
    }

    /// 429 with the limiter's word.
    pub fn too_many(decision: &crate::gateway::Decision) -> Self {
        let wait = decision.retry_after.unwrap_or_default().as_secs() + 1;
        let detail = format!("A key may ask {} times a minute. Try again in {wait} s.", decision.policy.quota);
        Self {
            kind: "https://iana.org/assignments/http-problem-types#quota-exceeded",
            headers: Box::new(decision.headers()),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests", detail)
        }
    }

    /// 503 or 500 from a database error, whose cause goes to the log.
    pub fn database(request_id: &str, cause: &sqlx::Error) -> Self {
        let told = crate::error::AppError::database(request_id, cause);
        let status = StatusCode::from_u16(told.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = Self::new(status, "Not answered", told.message);
        if status == StatusCode::SERVICE_UNAVAILABLE { problem.with(header::RETRY_AFTER, "5") } else { problem }
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

impl IntoResponse for Problem {
    /// Without a body: [`written`] adds it, with the request's id.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, HeaderMap::clone(&self.headers)).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The middleware around everything: writes the problems.
pub async fn written(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<Visit>().and_then(|v| v.request_id.clone());
    let mut response = next.run(request).await;
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.request_id = id;
    let mut headers = response.headers().clone();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body = serde_json::to_string(&problem).unwrap_or_default();
    (response.status(), headers, body).into_response()
}

/// What every guarded path may answer besides what was asked for.
pub struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        [
            ("304", "Nothing changed since the answer with this ETag"),
            ("401", "No key, or none that lives"),
            ("403", "The key was not made for this"),
            ("404", "Not there, or not for the key's owner"),
            ("406", "The answer has no form that `Accept` allows"),
            ("422", "Input that cannot be used; `errors` names each field"),
            ("429", "The key asked too often; see `Retry-After`"),
            ("500", "Our fault; quote the request id"),
            ("503", "The database does not answer just now; nothing was lost"),
        ]
        .into_iter()
        .map(|(status, words)| (status.to_owned(), RefOr::T(described(status, words))))
        .collect()
    }
}

fn described(status: &str, words: &str) -> Described {
    let response = ResponseBuilder::new().description(words);
    if status == "304" {
        return response.build();
    }
    let response =
        response.content("application/problem+json", ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build());
    let text = |words: &str| HeaderBuilder::new().schema(ObjectBuilder::new().schema_type(Type::String)).description(Some(words)).build();
    match status {
        "401" | "403" => response.header("WWW-Authenticate", text("What kind of key is asked for (RFC 6750)")).build(),
        "429" | "503" => response.header("Retry-After", text("Seconds to wait")).build(),
        _ => response.build(),
    }
}
