//! `/metrics` as Prometheus reads it, and the dashboard and the alert rules that name its metrics.

use crate::process::{Assay, Database, SECRET, SERVICE_KEY, daily, eventually, send, signature};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

#[derive(Debug, Default)]
struct Exposition {
    types: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Reads the text format and complains as `promtool check metrics` does.
fn read(text: &str) -> Exposition {
    let mut found = Exposition::default();
    let (mut helped, mut seen) = (BTreeSet::new(), BTreeSet::new());
    assert!(text.ends_with('\n'), "the last line does not end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && help.ends_with('.') && helped.insert(name.to_owned()), "{line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert!(helped.contains(name), "no HELP before {line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "counters, and only they, end in _total: {name}");
            assert!(found.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is declared twice");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').map_or((series, ""), |(n, l)| (n, l.strip_suffix('}').unwrap()));
        assert!(is_name(name), "{line}");
        let labels: BTreeMap<String, String> = labels
            .split("\",")
            .filter(|l| !l.is_empty())
            .map(|pair| {
                let (label, value) = pair.split_once("=\"").unwrap();
                assert!(is_name(label), "{line}");
                (label.to_owned(), value.trim_end_matches('"').to_owned())
            })
            .collect();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s))
            .filter(|b| found.types.get(*b).is_some_and(|t| t == "histogram"));
        assert!(found.types.contains_key(base.unwrap_or(name)), "no TYPE before {line}");
        assert!(seen.insert(series.to_owned()), "twice: {series}");
        found.samples.push(Sample { name: name.to_owned(), labels, value: value.parse().unwrap() });
    }
    found
}

/// Each histogram rises to its +Inf bucket, which is its count.
fn histograms_add_up(found: &Exposition) {
    for (name, _) in found.types.iter().filter(|(_, kind)| *kind == "histogram") {
        let mut series: BTreeMap<Vec<(String, String)>, Vec<(f64, f64)>> = BTreeMap::new();
        for s in found.samples.iter().filter(|s| s.name == format!("{name}_bucket")) {
            let bound = if s.labels["le"] == "+Inf" { f64::INFINITY } else { s.labels["le"].parse().unwrap() };
            let rest = s.labels.clone().into_iter().filter(|(l, _)| l != "le").collect();
            series.entry(rest).or_default().push((bound, s.value));
        }
        for (labels, buckets) in series {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?} {buckets:?}");
            let (last, all) = buckets.last().unwrap();
            let of = |end: &str| {
                let name = format!("{name}{end}");
                found.samples.iter().find(|s| s.name == name && s.labels.clone().into_iter().collect::<Vec<_>>() == labels).unwrap().value
            };
            assert!(last.is_infinite() && *all == of("_count") && of("_sum") >= 0.0, "{name} {labels:?}");
        }
    }
}

fn value(found: &Exposition, name: &str, label: &str) -> f64 {
    found.samples.iter().filter(|s| s.name == name && (label.is_empty() || s.labels.values().any(|v| v == label))).map(|s| s.value).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_well_formed_complete_bounded_and_true() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let client = reqwest::Client::new();
    for n in 0..20 {
        let body = daily(&format!("metrics-person-{n}"), "2026-11-20", 5000 + n);
        for _ in 0..2 {
            assert_eq!(send(&client, &assay.address, &format!("m-{n}"), &body).await.unwrap().status(), 200);
        }
    }
    for _ in 0..160 {
        client.post(format!("{}/functions/v1/webhook-terra", assay.address)).body("{}").send().await.unwrap();
    }
    let mut conn = database.connect().await;
    eventually("all is scored", 30, async || {
        sqlx::query_scalar::<_, i64>("SELECT count(DISTINCT user_id) FROM metric_confidence_cache").fetch_one(&mut conn).await.unwrap()
            == 20
    })
    .await;
    let mut found = Exposition::default();
    eventually("the snapshot shows it", 20, async || {
        let answer = client.get(format!("{}/metrics", assay.address)).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
        found = read(&answer.text().await.unwrap());
        value(&found, "assay_jobs_settled_total", "completed") >= 21.0
            && value(&found, "assay_jobs", "pending") == 0.0
            && value(&found, "assay_leader", "") == 1.0
    })
    .await;
    histograms_add_up(&found);
    for (name, label, expected) in [
        ("assay_gateway_answers_total", "accepted", 20.0),
        ("assay_gateway_answers_total", "duplicate", 20.0),
        ("assay_ack_seconds_count", "", 200.0),
        ("assay_health", "", 0.0),
        ("assay_ready", "", 1.0),
        ("assay_workers_alive", "", 1.0),
        ("assay_leader", "", 1.0),
    ] {
        assert_eq!(value(&found, name, label), expected, "{name} {label}");
    }
    // A hundred at once, and a little more than one a second while they come.
    let refused = |reason| value(&found, "assay_gateway_refused_total", reason);
    let (unsigned, limited) = (refused("signature_missing"), refused("rate_limited"));
    assert!(unsigned >= 100.0 && limited >= 1.0 && unsigned + limited == 160.0, "{unsigned} refused, {limited} limited");
    assert_eq!(value(&found, "assay_rate_limited_total", "unsigned"), limited);
    assert!(value(&found, "assay_run_seconds_count", "webhook_processing") > 0.0);
    assert_eq!(value(&found, "assay_job_age_seconds_count", "webhook_processing"), 20.0);
    for name in [
        "assay_flush_rows_count",
        "assay_claim_seconds_count",
        "assay_values_scored_total",
        "assay_score_count",
        "assay_pool_connections",
        "assay_disk_free_bytes",
        "assay_log_lines_total",
    ] {
        assert!(value(&found, name, "") > 0.0, "{name}");
    }
    for name in [
        "assay_queue_lag_seconds",
        "assay_jobs_rescued_total",
        "assay_jobs_died_total",
        "assay_dead_letters_open",
        "assay_confidence_reads_total",
        "assay_latest_view_age_seconds",
        "assay_database_latency_seconds",
    ] {
        assert!(found.samples.iter().any(|s| s.name == name), "{name} is missing");
    }
    assert!(found.samples.len() < 1_000, "{} series", found.samples.len());
    for s in &found.samples {
        for v in s.labels.values() {
            assert!(v.len() < 40 && !v.contains("metrics-person") && !v.contains("127.0.0.1") && !v.contains('/'), "{s:?}");
        }
    }
    // Through a proxy it asks for the key.
    let proxied = || client.get(format!("{}/metrics", assay.address)).header("x-forwarded-for", "203.0.113.9");
    assert_eq!(proxied().send().await.unwrap().status(), 401);
    assert_eq!(proxied().bearer_auth(SERVICE_KEY).send().await.unwrap().status(), 200);
    eventually("the slow figures are there: asked for every five seconds until there are some", 20, async || {
        found = read(&client.get(format!("{}/metrics", assay.address)).send().await.unwrap().text().await.unwrap());
        found.samples.iter().any(|s| s.name == "assay_provider_silence_seconds" && s.labels["provider"] == "fitbit")
    })
    .await;
    named_metrics_exist(&found);
    // A person more, an address more: not a series more. What came of jobs that ran meanwhile for the first time may be.
    let series = |found: &Exposition| -> BTreeSet<String> {
        found
            .samples
            .iter()
            .filter(|s| !s.labels.contains_key("kind") && s.name != "assay_jobs_settled_total")
            .map(|s| format!("{} {:?}", s.name, s.labels))
            .collect()
    };
    let (before, settled) = (series(&found), value(&found, "assay_jobs_settled_total", "completed"));
    let body = daily("somebody-else", "2026-11-20", 1);
    for signed in [true, false] {
        let hook = client.post(format!("{}/functions/v1/webhook-terra", assay.address)).header("x-forwarded-for", "203.0.113.77");
        let hook = if signed { hook.header("terra-signature", signature(SECRET, body.as_bytes())) } else { hook };
        let answer = hook.header("content-type", "application/json").body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), if signed { 200 } else { 401 });
    }
    eventually("the address is known", 20, async || {
        let sql = "SELECT EXISTS (SELECT FROM refused_deliveries WHERE address = '203.0.113.77')";
        sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut conn).await.unwrap()
    })
    .await;
    eventually("the person is scored, and a later snapshot shows it", 30, async || {
        found = read(&client.get(format!("{}/metrics", assay.address)).send().await.unwrap().text().await.unwrap());
        let sql = "SELECT count(DISTINCT user_id) FROM metric_confidence_cache";
        let scored: i64 = sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap();
        scored == 21
            && value(&found, "assay_jobs_settled_total", "completed") >= settled + 2.0
            && value(&found, "assay_jobs", "pending") == 0.0
    })
    .await;
    let after = series(&found);
    assert!(after.is_subset(&before), "new series: {:#?}", after.difference(&before).collect::<Vec<_>>());
}

