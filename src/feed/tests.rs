#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use super::*;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::{Compression, write::GzEncoder};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

const SECRET: &str = "a-secret-for-tests";

/// What the server of a test took.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    trace_id: String,
    ordering: Option<String>,
    body: Vec<u8>,
}

#[derive(Default)]
struct Server {
    taken: Mutex<Vec<Taken>>,
    /// So many deliveries are put off first.
    busy: AtomicU32,
    /// Cancelled when so many were taken.
    stop_at: Mutex<Option<(usize, CancellationToken)>>,
}

async fn take(Shared(server): Shared<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let signature = text("terra-signature").unwrap();
    let t: i64 = signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((chrono::Utc::now().timestamp() - t).abs() < 30, "signed now");
    if signature != sign(SECRET, t, &body) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if server.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response();
    }
    let mut taken = server.taken.lock().unwrap();
    taken.push(Taken { trace_id: text("x-terra-trace-id").unwrap(), ordering: text("x-terra-ordering-timestamp"), body: body.to_vec() });
    if let Some((count, cancel)) = server.stop_at.lock().unwrap().as_ref()
        && taken.len() >= *count
    {
        cancel.cancel();
    }
    if body.starts_with(b"{\"bad\"") { StatusCode::BAD_REQUEST.into_response() } else { StatusCode::OK.into_response() }
}

async fn server() -> (Arc<Server>, Target) {
    let server = Arc::new(Server::default());
    let router = axum::Router::new().route("/functions/v1/webhook-terra", post(take)).with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (server, Target { address, secret: SECRET.into(), concurrency: 4, attempts: 3 })
}

/// A directory of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("assay-feed-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst)));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        if name.ends_with(".gz") {
            let mut packer = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
            packer.write_all(content.as_bytes()).unwrap();
            packer.finish().unwrap();
        } else {
            std::fs::write(&path, content).unwrap();
        }
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn recorded(from: u32, to: u32) -> String {
    // A blank inside the body: exact bytes must survive.
    (from..to)
        .map(|n| format!("{{\"trace_id\":\"trace-{n}\",\"ordering_ms\":{},\"body\":{{\"type\":\"daily\", \"n\":{n}}}}}\n", 1_000 + n))
        .collect()
}

fn options(files: &[&Path], target: &Target, folder: &Folder) -> ReplayOptions {
    ReplayOptions {
        files: files.iter().map(|p| p.to_path_buf()).collect(),
        target: target.clone(),
        rate: None,
        shuffle: None,
        repeat: 1,
        resume: Some(folder.0.join("deep/state.json")),
        show: Show::Nothing,
    }
}

