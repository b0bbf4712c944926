//! `/admin/calibration`: what a 90 is worth. The newest report, and the way to a new one.

use super::{
    super::{
        registry_deeds::RunCalibration,
        screen::{Cell, Diagram, Part, Shown},
    },
    text, time,
};
use crate::{
    calibration::{
        baselines,
        bootstrap::Estimate,
        figures::Step,
        lines::Line,
        report::{Report, SEEN, Unseen},
        silence::Silence,
    },
    model::Instant,
    quality::SCORER_VERSION,
    rescore,
    store::calibration::{self, Stored},
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

const REPORTS: i64 = 20;

pub(super) async fn page(conn: &mut PgConnection, now: Instant) -> sqlx::Result<Shown> {
    let stored = calibration::newest(conn, REPORTS).await?;
    let under_way = calibration::under_way(conn).await?;
    let registry = rescore::registry(conn).await?.version;
    let mut shown = Shown {
        title: "Calibration".into(),
        lead: "A 90 should be right nine times in ten. Judged on simulated wearers whose true values are known, with faults planted."
            .into(),
        deeds: vec![Cell::Buttons(vec![("Work it out anew".into(), RunCalibration::url().into(), Vec::new())])],
        ..Shown::default()
    };
    match &under_way {
        Some((state, error)) if state == "failed" => {
            shown.warning = format!("The last run failed: {}", error.as_deref().unwrap_or("no reason was given."));
        }
        Some(_) => shown.complaint = "A run is on its way; it takes about a minute. Reload the page then.".into(),
        None => {}
    }
    let newest = stored.iter().find_map(|s| s.read().map(|r| (s, r)));
    match newest {
        Some((s, report)) => {
            let old = report.scorer_version != SCORER_VERSION || report.registry_version != registry;
            if old && under_way.is_none() {
                shown.complaint = format!(
                    "This report is about scorer {} and registry {}; in force are {SCORER_VERSION} and {registry}. Work it out anew.",
                    report.scorer_version, report.registry_version
                );
            }
            fill(&mut shown, s, &report, now);
        }
        None => shown.parts.push(Part {
            title: "Report".into(),
            heads: vec!["Figure".into()],
            empty: if stored.is_empty() {
                "No report was made yet. Work it out here, or with the command: assay calibrate --store".into()
            } else {
                "The reports kept were made by an earlier version of the program, in another form. Work it out anew.".into()
            },
            ..Part::default()
        }),
    }
    if stored.len() > 1 {
        shown.parts.push(earlier(&stored, now));
    }
    Ok(shown)
}

fn three(x: f64) -> String {
    format!("{x:.3}")
}

fn estimate(e: Option<Estimate>) -> Cell {
    e.map_or(Cell::None, |e| Cell::Number(e.to_string()))
}

fn fill(shown: &mut Shown, stored: &Stored, r: &Report, now: Instant) {
    let unseen = r.unseen();
    shown.facts = vec![
        ("Made".into(), time(Some(stored.created_at), now)),
        ("By".into(), Cell::Text(stored.made_by.clone())),
        ("Scorer, registry".into(), Cell::Text(format!("{}, {}", r.scorer_version, r.registry_version))),
        ("Persons, values".into(), Cell::Text(format!("{}, {}", r.persons, text::count(r.values as i64)))),
        ("Intervals".into(), Cell::Text(format!("90 %, from {} draws of persons", r.draws))),
        ("Expected calibration error (aim 0.03)".into(), estimate(r.calibration_error)),
        ("The same, of metrics and devices with a study".into(), estimate(r.calibration_error_studied)),
        ("The same, of those whose error is an assumption".into(), estimate(r.calibration_error_assumed)),
        ("Rank correlation of score and error".into(), estimate(r.spearman)),
    ];
    if let Some(b) = r.brier {
        let words = format!(
            "{} = miscalibration {} \u{2212} discrimination {} + uncertainty {}",
            b.score, b.miscalibration, b.discrimination, b.uncertainty
        );
        shown.facts.push(("Brier score".into(), Cell::Text(words)));
    }
    let named =
        if unseen.is_empty() { "none".to_owned() } else { unseen.iter().map(|u| u.replace('_', " ")).collect::<Vec<_>>().join(", ") };
    shown.facts.push((format!("Faults it does not see reliably (AUROC below {SEEN})"), Cell::Text(named)));
    shown.diagram = diagram(&r.reliability);
    shown.parts = vec![
        lines(
            "Telling good from bad",
            "AUROC: 1 is perfect, 0.5 a coin; finding the bad: average precision. Each fault within its metric and source. Beside it the three baselines.",
            [&r.overall, &r.precision].into_iter().chain(&r.faults),
        ),
        deciles(r),
        metrics(r),
    ];
    if !r.not_seen.is_empty() {
        shown.parts.insert(1, not_seen(&r.not_seen));
    }
    if !r.wear.is_empty() {
        let note = "AUROC of short days against days worn twenty hours or more; the deliveries do not say how long it was.";
        shown.parts.insert(1, lines("Short wear by minutes", note, r.wear.iter()));
    }
    if let Some(silence) = r.silence {
        shown.parts.push(silences(silence));
    }
    if r.mended > 0 {
        let words = format!("{} (a fraction that normalisation reads as per cent)", text::count(r.mended as i64));
        shown.facts.push(("Planted, but undone before it was stored".into(), Cell::Text(words)));
    }
    if !r.independent.is_empty() {
        shown.parts.push(lines(
            "Truth that nobody planted",
            "AUROC on recorded data. For the figures of wear the curve was fitted on every second person, and those judged here were looked at while choosing between its variants. A single person has no interval.",
            r.independent.iter(),
        ));
    }
}

/// The CORP reliability diagram in a box of 400 × 400: forecast to the right, what came true upwards.
fn diagram(steps: &[Step]) -> Option<Diagram> {
    let last = steps.last()?;
    let at = |forecast: f64, observed: f64| format!("{:.1} {:.1}", 400.0 * forecast, 400.0 * (1.0 - observed));
    let mut line = String::new();
    for (i, s) in steps.iter().enumerate() {
        line.push_str(&format!("{}{}L{}", if i == 0 { "M" } else { "L" }, at(s.low, s.observed), at(s.high, s.observed)));
    }
    // Steps of hardly any values would make the table as long as the curve has corners.
    let all: u64 = steps.iter().map(|s| s.count).sum();
    let rows = steps.iter().filter(|s| s.count * 200 >= all).map(|s| {
        [format!("{:.2}–{:.2}", s.low, s.high), three(s.forecast), three(s.observed), text::count(s.count as i64)]
            .map(String::from)
            .to_vec()
    });
    Some(Diagram {
        title: "Reliability".into(),
        note:
            "Forecast against what came true (CORP: isotonic regression, no bins). On the diagonal a forecast is right as often as it says."
                .into(),
        description: format!(
            "Reliability curve of {} steps; the highest forecasts, up to {:.2}, came true in {:.0} of 100 cases",
            steps.len(),
            last.high,
            100.0 * last.observed
        ),
        line,
        axes: ["forecast".into(), "came true".into()],
        heads: ["#Forecasts", "#Mean", "#Came true", "#Values"].map(String::from).to_vec(),
        rows: rows.collect(),
    })
}

fn lines<'r>(title: &str, note: &str, of: impl Iterator<Item = &'r Line>) -> Part {
    let mut heads = vec!["Figure".to_owned(), "#Values".into(), "#Score (90 % interval)".into()];
    heads.extend(baselines::NAMES.iter().map(|n| format!("#{n}")));
    let row = |l: &Line| {
        let mut cells = vec![Cell::Text(l.name.replace('_', " ")), Cell::Number(text::count(l.n as i64)), estimate(l.ours)];
        cells.extend(l.baselines.iter().map(|b| estimate(*b)));
        cells
    };
    Part { title: title.into(), note: note.into(), heads, rows: of.map(row).collect(), ..Part::default() }
}

