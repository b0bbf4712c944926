//! The gateway's numbers, over HTTP, on the real program: run by `make bench`, never by the suite.
//!
//! Everything is measured in one run on one machine: how long the disk takes for an fsync, what `pgbench` stores with
//! single-row inserts of a body of the same size from 64 clients, what the gateway accepts, and how long its answers
//! take at half of that. The load generator runs on the same cores.

use crate::load::{self, Outcome};
use crate::process::{Assay, Database, SECRET};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Recorded bodies, where they are at hand; else one like them.
fn bodies() -> Vec<String> {
    let folder = std::env::var_os("ASSAY_TEST_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from).join("events");
    let mut bodies = Vec::new();
    for name in ["lifesnaps", "garmin_whoop", "furberg"] {
        let Ok(file) = std::fs::File::open(folder.join(format!("{name}.events.jsonl.gz"))) else { continue };
        for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
            let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            bodies.push(event["body"].to_string());
        }
    }
    if bodies.is_empty() {
        println!("no recorded events at {} (set ASSAY_TEST_DATA): a made-up body instead", folder.display());
        bodies.push(crate::process::daily("bench", "2026-11-20", 12_345));
    }
    bodies
}

/// The median of writing eight kilobytes and waiting for the disk, in milliseconds: PostgreSQL's commit.
fn fsync_ms() -> f64 {
    let path = std::env::temp_dir().join(format!("assay-fsync-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&vec![0; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    let mut took: Vec<Duration> = (0..200)
        .map(|n| {
            let started = Instant::now();
            std::os::unix::fs::FileExt::write_all_at(&file, &[1; 8192], n % 100 * 8192).unwrap();
            file.sync_data().unwrap();
            started.elapsed()
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    took.sort_unstable();
    took[took.len() / 2].as_secs_f64() * 1e3
}

/// Single-row inserts a second from 64 clients, each its own durable commit. The body is a constant of the prepared
/// statement, so that it is neither sent nor read again; with `sent` it is a parameter and comes with each insert, as
/// everybody who stores different bodies must do it.
fn pgbench(database: &Database, body: &str, seconds: u64, sent: bool) -> f64 {
    run_pgbench(database, body, seconds, sent, &[])
}

/// The same at a fixed rate: how long an insert takes from the moment when it was due.
fn pgbench_at(database: &Database, body: &str, seconds: u64, rate: f64) -> Outcome {
    let folder = std::env::temp_dir().join(format!("assay-pgbench-log-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let prefix = format!("--log-prefix={}", folder.join("log").display());
    run_pgbench(database, body, seconds, false, &["-R", &format!("{rate:.0}"), "-l", &prefix]);
    let logs = std::fs::read_dir(&folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let mut took: Vec<Duration> = logs
        .flat_map(|log| log.lines().map(|line| Duration::from_micros(line.split(' ').nth(2).unwrap().parse().unwrap())).collect::<Vec<_>>())
        .collect();
    std::fs::remove_dir_all(folder).unwrap();
    took.sort_unstable();
    Outcome { took, ..Outcome::default() }
}

fn run_pgbench(database: &Database, body: &str, seconds: u64, sent: bool, more: &[&str]) -> f64 {
    let bin = PathBuf::from(std::env::var_os("PG_BIN").expect("PG_BIN is not set; run it with `make bench`"));
    let file = std::env::temp_dir().join(format!("assay-pgbench-{}.sql", std::process::id()));
    let body = format!("\\x{}", hex::encode(body));
    let value = if sent { ":body".to_owned() } else { format!("'{body}'") };
    std::fs::write(&file, format!("INSERT INTO single_rows (body) VALUES ({value});\n")).unwrap();
    let out = Command::new(bin.join("pgbench"))
        .args(["-n", "-M", "prepared", "-c", "64", "-j", "2", "-T", &seconds.to_string(), "-D", &format!("body={body}")])
        .args(more)
        .arg("-f")
        .arg(&file)
        .arg(&database.url)
        .output()
        .unwrap();
    std::fs::remove_file(file).unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    said.lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&out.stderr)))
}

/// A checkpoint, so that the files of the write-ahead log are used again, as on any server that has been up for a while:
/// a fresh one zeroes sixteen megabytes on the way for every sixteen it writes. Then a sync: what was written before, the kernel
/// would write back half a minute later, all at once, and whoever commits then waits behind it. Needs the superuser of `make bench`.
fn checkpoint() {
    let [bin, dir, port] = ["PG_BIN", "PG_DIR", "PG_PORT"].map(|name| std::env::var(name).expect("run it with `make bench`"));
    let done = Command::new(PathBuf::from(bin).join("psql"))
        .args(["-q", "-h", &dir, "-p", &port, "-U", "postgres", "-d", "postgres", "-c", "CHECKPOINT"])
        .status()
        .unwrap();
    assert!(done.success());
    assert!(Command::new("sync").status().unwrap().success());
}

/// Resident memory and its peak, in MB.
fn memory(assay: &Assay) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", assay.child.id())).unwrap();
    let kb = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0.0);
    (kb("VmRSS:") / 1024.0, kb("VmHWM:") / 1024.0)
}

/// Seconds of processor time so far: this program, the one that is measured, and its PostgreSQL with all its processes.
fn cpu(assay: &Assay) -> [f64; 3] {
    let stat = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<String> = text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        Some((fields.get(1)?.clone(), (ticks(11) + ticks(12)) / 100.0))
    };
    let postmaster = std::env::var_os("PG_DIR")
        .and_then(|dir| std::fs::read_to_string(PathBuf::from(dir).join("data/postmaster.pid")).ok())
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_default();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let postgres = processes.filter_map(|pid| stat(&pid)).filter(|(parent, _)| *parent == postmaster).map(|(_, seconds)| seconds).sum();
    let own = |pid: u32| stat(&pid.to_string()).map_or(0.0, |(_, seconds)| seconds);
    [own(std::process::id()), own(assay.child.id()), postgres]
}

/// Processor time so far that the machine's host gave to others while we wanted it, and all of it; in ticks of all cores.
fn stolen() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
    (ticks.get(7).copied().unwrap_or(0.0), ticks.iter().sum())
}

