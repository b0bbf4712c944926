//! One person: every metric's newest value with how far it can be trusted, where it came from and when.

use crate::{
    components::{
        Alert, Empty, Moment, Panel, ScoreBadge, ScrollTable, Simulated, Spark, Sparkline, StateChip, TimeStamp, Trouble, text, use_live,
    },
    error::AppError,
    model::Role,
    pages::session::Session,
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use serde::{Deserialize, Serialize};

/// The newest value of a metric, ready to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Its name.
    pub name: String,
    /// In the unit beside it.
    pub value: String,
    /// `h:min`, `bpm` …
    pub unit: String,
    /// 0–100, or Unknown.
    pub score: Option<i32>,
    /// `71–88`; empty when unknown.
    pub interval: String,
    /// The score's parts in points that add up to it exactly; parts that do nothing are left out. Empty when unknown.
    pub bars: Vec<(String, i32)>,
    /// Why there is no score, or what the value is suspected of.
    pub remark: String,
    /// The provider's name, and how many others had a value that day.
    pub source: String,
    /// The day measured.
    pub day: String,
    /// When the measuring ended.
    pub measured: Option<Moment>,
    /// When it reached us.
    pub received: Moment,
    /// Confidence of the last 30 days.
    pub spark: Spark,
}

/// A connection, ready to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// The provider's name.
    pub provider: String,
    /// Its state's word.
    pub state: String,
    /// Why.
    pub reason: String,
    /// When data last came.
    pub last_data: Option<Moment>,
}

/// A person's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// What to call this person.
    pub name: String,
    /// The id, where a name hides it.
    pub user_id: String,
    /// Made up.
    pub simulated: bool,
    /// Average confidence of seven days.
    pub average: Option<i32>,
    /// By what they are about.
    pub groups: Vec<(String, Vec<MetricRow>)>,
    /// To providers.
    pub connections: Vec<ConnectionView>,
}

/// A person's newest values.
///
/// # Errors
/// Nobody is logged in; the person does not exist or is not the caller's; the database is away.
#[server(endpoint = "client")]
pub async fn load_client(
    /// Whose.
    user_id: String,
) -> Result<ClientView, AppError> {
    server::load(&user_id).await
}

#[cfg(feature = "ssr")]
mod server {
    use super::{ClientView, ConnectionView, MetricRow, Spark};
    use crate::{
        components::text,
        error::AppError,
        model::{Category, Instant, Metric, Role, Source},
        quality::{Parts, explain},
        server::context::Request,
        store::{
            audit,
            clients::{self, LatestRow, ScoreDay},
        },
    };
    use chrono::Utc;

    const DAYS: i32 = 30;

    pub(super) async fn load(user_id: &str) -> Result<ClientView, AppError> {
        let request = Request::current()?;
        let mut tx = request.read().await?;
        let db = |e: sqlx::Error| request.db(&e);
        if user_id.contains('\0') {
            return Err(AppError::not_found("This person"));
        }
        let person = clients::person(&mut tx, user_id).await.map_err(db)?.ok_or_else(|| AppError::not_found("This person"))?;
        note_reading(&request, user_id).await?;
        let latest = clients::latest(&mut tx, &[user_id.to_owned()], &[]).await.map_err(db)?;
        let scores = clients::scores(&mut tx, user_id, DAYS).await.map_err(db)?;
        let connections = clients::connections(&mut tx, user_id).await.map_err(db)?;
        let now = Utc::now();
        let scorable = latest.iter().filter(|l| Metric::from_key(&l.metric_name).is_some_and(|m| !m.is_vendor_score()));
        let (hits, misses) = scorable.fold((0, 0), |(h, m), l| if l.confidence_score.is_some() { (h + 1, m) } else { (h, m + 1) });
        clients::count_reads(hits, misses);
        Ok(ClientView {
            name: text::cut(person.label.as_deref().unwrap_or(&person.user_id), 80),
            user_id: if person.label.is_some() { text::cut(&person.user_id, 80) } else { String::new() },
            simulated: person.simulated,
            average: person.average.map(|a| a.round() as i32),
            groups: groups(&latest, &scores, now),
            connections: connections
                .into_iter()
                .map(|c| ConnectionView {
                    provider: Source::from_provider(&c.provider).name(),
                    state: c.state,
                    reason: c.reason.unwrap_or_default(),
                    last_data: c.last_data_at.map(|at| text::moment(at, now)),
                })
                .collect(),
        })
    }

