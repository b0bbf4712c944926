//! Whatever comes in, the gateway does not panic and never says 200 to what is not signed.
//! `PROPTEST_CASES=1000000` runs as many; the note with the figures says which were run.

use super::*;
use crate::gateway::admission::{self, Packing, admit};
use crate::gateway::body;
use crate::gateway::signature::{Secrets, claim};
use crate::store::deliveries::Status;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue};
use chrono::DateTime;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

const NOW: i64 = 1_753_000_000;

/// Headers near the truth: parts of real ones, in any order and number, among junk.
fn header() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(format!("t={NOW}")),
        Just(format!("v1={}", "0".repeat(64))),
        Just("v1=".to_owned()),
        (NOW - 400..NOW + 400).prop_map(|t| format!("t={t}")),
        "[0-9a-fA-F]{64}".prop_map(|h| format!("v1={h}")),
        "[0-9a-f]{0,70}".prop_map(|h| format!(" v0 = {h}")),
        "\\PC{0,12}",
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.join(","))
}

/// Headers beside the signature: near the truth, or any bytes that HTTP lets through, of odd lengths, several of one name.
fn beside() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        "x-terra-trace-id",
        "terra-reference",
        "x-terra-ordering-timestamp",
        "user-agent",
        "dev-id",
        "content-type",
        "content-encoding",
        "content-length",
        "x-request-id",
        "x-forwarded-for",
    ]);
    let word = prop::sample::select(vec![
        "application/json",
        " Application/JSON ; charset=utf-8",
        "application/problem+json",
        "text/plain",
        "gzip",
        "X-GZIP",
        "identity",
        "br",
        "",
        "16777217",
        "99999999999999999999999",
        "1753000000000",
        "\"quoted\\\t\"",
    ]);
    let value = prop_oneof![
        3 => word.prop_map(|w| w.as_bytes().to_vec()),
        2 => "[!-~]{1,210}".prop_map(String::into_bytes),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        2 => prop::collection::vec(any::<u8>(), 0..400),
    ];
    prop::collection::vec((name, value), 0..8).prop_map(|pairs| {
        let valid = |(name, value): (&'static str, Vec<u8>)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.into_iter().filter_map(valid) {
            headers.append(name, value);
        }
        headers
    })
}

/// Bodies as they may be signed, packed or not.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let plain = prop_oneof![
        (0..9_u32).prop_map(|steps| daily(steps).into_bytes()),
        Just(br#"{"type":"healthcheck"}"#.to_vec()),
        "\\{\"type\":\"[a-z_]{0,12}\",\"user\":\\{\"user_id\":\"[ -!#-\\[\\]-~]{0,20}\"\\}\\}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..80),
    ];
    (plain, any::<bool>()).prop_map(|(plain, packed)| {
        if !packed {
            return plain;
        }
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&plain).unwrap();
        packer.finish().unwrap()
    })
}

/// The first value of a header, where it is text.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// What an id in a header is stored as: up to 200 visible characters, or nothing.
fn as_id(headers: &HeaderMap, name: &str) -> Option<String> {
    text(headers, name)
        .map(str::trim)
        .filter(|t| (1..=200).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic()))
        .map(str::to_owned)
}

