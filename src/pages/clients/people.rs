//! A short table of people with a badge for each key metric, for the dashboard.

use crate::{
    components::{BadgeMark, Moment, ScoreBadge, ScrollTable, TimeStamp},
    model::Badge,
};
use leptos::prelude::*;

/// A person in a list, ready to show.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[cfg(feature = "ssr")]
pub(crate) mod server {
    use super::Person;
    use crate::{
        components::text,
        model::{Instant, Metric},
        store::clients,
    };
    use sqlx::PgConnection;
    use std::collections::HashMap;

    /// What a trainer decides by.
    pub(crate) const KEY: [Metric; 6] = Metric::KEY;

    /// Adds the badges of the key metrics: one statement for all rows.
    pub(crate) async fn persons(conn: &mut PgConnection, rows: Vec<clients::PersonRow>, now: Instant) -> sqlx::Result<Vec<Person>> {
        let users: Vec<String> = rows.iter().map(|r| r.user_id.clone()).collect();
        let latest = clients::latest(conn, &users, &KEY.map(|m| m.key().to_owned())).await?;
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
                <th scope="col">"Last data"</th>
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
