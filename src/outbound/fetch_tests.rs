//! The guard as tables, and the fetch against a server of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::*;
use axum::{Router, body::Body, http::StatusCode, response::Redirect, routing::get};
use std::io::Write;

#[test]
fn only_public_addresses_are_public() {
    for (address, public) in [
        ("52.218.0.1", true),
        ("8.8.8.8", true),
        ("172.15.255.255", true),
        ("172.32.0.1", true),
        ("100.63.0.1", true),
        ("100.128.0.1", true),
        ("192.167.1.1", true),
        ("192.0.1.1", true),
        ("198.17.0.1", true),
        ("198.20.0.1", true),
        ("223.255.255.255", true),
        ("169.253.0.1", true),
        ("0.0.0.0", false),
        ("0.1.2.3", false),
        ("10.0.0.1", false),
        ("127.0.0.1", false),
        ("127.255.0.1", false),
        ("100.64.0.1", false),
        ("100.127.255.255", false),
        ("169.254.169.254", false),
        ("172.16.0.1", false),
        ("172.31.255.255", false),
        ("192.168.1.1", false),
        ("192.0.0.192", false),
        ("192.0.2.1", false),
        ("192.88.99.1", false),
        ("198.18.0.1", false),
        ("198.19.255.1", false),
        ("198.51.100.1", false),
        ("203.0.113.1", false),
        ("224.0.0.1", false),
        ("240.0.0.1", false),
        ("255.255.255.255", false),
        ("2600:1fa0::1", true),
        ("2a05:d07a::1", true),
        ("2001:4860::8888", true),
        ("64:ff9b::34da:1", true),
        ("3ffe::1", true),
        ("::", false),
        ("::1", false),
        ("::7f00:1", false),
        ("::ffff:127.0.0.1", false),
        ("::ffff:10.0.0.1", false),
        ("64:ff9b::a00:1", false),
        ("64:ff9b::a9fe:a9fe", false),
        ("64:ff9b:1::1", false),
        ("fe80::1", false),
        ("fc00::1", false),
        ("fd00:ec2::254", false),
        ("ff02::1", false),
        ("fec0::1", false),
        ("2001:db8::1", false),
        ("2001::1", false),
        ("2001:1ff::1", false),
        ("2002:7f00:1::", false),
        ("3fff::1", false),
        ("100::1", false),
        ("5f00::1", false),
    ] {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }
    assert!(is_public("::ffff:8.8.8.8".parse().unwrap()));
}