/// Every metric that the dashboard and the alert rules name is one that the program has.
fn named_metrics_exist(found: &Exposition) {
    let mut known: BTreeSet<&str> = found.samples.iter().map(|s| s.name.as_str()).collect();
    known.extend(found.types.keys().map(String::as_str));
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for file in ["grafana/assay-dashboard.json", "prometheus/alerts.yml", "MONITORING.md"] {
        let text = std::fs::read_to_string(docs.join(file)).unwrap();
        let named: BTreeSet<&str> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|w| w.starts_with("assay_") && !w.starts_with("assay_web") && !w.starts_with("assay_worker"))
            .collect();
        assert!(named.len() > 10, "{file} names {} metrics", named.len());
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names what the program does not have: {unknown:?}");
    }
    let described = std::fs::read_to_string(docs.join("MONITORING.md")).unwrap();
    let silent: Vec<_> = found.types.keys().filter(|name| !described.contains(name.as_str())).collect();
    assert!(silent.is_empty(), "docs/MONITORING.md does not describe {silent:?}");
}

#[test]
fn the_dashboard_and_the_alert_rules_are_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(root.join("docs/grafana/assay-dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 12);
    for panel in panels {
        assert!(panel["title"].is_string() && panel["type"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
        for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
            let expr = target["expr"].as_str().unwrap();
            assert_eq!(expr.matches('(').count(), expr.matches(')').count(), "{expr}");
        }
    }
    let rules = std::fs::read_to_string(root.join("docs/prometheus/alerts.yml")).unwrap();
    let guide = std::fs::read_to_string(root.join("docs/TROUBLESHOOTING_GUIDE.md")).unwrap();
    let anchors: BTreeSet<String> = guide
        .lines()
        .filter_map(|l| l.strip_prefix("## "))
        .map(|t| {
            t.to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect();
    let alerts: Vec<&str> = rules.split("- alert:").skip(1).collect();
    assert!(alerts.len() >= 10, "{} alerts", alerts.len());
    for alert in alerts {
        for part in ["expr:", "for:", "severity:", "summary:", "runbook_url:"] {
            assert!(alert.contains(part), "no {part} in: {alert}");
        }
        let anchor = alert.split("TROUBLESHOOTING_GUIDE.md#").nth(1).and_then(|a| a.split(['"', '\n']).next()).unwrap();
        assert!(anchors.contains(anchor), "no section #{anchor} in the guide");
    }
}