fn counts(server: &Server) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for taken in server.taken.lock().unwrap().iter() {
        *counts.entry(taken.trace_id.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn the_signature_is_terras() {
    // Computed with another implementation (Python's hmac).
    let expected = "t=1700000000,v1=d9f7891f6dd6f5ec554556135cdad1f0eee782635ee7d0df9ddc25ff21be1793";
    assert_eq!(sign("test-secret-1", 1_700_000_000, b"{\"type\":\"daily\"}"), expected);
}

#[tokio::test]
async fn a_replay_keeps_bytes_trace_ids_and_ordering_and_skips_bad_lines() {
    let (server, target) = server().await;
    let folder = Folder::new();
    let plain = folder.file(
        "a.jsonl",
        &format!("{}\nnot json\n{{\"trace_id\":\"x\",\"body\":[]}}\n{{\"trace_id\":\"late\",\"body\":{{\"bad\":1}}}}\n", recorded(0, 20)),
    );
    let packed = folder.file("b.jsonl.gz", &recorded(20, 50));
    let summary = replay(options(&[&plain, &packed], &target, &folder), CancellationToken::new()).await.unwrap();
    assert_eq!((summary.sent(), summary.skipped, summary.failed()), (51, 2, 1));
    assert_eq!(summary.statuses, BTreeMap::from([(200, 50), (400, 1)]));
    let taken = server.taken.lock().unwrap().clone();
    let seven = taken.iter().find(|t| t.trace_id == "trace-7").unwrap();
    assert_eq!(seven.body, b"{\"type\":\"daily\", \"n\":7}");
    assert_eq!(seven.ordering.as_deref(), Some("1007"));
    assert!(taken.iter().any(|t| t.trace_id == "late" && t.ordering.is_none()));
    assert!(summary.to_string().contains("51 deliveries") && summary.to_string().contains("2 lines skipped"));
}

#[tokio::test]
async fn a_stopped_replay_goes_on_where_it_stopped() {
    for shuffle in [None, Some(5)] {
        let (server, target) = server().await;
        let folder = Folder::new();
        let (plain, packed) = (folder.file("a.jsonl", &recorded(0, 120)), folder.file("b.jsonl.gz", &recorded(120, 200)));
        let run = |cancel| replay(ReplayOptions { shuffle, ..options(&[&plain, &packed], &target, &folder) }, cancel);
        let cancel = CancellationToken::new();
        *server.stop_at.lock().unwrap() = Some((70, cancel.clone()));
        let first = run(cancel).await.unwrap().sent();
        assert!((70..120).contains(&first), "{first}");
        *server.stop_at.lock().unwrap() = None;
        let second = run(CancellationToken::new()).await.unwrap().sent();
        assert_eq!(first + second, 200, "nothing twice, nothing left out");
        assert_eq!(counts(&server).len(), 200);
        assert_eq!(run(CancellationToken::new()).await.unwrap().sent(), 200, "after a finished replay the next is a new one");
    }
}

#[tokio::test]
async fn shuffle_changes_the_order_the_same_way_and_repeat_sends_duplicates() {
    let (server, target) = server().await;
    let target = Target { concurrency: 1, ..target };
    let folder = Folder::new();
    let file = folder.file("a.jsonl", &recorded(0, 60));
    let run = |shuffle| {
        replay(ReplayOptions { shuffle, repeat: 3, resume: None, ..options(&[&file], &target, &folder) }, CancellationToken::new())
    };
    let mut orders = Vec::new();
    for shuffle in [Some(1), Some(1), Some(2), None] {
        assert_eq!(run(shuffle).await.unwrap().sent(), 180);
        let taken = std::mem::take(&mut *server.taken.lock().unwrap());
        let order: Vec<_> = taken.iter().map(|t| t.trace_id.clone()).collect();
        assert_eq!(order.iter().filter(|id| *id == "trace-9").count(), 3);
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
    assert!(orders[0] != orders[2] && orders[0] != orders[3]);
    assert_eq!(orders[3][..4], ["trace-0", "trace-0", "trace-0", "trace-1"]);
}

#[tokio::test]
async fn it_waits_for_a_busy_server_and_holds_the_rate() {
    let (server, target) = server().await;
    server.busy.store(2, Ordering::SeqCst);
    let folder = Folder::new();
    let file = folder.file("a.jsonl", &recorded(0, 21));
    let summary =
        replay(ReplayOptions { rate: Some(100.0), ..options(&[&file], &target, &folder) }, CancellationToken::new()).await.unwrap();
    assert_eq!((summary.sent(), summary.retries), (21, 2));
    assert_eq!(summary.statuses.get(&200), Some(&21));
    assert!(summary.elapsed.as_millis() >= 195, "20 gaps of 10 ms: {:?}", summary.elapsed);
}

#[tokio::test]
async fn what_cannot_work_is_one_clear_sentence() {
    let (_server, target) = server().await;
    let folder = Folder::new();
    let file = folder.file("a.jsonl", &recorded(0, 3));
    let go = |options| replay(options, CancellationToken::new());
    let said = |error: FeedError| error.to_string();

    let refused = said(
        go(ReplayOptions { target: Target { secret: "wrong".into(), ..target.clone() }, ..options(&[&file], &target, &folder) })
            .await
            .unwrap_err(),
    );
    assert!(refused.contains("refused the signature"), "{refused}");
    let missing = said(go(options(&[&folder.0.join("none.jsonl")], &target, &folder)).await.unwrap_err());
    assert!(missing.contains("none.jsonl cannot be read"), "{missing}");
    let nobody = said(
        go(ReplayOptions {
            target: Target { address: "http://127.0.0.1:1".into(), attempts: 2, ..target.clone() },
            ..options(&[&file], &target, &folder)
        })
        .await
        .unwrap_err(),
    );
    assert!(nobody.contains("did not take a delivery after 2 attempts"), "{nobody}");
    let broken = folder.file("c.jsonl.gz", &recorded(0, 2_000));
    let bytes = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let cut = said(go(options(&[&broken], &target, &folder)).await.unwrap_err());
    assert!(cut.contains("c.jsonl.gz cannot be read"), "{cut}");
    let state = folder.file("bad-state.json", "{");
    let unusable = said(go(ReplayOptions { resume: Some(state), ..options(&[&file], &target, &folder) }).await.unwrap_err());
    assert!(unusable.contains("bad-state.json"), "{unusable}");
    for (address, secret) in [("nonsense", SECRET), ("ftp://x", SECRET), ("http://127.0.0.1:3000", "")] {
        assert!(Feeder::new(Target { address: address.into(), secret: secret.into(), ..target.clone() }).is_err(), "{address}");
    }
    assert!(!format!("{target:?}").contains(SECRET), "the secret is never shown");
}

#[tokio::test]
async fn a_simulation_fills_history_and_goes_on_until_cancelled() {
    let (server, target) = server().await;
    let base = SimulateOptions { clients: 4, days: 3, show: Show::Nothing, ..SimulateOptions::demo(&target.address, SECRET) };
    let history = simulate(SimulateOptions { live: false, ..base.clone() }, CancellationToken::new()).await.unwrap();
    assert!(history.sent() > 20 && history.failed() == 0, "{history}");
    let expected: Vec<_> = base.world(chrono::Utc::now()).deliveries().map(|d| d.trace_id).collect();
    assert!(counts(&server).keys().all(|id| expected.contains(id)));

    // Live begins with what today has brought; cancelled when some of it came.
    let before = server.taken.lock().unwrap().len();
    let cancel = CancellationToken::new();
    *server.stop_at.lock().unwrap() = Some((before + 1, cancel.clone()));
    let live = simulate(SimulateOptions { clients: 40, history: false, ..base }, cancel);
    tokio::time::timeout(std::time::Duration::from_secs(60), live).await.expect("something comes live at once").unwrap();
    let taken = server.taken.lock().unwrap();
    assert!(taken.len() > before);
    assert!(taken[before..].iter().all(|t| String::from_utf8_lossy(&t.body).contains("\"reference_id\":\"sim-")));
}

#[tokio::test]
async fn the_real_recordings_can_be_read() {
    let folder = std::env::var_os("ASSAY_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from)
        .join("events");
    if !folder.is_dir() {
        println!("skipped: the recorded deliveries are not here ({})", folder.display());
        return;
    }
    let mut count = 0;
    for name in ["lifesnaps", "furberg", "garmin_whoop"] {
        let mut lines = lines::Lines::open(&folder.join(format!("{name}.events.jsonl.gz")), 0).unwrap();
        while let Some(line) = lines.next_line().unwrap() {
            line.parcel.unwrap_or_else(|why| panic!("{name}:{}: {why}", line.number));
            count += 1;
        }
    }
    assert_eq!(count, 7_002);
}
