//! Reads the dashboard: small statements, as the caller.

use super::{
    CheckRow, JobRow, KindRow, OperationView, Overview, ProviderRow,
    alerts::{Signs, alerts},
};
use crate::{
    components::{Bar, BarRow, Plot, bars, line, preferences, text},
    error::AppError,
    health::Health,
    model::{Badge, Instant, Metric, Source},
    pages::clients::{KEY_METRICS, persons},
    server::context::Request,
    store::{
        cache_reads, clients, dashboard as store, deliveries, job_kinds,
        job_lists::{self, Cursor, Filter},
        jobs::counts,
        operations::{self, Operation},
        persons as people,
    },
};
use chrono::{TimeDelta, Utc};

/// How many people the dashboard lists.
const PEOPLE: i64 = 8;

/// All of the dashboard.
pub(super) async fn overview(range: u32, metric: &str) -> Result<Overview, AppError> {
    let request = Request::current()?;
    request.admin()?;
    let range = match range {
        7 => 7,
        90 => 90,
        _ => 30,
    };
    let metric = Metric::from_key(metric);
    let db = |e: sqlx::Error| request.db(&e);
    let mut tx = request.read().await?;
    let now = Utc::now();
    let read = read(&mut tx, range, metric, now).await.map_err(db)?;
    Ok(assemble(read, &request.services.monitor.health(), range, metric, now, request.services.config.switched_off()))
}

/// What the caller's transaction saw.
struct Read {
    quality: store::Quality,
    trend: Vec<store::TrendDay>,
    providers: Vec<store::Provider>,
    counts: Vec<counts::Count>,
    waited: Option<TimeDelta>,
    recent: Vec<job_lists::Row>,
    gateway: Vec<(String, i64)>,
    arrivals: Vec<i64>,
    badly_signed: i64,
    unwell: Vec<(String, i64)>,
    dead_letters: Option<i64>,
    operation: Option<Operation>,
    advanced: bool,
    present: bool,
    simulated: i64,
    emails: i64,
    paused: Vec<String>,
    cache_reads: (i64, i64),
    people: Vec<crate::pages::clients::Person>,
}

async fn read(tx: &mut sqlx::PgConnection, range: i32, metric: Option<Metric>, now: Instant) -> sqlx::Result<Read> {
    let (present, simulated) = store::presence(tx).await?;
    let least_trusted = store::least_trusted(tx, PEOPLE).await?;
    let shown = clients::some(tx, &least_trusted).await?;
    Ok(Read {
        quality: store::quality(tx, 7).await?,
        trend: store::trend(tx, range, metric.map_or("", Metric::key)).await?,
        providers: store::providers(tx).await?,
        counts: counts::counts(tx).await?,
        waited: counts::waiting(tx).await?.first().map(|(_, s)| TimeDelta::milliseconds((s * 1000.0) as i64)),
        recent: job_lists::page(tx, &Filter::default(), Cursor::default(), 10).await?.0,
        gateway: store::gateway_day(tx).await?,
        arrivals: store::arrivals(tx).await?,
        badly_signed: deliveries::badly_signed(tx, now - TimeDelta::hours(1)).await?,
        unwell: store::unwell(tx).await?,
        dead_letters: store::open_dead_letters(tx).await?,
        operation: operations::list(tx, 20).await?.into_iter().find(|o| shows(o, now)),
        advanced: store::switch(tx, "advanced_metrics").await?.unwrap_or(true),
        people: persons(tx, shown, now).await?,
        present,
        simulated,
        emails: people::emails(tx).await?,
        paused: job_kinds::paused(tx).await?,
        cache_reads: cache_reads::week(tx).await?,
    })
}

fn of(list: &[(String, i64)], word: &str) -> i64 {
    list.iter().filter(|(w, _)| w == word).map(|(_, n)| *n).sum()
}