#[test]
fn only_links_that_keep_the_rules_are_followed() {
    let fetcher = Fetcher::new(FetchRules { hosts: vec!["amazonaws.com".into(), "payloads.example".into()], ..FetchRules::default() });
    for good in [
        "https://terra-payload-bucket.s3.eu-west-2.amazonaws.com/payloads/a/activity.json?X-Amz-Signature=abc",
        "https://BUCKET.S3.AMAZONAWS.COM/x",
        "https://bucket.s3.amazonaws.com./x",
        "https://amazonaws.com:443/x",
        "https://payloads.example/x",
    ] {
        assert!(fetcher.check(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("http://bucket.s3.amazonaws.com/x", "https"),
        ("ftp://bucket.s3.amazonaws.com/x", "https"),
        ("file:///etc/passwd", "https"),
        ("https://bucket.s3.amazonaws.com:8443/x", "port"),
        ("https://user@bucket.s3.amazonaws.com/x", "name or password"),
        ("https://:pw@bucket.s3.amazonaws.com/x", "name or password"),
        ("https://evilamazonaws.com/x", "list"),
        ("https://amazonaws.com.evil.example/x", "list"),
        ("https://evil.example/amazonaws.com", "list"),
        ("https://evil.example#.amazonaws.com", "list"),
        ("https://evil.example\\.amazonaws.com/x", "list"),
        ("https://amazonaws.com@evil.example/", "name or password"),
        ("https://127.0.0.1/x", "address"),
        ("https://2130706433/x", "address"),
        ("https://0x7f.1/x", "address"),
        ("https://[::1]/x", "address"),
        ("https://[::ffff:169.254.169.254]/x", "address"),
        ("https:///x", "list"),
        ("not a link", "not an address"),
        ("", "not an address"),
    ] {
        match fetcher.check(bad) {
            Err(FetchError::Forbidden(said)) => assert!(said.contains(why), "{bad}: {said}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[test]
fn a_fetched_payload_may_be_as_large_as_one_that_is_sent() {
    assert_eq!(FetchRules::default().max_bytes, crate::gateway::body::MAX_BODY);
}

#[test]
fn one_inner_address_spoils_a_name() {
    let fetcher = Fetcher::default();
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 443);
    assert_eq!(fetcher.judge(vec![at("52.218.0.1"), at("2600:1fa0::1")]).map(|a| a.len()), Ok(2));
    assert_eq!(
        fetcher.judge(vec![at("52.218.0.1"), at("169.254.169.254")]),
        Err(FetchError::NotPublic("169.254.169.254".parse().unwrap()))
    );
    assert_eq!(fetcher.judge(vec![]), Err(FetchError::Unresolved));
}

#[tokio::test]
async fn a_listed_name_that_leads_home_is_not_followed() {
    let fetcher = Fetcher::new(FetchRules { hosts: vec!["localhost".into()], ..FetchRules::default() });
    let refused = fetcher.get("https://localhost/x").await.unwrap_err();
    assert!(matches!(refused, FetchError::NotPublic(ip) if ip.is_loopback()), "{refused}");
    assert!(!refused.may_pass());
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

async fn server() -> String {
    let zipped = |content: Vec<u8>| get(move || async move { ([(header::CONTENT_ENCODING, "gzip")], content) });
    let app = Router::new()
        .route("/small", get(|| async { "{\"a\":1}" }))
        .route("/exact", get(|| async { "x".repeat(1000) }))
        .route("/declared", get(|| async { "x".repeat(1001) }))
        .route("/endless", get(|| async { Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(300)))) }))
        .route("/never", get(|| async { Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()) }))
        .route("/redirect", get(|| async { Redirect::temporary("/small") }))
        .route("/expired", get(|| async { StatusCode::FORBIDDEN }))
        .route("/busy", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/zipped", zipped(packed(b"{\"a\":1}")))
        .route("/bomb", zipped(packed(&[b' '; 100_000])))
        .route("/torn", zipped(packed(b"{\"a\":1}")[..12].to_vec()))
        .route("/br", get(|| async { ([(header::CONTENT_ENCODING, "br")], "??") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn size_time_and_redirects_are_bounded() {
    let at = server().await;
    let rules = FetchRules { hosts: vec!["localhost".into()], max_bytes: 1000, timeout: Duration::from_secs(2) };
    let fetcher = Fetcher::for_test(rules);
    let get = async |path: &str| fetcher.get(&format!("{at}{path}")).await;
    assert_eq!(get("/small").await.unwrap(), b"{\"a\":1}");
    assert_eq!(get("/exact").await.unwrap().len(), 1000);
    assert_eq!(get("/zipped").await.unwrap(), b"{\"a\":1}");
    for (path, error) in [
        ("/declared", FetchError::TooLarge(1000)),
        ("/endless", FetchError::TooLarge(1000)),
        ("/bomb", FetchError::TooLarge(1000)),
        ("/never", FetchError::TooSlow(2)),
        ("/redirect", FetchError::Answered(307)),
        ("/expired", FetchError::Answered(403)),
        ("/busy", FetchError::Answered(503)),
        ("/missing", FetchError::Answered(404)),
        ("/torn", FetchError::Packed),
        ("/br", FetchError::Packed),
    ] {
        let may_pass = matches!(path, "/never" | "/busy");
        let said = get(path).await.unwrap_err();
        assert_eq!((said.may_pass(), &said), (may_pass, &error), "{path}");
        assert!(!said.to_string().contains("localhost"), "{said}");
    }
}
