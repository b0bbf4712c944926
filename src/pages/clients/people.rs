//! The list of people, worst first, with a badge for each key metric.

use crate::{
    components::{BadgeMark, Empty, Moment, Pager, ScoreBadge, ScrollTable, Simulated, TimeStamp, Trouble},
    error::AppError,
    model::Badge,
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};

/// A person in a list, ready to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// What to call this person.
    pub name: String,
    /// Where the person's page is.
    pub href: String,
    /// Made up.
    pub simulated: bool,
    /// Average confidence of the last seven days.
    pub average: Option<i32>,
    /// Values below 40 in that time.
    pub poor: String,
    /// Confidence of the newest value of each key metric: absent when there is no value at all.
    pub metrics: Vec<Option<Option<i32>>>,
    /// When data last came.
    pub last_data: Option<Moment>,
}

/// A page of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Names of the key metrics, the columns.
    pub columns: Vec<String>,
    /// At most 50.
    pub rows: Vec<Person>,
    /// Whether another page follows.
    pub more: bool,
    /// Whether anybody shown is made up.
    pub simulated: bool,
}

/// A page of the people the caller may see, worst first.
///
/// # Errors
/// Nobody is logged in, or the database is away.
#[server(endpoint = "clients")]
pub async fn load_clients(
    /// Part of a name or id.
    q: String,
    /// A badge's key, or nothing.
    tier: String,
    /// From 1.
    page: u32,
) -> Result<People, AppError> {
    server::load(&q, &tier, page).await
}

#[cfg(feature = "ssr")]
pub(crate) mod server {
    use super::{People, Person};
    use crate::{
        components::text,
        error::AppError,
        model::{Instant, Metric},
        server::context::Request,
        store::clients,
    };
    use chrono::Utc;
    use sqlx::PgConnection;
    use std::collections::HashMap;

    const PAGE: i64 = 50;
    /// What a trainer decides by.
    pub(crate) const KEY: [Metric; 6] =
        [Metric::HrvRmssd, Metric::RestingHeartRate, Metric::SleepDuration, Metric::Steps, Metric::ActiveCalories, Metric::Weight];

    pub(super) async fn load(q: &str, tier: &str, page: u32) -> Result<People, AppError> {
        let request = Request::current()?;
        let mut tx = request.read().await?;
        let db = |e: sqlx::Error| request.db(&e);
        let tier = match tier {
            "excellent" => Some((80, 100)),
            "good" => Some((60, 79)),
            "fair" => Some((40, 59)),
            "poor" => Some((0, 39)),
            _ => None,
        };
        let offset = i64::from(page.clamp(1, 2000) - 1) * PAGE;
        let search = text::cut(q.trim(), 200).replace('\0', "");
        let mut rows = clients::list(&mut tx, &search, tier, PAGE + 1, offset).await.map_err(db)?;
        let more = rows.len() as i64 > PAGE;
        rows.truncate(PAGE as usize);
        let rows = persons(&mut tx, rows, Utc::now()).await.map_err(db)?;
        Ok(People { columns: KEY.map(|m| m.name().to_owned()).to_vec(), simulated: rows.iter().any(|r| r.simulated), rows, more })
    }

    /// Adds the badges of the key metrics: one statement for all rows.
    pub(crate) async fn persons(conn: &mut PgConnection, rows: Vec<clients::PersonRow>, now: Instant) -> sqlx::Result<Vec<Person>> {
        let users: Vec<String> = rows.iter().map(|r| r.user_id.clone()).collect();
        let latest = clients::latest(conn, &users, &KEY.map(|m| m.key().to_owned())).await?;
        let hits = latest.iter().filter(|l| l.confidence_score.is_some()).count() as i64;
        clients::count_reads(hits, latest.len() as i64 - hits);
        let by_key: HashMap<(&str, &str), Option<i32>> =
            latest.iter().map(|l| ((l.user_id.as_str(), l.metric_name.as_str()), l.confidence_score)).collect();
        Ok(rows
            .iter()
            .map(|r| Person {
                name: text::cut(r.label.as_deref().unwrap_or(&r.user_id), 60),
                href: format!("/clients/{}", text::segment(&r.user_id)),
                simulated: r.simulated,
                average: r.average.map(|a| a.round() as i32),
                poor: text::count(r.poor),
                metrics: KEY.map(|m| by_key.get(&(r.user_id.as_str(), m.key())).copied()).to_vec(),
                last_data: r.last_data_at.map(|at| text::moment(at, now)),
            })
            .collect())
    }
}

