//! What answers under which path, read off the router itself, so that a test can walk it and miss nothing.
//!
//! axum keeps its routes to itself but prints them; [`read`] takes them from there and fails loudly when the print has
//! another shape.

use super::{Services, config::Config, leptos_options, live::Live, router};
use crate::{
    access::site::Site,
    gateway::{Gateway, GatewaySettings},
    health::Monitor,
    jobs,
    store::DatabaseUrl,
};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Method in capitals and path with its parameters in braces.
pub type Declared = (String, String);

/// The routes of a program with this configuration. No database is asked: nothing is served.
///
/// # Errors
/// A sentence: the pages' files are missing, or axum prints its routes in another way than this reads.
pub async fn of(config: Config) -> Result<Vec<Declared>, String> {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let db = DatabaseUrl::socket(Path::new("/nonexistent"), 1, "nobody", "nothing").pools(1, 1);
    let leptos = leptos_options::find(config.addr)?;
    let services = Arc::new(Services {
        db: db.clone(),
        jobs_db: None,
        monitor: Monitor::spawn(db.clone(), config.data_dir.clone(), Default::default, cancel.clone()),
        live: Live::spawn(db.clone(), cancel),
        gateway: Gateway::new(db, GatewaySettings::default()),
        site: Site::new(config.public_url.as_deref())?,
        kinds: jobs::kinds::all(),
        terra: None,
        config,
    });
    read(&format!("{:?}", router::build(services, leptos)?))
        .ok_or_else(|| "axum prints its routes in another way; mend server/paths.rs.".into())
}

/// Method and path of every route in the print of a router; fallbacks apart.
fn read(print: &str) -> Option<Vec<Declared>> {
    let own = print.split("fallback_router:").next()?;
    let (routes, paths) = own.split_once("node: Node")?;
    let numbered = |text: &'static str| move |part: &'_ str| part.split_once(text).map(|(n, rest)| (n.to_owned(), rest.to_owned()));
    let paths: BTreeMap<String, String> = paths
        .split("RouteId(")
        .skip(1)
        .map(numbered("): \""))
        .map(|p| p.and_then(|(n, rest)| Some((n, rest.split_once('"')?.0.to_owned()))))
        .collect::<Option<_>>()?;
    let mut found = Vec::new();
    for part in routes.split("RouteId(").skip(1) {
        let (n, rest) = numbered("): MethodRouter(MethodRouter { ")(part)?;
        let path = paths.get(&n)?;
        let before = found.len();
        let fields = rest.split_once(", fallback:")?.0;
        for method in ["get", "delete", "patch", "post", "put"] {
            let set = fields.split_once(&format!("{method}: "))?.1;
            if !set.starts_with("None") {
                found.push((method.to_uppercase(), path.clone()));
            }
        }
        if found.len() == before {
            return None;
        }
    }
    found.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, middleware::from_fn, routing};

    #[test]
    fn every_route_is_found_through_layers_and_merges() {
        let layer = from_fn(|request, next: axum::middleware::Next| async move { next.run(request).await });
        let part: Router = Router::new().route("/b/{id}", routing::get(|| async {}).post(|| async {})).layer(layer);
        let whole: Router = Router::new().route("/a", routing::delete(|| async {})).merge(part).fallback(|| async { "none" });
        let expected = [("DELETE", "/a"), ("GET", "/b/{id}"), ("POST", "/b/{id}")].map(|(m, p)| (m.to_owned(), p.to_owned()));
        assert_eq!(read(&format!("{whole:?}")), Some(expected.to_vec()));
        assert_eq!(read("Router"), None);
    }
}
