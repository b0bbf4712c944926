//! From an accepted delivery to the changed badge on an open page, on the real program, while a thousand other deliveries a
//! second come in: run by `make bench`, never by the suite.
//!
//! Some persons are looked at: each has a trainer with an open page, which listens for live events and fetches itself again
//! as the browser's half does (at once, but at most twice a second). Their steps turn from possible to impossible and back,
//! so each delivery changes their badge. Everybody else's day grows by one delivery a second.

use crate::load;
use crate::process::{Assay, Database, SECRET, send};
use crate::visitors::{client, trainer};
use sqlx::{AssertSqlSafe, Connection as _};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Persons that are looked at.
const LOOKED_AT: usize = 8;
/// As the browser's half waits between two fetches.
const AT_MOST_EVERY: Duration = Duration::from_millis(500);
/// Steps beyond what is possible: the badge is Poor.
const IMPOSSIBLE: u32 = 120_000;

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn body(user: &str, date: chrono::NaiveDate, steps: u32) -> String {
    crate::process::daily(user, &date.to_string(), steps)
}

/// What a page shows of steps: the number, and whether its badge is Poor.
fn shown(html: &str) -> Option<(u32, bool)> {
    let html = html.replace("<!>", ""); // what hydration counts by
    let row = html.split("<tr").skip(1).find(|row| row.contains(">Steps</a>"))?;
    let row = row.split("</tr>").next()?;
    let cell = row.split("num value\">").nth(1)?.split("</td>").next()?;
    // The tags are no text.
    let text: String = cell.split('<').filter_map(|part| part.split_once('>').map(|(_, text)| text)).collect();
    let digits: String = if cell.starts_with('<') { text } else { cell.split('<').next()?.to_owned() + &text };
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, row.contains("badge tier-poor")))
}

struct Page {
    http: reqwest::Client,
    address: String,
    cookie: String,
    user: String,
}

impl Page {
    async fn fetch(&self) -> Option<(u32, bool)> {
        let answer = self.http.get(format!("{}/clients/{}", self.address, self.user)).header("cookie", &self.cookie).send().await.ok()?;
        shown(&answer.text().await.ok()?)
    }

    /// Listens and fetches as the browser does; tells what it shows.
    async fn live(self, tell: watch::Sender<(u32, bool)>) {
        let mut events =
            self.http.get(format!("{}/live?about={}", self.address, self.user)).header("cookie", &self.cookie).send().await.unwrap();
        assert_eq!(events.status(), 200);
        let mut fetched = Instant::now() - AT_MOST_EVERY;
        let mut buffer = String::new();
        loop {
            let Ok(Some(bytes)) = events.chunk().await else { return };
            buffer.push_str(&String::from_utf8_lossy(&bytes));
            if !buffer.contains("event: scores") && !buffer.contains("event:scores") {
                continue;
            }
            buffer.clear();
            tokio::time::sleep(AT_MOST_EVERY.saturating_sub(fetched.elapsed())).await;
            fetched = Instant::now();
            if let Some(seen) = self.fetch().await {
                let _ = tell.send(seen);
            }
        }
    }
}

fn quantile(sorted: &[Duration], q: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * q).round() as usize).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
}