proptest! {
    /// Headers decide where a delivery is filed, never whether it is of use; and what they say is kept as far as it can be.
    #[test]
    fn whatever_stands_beside_a_signature_the_row_can_be_stored_and_the_body_alone_says_what_it_is(headers in beside(), body in content()) {
        let secrets = Secrets::new([SECRET]);
        let signature = secrets.sign(NOW, &body).unwrap();
        let claims = claim([signature.as_bytes()].into_iter(), NOW, 300).unwrap();
        let (packing, raw) = (admission::packing(&headers), Bytes::from(body));
        let found = admission::verify(&claims, &secrets, raw.clone(), packing, true, &mut body::Budget::new(64 << 20).hold());
        let Ok(signed) = found else {
            prop_assert_eq!(packing, Packing::Gzip, "a signed body was refused: {:?}", headers);
            prop_assert!(raw.is_empty() || std::io::copy(&mut flate2::read::MultiGzDecoder::new(raw.as_ref()), &mut std::io::sink()).is_err());
            return Ok(());
        };
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let (plain, row) = (admit(signed.content.clone(), &HeaderMap::new(), now).delivery, admit(signed.content, &headers, now).delivery);
        prop_assert_eq!((row.status, &row.kind, &row.user_id, &row.error, &row.body), (plain.status, &plain.kind, &plain.user_id, &plain.error, &plain.body));
        prop_assert_eq!(&row.trace_id, &as_id(&headers, "x-terra-trace-id").unwrap_or(plain.trace_id));
        prop_assert_eq!(&row.key, &row.trace_id);
        prop_assert_eq!(&row.reference, &as_id(&headers, "terra-reference"));
        let said = text(&headers, "x-terra-ordering-timestamp").and_then(|t| t.trim().parse::<i64>().ok());
        prop_assert_eq!(row.ordering_ms, said.filter(|ms| (0..=(NOW + 86_400) * 1000).contains(ms)).unwrap_or(NOW * 1000));
        prop_assert!(row.request_id.iter().all(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')));
        let kept: std::collections::BTreeMap<String, String> = row.headers.pairs().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        for (name, value) in kept {
            let whole = text(&headers, &name).unwrap();
            prop_assert!(whole.starts_with(&value) && (value == whole || value.len() == 300), "{}: {:?} of {:?}", name, value, whole);
        }
    }

    #[test]
    fn no_header_verifies_that_was_not_made_with_a_secret(text in header(), body in prop::collection::vec(any::<u8>(), 0..64)) {
        let secrets = Secrets::new(["one", "two"]);
        if let Ok(claims) = claim([text.as_bytes()].into_iter(), NOW, 300) {
            prop_assert!(claims.iter().all(|c| c.verify(&secrets, &body).is_none()));
        }
    }

    #[test]
    fn one_changed_byte_anywhere_breaks_a_signature(body in prop::collection::vec(any::<u8>(), 1..64), at in any::<prop::sample::Index>(), bit in 0_u8..8, in_body in any::<bool>()) {
        let secrets = Secrets::new(["one"]);
        let header = secrets.sign(NOW, &body).unwrap();
        let (mut header, mut changed) = (header.into_bytes(), body.clone());
        let target = if in_body { &mut changed } else { &mut header };
        let at = at.index(target.len());
        target[at] ^= 1 << bit;
        let same_digit = !in_body && target[at].is_ascii_alphabetic() && bit == 5; // v1=AB is v1=ab
        let believed = claim([header.as_slice()].into_iter(), NOW, 300).is_ok_and(|claims| claims.iter().any(|c| c.verify(&secrets, &changed).is_some()));
        prop_assert!(!believed || same_digit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_requests_of_any_shape_are_answered_and_none_unsigned_with_200() {
    let away = crate::store::DatabaseUrl::parse("postgres://assay_owner:x@127.0.0.1:1/nothing").unwrap().pools(1, 1);
    let gateway = Gateway::new(away, settings());
    let handle = tokio::runtime::Handle::current();
    let worker = {
        let gateway = gateway.clone();
        tokio::task::spawn_blocking(move || {
            let mut runner = TestRunner::default();
            let name = prop_oneof![
                Just("terra-signature"),
                Just("x-terra-signature"),
                Just("content-encoding"),
                Just("content-type"),
                Just("content-length"),
                Just("x-terra-trace-id"),
                Just("x-terra-ordering-timestamp"),
                Just("x-forwarded-for"),
                Just("authorization")
            ];
            let value = prop_oneof![
                header().prop_map(|h| h.replace(&NOW.to_string(), &Utc::now().timestamp().to_string()).into_bytes()),
                Just(b"gzip".to_vec()),
                Just(b"application/json".to_vec()),
                prop::collection::vec(any::<u8>(), 0..40)
            ];
            let headers = prop::collection::vec((name, value), 0..6);
            let body =
                prop_oneof![Just(b"{\"test\":true} ".to_vec()), Just(daily(1).into_bytes()), prop::collection::vec(any::<u8>(), 0..200)];
            runner.run(&(headers, body, any::<u64>()), |(headers, body, address)| {
                let mut map = HeaderMap::new();
                for (name, value) in headers {
                    if let Ok(value) = HeaderValue::from_bytes(&value) {
                        map.append(name, value);
                    }
                }
                let caller = IpAddr::V6(Ipv6Addr::from_bits(u128::from(address) << 64));
                let is_test = crate::gateway::admission::is_test(&body);
                let answer = handle.block_on(async { Answer::of(gateway.receive(&map, Body::from(body), caller).await).await });
                let said = serde_json::json!({ "received": true, "test": true });
                prop_assert!(answer.status != 200 || (is_test && answer.body == said));
                // 503: it was believed, and only then could not be stored. Nothing here is signed with the secret.
                prop_assert!(!matches!(answer.status.as_u16(), 500 | 503), "{:?} to {:?}", answer, map);
                Ok(())
            })
        })
    };
    worker.await.unwrap().unwrap();
    let believed = gateway.totals().into_iter().any(|(outcome, n)| outcome == Outcome::Unavailable && n > 0);
    assert!(!believed, "{:?}", gateway.totals());
}

/// The same with the database behind it: no header makes a row that PostgreSQL refuses, and each request gets the status that
/// is right. A case is a commit, so that a million of them are not tried here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_requests_with_any_headers_are_stored_and_answered_with_the_right_status() {
    let b = Arc::new(Bench::new().await);
    let (handle, worker) = (tokio::runtime::Handle::current(), Arc::clone(&b));
    let tried = tokio::task::spawn_blocking(move || {
        let cases = Config::default().cases.min(5_000);
        TestRunner::new(Config { cases, ..Config::default() })
            .run(&(beside(), content()), |(mut headers, raw)| {
                let right = right(&headers, &raw);
                headers.insert("terra-signature", HeaderValue::from_str(&signature(&raw)).unwrap());
                let caller = IpAddr::V6(Ipv6Addr::LOCALHOST);
                let answer = handle.block_on(async { Answer::of(worker.gateway.receive(&headers, Body::from(raw), caller).await).await });
                prop_assert_eq!(answer.status.as_u16(), right, "{:?} to {:?}", answer, headers);
                Ok(())
            })
            .map_err(|e| e.to_string())
    });
    tried.await.unwrap().unwrap();
    assert!(b.counted(Outcome::Accepted) > 0 && b.counted(Outcome::Unavailable) == 0, "{:?}", b.gateway.totals());
}

/// The status of a signed request.
fn right(headers: &HeaderMap, raw: &[u8]) -> u16 {
    if text(headers, "content-length").and_then(|t| t.parse::<u64>().ok()).is_some_and(|n| n > body::MAX_BODY as u64) {
        return 413;
    }
    let content = match admission::packing(headers) {
        Packing::Gzip => match body::gunzip(raw, &mut body::Budget::new(64 << 20).hold()) {
            Ok(content) => content,
            Err(_) => return 400,
        },
        _ => Bytes::copy_from_slice(raw),
    };
    if !admission::is_json_type(headers) || admission::packing(headers) == Packing::Other {
        return 415;
    }
    if admit(content, &HeaderMap::new(), Utc::now()).delivery.status == Status::Invalid { 400 } else { 200 }
}
