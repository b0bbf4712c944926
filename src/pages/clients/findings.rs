//! Doubts about a person's values, and the forms with which a trainer or administrator decides about them; on the
//! person's page below the newest values, and beside the reasons of the score they concern.

#[cfg(feature = "ssr")]
use super::list_view::label;
#[cfg(feature = "ssr")]
use crate::components::{Empty, Moment, Panel, ScoreBadge, ScrollTable, TimeStamp};
use crate::error::AppError;
use leptos::prelude::*;

/// A doubted value, ready to show.
#[cfg(feature = "ssr")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubted {
    /// Its row's in the page: what the reader typed stays with it when the page comes again.
    pub id: String,
    /// The metric's name.
    pub name: String,
    /// The day measured.
    pub day: String,
    /// With its unit.
    pub value: String,
    /// The provider's name.
    pub source: String,
    /// Its confidence.
    pub score: Option<i32>,
    /// What is suspected, a sentence each, with the reading that would fit.
    pub doubts: Vec<String>,
    /// Whether it may be said to be right.
    pub can_be_right: bool,
    /// What was decided, in words; empty: still open.
    pub decided: String,
    /// What was said about it, and by whom.
    pub note: String,
    /// When it was decided.
    pub at: Option<Moment>,
    /// Names the value in a form.
    pub fields: Vec<(String, String)>,
}

/// The doubts of a person.
#[cfg(feature = "ssr")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Open ones first.
    pub rows: Vec<Doubted>,
    /// A sentence about how many there are.
    pub summary: String,
    /// Where the forms go.
    pub action: String,
}

/// What the two words do to a score.
#[cfg(feature = "ssr")]
pub(super) const MEANING: &str = "A confirmed fault scores next to nothing and no longer counts in this person’s later baselines. \
    Of a value that is right, plausibility, agreement of sources, provenance and consistency take nothing from the score any more; \
    what the device is worth, how much was seen, and that it was entered by hand count as before. What is outside what is possible, \
    or a zero where nothing was measured, cannot be called right.";

/// Decides about a doubted value: `confirmed` (it is a fault and leaves later baselines), `dismissed` (it is right), or
/// `open` (takes the decision back). The person's scores follow.
///
/// # Errors
/// Nobody is logged in; no such value, or not the caller's to see; it cannot be right; the database is away.
#[server(endpoint = "decide_finding")]
pub async fn decide_finding(
    /// Whose.
    user_id: String,
    /// The metric's key.
    metric: String,
    /// The provider.
    source: String,
    /// The day.
    date: chrono::NaiveDate,
    /// confirmed, dismissed or open.
    verdict: String,
    /// Why.
    #[server(default)]
    note: String,
) -> Result<(), AppError> {
    let changed = server::decide(&user_id, &metric, &source, date, &verdict, &note).await?;
    let notice = if changed { "finding-decided" } else { "nothing-to-decide" };
    leptos_axum::redirect(&format!("/clients/{}?notice={notice}#findings", crate::components::text::segment(&user_id)));
    Ok(())
}

#[cfg(feature = "ssr")]
pub(super) mod server {
    use super::{DecideFinding, Doubted, Doubts};
    use crate::{
        components::text,
        error::AppError,
        jobs::kinds::ask_for_scores,
        model::{Instant, Metric, Source},
        quality::Verdict,
        server::context::Request,
        store::{
            audit::Actor,
            findings::{self, Doubt, Subject, is_doubt},
        },
    };
    use chrono::{NaiveDate, Utc};
    use leptos::server_fn::ServerFn;
    use sqlx::PgConnection;

    /// Days of a person's data in which doubts are shown.
    const DAYS: i32 = 60;
    /// Rows shown.
    const MOST: i64 = 60;

    /// What is doubted about one value, or was decided, whatever its day; `None` where there is neither.
    pub(in super::super) async fn about(conn: &mut PgConnection, it: Subject<'_>, now: Instant) -> sqlx::Result<Option<Doubts>> {
        let found = findings::doubt(conn, it).await?;
        let row = found.and_then(|d| doubted(it.user_id, &d, now));
        Ok(row.map(|row| Doubts { rows: vec![row], summary: String::new(), action: DecideFinding::url().to_owned() }))
    }

