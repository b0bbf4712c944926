//! What callers are told: short JSON with a reason code that programs can read and a sentence that people can.

use super::body::BodyError;
use super::flush::Committed;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A JSON answer, which is data: no browser may guess another type for it, and nobody keeps it.
pub fn json_answer(status: StatusCode, body: &Value) -> Response {
    text_answer(status, body.to_string())
}

fn text_answer(status: StatusCode, json: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, json).into_response()
}

/// A refusal: status, reason code, sentence.
pub fn refusal(status: StatusCode, reason: &str, message: &str) -> Response {
    json_answer(status, &json!({ "received": false, "reason": reason, "message": message }))
}

/// 503: send it again in so many seconds.
pub fn unavailable(reason: &str, message: &str, retry_after: u16) -> Response {
    with(refusal(StatusCode::SERVICE_UNAVAILABLE, reason, message), header::RETRY_AFTER, HeaderValue::from(retry_after))
}

/// 200 for what was stored. Nearly every answer is the same but for its id: that one is written down, not built.
pub fn stored(committed: Committed, ignored: Option<&(&'static str, String)>) -> Response {
    let body = match (committed, ignored) {
        (Committed::New(id), None) => format!(r#"{{"received":true,"status":"accepted","id":"{id}"}}"#),
        (Committed::New(id), Some((reason, message))) => {
            json!({ "received": true, "status": "ignored", "id": id, "reason": reason, "message": message }).to_string()
        }
        (Committed::Duplicate, _) => json!({ "received": true, "status": "duplicate" }).to_string(),
        (Committed::Conflict, _) => {
            let message = "Another body came under this trace id before. Both are kept; this one is not processed.";
            json!({ "received": true, "status": "conflict", "message": message }).to_string()
        }
    };
    text_answer(StatusCode::OK, body)
}

/// 405 with the methods that work.
pub fn wrong_method(allow: &'static str) -> Response {
    let answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("Use one of: {allow}."));
    with(answer, header::ALLOW, HeaderValue::from_static(allow))
}

/// Why the body was not read: the reason code and the answer.
pub fn body_refusal(error: BodyError) -> (&'static str, Response) {
    match error {
        BodyError::TooLarge => {
            ("too_large", refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is larger than 16 MiB, as sent or unpacked."))
        }
        BodyError::NoMemory => ("busy", unavailable("busy", "Too many large bodies at once. Send it again in a moment.", 1)),
        BodyError::TooSlow => ("too_slow", refusal(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body did not arrive in time.")),
        BodyError::Broken => ("broken", refusal(StatusCode::BAD_REQUEST, "broken", "The body broke off.")),
        BodyError::NotGzip => {
            ("not_gzip", refusal(StatusCode::BAD_REQUEST, "not_gzip", "Content-Encoding says gzip, but the body is not."))
        }
    }
}

/// The answer with one more header.
pub fn with(mut answer: Response, name: HeaderName, value: HeaderValue) -> Response {
    answer.headers_mut().insert(name, value);
    answer
}