/// The faults it does not see: how well they could be seen at most, where they are seen, and why not elsewhere.
fn not_seen(unseen: &[Unseen]) -> Part {
    Part {
        title: format!("What it does not see (AUROC below {SEEN})"),
        note: "The oracle knows the person's own level from all days, past and to come, and how the fault lies about the level of everybody else, both taken for bell curves; it looks at the number alone. It is a yardstick, no limit.".into(),
        heads: ["Fault", "#Oracle", "Within each metric: faulty values", "Why"].map(String::from).to_vec(),
        rows: unseen
            .iter()
            .map(|u| {
                vec![Cell::Text(u.name.replace('_', " ")), estimate(u.ceiling), Cell::Text(u.within()), Cell::Text(u.why.clone())]
            })
            .collect(),
        ..Part::default()
    }
}

fn silences(s: Silence) -> Part {
    let row = |what: &str, of: u64, cell: Cell| vec![Cell::Text(what.into()), Cell::Number(text::count(of as i64)), cell];
    Part {
        title: "Sources that fall silent".into(),
        note: "Judged at noon of each day from what had come by then, as a person's page does.".into(),
        heads: ["Figure", "#Of", "#Value (90 % interval)"].map(String::from).to_vec(),
        rows: vec![
            row("Silences noticed before data came again, share", s.spells, estimate(s.noticed)),
            row("Days from the first silent day until it was noticed", s.spells, estimate(s.delay_days)),
            row("Noons without silence at which it was said though the data came later, share", s.noons, estimate(s.too_soon)),
            row("Noons at which it was said of days on which the device was not worn, share", s.noons, estimate(s.not_worn)),
        ],
        ..Part::default()
    }
}

