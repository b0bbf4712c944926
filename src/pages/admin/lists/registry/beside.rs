//! What another registry, or this version of the program, would change: everybody scored beside what is in force.

use super::{
    super::{
        super::{
            registry_deeds::{DropShadow, PromoteShadow, StartShadow},
            screen::{Cell, Part, Running, Shown},
        },
        text, time,
    },
    shown, version,
};
use crate::{
    model::{Badge, Instant, Metric, Source},
    quality::SCORER_VERSION,
    rescore,
    store::{operations::Operation, shadow},
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

/// The shadow: how far it is, and what would change.
pub(in super::super) async fn beside(conn: &mut PgConnection, now: Instant) -> sqlx::Result<Shown> {
    let registry = rescore::registry(conn).await?;
    let mut shown = shown("Registry", format!("{} This program's scorer is version {SCORER_VERSION}.", version(&registry)), "shadow");
    let start = |label: &str| Cell::Buttons(vec![(label.to_owned(), StartShadow::url().to_owned(), Vec::new())]);
    let Some(operation) = shadow::current(conn).await? else {
        shown.deeds = vec![start("Score everybody beside the old")];
        shown.parts = vec![Part {
            title: "Difference".into(),
            empty: "Nothing is scored beside the old. Start it here to see what a recalculation by this version of the program would change in what is stored, or from a metric to try another number.".into(),
            heads: vec!["Badge".into()],
            ..Part::default()
        }];
        return Ok(shown);
    };
    let button = |label: &str, url: &str| (label.to_owned(), url.to_owned(), Vec::new());
    let outdated = shadow::outdated(conn, &operation).await?;
    let mut buttons = vec![button("Drop it", DropShadow::url())];
    if operation.state == "completed" && !outdated {
        buttons.insert(0, button("Promote: put it into force", PromoteShadow::url()));
    }
    shown.deeds = vec![Cell::Buttons(buttons)];
    shown.running = vec![progress(&operation)];
    shown.facts = vec![
        (
            "Under".into(),
            Cell::Text(
                shadow::overrides_of(&operation)
                    .map_or_else(|| "the registry in force, by this program".to_owned(), |o| format!("registry version {}", o.version)),
            ),
        ),
        (
            "Compared with".into(),
            Cell::Text(if outdated {
                "a registry that was changed since: drop it and run it beside again".into()
            } else {
                "the registry in force".into()
            }),
        ),
        ("Started".into(), time(Some(operation.started_at), now)),
        ("By".into(), Cell::Text(operation.started_by.clone())),
    ];
    if operation.state == "completed" {
        let d = shadow::difference(conn, &operation).await?;
        shown.facts.extend([
            ("Scores compared".to_owned(), Cell::Number(text::count(d.compared))),
            ("That differ".to_owned(), Cell::Number(text::count(d.differing))),
            ("Only beside".to_owned(), Cell::Number(text::count(d.new))),
            ("No longer given".to_owned(), Cell::Number(text::count(d.gone))),
            ("People with another badge".to_owned(), Cell::Number(text::count(d.persons))),
        ]);
        shown.parts = differences(&d);
    }
    Ok(shown)
}

fn progress(o: &Operation) -> Running {
    let percent = (100 * (o.done + o.failed)).checked_div(o.total).unwrap_or(100).clamp(0, 100) as u32;
    Running {
        label: format!("Scoring beside the old: {} of {} people", text::count(o.done), text::count(o.total)),
        percent,
        state: o.state.clone(),
        deed: Cell::None,
    }
}

fn differences(d: &shadow::Difference) -> Vec<Part> {
    let word = |key: &str| {
        [Badge::Excellent, Badge::Good, Badge::Fair, Badge::Poor].into_iter().find(|b| b.key() == key).map_or("Unknown", Badge::word)
    };
    let signed = |by: i32| if by > 0 { format!("+{by}") } else { format!("\u{2212}{}", by.unsigned_abs()) };
    // Movement in steps of five points, so that the table stays short.
    let mut steps: std::collections::BTreeMap<i32, i64> = std::collections::BTreeMap::new();
    for (by, n) in &d.moved {
        *steps.entry(by.signum() * (1 + (by.abs() - 1) / 5)).or_default() += n;
    }
    let moved = steps.iter().map(|(step, n)| {
        let (a, b) = (step.signum() * ((step.abs() - 1) * 5 + 1), step * 5);
        vec![Cell::Text(format!("{} to {}", signed(a), signed(b))), Cell::Number(text::count(*n))]
    });
    vec![
        Part {
            title: "Badges that change".into(),
            heads: vec!["Badge".into(), "#Scores".into()],
            rows: d
                .badges
                .iter()
                .map(|(a, b, n)| vec![Cell::Text(format!("{} to {}", word(a), word(b))), Cell::Number(text::count(*n))])
                .collect(),
            empty: "None.".into(),
            ..Part::default()
        },
        Part {
            title: "Movement in points".into(),
            heads: vec!["Points".into(), "#Scores".into()],
            rows: moved.collect(),
            empty: "No score moves.".into(),
            ..Part::default()
        },
        Part {
            title: "Largest movements".into(),
            heads: ["Person", "Metric", "Source", "Day", "In force", "Beside"].map(String::from).to_vec(),
            rows: d
                .top
                .iter()
                .map(|(user, metric, source, day, old, new)| {
                    vec![
                        super::super::person(Some(user)),
                        Cell::Text(Metric::from_key(metric).map_or_else(|| metric.clone(), |m| m.name().to_owned())),
                        Cell::Text(Source::from_provider(source).name()),
                        Cell::Text(day.to_string()),
                        Cell::Score(Some(*old)),
                        Cell::Score(Some(*new)),
                    ]
                })
                .collect(),
            empty: "No score moves.".into(),
            ..Part::default()
        },
    ]
}
