//! From a request's headers and bytes to what is stored: is it believed, is it JSON, whose is it, is it of use.
//!
//! Pure: the time is an argument. A delivery that is signed is never lost for its content: what we cannot use is kept
//! with the reason.

use super::body::{BodyError, Held, gunzip};
use super::signature::{Claim, Secrets};
use crate::store::deliveries::{NewDelivery, Status, Texts};
use crate::terra;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Nesting that neither we nor the workers' parser follow. Terra's own bodies have some ten levels.
pub const MAX_DEPTH: usize = 100;
/// Longest trace id or reference, in characters; Terra sends UUIDs, and chunks `<uuid>:chunk:<n>`.
const MAX_ID: usize = 200;
/// Headers kept beside the body.
const KEPT: [&str; 6] = ["user-agent", "dev-id", "content-type", "content-encoding", "x-terra-ordering-timestamp", "x-request-id"];

/// A body that one of our secrets signed.
#[derive(Debug)]
pub struct Signed {
    /// The content, gzip undone.
    pub content: Bytes,
    /// The number of the secret.
    pub secret: usize,
}

/// How the body is packed, by `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// gzip.
    Gzip,
    /// Something we do not undo.
    Other,
}

/// Reads `Content-Encoding`.
pub fn packing(headers: &HeaderMap) -> Packing {
    match headers.get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?").trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Packing::Plain,
        Some("gzip" | "x-gzip") => Packing::Gzip,
        Some(_) => Packing::Other,
    }
}

/// Whether the declared type is JSON, or none is declared. curl's default for `-d` counts as none.
pub fn is_json_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "" | "application/json" | "text/json" | "application/x-www-form-urlencoded") || kind.ends_with("+json")
}

/// Why a signed body cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// No secret signed it.
    Mismatch,
    /// It could not be unpacked.
    Body(BodyError),
}

