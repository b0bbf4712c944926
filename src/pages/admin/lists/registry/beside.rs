//! What another registry, or this version of the program, would change: everybody scored beside what is in force.

use super::{
    super::{
        super::{
            registry_deeds::{DropShadow, PromoteShadow, StartShadow},
            screen::{Cell, Part, Question, Running, Shown},
        },
        Query, text, time,
    },
    PATH, shown, version,
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
pub(in super::super) async fn beside(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
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
    if operation.state == "completed" && !outdated {
        shown.deeds.push(Cell::Buttons(vec![button("Promote: put it into force", PromoteShadow::url())]));
    }
    shown.deeds.push(Cell::Link(Query::href(PATH, &[("tab", "shadow"), ("ask", "drop")]), "Drop it…".into()));
    shown.question = (query.get("ask") == "drop").then(|| Question {
        text: "Drop what was scored beside the old? What is in force stays. To see the difference again, everybody has to be scored again."
            .into(),
        verb: "Drop it".into(),
        action: DropShadow::url().into(),
        back: Query::href(PATH, &[("tab", "shadow")]),
        ..Question::default()
    });
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
        let d = shadow::kept_difference(conn, &operation).await?;
        shown.facts.extend([
            ("Worked out".to_owned(), time(operation.finished_at, now)),
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
        label: format!("Scoring beside the old: {} of {}", text::count(o.done), text::plural(o.total, "person", "people")),
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing::database;

    #[tokio::test]
    async fn the_page_shows_what_was_worked_out_once_and_works_out_nothing() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let operation = shadow::start(&mut conn, None, "anna", 25, 8).await.unwrap();
        assert_eq!(operation.state, "completed", "nobody is to be scored");
        assert_eq!(shadow::kept_difference(&mut conn, &operation).await.unwrap(), shadow::Difference::default());
        // As if there had been scores: they are not compared again.
        let day = chrono::NaiveDate::default();
        let kept = shadow::Difference {
            compared: 1234,
            moved: vec![(-3, 2)],
            badges: vec![("good".into(), "fair".into(), 2)],
            top: vec![("erika".into(), "steps".into(), "oura".into(), day, 62, 59)],
            ..shadow::Difference::default()
        };
        sqlx::query("UPDATE operations SET difference = $1").bind(sqlx::types::Json(&kept)).execute(&mut *conn).await.unwrap();
        assert_eq!(shadow::kept_difference(&mut conn, &operation).await.unwrap(), kept);
        let shown = beside(&mut conn, &Query::parse("tab=shadow"), chrono::Utc::now()).await.unwrap();
        assert!(shown.facts.contains(&("Scores compared".to_owned(), Cell::Number("1,234".into()))), "{:?}", shown.facts);
        assert_eq!(shown.parts.iter().map(|p| p.rows.len()).collect::<Vec<_>>(), [1, 1, 1]);
        // Whoever is erased is in no table of it.
        crate::store::erase::erase_person(&t.db, &crate::store::audit::Actor::system(), "erika").await.unwrap();
        let left = shadow::kept_difference(&mut conn, &operation).await.unwrap();
        assert_eq!((left.compared, left.top), (1234, Vec::new()));
    }
}
