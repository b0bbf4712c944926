//! Whatever comes in, the gateway does not panic and never says 200 to what is not signed.
//! `PROPTEST_CASES=1000000` runs as many; the note with the figures says which were run.

use super::*;
use crate::gateway::signature::{Secrets, claim};
use proptest::prelude::*;
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

proptest! {
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
            let mut runner = proptest::test_runner::TestRunner::default();
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
                    if let Ok(value) = axum::http::HeaderValue::from_bytes(&value) {
                        map.append(name, value);
                    }
                }
                let caller = IpAddr::V6(Ipv6Addr::from_bits(u128::from(address) << 64));
                let is_test = crate::gateway::admission::is_test(&body);
                let answer = handle.block_on(async { Answer::of(gateway.receive(&map, Body::from(body), caller).await).await });
                let said = serde_json::json!({ "received": true, "test": true });
                prop_assert!(answer.status != 200 || (is_test && answer.body == said));
                prop_assert!(answer.status.as_u16() != 500);
                Ok(())
            })
        })
    };
    worker.await.unwrap().unwrap();
}
