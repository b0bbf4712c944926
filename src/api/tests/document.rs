//! The description: what it says is what is there.
use super::*;
use std::path::Path;

#[test]
fn the_description_is_the_one_in_the_repository() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let text = super::super::description().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("ASSAY_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is not what the code says; run this test once with ASSAY_UPDATE_DOCS=1 and read the difference"
    );
}

#[tokio::test]
async fn the_description_is_public_and_names_a_refusal_for_everything() {
    let world = World::new().await;
    let answer = world.ask("", "/api/v1/openapi.json", &[]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let tag = answer.header("etag").to_owned();
    assert_eq!(world.ask("", "/api/v1/openapi.json", &[("if-none-match", &tag)]).await.status, 304);
    let json = answer.json();
    assert!(json["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = json["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 8);
    for (path, item) in paths {
        assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), ["get"], "{path}: this API only reads");
        let get = &item["get"];
        let scope = if path.ends_with("/deliveries") { "deliveries:read" } else { "metrics:read" };
        assert_eq!(get["security"][0]["key"][0], scope, "{path}");
        for status in ["200", "304", "401", "403", "404", "406", "422", "429", "503"] {
            assert!(get["responses"][status].is_object(), "{path} {status}");
        }
    }
    assert_eq!(json["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    assert!(json["components"]["schemas"]["Problem"].is_object());
}