fn assemble(read: Read, seen: &Health, range: i32, metric: Option<Metric>, now: Instant, off: Vec<&'static str>) -> Overview {
    let sum = |word: &str| read.counts.iter().filter(|c| c.status == word).map(|c| c.count).sum::<i64>().max(0);
    let (pending, processing, failed) = (sum("pending"), sum("processing"), sum("failed"));
    let waited = read.waited;
    let accepted = of(&read.gateway, "accepted");
    let refused = ["refused", "unavailable", "rate_limited"].iter().map(|outcome| of(&read.gateway, outcome)).sum::<i64>();
    // What could not be read was never accepted.
    let (not_well, unreadable) = (of(&read.unwell, "failed"), of(&read.unwell, "invalid"));
    let waits = |c: &&counts::Count| c.kind == "webhook_processing" && ["pending", "processing"].contains(&c.status.as_str());
    let on_their_way = read.counts.iter().filter(waits).map(|c| c.count).sum::<i64>().max(0);
    let q = &read.quality;
    let (hits, misses) = read.cache_reads;
    let (health, checks, looked) = health(seen);
    Overview {
        taken: text::moment(now, now),
        empty: !read.present,
        simulated: match read.simulated {
            0 => String::new(),
            n if n > store::SIMULATED => format!("more than {} people are", text::count(store::SIMULATED)),
            n => text::plural(n, "person is", "people are"),
        },
        advanced: read.advanced,
        alerts: alerts(&signs(&read, failed, &health, &checks, off)),
        operation: read.operation.as_ref().map(|o| operation(o, now)),
        queue: [pending, processing, failed].map(text::count),
        failed_jobs: failed,
        oldest: waited.map_or_else(|| "nothing is due".into(), |w| format!("oldest waits {}", text::span(w))),
        average: q.average.map(|a| a.round() as i32),
        average_of: match q.taken_at {
            Some(at) => format!(
                "{} of {}, 7 days; added up {}",
                text::plural(q.scored, "scored value", "scored values"),
                text::plural(q.persons, "person", "people"),
                text::moment(at, now).ago
            ),
            None => "not added up yet: the leader of the workers does that within seconds".into(),
        },
        webhooks: [accepted, of(&read.gateway, "duplicate"), refused].map(text::count),
        success: text::percent(accepted - not_well.min(accepted), accepted),
        success_of: format!(
            "{} failed, {} still on their way{}",
            text::count(not_well),
            text::count(on_their_way),
            if unreadable > 0 { format!("; {} more could not be read", text::count(unreadable)) } else { String::new() }
        ),
        health,
        checks,
        checked: looked.map(|at| text::moment(at, now)),
        tiers: tiers(q),
        plot: plot(&read.trend, range, metric, now),
        metrics: Metric::ALL.iter().filter(|m| !m.is_vendor_score()).map(|m| (m.key().into(), m.name().into())).collect(),
        hit_rate: text::percent(hits, hits + misses),
        hit_of: format!("{} of {} reads, 7 days", text::count(hits), text::count(hits + misses)),
        stale: text::count(q.stale),
        newest_score: q.newest.map(|at| text::moment(at, now)),
        kinds: kinds(&read.counts),
        jobs: read.recent.iter().map(|j| job(j, now)).collect(),
        arrivals: arrivals(&read.arrivals, now),
        arrivals_sum: text::count(read.arrivals.iter().sum()),
        providers: read.providers.iter().map(|p| provider(p, now)).collect(),
        columns: KEY_METRICS.map(|m| m.name().to_owned()).to_vec(),
        people: read.people,
    }
}

fn kinds(counts: &[counts::Count]) -> Vec<KindRow> {
    let mut names: Vec<&str> = counts.iter().map(|c| c.kind.as_str()).collect();
    names.dedup();
    let of = |kind: &str, word: &str| {
        text::count(counts.iter().filter(|c| c.kind == kind && c.status == word).map(|c| c.count).sum::<i64>().max(0))
    };
    names
        .into_iter()
        .take(100)
        .map(|k| KindRow { kind: k.into(), counts: ["pending", "processing", "failed", "completed"].map(|w| of(k, w)) })
        .collect()
}

/// The recalculation that runs, or ended within the last hour.
fn shows(o: &Operation, now: Instant) -> bool {
    o.kind == "recalculate_all" && (o.state == "running" || o.finished_at.is_some_and(|at| now - at < TimeDelta::hours(1)))
}

fn job(j: &job_lists::Row, now: Instant) -> JobRow {
    let took = j.ran(now).map(|d| d.num_milliseconds().max(0));
    JobRow {
        href: format!("/admin/jobs/{}", j.id),
        kind: j.kind.clone(),
        state: j.status.clone(),
        created: text::moment(j.created_at, now),
        took: match took {
            None => "–".into(),
            Some(ms @ 0..1000) => format!("{ms} ms"),
            Some(ms) => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        },
        attempts: j.attempts.to_string(),
        error: text::cut(j.error.as_deref().unwrap_or_default(), 160),
    }
}

fn provider(p: &store::Provider, now: Instant) -> ProviderRow {
    let state = if p.broken > 0 || (p.active > 0 && p.silent == p.active) {
        "error"
    } else if p.silent > 0 {
        "degraded"
    } else {
        "ok"
    };
    ProviderRow {
        key: p.provider.clone(),
        name: Source::from_provider(&p.provider).name(),
        counts: [p.active, p.silent, p.broken].map(text::count),
        last_data: p.last_data_at.map(|at| text::moment(at, now)),
        state: state.into(),
    }
}

fn tiers(q: &store::Quality) -> Vec<BarRow> {
    let all = q.scored + q.unknown;
    let counts = [q.excellent, q.good, q.fair, q.poor, q.unknown];
    Badge::ALL
        .iter()
        .zip(counts)
        .map(|(badge, n)| BarRow {
            badge: *badge,
            count: text::count(n),
            share: text::percent(n, all),
            permille: if n > 0 { ((n * 1000 / all.max(1)) as u32).max(4) } else { 0 },
            href: format!("/clients?tier={}&week=1", badge.key()),
        })
        .collect()
}