/// What each delivery of a run cost, in microseconds of processor time.
fn say_cpu(before: [f64; 3], after: [f64; 3], deliveries: u64) {
    let [load, program, postgres] = [0, 1, 2].map(|n| (after[n] - before[n]) * 1e6 / deliveries.max(1) as f64);
    println!("  processor time a delivery: load generator {load:.0} us, program {program:.0} us, PostgreSQL {postgres:.0} us");
}

fn address(assay: &Assay) -> SocketAddr {
    assay.address.strip_prefix("http://").unwrap().parse().unwrap()
}

fn say(what: &str, o: &Outcome) {
    println!(
        "{what}: {} accepted, {:.0} a second; {} answered 503, {} failed, {} never sent; p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, worst {:.2} ms",
        o.accepted,
        o.rate(),
        o.unavailable,
        o.failed,
        o.unsent,
        o.quantile(0.5),
        o.quantile(0.99),
        o.quantile(0.999),
        o.quantile(1.0)
    );
}

#[tokio::test]
#[ignore = "measures the machine: make bench"]
async fn bench_deliveries_over_http() {
    let seconds = variable("ASSAY_BENCH_SECONDS", 15_u64);
    let role = variable("ASSAY_BENCH_ROLE", "web".to_owned());
    let bodies = bodies();
    let mean = bodies.iter().map(String::len).sum::<usize>() / bodies.len();
    let typical = bodies.iter().min_by_key(|b| b.len().abs_diff(mean)).cloned().unwrap();
    let database = Database::new().await;
    let mut conn = database.connect().await;
    sqlx::query("CREATE TABLE single_rows (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), created_at timestamptz NOT NULL DEFAULT now(), body bytea NOT NULL)")
        .execute(&mut conn)
        .await
        .unwrap();
    let fsync = fsync_ms();
    println!("fsync {fsync:.2} ms; bodies of {mean} bytes on average ({} different ones); ASSAY_ROLE={role}", bodies.len());
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", &role)]).await;
    let to = address(&assay);
    // Warm both, then measure each twice, in turns.
    pgbench(&database, &typical, 2, false);
    load::saturate(to, 64, Duration::from_secs(2), load::requests(&bodies, SECRET, "warm", 60_000)).await;
    let (mut single, mut sent, mut few, mut whole) = (0.0, 0.0, 0.0, 0.0);
    for turn in 0..2 {
        let tps = pgbench(&database, &typical, seconds / 2, false);
        let with_body = pgbench(&database, &typical, seconds / 2, true);
        println!("pgbench, 64 clients: {tps:.0} inserts a second; {with_body:.0} where each sends its body");
        (single, sent) = (single + tps / 2.0, sent + with_body / 2.0);
        for (connections, sum) in [(64, &mut few), (256, &mut whole)] {
            let tag = format!("full{turn}-{connections}");
            let requests = load::requests(&bodies, SECRET, &tag, 30_000 * seconds as usize / 2);
            let before = cpu(&assay);
            let full = load::saturate(to, connections, Duration::from_secs(seconds / 2), requests).await;
            let after = cpu(&assay);
            say(&format!("gateway, {connections} connections"), &full);
            say_cpu(before, after, full.accepted);
            assert_eq!(full.failed, 0);
            *sum += full.rate() / 2.0;
        }
    }
    // An open loop beyond what is taken keeps every connection it has busy; it has 256, below too. With as many as pgbench has
    // clients, all of them wait in the same two or three flushes, and the cores for them.
    println!("ratio {:.2} (aim 1 or more); {:.2} where pgbench sends its bodies", whole / single, whole / sent);
    println!("with 64 connections {:.2}; {:.2}", few / single, few / sent);
    let rate = whole / 2.0;
    checkpoint();
    let inserts = pgbench_at(&database, &typical, seconds, rate);
    checkpoint();
    let requests = load::requests(&bodies, SECRET, "half", (rate * seconds as f64) as usize);
    let (before, host) = (cpu(&assay), stolen());
    let half = load::open_loop(to, 256, rate, requests).await;
    let (after, host_after) = (cpu(&assay), stolen());
    say(&format!("open loop at half of it, {rate:.0} a second"), &half);
    say_cpu(before, after, half.accepted);
    println!(
        "  pgbench at the same rate: p50 {:.2} ms, p99 {:.2} ms; the host took {:.1} % of the processors meanwhile",
        inserts.quantile(0.5),
        inserts.quantile(0.99),
        100.0 * (host_after.0 - host.0) / (host_after.1 - host.1).max(1.0)
    );
    println!(
        "p99 {:.2} ms (aim {:.2}: four fsyncs and 5 ms); resident {:.0} MB, peak {:.0} MB",
        half.quantile(0.99),
        4.0 * fsync + 5.0,
        memory(&assay).0,
        memory(&assay).1
    );
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM terra_webhooks_raw WHERE trace_id LIKE 'half%'").fetch_one(&mut conn).await.unwrap();
    assert_eq!(stored as u64, half.accepted, "rows are the distinct 2xx");
}

