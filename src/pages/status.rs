//! The public status: how the service is and was. Shows words and times, nothing about anybody.

use super::made::Made;
use crate::{
    components::{Moment, Panel, StateChip, TimeStamp, preferences, text, twin},
    error::AppError,
    model::Instant,
    server::context::Request,
    store::dashboard,
};
use chrono::{TimeDelta, Utc};
use leptos::prelude::*;

/// A row of slots of equal length, oldest first.
struct Track {
    /// What the row covers.
    title: String,
    /// One path a status: healthy, degraded, unhealthy, no record.
    paths: [String; 4],
    /// In words.
    description: String,
    /// Labels below, evenly spread.
    ticks: Vec<String>,
    /// When each slot began and its worst status, the newest first.
    rows: Vec<[String; 2]>,
}

/// What the page shows.
struct StatusView {
    /// healthy, degraded, unhealthy; `unknown` when the last record is too old to say.
    status: String,
    /// A sentence.
    sentence: String,
    /// When that was recorded.
    at: Option<Moment>,
    /// Day and month.
    tracks: Vec<Track>,
}

/// After this long without a record nobody knows.
const SILENCE: TimeDelta = TimeDelta::minutes(5);

async fn load() -> Result<StatusView, AppError> {
    let request = Request::current()?;
    let db = |e: sqlx::Error| request.db(&e);
    if !request.services.monitor.is_ready() {
        // The record is in the database; that it does not answer is known without it.
        let sentence = "The database does not answer. Deliveries are refused for now and sent again; none that was accepted is lost.";
        return Ok(StatusView { status: "unhealthy".into(), sentence: sentence.into(), at: None, tracks: Vec::new() });
    }
    let mut tx = request.services.db.begin_anonymous().await.map_err(db)?;
    let now = Utc::now();
    let latest = dashboard::latest_status(&mut tx).await.map_err(db)?;
    let day = dashboard::uptime(&mut tx, 96, 900).await.map_err(db)?;
    let month = dashboard::uptime(&mut tx, 30, 86_400).await.map_err(db)?;
    let fresh = latest.filter(|(at, _)| now - *at < SILENCE);
    let (status, sentence) = match fresh.as_ref().map(|(_, s)| s.as_str()) {
        Some("healthy") => ("healthy", "Deliveries are received, processed and scored."),
        Some("degraded") => ("degraded", "It works; something needs a look, and values may arrive late."),
        Some("unhealthy") => ("unhealthy", "A part does not do its work. Deliveries that were accepted are not lost."),
        _ => ("unknown", "There is no recent record, so nothing is claimed."),
    };
    let zone = preferences::current().zone;
    let time = |at: Instant| at.with_timezone(&zone).format("%H:%M").to_string();
    let date = |at: Instant| text::day(at.with_timezone(&zone).date_naive(), now.with_timezone(&zone).date_naive());
    let hours = |h: i64| if h == 0 { "now".to_owned() } else { time(now - TimeDelta::hours(h)) };
    let days = |d: i64| if d == 0 { "today".to_owned() } else { date(now - TimeDelta::days(d)) };
    Ok(StatusView {
        status: status.into(),
        sentence: sentence.into(),
        at: latest_moment(fresh, now),
        tracks: vec![
            track("Last 24 hours", 96, &day, [24, 18, 12, 6, 0].map(hours), |ago| time(now - TimeDelta::minutes(15 * ago))),
            track("Last 30 days", 30, &month, [29, 22, 15, 7, 0].map(days), |ago| date(now - TimeDelta::days(ago))),
        ],
    })
}

fn latest_moment(latest: Option<(Instant, String)>, now: Instant) -> Option<Moment> {
    latest.map(|(at, _)| text::moment(at, now))
}

/// Draws each slot into the path of its status. `began` says when a slot began that ended so many slots ago.
fn track(title: &str, slots: i32, seen: &[dashboard::Slot], ticks: [String; 5], began: impl Fn(i64) -> String) -> Track {
    let mut rows = Vec::new();
    let mut paths: [String; 4] = Default::default();
    let mut counts = [0_i64; 4];
    let place = 1000.0 / f64::from(slots);
    for slot in 0..slots {
        let kind = seen.iter().find(|s| s.slot == slot).map_or(3, |s| s.worst.clamp(0, 2) as usize);
        counts[kind] += 1;
        rows.push([began(i64::from(slots - slot)), ["healthy", "degraded", "unhealthy", "no record"][kind].to_owned()]);
        // Trouble is taller than health, so that it is seen without colour.
        let top = [30, 15, 0, 70][kind];
        paths[kind].push_str(&format!("M{:.1} 100V{top}h{:.1}V100Z", place * f64::from(slot) + place * 0.12, place * 0.76));
    }
    let known = counts[0] + counts[1] + counts[2];
    let description = format!(
        "Each bar shows the worst of its time. Healthy throughout: {} of {known}; degraded for a while: {}; unhealthy for a while: {}; without a record: {}.",
        counts[0], counts[1], counts[2], counts[3]
    );
    rows.reverse();
    Track { title: title.into(), paths, description, ticks: ticks.to_vec(), rows }
}

/// The page.
///
/// # Errors
/// The database is away.
pub(super) async fn page() -> Result<Made, AppError> {
    let status = load().await?;
    let html = view! { <div class="page narrow"><h1>"Status"</h1>{shown(status)}</div> };
    Ok(Made { title: "Status".into(), html: html.to_html(), ..Made::default() })
}

fn shown(status: StatusView) -> AnyView {
    view! {
        <div class="status-now">
            <StateChip state=status.status/>
            <p>{status.sentence}</p>
            {status.at.map(|at| view! { <p class="soft">"Recorded "<TimeStamp at/></p> })}
        </div>
        {status.tracks.into_iter().zip(["track-day", "track-month"]).map(|(track, id)| view! {
            <Panel title=track.title.clone() id>
                <svg class="track" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=track.description.clone()>
                    {track.paths.into_iter().zip(["tier-excellent", "tier-fair", "tier-poor", "tier-unknown"]).map(|(d, class)| view! { <path class=class d=d></path> }).collect_view()}
                </svg>
                <div class="plot-ticks" aria-hidden="true">{track.ticks.into_iter().map(|t| view! { <span>{t}</span> }).collect_view()}</div>
                <p class="soft small">{track.description}</p>
                {twin(track.title, ["From", "Worst state"], track.rows)}
            </Panel>
        }).collect_view()}
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_of_the_past_can_be_read_as_a_table() {
        let seen = [dashboard::Slot { slot: 0, worst: 0 }, dashboard::Slot { slot: 2, worst: 2 }];
        let t = track("Last 3 days", 3, &seen, Default::default(), |ago| format!("{ago} days ago"));
        let rows = [["1 days ago", "unhealthy"], ["2 days ago", "no record"], ["3 days ago", "healthy"]];
        assert_eq!(t.rows, rows.map(|r| r.map(str::to_owned)));
        let view = StatusView { status: "healthy".into(), sentence: String::new(), at: None, tracks: vec![t] };
        let html = shown(view).to_html().replace("<!>", "");
        assert!(html.contains("<details") && html.contains("<th scope=\"row\">2 days ago</th>"), "{html}");
    }
}