    /// What is doubted about a person's values of the last 60 days. Of somebody else's client there is nothing.
    pub(in super::super) async fn load(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<Doubts> {
        let action = DecideFinding::url().to_owned();
        let found = findings::doubts(conn, user_id, DAYS, MOST).await?;
        let now = Utc::now();
        let open = found.iter().filter(|d| d.verdict.is_none()).count();
        let more = if found.len() as i64 == MOST { " or more" } else { "" };
        let summary = format!("{open}{more} open, {} decided, in the last {DAYS} days of data.", found.len() - open);
        Ok(Doubts { rows: found.iter().filter_map(|d| doubted(user_id, d, now)).collect(), summary, action })
    }

    fn doubted(user_id: &str, d: &Doubt, now: Instant) -> Option<Doubted> {
        let metric = Metric::from_key(&d.metric_name)?;
        let with_unit = |v: f64| crate::pages::clients::words::amount(metric, v);
        let about = |f: &crate::model::Finding| match f.proposed {
            Some(p) => format!("{} Perhaps {}.", sentence(&f.detail), with_unit(p)),
            None => sentence(&f.detail),
        };
        let mut doubts: Vec<String> = d.findings.0.iter().filter(|f| is_doubt(f)).map(about).collect();
        doubts.dedup();
        let decided = match d.verdict.as_deref() {
            Some("confirmed") => "Fault confirmed",
            Some(_) => "Dismissed: the value is right",
            None => "",
        };
        let by = d.reviewed_by.as_deref().map(|b| format!(" ({b})")).unwrap_or_default();
        let note = d.note.as_deref().unwrap_or_default();
        let key = [
            ("user_id", user_id.to_owned()),
            ("metric", d.metric_name.clone()),
            ("source", d.source.clone()),
            ("date", d.measurement_date.to_string()),
        ];
        Some(Doubted {
            id: format!("doubt-{}-{}-{}", metric.key(), text::segment(&d.source), d.measurement_date),
            name: metric.name().into(),
            day: text::day(d.measurement_date, now.date_naive()),
            value: with_unit(d.value),
            source: Source::from_provider(&d.source).name(),
            score: d.confidence_score,
            doubts,
            can_be_right: d.can_be_right(),
            decided: decided.into(),
            note: if d.verdict.is_some() { format!("{note}{by}").trim_start().to_owned() } else { String::new() },
            at: d.reviewed_at.map(|at| text::moment(at, now)),
            fields: key.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        })
    }

    /// With a capital and a full stop.
    fn sentence(detail: &str) -> String {
        let detail = crate::pages::clients::words::readable(detail);
        let mut chars = detail.trim().trim_end_matches('.').chars();
        chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
    }

    pub(super) async fn decide(
        user_id: &str,
        metric: &str,
        source: &str,
        date: NaiveDate,
        verdict: &str,
        note: &str,
    ) -> Result<bool, AppError> {
        let request = Request::current()?;
        let account = request.account()?;
        let db = |e: sqlx::Error| request.db(&e);
        let unknown = || AppError::not_found("This value");
        let metric = Metric::from_key(metric).ok_or_else(unknown)?;
        let source = Source::from_provider(source);
        let verdict = match verdict {
            "confirmed" => Some(Verdict::Confirmed),
            "dismissed" => Some(Verdict::Dismissed),
            "open" => None,
            _ => return Err(AppError::invalid("A doubt can be confirmed, dismissed or opened again. Reload the page.")),
        };
        let it = Subject { user_id, metric, source: &source, date };
        // With the caller's eyes first: a trainer decides about assigned clients only.
        let mut seen = request.read().await?;
        if user_id.contains('\0') || source.as_str().contains('\0') || !findings::sees(&mut seen, it).await.map_err(db)? {
            return Err(unknown());
        }
        if verdict == Some(Verdict::Dismissed) && findings::doubt(&mut seen, it).await.map_err(db)?.is_some_and(|d| !d.can_be_right()) {
            return Err(AppError::invalid(
                "This value is outside what is possible, so it cannot be right. It can be confirmed as a fault.",
            ));
        }
        drop(seen);
        let actor = Actor::of(account, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
        let note = text::cut(note.trim(), 500).replace('\0', "");
        let mut tx = request.services.db.begin_service().await.map_err(db)?;
        let changed = findings::decide(&mut tx, &actor, it, verdict, &note).await.map_err(db)?;
        if changed {
            let later = [(user_id.to_owned(), date)].into();
            ask_for_scores(&mut tx, &later, &[user_id]).await.map_err(|e| AppError::internal(&request.request_id, &e))?;
        }
        tx.commit().await.map_err(db)?;
        Ok(changed)
    }
}

/// What is doubted about a person's values, with the forms to decide.
#[cfg(feature = "ssr")]
pub(super) fn shown(doubts: Doubts) -> AnyView {
    if doubts.rows.is_empty() {
        return view! { <Panel title="Doubted values" id="findings"><Empty title="Nothing is doubted"><p>"In the last 60 days of data no value looks like a fault."</p></Empty></Panel> }
            .into_any();
    }
    view! {
        <Panel title="Doubted values" id="findings" class="flush">
            <p class="panel-note soft small">{doubts.summary}" "{MEANING}</p>
            {some(doubts.rows, doubts.action)}
        </Panel>
    }
    .into_any()
}

/// The first of them; the others behind a word.
#[cfg(feature = "ssr")]
fn some(mut rows: Vec<Doubted>, action: String) -> AnyView {
    /// Rows shown at once.
    const AT_ONCE: usize = 6;
    let more = rows.split_off(AT_ONCE.min(rows.len()));
    let n = more.len();
    let more = (n > 0).then(|| {
        view! { <details class="twin more"><summary>{format!("{n} more")}</summary>{table("More doubted values and what was decided", more, action.clone())}</details> }
    });
    view! { {table("Doubted values and what was decided", rows, action)}{more} }.into_any()
}

/// Doubted values with the forms to decide.
#[cfg(feature = "ssr")]
pub(super) fn table(caption: &'static str, rows: Vec<Doubted>, action: String) -> AnyView {
    view! {
        <ScrollTable caption>
            <thead><tr>
                <th scope="col">"Metric"</th><th scope="col">"Day"</th><th scope="col" class="num">"Value"</th><th scope="col">"Source"</th>
                <th scope="col">"Confidence"</th><th scope="col">"Why it is doubted"</th><th scope="col">"Decision"</th>
            </tr></thead>
            <tbody class="blocks doubts">{rows.into_iter().map(|d| row(d, action.clone())).collect_view()}</tbody>
        </ScrollTable>
    }
    .into_any()
}

#[cfg(feature = "ssr")]
fn row(d: Doubted, action: String) -> AnyView {
    let (open, can_be_right) = (d.decided.is_empty(), d.can_be_right);
    let what = format!("{}, {}", d.name, d.day);
    let fields = d.fields.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value/> }).collect_view();
    let form = if open {
        view! {
            <form class="actions" method="post" action=action>
                {fields}
                <input name="note" maxlength="500" autocomplete="off" placeholder="Note" aria-label=format!("Note on {what}")/>
                <button class="button small" name="verdict" value="confirmed">"It is a fault"<span class="sr-only">": "{what.clone()}</span></button>
                {can_be_right.then(|| view! { <button class="button small" name="verdict" value="dismissed">"It is right"<span class="sr-only">": "{what}</span></button> })}
            </form>
        }
        .into_any()
    } else {
        view! {
            <strong>{d.decided}</strong>
            {d.at.map(|at| view! { " "<TimeStamp at/> })}
            {(!d.note.is_empty()).then(|| view! { <span class="remark">{d.note}</span> })}
            <form method="post" action=action>{fields}<button class="button small" name="verdict" value="open">"Take back"<span class="sr-only">": "{what}</span></button></form>
        }
        .into_any()
    };
    view! {
        <tr id=d.id>
            <th scope="row">{d.name}</th><td class="when">{label("Day")}{d.day}</td><td class="num value">{label("Value")}{d.value}</td><td>{label("Source")}{d.source}</td>
            <td>{label("Confidence")}<ScoreBadge score=d.score/></td>
            <td class="full">{d.doubts.into_iter().map(|s| view! { <span class="remark">{s}</span> }).collect_view()}</td>
            <td class="full">{form}</td>
        </tr>
    }
    .into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    fn doubted() -> Doubted {
        Doubted {
            id: "doubt-weight-withings-2026-01-01".into(),
            name: "Weight".into(),
            day: "1 Jan".into(),
            value: "900 kg".into(),
            source: "Withings".into(),
            score: Some(1),
            doubts: vec!["Too much.".into()],
            can_be_right: true,
            decided: String::new(),
            note: String::new(),
            at: None,
            fields: vec![("user_id".into(), "u".into())],
        }
    }

    #[test]
    fn a_row_is_known_by_the_value_it_is_about() {
        let html = row(doubted(), "/api/decide_finding".into()).to_html();
        assert!(html.contains("<tr id=\"doubt-weight-withings-2026-01-01\""), "{html}");
    }

    #[test]
    fn only_what_can_be_right_is_offered_as_right_and_what_was_decided_can_be_taken_back() {
        let html = |can_be_right, decided: &str| {
            row(Doubted { can_be_right, decided: decided.into(), ..doubted() }, "/api/decide_finding".into()).to_html()
        };
        let (doubtful, impossible, decided) = (html(true, ""), html(false, ""), html(false, "Fault confirmed"));
        assert!(doubtful.contains("It is a fault") && doubtful.contains("It is right"), "{doubtful}");
        assert!(impossible.contains("It is a fault") && !impossible.contains("It is right"), "{impossible}");
        assert!(decided.contains("Take back") && !decided.contains("It is a fault"), "{decided}");
    }
}