    /// A trainer's look at a person is recorded before anything is shown.
    async fn note_reading(request: &Request, user_id: &str) -> Result<(), AppError> {
        let caller = request.account()?;
        if caller.role != Role::Trainer {
            return Ok(());
        }
        let actor = audit::Actor::of(caller, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
        audit::note_reading(&request.services.db, &actor, user_id).await.map_err(|e| request.db(&e))
    }

    const GROUPS: [(Category, &str); 7] = [
        (Category::Heart, "Heart"),
        (Category::Sleep, "Sleep"),
        (Category::Activity, "Activity"),
        (Category::Vital, "Breathing, oxygen, temperature"),
        (Category::Body, "Body"),
        (Category::Clinical, "Clinical"),
        (Category::VendorScore, "Vendors’ own scores"),
    ];

    fn groups(latest: &[LatestRow], scores: &[ScoreDay], now: Instant) -> Vec<(String, Vec<MetricRow>)> {
        let rows_of = |category| {
            Metric::ALL
                .iter()
                .filter(move |m| m.category() == category)
                .filter_map(|m| latest.iter().find(|l| l.metric_name == m.key()).map(|l| row(*m, l, scores, now)))
                .collect::<Vec<_>>()
        };
        GROUPS.iter().map(|(category, title)| ((*title).to_owned(), rows_of(*category))).filter(|(_, rows)| !rows.is_empty()).collect()
    }

    fn row(metric: Metric, l: &LatestRow, scores: &[ScoreDay], now: Instant) -> MetricRow {
        let (value, unit) = text::value(metric, l.value);
        let percent = |p: f64| (p * 100.0).round() as i32;
        let remark = match (metric.is_vendor_score(), l.confidence_score) {
            (true, _) => "A vendor’s own scale: there is no truth to be near, so it has no confidence.".to_owned(),
            (_, None) => "Not scored yet.".to_owned(),
            _ if l.doubts.is_empty() => String::new(),
            _ => format!("Doubts: {}", l.doubts.iter().map(|d| d.replace('_', " ")).collect::<Vec<_>>().join(", ")),
        };
        let others = l.sources - 1;
        let name = Source::from_provider(&l.source).name();
        MetricRow {
            name: metric.name().into(),
            value,
            unit: unit.into(),
            score: l.confidence_score,
            interval: match (l.low, l.high) {
                (Some(low), Some(high)) => format!("{}–{}", percent(low), percent(high)),
                _ => String::new(),
            },
            bars: bars(l),
            remark,
            source: if others > 0 { format!("{name} (+{others})") } else { name },
            day: text::day(l.measurement_date, now.date_naive()),
            measured: l.measured_at.map(|at| text::moment(at, now)),
            received: text::moment(l.received_at, now),
            spark: spark(metric, scores),
        }
    }

    /// The waterfall of a stored score: exact, without looking at anything else again.
    fn bars(l: &LatestRow) -> Vec<(String, i32)> {
        let parts: Option<Vec<f64>> = l.factors.iter().copied().collect();
        let (Some(score), Some([evidence, plausibility, completeness, concordance, provenance, consistency])) =
            (l.confidence_score, parts.and_then(|p| <[f64; 6]>::try_from(p).ok()))
        else {
            return Vec::new();
        };
        let parts = Parts { evidence, plausibility, completeness, concordance, provenance, consistency };
        explain::points(&parts, score)
            .into_iter()
            .filter(|(_, points)| *points != 0)
            .map(|(part, points)| (part.name().to_owned(), points))
            .collect()
    }

    fn spark(metric: Metric, scores: &[ScoreDay]) -> Spark {
        let mut days = vec![None; DAYS as usize];
        for s in scores.iter().filter(|s| s.metric_name == metric.key()) {
            if let Some(day) = usize::try_from(DAYS - 1 - s.age).ok().and_then(|i| days.get_mut(i)) {
                *day = Some(s.score);
            }
        }
        let with = days.iter().flatten().count();
        Spark {
            line: crate::components::line(&days, 100.0, 20.0, 100.0),
            description: if with == 0 { "No scores in 30 days".into() } else { format!("Scores on {with} of the last {DAYS} days") },
        }
    }
}

/// The page `/clients/{user_id}`.
#[component]
pub fn Client() -> impl IntoView {
    let params = use_params_map();
    let live = use_live(&["scores"]);
    let user_id = Memo::new(move |_| params.read().get_str("user_id").unwrap_or_default().to_owned());
    let data = Resource::new(move || (user_id.get(), live.version.get()), |(user_id, _)| load_client(user_id));
    view! {
        // No name in the title: it ends up in histories and logs.
        <Title text="Person"/>
        <div class="page">
            <Transition fallback=|| view! { <p class="soft">"Loading…"</p> }>
                {move || Suspend::new(async move {
                    match data.await {
                        Ok(client) => shown(client),
                        Err(error) => view! { <h1 class="sr-only">"Person"</h1><Trouble error/> }.into_any(),
                    }
                })}
            </Transition>
        </div>
    }
}

fn shown(client: ClientView) -> AnyView {
    let empty = client.groups.is_empty();
    let admin = use_context::<Session>().and_then(|s| s.account).is_some_and(|a| a.role == Role::Admin);
    let id = if client.user_id.is_empty() { &client.name } else { &client.user_id };
    let about = format!("/admin/people/{}", text::segment(id));
    view! {
        <nav class="crumbs" aria-label="Where you are"><a href="/clients">"People"</a>
            {admin.then(|| view! { " · "<a rel="external" href=about>"Trainers, export, erasure"</a> })}</nav>
        <div class="page-head">
            <div>
                <h1>{client.name}</h1>
                <p class="lead">{(!client.user_id.is_empty()).then(|| view! { <code>{client.user_id}</code>" " })}{client.simulated.then(|| view! { <Simulated/> })}</p>
            </div>
            <div class="page-figure"><span class="soft small">"Average of the last 7 days of data"</span><ScoreBadge score=client.average/></div>
        </div>
        {connections(client.connections)}
        {empty.then(|| view! { <Empty title="No values yet"><p>"As soon as a delivery brings some, they appear here with their confidence."</p></Empty> })}
        {(!empty).then(|| view! { <Panel title="Newest values" id="values" class="flush">{metric_table(client.groups)}</Panel> })}
    }
    .into_any()
}

fn connections(list: Vec<ConnectionView>) -> AnyView {
    let gone = list.iter().any(|c| c.state == "deauthorised");
    view! {
        {gone.then(|| view! { <Alert tone="warn">"A connection was withdrawn. Its data are kept; an administrator can erase them."</Alert> })}
        {(!list.is_empty()).then(|| view! {
            <ul class="connections">
                {list.into_iter().map(|c| view! {
                    <li><strong>{c.provider}</strong><StateChip state=c.state/>
                        {match c.last_data { Some(at) => view! { <span class="soft">"last data "<TimeStamp at/></span> }.into_any(), None => view! { <span class="soft">"no data yet"</span> }.into_any() }}
                        {(!c.reason.is_empty()).then(|| view! { <span class="soft">{c.reason}</span> })}
                    </li>
                }).collect_view()}
            </ul>
        })}
    }
    .into_any()
}

fn metric_table(groups: Vec<(String, Vec<MetricRow>)>) -> AnyView {
    view! {
        <ScrollTable caption="Newest value of each metric">
            <thead><tr>
                <th scope="col">"Metric"</th><th scope="col" class="num">"Value"</th><th scope="col">"Unit"</th><th scope="col">"Confidence"</th>
                <th scope="col" class="num">"80 % interval"</th><th scope="col">"30 days"</th><th scope="col">"Source"</th><th scope="col">"Day"</th><th scope="col">"Measured (UTC)"</th><th scope="col">"Received (UTC)"</th>
            </tr></thead>
            {groups.into_iter().map(|(title, rows)| view! {
                <tbody>
                    <tr class="group"><th scope="rowgroup" colspan="10">{title}</th></tr>
                    {rows.into_iter().map(metric_row).collect_view()}
                </tbody>
            }).collect_view()}
        </ScrollTable>
    }
    .into_any()
}

fn metric_row(r: MetricRow) -> AnyView {
    view! {
        <tr>
            <th scope="row">{r.name}{(!r.remark.is_empty()).then(|| view! { <span class="remark">{r.remark}</span> })}</th>
            <td class="num value">{r.value}</td><td class="soft">{r.unit}</td>
            <td><ScoreBadge score=r.score/>{why(r.bars)}</td>
            <td class="num soft">{r.interval}</td>
            <td><Sparkline spark=r.spark/></td>
            <td>{r.source}</td><td class="when">{r.day}</td>
            <td class="when">{match r.measured { Some(at) => view! { <TimeStamp at/> }.into_any(), None => view! { <span class="none">"not told"</span> }.into_any() }}</td>
            <td class="when"><TimeStamp at=r.received/></td>
        </tr>
    }
    .into_any()
}

/// Where the points of a score come from. Plain HTML, so it opens without script.
fn why(bars: Vec<(String, i32)>) -> AnyView {
    if bars.is_empty() {
        return ().into_any();
    }
    view! {
        <details class="why">
            <summary>"Why"</summary>
            <ul>
                {bars.into_iter().map(|(part, points)| {
                    let sign = if points > 0 { "+" } else { "\u{2212}" };
                    view! { <li><span>{part}</span><b class="num">{format!("{sign}{}", points.unsigned_abs())}</b></li> }
                }).collect_view()}
            </ul>
        </details>
    }
    .into_any()
}