async fn until_idle(conn: &mut sqlx::PgConnection) {
    let end = Instant::now() + Duration::from_secs(240);
    while Instant::now() < end {
        let left: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM background_jobs WHERE status IN ('pending', 'processing') AND type IN ('webhook_processing', 'confidence_calculation')",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the history was not processed in four minutes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures the machine: make bench"]
async fn bench_badge_after_delivery() {
    let seconds = variable("ASSAY_BENCH_SECONDS", 20_u64);
    let rate = variable("ASSAY_BENCH_RATE", 1000.0_f64);
    let crowd = variable("ASSAY_BENCH_PERSONS", 1000_usize);
    let history = variable("ASSAY_BENCH_HISTORY", 28_u64);
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    // Yesterday: a day that is still going on is rightly Poor, whatever it says.
    let today = chrono::Utc::now().date_naive() - chrono::Days::new(1);
    let to = assay.address.strip_prefix("http://").unwrap().parse().unwrap();
    let users: Vec<String> = (0..crowd).map(|i| format!("crowd-{i}")).chain((0..LOOKED_AT).map(|i| format!("seen-{i}"))).collect();

    let past: Vec<String> = (1..=history)
        .rev()
        .flat_map(|back| {
            users
                .iter()
                .enumerate()
                .map(move |(i, u)| (u, today - chrono::Days::new(back), 7000 + (i as u32 * 37 + back as u32 * 311) % 4000))
        })
        .map(|(u, date, steps)| body(u, date, steps))
        .collect();
    let n = past.len();
    let sent = load::saturate(to, 32, Duration::from_secs(300), load::requests(&past, SECRET, "past", n)).await;
    assert_eq!(sent.accepted as usize, n);
    let mut conn = database.connect().await;
    until_idle(&mut conn).await;

    let mut pages = Vec::new();
    for i in 0..LOOKED_AT {
        let user = format!("seen-{i}");
        let cookie = trainer(&assay, &database, &format!("trainer{i}@example.com")).await;
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, '{user}' FROM accounts WHERE email = 'trainer{i}@example.com'"
        )))
        .execute(&mut conn)
        .await
        .unwrap();
        let page = Page { http: client(), address: assay.address.clone(), cookie, user: user.clone() };
        let first = match page.fetch().await {
            Some(first) => first,
            None => {
                let html = page.http.get(format!("{}/clients/{user}", assay.address)).header("cookie", &page.cookie).send().await;
                panic!("the page does not show steps: {}", html.unwrap().text().await.unwrap());
            }
        };
        assert!(!first.1, "{first:?}");
        let (tell, seen) = watch::channel(first);
        tokio::spawn(page.live(tell));
        pages.push((user, seen));
    }
    let _ = conn.close().await;

    let count = (rate * seconds as f64) as usize;
    let growing: Vec<String> =
        (0..count).map(|i| body(&users[i % crowd], today, 500 + 40 * (i / crowd) as u32 + (i % crowd) as u32)).collect();
    let requests = load::requests(&growing, SECRET, "now", count);
    let load = tokio::spawn(load::open_loop(to, 64, rate, requests));
    tokio::time::sleep(Duration::from_secs(2)).await; // the load has begun
    let end = Instant::now() + Duration::from_secs(seconds.saturating_sub(4));
    let probes: Vec<_> = pages
        .into_iter()
        .enumerate()
        .map(|(i, (user, seen))| tokio::spawn(probe(assay.address.clone(), user, i, today, end, seen)))
        .collect();
    let mut took = Vec::new();
    for p in probes {
        took.extend(p.await.unwrap());
    }
    took.sort_unstable();
    let load = load.await.unwrap();
    println!(
        "{} other deliveries a second accepted ({} of {count}, p99 {:.1} ms, {} failed); delivery accepted to changed badge on an open page, {} times: p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, worst {:.0} ms (aim: p99 below 1000)",
        load.rate().round(),
        load.accepted,
        load.quantile(0.99),
        load.failed,
        took.len(),
        quantile(&took, 0.5),
        quantile(&took, 0.95),
        quantile(&took, 0.99),
        quantile(&took, 1.0),
    );
    assert!(took.len() > 20);
}

/// Sends one changed day after another for one person and measures until its page shows it.
async fn probe(
    address: String,
    user: String,
    which: usize,
    today: chrono::NaiveDate,
    end: Instant,
    mut seen: watch::Receiver<(u32, bool)>,
) -> Vec<Duration> {
    let http = client();
    let mut took = Vec::new();
    for n in 0.. {
        // Not in step with the page's own rhythm, nor with each other.
        tokio::time::sleep(Duration::from_millis(150 + (n * 173 + which as u64 * 91) % 700)).await;
        if Instant::now() > end {
            break;
        }
        let poor = n % 2 == 0;
        let steps = n as u32 + if poor { IMPOSSIBLE } else { 8000 };
        let text = body(&user, today, steps);
        let answer = send(&http, &address, &format!("probe-{which}-{n}"), &text).await.unwrap();
        assert_eq!(answer.status(), 200);
        let accepted = Instant::now();
        let shown = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(|s| *s == (steps, poor))).await.is_ok();
        match shown {
            true => took.push(accepted.elapsed()),
            false => {
                println!("{user}: not shown in 20 s; wanted {:?}, shown {:?}", (steps, poor), *seen.borrow());
                took.push(Duration::from_secs(20));
            }
        }
    }
    took
}