/// The page `/clients`.
#[component]
pub fn Clients() -> impl IntoView {
    let query = use_query_map();
    let wish = Memo::new(move |_| {
        let q = query.read();
        let word = |k: &str| q.get_str(k).unwrap_or_default().to_owned();
        (word("q"), word("tier"), q.get_str("page").and_then(|p| p.parse().ok()).unwrap_or(1_u32).max(1))
    });
    let data = Resource::new(move || wish.get(), |(q, tier, page)| load_clients(q, tier, page));
    view! {
        <Title text="People"/>
        <div class="page">
            <div class="page-head">
                <div><h1>"People"</h1><p class="lead">"Least trusted first: whose newest numbers need a second look before you act on them."</p></div>
            </div>
            <Filter wish/>
            <Transition fallback=|| view! { <p class="soft">"Loading…"</p> }>
                {move || Suspend::new(async move {
                    match data.await {
                        Ok(people) => shown(people, wish.get_untracked()),
                        Err(error) => view! { <Trouble error/> }.into_any(),
                    }
                })}
            </Transition>
        </div>
    }
}

#[component]
fn Filter(wish: Memo<(String, String, u32)>) -> impl IntoView {
    let tiers = [Badge::Excellent, Badge::Good, Badge::Fair, Badge::Poor];
    view! {
        <form class="filter" method="get" action="/clients" role="search">
            <label for="q">"Name or id"</label>
            <input id="q" name="q" type="search" value=move || wish.get().0 maxlength="200" autocomplete="off"/>
            <label for="tier">"With a value that is"</label>
            <select id="tier" name="tier">
                <option value="">"of any badge"</option>
                {tiers.map(|t| view! { <option value=t.key() selected=move || wish.get().1 == t.key()>{t.word()}</option> }).into_iter().collect_view()}
            </select>
            <button class="button" type="submit">"Show"</button>
        </form>
    }
    .into_any()
}

fn shown(people: People, (q, tier, page): (String, String, u32)) -> AnyView {
    let filtered = !q.is_empty() || !tier.is_empty();
    if people.rows.is_empty() {
        return if filtered || page > 1 {
            view! { <Empty title="Nobody matches"><p>"No person fits this name, badge and page."</p><p><a class="button" href="/clients">"Clear the filters"</a></p></Empty> }.into_any()
        } else {
            view! { <Empty title="Nobody here yet"><p>"People appear with their first delivery. Trainers see those an administrator assigned to them."</p></Empty> }.into_any()
        };
    }
    let parts: Vec<String> = [("q", q), ("tier", tier)]
        .into_iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(k, v)| format!("{k}={}", crate::components::text::segment(&v)))
        .collect();
    let base = if parts.is_empty() { "/clients".to_owned() } else { format!("/clients?{}", parts.join("&")) };
    view! {
        {people.simulated.then(|| view! { <p class="notice-line"><Simulated/>" Some of these people are made up."</p> })}
        <section class="panel flush" aria-label="People"><PeopleTable columns=people.columns rows=people.rows/></section>
        <Pager page more=people.more base/>
    }
    .into_any()
}

/// People with the badges of their key metrics.
#[component]
pub fn PeopleTable(
    /// Names of the key metrics.
    columns: Vec<String>,
    /// The people.
    rows: Vec<Person>,
) -> impl IntoView {
    view! {
        <Legend/>
        <ScrollTable caption="People and the confidence of their newest values">
            <thead><tr>
                <th scope="col">"Person"</th>
                <th scope="col">"Last 7 days"</th>
                {columns.into_iter().map(|c| view! { <th scope="col">{c}</th> }).collect_view()}
                <th scope="col" class="num">"Poor values"</th>
                <th scope="col">"Last data (UTC)"</th>
            </tr></thead>
            <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}

/// What the shapes of a table of badges mean.
#[component]
fn Legend() -> impl IntoView {
    view! {
        <ul class="legend" aria-label="Badges">
            {[(Badge::Excellent, "80–100"), (Badge::Good, "60–79"), (Badge::Fair, "40–59"), (Badge::Poor, "0–39"), (Badge::Unknown, "not scored")]
                .map(|(badge, range)| view! { <li><BadgeMark badge/><span>{badge.word()}</span><span class="soft">{range}</span></li> })
                .into_iter()
                .collect_view()}
        </ul>
    }
    .into_any()
}

fn row(person: Person) -> AnyView {
    view! {
        <tr>
            <th scope="row"><a href=person.href>{person.name}</a>{person.simulated.then(|| view! { " "<span class="tag small">"simulated"</span> })}</th>
            <td><ScoreBadge score=person.average/></td>
            {person.metrics.into_iter().map(|m| view! { <td>{match m {
                Some(score) => view! { <ScoreBadge score compact=true/> }.into_any(),
                None => view! { <span class="none">"no data"</span> }.into_any(),
            }}</td> }).collect_view()}
            <td class="num">{person.poor}</td>
            <td class="when">{match person.last_data {
                Some(at) => view! { <TimeStamp at/> }.into_any(),
                None => view! { <span class="none">"never"</span> }.into_any(),
            }}</td>
        </tr>
    }
    .into_any()
}