#[tokio::test]
#[ignore = "measures the machine: make bench"]
async fn bench_memory_at_a_thousand_a_second() {
    let seconds = variable("ASSAY_BENCH_MEMORY_SECONDS", 120_u64);
    let rate = variable("ASSAY_BENCH_MEMORY_RATE", 1000.0_f64);
    let bodies = bodies();
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    println!("resident after the start {:.0} MB", memory(&assay).0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let tag = format!("s{}", begun.elapsed().as_secs());
        let o = load::open_loop(address(&assay), 64, rate, load::requests(&bodies, SECRET, &tag, (rate * 10.0) as usize)).await;
        let (now, peak) = memory(&assay);
        println!(
            "{:>4} s: resident {now:.0} MB, peak {peak:.0} MB; {:.0} a second, p99 {:.2} ms",
            begun.elapsed().as_secs(),
            o.rate(),
            o.quantile(0.99)
        );
        assert_eq!(o.failed, 0);
    }
}

/// Asks for the health check at `every` for `span`, on a thread of its own with blocking sockets, so that nothing of the
/// load generator's is measured. `keep`: on one connection; else on a new one each time. Sorted.
fn probe(to: SocketAddr, every: Duration, span: Duration, keep: bool) -> std::thread::JoinHandle<Vec<Duration>> {
    use std::io::Read;
    std::thread::spawn(move || {
        let open = || {
            let stream = std::net::TcpStream::connect(to).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let (begun, mut took, mut kept) = (Instant::now(), Vec::new(), open());
        let mut n = 0;
        while begun.elapsed() < span {
            n += 1;
            std::thread::sleep((begun + every * n).saturating_duration_since(Instant::now()));
            let asked = Instant::now();
            if !keep {
                kept = open();
            }
            kept.write_all(b"GET /functions/v1/health-check HTTP/1.1\r\nhost: assay\r\n\r\n").unwrap();
            let mut answer = [0; 4096];
            let read = kept.read(&mut answer).unwrap();
            took.push(asked.elapsed());
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
        }
        took.sort_unstable();
        took
    })
}

#[tokio::test]
#[ignore = "measures the machine: make bench"]
async fn bench_health_check_while_the_queue_is_saturated() {
    let (fill, seconds) = (variable("ASSAY_BENCH_FILL_SECONDS", 6_u64), variable("ASSAY_BENCH_SECONDS", 15_u64));
    let bodies = bodies();
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let assay = Assay::start(&database).await;
    let to = address(&assay);
    let say = |what: &str, took: &[Duration]| {
        let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
        println!("{what}: {} probes, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", took.len(), at(0.5), at(0.99), at(1.0));
    };
    say("idle, new connections", &probe(to, Duration::from_millis(5), Duration::from_secs(3), false).join().unwrap());
    let filled = load::saturate(to, 64, Duration::from_secs(fill), load::requests(&bodies, SECRET, "fill", 20_000 * fill as usize)).await;
    let pending = "SELECT count(*) FROM background_jobs WHERE status = 'pending' AND scheduled_at <= now()";
    let before: i64 = sqlx::query_scalar(pending).fetch_one(&mut conn).await.unwrap();
    println!("{} deliveries at {:.0} a second; {before} jobs wait", filled.accepted, filled.rate());
    let span = Duration::from_secs(seconds);
    let (fresh, kept) = (probe(to, Duration::from_millis(10), span, false), probe(to, Duration::from_millis(10), span, true));
    let o = load::open_loop(to, 64, 1000.0, load::requests(&bodies, SECRET, "on", 1000 * seconds as usize)).await;
    let after: i64 = sqlx::query_scalar(pending).fetch_one(&mut conn).await.unwrap();
    println!("meanwhile {:.0} deliveries a second, their p99 {:.2} ms; {after} jobs wait", o.rate(), o.quantile(0.99));
    say("health-check, new connections", &fresh.join().unwrap());
    say("health-check, one connection", &kept.join().unwrap());
}