fn deciles(r: &Report) -> Part {
    Part {
        title: "Mean error by tenth of the score".into(),
        note: "In tolerances, at most 10 a value; it should fall.".into(),
        heads: vec!["Tenth, lowest scores first".into(), "#Mean error".into()],
        rows: r
            .error_by_decile
            .iter()
            .enumerate()
            .map(|(i, e)| vec![Cell::Text((i + 1).to_string()), Cell::Number(format!("{e:.2}"))])
            .collect(),
        ..Part::default()
    }
}

fn metrics(r: &Report) -> Part {
    Part {
        title: "By metric".into(),
        heads: ["Metric", "#Values", "#Mean forecast", "#Came true", "#Calibration error", "#AUROC"].map(String::from).to_vec(),
        rows: r
            .metrics
            .iter()
            .map(|m| {
                vec![
                    Cell::Text(m.metric.name().into()),
                    Cell::Number(text::count(m.n as i64)),
                    Cell::Number(three(m.forecast)),
                    Cell::Number(three(m.observed)),
                    estimate(Some(m.calibration_error)),
                    estimate(m.auroc),
                ]
            })
            .collect(),
        ..Part::default()
    }
}

fn earlier(stored: &[Stored], now: Instant) -> Part {
    let row = |s: &Stored| {
        let r = s.read();
        let figure = |f: fn(&Report) -> Option<Estimate>| r.as_ref().map_or(Cell::None, |r| estimate(f(r)));
        vec![
            time(Some(s.created_at), now),
            Cell::Text(s.made_by.clone()),
            r.as_ref().map_or(Cell::None, |r| Cell::Number(format!("{}, {}", r.scorer_version, r.registry_version))),
            figure(|r| r.calibration_error),
            figure(|r| r.overall.ours),
        ]
    };
    Part {
        title: "Reports so far".into(),
        heads: ["Made", "By", "#Scorer, registry", "#Calibration error", "#AUROC"].map(String::from).to_vec(),
        rows: stored.iter().map(row).collect(),
        ..Part::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::{calibration::report::planted, quality::Registry, store::testing::database};
    use leptos::prelude::*;

    async fn html(conn: &mut PgConnection) -> String {
        let shown = page(conn, chrono::Utc::now()).await.unwrap();
        super::super::super::view::shown("calibration", shown).to_html()
    }

    #[tokio::test]
    async fn the_page_shows_the_newest_report_with_its_intervals_and_what_is_not_seen() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        assert!(html(&mut conn).await.contains("No report was made yet"));
        let report = planted(5, 6, 40, 30, Registry::built_in());
        calibration::put(&mut conn, "somebody@example.test", &report).await.unwrap();
        let shown = html(&mut conn).await;
        let calibration_error = report.calibration_error.unwrap().to_string();
        let area = report.overall.ours.unwrap();
        assert!(area.interval.is_some() && shown.contains(&area.to_string()) && shown.contains(&calibration_error), "{shown}");
        for words in
            ["somebody@example.test", "of metrics and devices with a study", "from 30 draws of persons", "Reliability", "earlier formula"]
        {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        for unseen in &report.not_seen {
            assert!(shown.contains(&unseen.why) && shown.contains(&unseen.name.replace('_', " ")), "{unseen:?}");
        }
        assert!(!report.not_seen.is_empty(), "a world in which everything is seen shows nothing here");
    }

    #[tokio::test]
    async fn a_report_of_another_form_or_version_is_not_shown_as_if_it_were_of_this_one() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        sqlx::query(
            "INSERT INTO calibration_reports (made_by, scorer_version, registry_version, report) VALUES ('old', 1, 1, '{\"values\": 7}')",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        assert!(html(&mut conn).await.contains("in another form"));
        let report = Report { scorer_version: SCORER_VERSION - 1, ..planted(5, 2, 20, 2, Registry::built_in()) };
        calibration::put(&mut conn, "old", &report).await.unwrap();
        assert!(html(&mut conn).await.contains(&format!("This report is about scorer {}", SCORER_VERSION - 1)));
    }
}