fn plot(trend: &[store::TrendDay], range: i32, metric: Option<Metric>, now: Instant) -> Plot {
    let values: Vec<Option<f64>> = trend.iter().map(|t| t.average).collect();
    let today = now.date_naive();
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let what = metric.map_or("All metrics", Metric::name);
    let description = match (known.iter().copied().reduce(f64::min), known.iter().copied().reduce(f64::max)) {
        (Some(low), Some(high)) => format!(
            "{what}, last {range} days: average confidence between {low:.0} and {high:.0}; {} days without values.",
            values.len() - known.len()
        ),
        _ => format!("{what}, last {range} days: no values."),
    };
    let ticks =
        [0, 1, 2, 3, 4].map(|i| trend.get((trend.len().saturating_sub(1)) * i / 4).map_or_else(String::new, |t| text::day(t.day, today)));
    Plot {
        line: line(&values, 1000.0, 100.0, 100.0),
        empty: known.is_empty(),
        description,
        ticks: ticks.to_vec(),
        rows: trend
            .iter()
            .rev()
            .map(|t| (text::day(t.day, today), t.average.map_or_else(|| "no data".into(), |a| format!("{a:.1}")), text::count(t.values)))
            .collect(),
    }
}

/// A minute of the day in the reader's zone.
fn minute(at: Instant) -> String {
    at.with_timezone(&preferences::current().zone).format("%H:%M").to_string()
}

fn arrivals(minutes: &[i64], now: Instant) -> Bar {
    let top = minutes.iter().copied().max().unwrap_or(0);
    let sum: i64 = minutes.iter().sum();
    Bar {
        path: bars(minutes, 1000.0, 100.0, top),
        peak: if top > 0 { format!("{} / min", text::count(top)) } else { String::new() },
        description: format!(
            "Accepted deliveries by minute, last hour: {} in all, at most {} in a minute.",
            text::count(sum),
            text::count(top)
        ),
        ticks: [60, 45, 30, 15, 0].map(|m| if m == 0 { "now".into() } else { minute(now - TimeDelta::minutes(m)) }).to_vec(),
        rows: minutes.iter().rev().zip(0..).map(|(n, ago)| [minute(now - TimeDelta::minutes(ago)), text::count(*n)]).collect(),
    }
}

fn operation(o: &Operation, now: Instant) -> OperationView {
    let (done, total) = (o.done + o.failed, o.total);
    let running = o.state == "running";
    let elapsed = o.finished_at.unwrap_or(now) - o.started_at;
    let per_second = done as f64 / (elapsed.num_milliseconds().max(1) as f64 / 1000.0);
    let left = match (running, done) {
        (false, _) => format!("took {}", text::span(elapsed)),
        (true, 1..) if per_second > 0.0 => {
            format!("about {} left", text::span(TimeDelta::seconds(((total - done).max(0) as f64 / per_second).ceil() as i64)))
        }
        _ => "starting".into(),
    };
    let share = if total > 0 { (done * 100 / total).clamp(0, 100) as u32 } else { 0 };
    OperationView {
        id: o.id.to_string(),
        state: o.state.clone(),
        percent: match o.state.as_str() {
            "completed" => 100,
            "running" => share.min(99),
            _ => share,
        },
        done: if o.state == "completed" {
            text::plural(done.max(total), "person", "people")
        } else {
            format!("{} of {}", text::count(done), text::plural(total, "person", "people"))
        },
        rate: if done > 0 && elapsed > TimeDelta::milliseconds(500) {
            format!("{} per second", text::count(per_second.round() as i64))
        } else {
            String::new()
        },
        left,
        failed: if o.failed > 0 { text::count(o.failed) } else { String::new() },
        started_by: o.started_by.clone(),
        started: text::moment(o.started_at, now),
        error: o.error.clone().unwrap_or_default(),
    }
}

/// What this node saw last, some two seconds ago: its word, its checks, worst first, and when it looked.
fn health(seen: &Health) -> (String, Vec<CheckRow>, Option<Instant>) {
    match seen {
        Health::Fresh(s) => {
            let checks = s.checks.iter().map(|(name, c)| CheckRow { name: (*name).into(), state: c.status.into() }).collect();
            (s.status().word().into(), checks, Some(s.at))
        }
        Health::Stale(old) => ("unknown".into(), Vec::new(), old.as_ref().map(|s| s.at)),
    }
}

fn signs(read: &Read, failed: i64, health: &str, checks: &[CheckRow], off: Vec<&'static str>) -> Signs {
    let by_provider = |count: fn(&store::Provider) -> i64| {
        let some = read.providers.iter().filter(move |p| count(p) > 0);
        some.map(move |p| (p.provider.clone(), Source::from_provider(&p.provider).name(), count(p))).collect()
    };
    Signs {
        health: health.to_owned(),
        unwell: checks.iter().filter(|c| !matches!(c.state.as_str(), "ok" | "healthy")).map(|c| c.name.clone()).collect(),
        failed,
        dead_letters: read.dead_letters,
        waited: read.waited,
        poor: read.quality.poor,
        fair: read.quality.fair,
        conflicts: of(&read.unwell, "conflict"),
        silent: by_provider(|p| p.silent),
        broken: by_provider(|p| p.broken),
        badly_signed: read.badly_signed,
        accepted: read.arrivals.iter().sum(),
        emails: read.emails,
        paused: read.paused.clone(),
        off,
    }
}