/// Verifies the signature over the bytes as sent; of a gzip body also over its content, because a sender that signs
/// first and packs then cannot be told from one that does it the other way round. Unpacking what nobody signed is work
/// for a stranger, of which a few bytes can ask for much: it is done only where `trusting`.
pub fn verify(
    claims: &[Claim<'_>],
    secrets: &Secrets,
    raw: Bytes,
    packing: Packing,
    trusting: bool,
    held: &mut Held,
) -> Result<Signed, Unusable> {
    let signer = |body: &[u8]| claims.iter().find_map(|c| c.verify(secrets, body));
    let found = signer(&raw);
    if packing != Packing::Gzip || (found.is_none() && !trusting) {
        return found.map(|secret| Signed { content: raw, secret }).ok_or(Unusable::Mismatch);
    }
    match (found, gunzip(&raw, held)) {
        (Some(secret), Ok(content)) => Ok(Signed { content, secret }),
        (Some(_), Err(error)) => Err(Unusable::Body(error)),
        (None, Ok(content)) => signer(&content).map(|secret| Signed { content, secret }).ok_or(Unusable::Mismatch),
        // An unsigned bomb is an unsigned body.
        (None, Err(_)) => Err(Unusable::Mismatch),
    }
}

/// The envelope, or why the body is none.
fn judge(body: &[u8]) -> Result<terra::Envelope, (&'static str, String)> {
    if std::str::from_utf8(body).is_err() {
        return Err(("not_json", "The body is not UTF-8 text, so it is not JSON.".into()));
    }
    if depth_exceeds(body, MAX_DEPTH) {
        return Err(("too_deep", format!("The body is nested more than {MAX_DEPTH} levels deep.")));
    }
    terra::envelope(body).map_err(|why| {
        let code = match why {
            terra::Invalid::NotJson(_) => "not_json",
            terra::Invalid::TooDeep => "too_deep",
            terra::Invalid::NotAnObject => "not_an_object",
        };
        (code, why.to_string())
    })
}

/// A delivery ready to be stored, and why it is not processed, where it is not.
#[derive(Debug)]
pub struct Admitted {
    /// What is stored.
    pub delivery: NewDelivery,
    /// The reason code and the sentence of the answer.
    pub reason: Option<(&'static str, String)>,
}

/// Makes the row of a signed body.
pub fn admit(content: Bytes, headers: &HeaderMap, now: DateTime<Utc>) -> Admitted {
    let received_at = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now);
    let body_hash: [u8; 32] = Sha256::digest(&content).into();
    let (envelope, status, reason) = match judge(&content) {
        Err(reason) => (terra::Envelope::default(), Status::Invalid, Some(reason)),
        Ok(envelope) => {
            let reason = envelope.of_no_use().map(|why| (why.code(), why.to_string()));
            (envelope, if reason.is_some() { Status::Ignored } else { Status::Pending }, reason)
        }
    };
    let trace_id = id_header(headers, "x-terra-trace-id").unwrap_or_else(|| format!("sha256:{}", hex::encode(body_hash)));
    let delivery = NewDelivery {
        id: id_at(received_at),
        received_at,
        key: trace_id.clone(),
        trace_id,
        body_hash,
        kind: envelope.kind,
        provider: envelope.source.map(|s| s.as_str().to_owned()),
        user_id: envelope.reference_id,
        terra_user_id: envelope.terra_user_id,
        status,
        error: reason.as_ref().map(|(_, sentence)| sentence.clone()),
        ordering_ms: ordering(headers, received_at),
        reference: id_header(headers, "terra-reference"),
        headers: kept(headers),
        request_id: request_id(headers),
        signed_by: None,
        body: content,
    };
    Admitted { delivery, reason }
}

/// A version 7 id whose time is the time of receipt to the millisecond: it finds the partition.
fn id_at(received_at: DateTime<Utc>) -> Uuid {
    let random: [u8; 10] = rand::random();
    let millis = u64::try_from(received_at.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A header that serves as an id: visible ASCII, not too long. What is neither is treated as absent.
fn id_header(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    ((1..=MAX_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

/// Terra's ordering timestamp. Absent, unreadable, or more than a day ahead: the time of receipt, since a time far in
/// the future would keep every later delivery from counting.
fn ordering(headers: &HeaderMap, received_at: DateTime<Utc>) -> i64 {
    let latest = (received_at + TimeDelta::days(1)).timestamp_millis();
    headers
        .get("x-terra-ordering-timestamp")
        .and_then(|v| v.to_str().ok()?.trim().parse::<i64>().ok())
        .filter(|ms| (0..=latest).contains(ms))
        .unwrap_or_else(|| received_at.timestamp_millis())
}

/// The id that the edge gave the request, where it looks like one.
fn request_id(headers: &HeaderMap) -> Option<String> {
    id_header(headers, "x-request-id").filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

/// The headers worth keeping, each cut to 300 characters. Readable values are visible ASCII, blanks and tabs.
fn kept(headers: &HeaderMap) -> Texts {
    let mut kept = Texts::default();
    for name in KEPT {
        if let Some(value) = headers.get(name).and_then(|v| v.to_str().ok()) {
            kept.add(name, value.get(..300).unwrap_or(value)); // ASCII: a character is a byte
        }
    }
    kept
}

/// Whether brackets outside strings are nested deeper than `limit`. Few brackets cannot be: that is quick to count.
fn depth_exceeds(body: &[u8], limit: usize) -> bool {
    if body.iter().filter(|b| matches!(b, b'{' | b'[')).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for b in body {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Whether it is the checklist's test body: the object `{"test": true}` and nothing else.
pub fn is_test(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|v| v == serde_json::json!({ "test": true }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (axum::http::HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_753_000_000_123).unwrap()
    }

    fn admitted(body: &str) -> Admitted {
        admit(Bytes::from(body.to_owned()), &HeaderMap::new(), now())
    }

    #[test]
    fn headers_are_kept_whatever_is_in_them() {
        assert_eq!(kept(&HeaderMap::new()), Texts::default());
        let long = "x".repeat(400);
        let odd = headers(&[("user-agent", "a\"b\\c\td e"), ("dev-id", &long), ("x-request-id", "0123-abc")]);
        let kept_of_odd = kept(&odd);
        assert_eq!(
            kept_of_odd.pairs().collect::<Vec<_>>(),
            [("user-agent", "a\"b\\c\td e"), ("dev-id", "x".repeat(300).as_str()), ("x-request-id", "0123-abc")]
        );
        let unreadable = HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_bytes(b"\xff").unwrap())]);
        assert_eq!(kept(&unreadable), Texts::default());
    }

    #[test]
    fn only_an_id_that_looks_like_one_joins_the_job_to_the_request() {
        assert_eq!(request_id(&headers(&[("x-request-id", "0123-abc")])).as_deref(), Some("0123-abc"));
        for odd in ["a\"b", "a b", "", &"x".repeat(201)] {
            assert_eq!(request_id(&headers(&[("x-request-id", odd)])), None, "{odd}");
        }
    }

    #[test]
    fn status_and_reason_follow_the_body() {
        let user = r#""user":{"user_id":"u","provider":"WHOOP","reference_id":"p"}"#;
        for (body, status, code) in [
            (format!(r#"{{"type":"daily",{user},"data":[]}}"#), Status::Pending, None),
            (r#"{"type":"healthcheck"}"#.into(), Status::Pending, None),
            (format!("{{{user}}}"), Status::Pending, None),
            (r#"{"type":"hormone"}"#.into(), Status::Ignored, Some("unknown_type")),
            ("{}".into(), Status::Ignored, Some("no_type")),
            (r#"{"type":"daily","user":{"reference_id":"a\u0000b"}}"#.into(), Status::Ignored, Some("unusable_id")),
            (format!(r#"{{"type":"daily","user":{{"reference_id":"{}"}}}}"#, "x".repeat(5_000)), Status::Ignored, Some("unusable_id")),
            ("[]".into(), Status::Invalid, Some("not_an_object")),
            ("7".into(), Status::Invalid, Some("not_an_object")),
            ("".into(), Status::Invalid, Some("not_json")),
            ("{\"a\":1}}".into(), Status::Invalid, Some("not_json")),
            (format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200)), Status::Invalid, Some("too_deep")),
            ("[".repeat(100_000), Status::Invalid, Some("too_deep")),
            (r#"{"type":"daily","x":1e999}"#.into(), Status::Pending, None),
        ] {
            let a = admitted(&body);
            assert_eq!((a.delivery.status, a.reason.as_ref().map(|r| r.0)), (status, code), "{}", &body[..body.len().min(80)]);
        }
        let a = admit(Bytes::from_static(b"{\"type\":\"\xff\"}"), &HeaderMap::new(), now());
        assert_eq!(a.reason.map(|r| r.0), Some("not_json"));
    }

    #[test]
    fn brackets_in_strings_are_no_nesting() {
        let body = format!(r#"{{"type":"daily","x":"{}\"{}"}}"#, "[".repeat(300), "{".repeat(300));
        assert_eq!(admitted(&body).delivery.status, Status::Pending);
    }

    #[test]
    fn the_key_is_the_trace_id_and_never_the_reference() {
        let h =
            headers(&[("x-terra-trace-id", "abc:chunk:1"), ("terra-reference", "ref"), ("x-terra-ordering-timestamp", "1752999999999")]);
        let d = admit(Bytes::from_static(b"{}"), &h, now()).delivery;
        assert_eq!((d.key.as_str(), d.reference.as_deref(), d.ordering_ms), ("abc:chunk:1", Some("ref"), 1_752_999_999_999));
        assert_eq!(d.id.get_timestamp().map(|t| t.to_unix()), Some((1_753_000_000, 123_000_000)));
        assert_eq!(d.received_at.timestamp_millis(), 1_753_000_000_123);
        let d = admitted("{}").delivery;
        assert_eq!(d.key, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        assert_eq!(d.ordering_ms, 1_753_000_000_123);
        for bad in ["x y", &"x".repeat(201), ""] {
            assert!(admit(Bytes::from_static(b"{}"), &headers(&[("x-terra-trace-id", bad)]), now()).delivery.key.starts_with("sha256:"));
        }
        for bad in ["-1", "tomorrow", "9e9", "4102444800000", "99999999999999999999"] {
            assert_eq!(ordering(&headers(&[("x-terra-ordering-timestamp", bad)]), now()), 1_753_000_000_123, "{bad}");
        }
    }

    #[test]
    fn declared_types_and_packings_are_told_apart() {
        for (kind, json) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/plain", false),
            ("text/html", false),
            ("application/x-www-form-urlencoded", true),
            ("multipart/form-data", false),
        ] {
            assert_eq!(is_json_type(&headers(&[("content-type", kind)])), json, "{kind}");
        }
        assert!(is_json_type(&HeaderMap::new()));
        for (coding, is) in [
            ("gzip", Packing::Gzip),
            ("GZIP", Packing::Gzip),
            ("identity", Packing::Plain),
            ("br", Packing::Other),
            ("gzip, gzip", Packing::Other),
        ] {
            assert_eq!(packing(&headers(&[("content-encoding", coding)])), is, "{coding}");
        }
    }

    #[test]
    fn only_the_exact_test_body_is_one() {
        for (body, is) in [
            (r#"{"test": true}"#, true),
            ("{\"test\":true}\n", true),
            (r#"{"test":"true"}"#, false),
            (r#"{"test":true,"type":"daily"}"#, false),
            ("{}", false),
            ("true", false),
            ("", false),
        ] {
            assert_eq!(is_test(body.as_bytes()), is, "{body}");
        }
    }

    proptest! {
        /// Whatever the bytes, admitting ends, and what PostgreSQL cannot hold is never in a text of the row.
        #[test]
        fn any_bytes_become_a_row_that_can_be_stored(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let d = admit(Bytes::from(body), &HeaderMap::new(), now()).delivery;
            for text in [Some(d.kind), d.provider, d.user_id, d.terra_user_id, d.error, d.reference, Some(d.key)].into_iter().flatten() {
                prop_assert!(!text.contains('\0') && text.len() <= 2_600);
            }
        }

        #[test]
        fn almost_json_becomes_a_row_that_can_be_stored(kind in ".{0,80}", user in ".{0,600}", provider in ".{0,90}") {
            let body = serde_json::json!({ "type": kind, "user": { "user_id": user, "provider": provider, "reference_id": user } }).to_string();
            let d = admit(Bytes::from(body), &HeaderMap::new(), now()).delivery;
            for text in [Some(d.kind), d.provider, d.user_id, d.terra_user_id, d.error].into_iter().flatten() {
                prop_assert!(!text.contains('\0') && text.len() <= 2_600);
            }
        }
    }
}
