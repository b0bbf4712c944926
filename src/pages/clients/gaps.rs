//! Whether a person's values come as they usually do, and if not, why: a gap with a name instead of a bare gap. A line a
//! source and reason; what is usual of each metric is behind it.

use super::words;
use crate::{
    components::{BadgeMark, Panel, ScrollTable, text},
    error::AppError,
    model::{Badge, Instant},
    quality::arrival::{Arrival, Rhythm},
    server::context::Request,
    store::arrivals::{self, Arriving},
};
use leptos::prelude::*;
use sqlx::PgConnection;

/// Metrics named in a line; the rest are counted.
const NAMED: usize = 4;

/// The panel about one person. How a provider does with everybody is read with the program's eyes, the person with the
/// caller's; nothing is shown of anybody else but that.
pub(super) async fn panel(request: &Request, conn: &mut PgConnection, user_id: &str, now: Instant) -> Result<AnyView, AppError> {
    let db = |e: sqlx::Error| request.db(&e);
    let pulses = arrivals::pulses_lately(&request.services.db, now).await.map_err(db)?;
    let found = arrivals::arrivals(conn, &pulses, &[user_id.to_owned()], now).await.map_err(db)?;
    Ok(shown(&found, now))
}

/// What to do about it, for whoever looks after the person.
const fn remedy(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::OnTime => "Nothing is due that has not come.",
        Arrival::NotWorn => {
            "Other numbers of these days came: the device was there, this was not measured. Ask whether it is worn, and at night."
        }
        Arrival::NotSynced => "Nothing of these days came. Ask to open the provider’s app, so that the device synchronises.",
        Arrival::ConnectionBroken => "The connection is revoked or in error. It has to be connected again.",
        Arrival::ProviderOutage => "Hardly anybody’s data come from this provider just now. Nobody has to do anything here.",
    }
}

fn shown(found: &[Arriving], now: Instant) -> AnyView {
    if found.is_empty() {
        return ().into_any();
    }
    let gaps = arrivals::gaps(found);
    let lines: Vec<AnyView> = gaps
        .into_iter()
        .map(|gap| {
            let names: Vec<&str> = gap.metrics.iter().take(NAMED).map(|m| m.name()).collect();
            let more = gap.metrics.len().saturating_sub(NAMED);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            view! {
                <li class="gap">
                    <strong>{words::provider(gap.source.as_str())}</strong>" "
                    <span class=format!("badge tier-{}", mark(gap.arrival).key())><BadgeMark badge=mark(gap.arrival)/><span class="badge-word">{gap.arrival.name()}</span></span>
                    <span>{format!(" {}{rest}", names.join(", "))}<span class="soft">{format!(" · last of {}", text::day(gap.last_day, now.date_naive()))}</span></span>
                    <span class="remark">{remedy(gap.arrival)}</span>
                </li>
            }
            .into_any()
        })
        .collect();
    let none = lines.is_empty();
    let rows = found.iter().map(|a| row(a, now)).collect_view();
    view! {
        <Panel title="Does it come as usual?" id="arrivals">
            {none.then(|| view! { <p>"Everything is on time: nothing is due that has not come."</p> })}
            {(!none).then(|| view! { <ul class="gaps">{lines}</ul> })}
            <details>
                <summary>"Usual rhythm of each metric"</summary>
                <ScrollTable caption="Usual rhythm of each metric and whether it holds">
                    <thead><tr>
                        <th scope="col">"Metric"</th><th scope="col">"Source"</th><th scope="col">"Usually"</th><th scope="col">"Last day"</th><th scope="col">"Now"</th>
                    </tr></thead>
                    <tbody>{rows}</tbody>
                </ScrollTable>
            </details>
        </Panel>
    }
    .into_any()
}

/// Shape and colour of a reason.
const fn mark(arrival: Arrival) -> Badge {
    match arrival {
        Arrival::OnTime => Badge::Excellent,
        Arrival::NotWorn | Arrival::NotSynced => Badge::Fair,
        Arrival::ConnectionBroken => Badge::Poor,
        Arrival::ProviderOutage => Badge::Unknown,
    }
}

/// The rhythm in words: "every day, here by 9 h after it".
fn usually(rhythm: &Rhythm) -> String {
    let every = match rhythm.every_days.round() {
        d if d <= 1.0 => "every day".to_owned(),
        d => format!("every {d:.0} days"),
    };
    let hours = rhythm.wait_hours.round();
    if hours < 1.0 { format!("{every}, here at its end") } else { format!("{every}, here {hours:.0} h after its end") }
}

fn row(a: &Arriving, now: Instant) -> AnyView {
    let r = &a.rhythm;
    let said = match r.arrival {
        Arrival::OnTime => "on time".to_owned(),
        gap => format!(
            "{}: by chance in {} of 100",
            gap.name(),
            if r.chance < 0.005 { "less than 1".to_owned() } else { format!("{:.0}", 100.0 * r.chance) }
        ),
    };
    view! {
        <tr>
            <th scope="row">{a.metric.name()}</th><td>{words::provider(a.source.as_str())}</td><td>{usually(r)}</td>
            <td class="when">{text::day(a.last_day, now.date_naive())}</td><td>{said}</td>
        </tr>
    }
    .into_any()
}
