//! `/admin/settings/registry`: what the scorer takes as given, metric by metric and study by study; one metric with the
//! form that changes it; and, under `tab=shadow`, what another registry or program would change.

mod beside;

pub(super) use beside::beside;

use super::{
    super::{
        registry_deeds::{ResetRegistry, SetRegistry},
        screen::{Cell, Field, Form, Part, Question, Shown},
    },
    Query, chip, text,
};
use crate::{
    model::{Metric, Source},
    quality::{
        EvidenceRow, MetricRule, REGISTRY_VERSION, Registry,
        explain::words,
        registry::{Basis, Key, Needs, Overrides, Scale, Tolerance},
    },
    rescore,
    store::persons,
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

pub(super) const PATH: &str = "settings/registry";
const HREF: &str = "/admin/settings/registry";
/// Persons whose scores a preview works out, the same each time: it answers while somebody waits, and says that it is a sample.
const SAMPLE: i64 = 40;

fn shown(title: &str, lead: String, tab: &str) -> Shown {
    let tabs = [("Metrics", ""), ("Studies", "studies"), ("Beside the old", "shadow")];
    Shown {
        title: title.into(),
        lead,
        up: Some(("/admin/settings".into(), "Settings".into())),
        tabs: tabs.map(|(name, key)| chip(name, String::new(), Query::href(PATH, &[("tab", key)]), key == tab)).to_vec(),
        ..Shown::default()
    }
}

fn version(registry: &Registry) -> String {
    if registry.version == REGISTRY_VERSION {
        format!("Version {}, as the program ships it.", registry.version)
    } else {
        format!("Version {}, changed by an administrator from the program's version {REGISTRY_VERSION}.", registry.version)
    }
}

/// All metrics.
pub(super) async fn metrics(conn: &mut PgConnection, query: &Query) -> sqlx::Result<Shown> {
    let registry = rescore::registry(conn).await?;
    let changed = registry.version != REGISTRY_VERSION;
    let mut shown = shown("Registry", version(&registry), "");
    if changed {
        shown.deeds = vec![Cell::Link(Query::href(PATH, &[("ask", "reset")]), "Back to the built-in registry…".into())];
        shown.question = (query.get("ask") == "reset").then(|| Question {
            text: "Go back to the registry that the program ships with? What administrators changed in it is lost, and everybody is scored again.".into(),
            verb: "Go back to the built-in registry".into(),
            action: ResetRegistry::url().into(),
            back: HREF.into(),
            ..Question::default()
        });
    }
    shown.parts = vec![Part {
        title: "Metrics".into(),
        note: "Confidence is the chance that a value is within its tolerance of the truth. What is possible is a hard limit; what is usual only speaks until a person has days of their own.".into(),
        heads: ["Metric", "About", "Unit", "Tolerance", "From", "#Possible", "#Usual in people", "#Every (days)", "#Half-life (h)", "Needs"]
            .map(String::from)
            .to_vec(),
        rows: registry.rules().iter().map(rule).collect(),
        ..Part::default()
    }];
    Ok(shown)
}

fn rule(r: &MetricRule) -> Vec<Cell> {
    vec![
        Cell::Link(format!("{HREF}/{}", r.metric.key()), r.metric.name().into()),
        Cell::Text(format!("{:?}", r.metric.category()).to_lowercase()),
        Cell::Text(r.metric.unit().into()),
        Cell::Text(words::tolerance(r.metric, r.tolerance)),
        Cell::Text(r.tolerance_source.clone()),
        Cell::Number(format!("{}–{}", plain(r.hard.0), plain(r.hard.1))),
        Cell::Number(usual(r)),
        Cell::Number(plain(r.cadence_days)),
        Cell::Number(plain(r.half_life_hours)),
        Cell::Text(needs(r.needs).into()),
    ]
}

/// The middle two thirds of people.
fn usual(r: &MetricRule) -> String {
    let at = |sign: f64| match r.scale {
        Scale::Linear => r.usual + sign * r.usual_spread,
        Scale::Log(offset) => (libm::exp(r.scaled(r.usual) + sign * r.usual_spread) - offset).max(0.0),
    };
    format!("{} ({}–{})", plain(r.usual), plain(at(-1.0)), plain(at(1.0)))
}

const fn needs(n: Needs) -> &'static str {
    match n {
        Needs::WholeDay => "the whole day",
        Needs::PartOfDay => "most of the day",
        Needs::WholeNight => "the whole night",
        Needs::PartOfNight => "hours of the night",
        Needs::Rest => "a quiet stretch",
        Needs::Nothing => "one measurement",
    }
}

/// As few digits as say it.
fn plain(x: f64) -> String {
    if x.abs() >= 1000.0 {
        text::count(x.round() as i64)
    } else {
        format!("{:.2}", x).trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// All studies, with what follows from them.
pub(super) async fn studies(conn: &mut PgConnection, query: &Query) -> sqlx::Result<Shown> {
    let registry = rescore::registry(conn).await?;
    let wanted = query.get("metric");
    let mut shown = shown("Registry", version(&registry), "studies");
    let rows = registry.evidence().iter().filter(|e| wanted.is_empty() || e.metric.key() == wanted);
    let mut options = vec![(String::new(), "any".to_owned())];
    options.extend(registry.rules().iter().map(|r| (r.metric.key().to_owned(), r.metric.name().to_owned())));
    shown.parts = vec![Part {
        title: "Studies".into(),
        note: "Chance within tolerance: what the figure alone says; Prior: what the scorer starts from, shrunken towards its class, with the 10th and 90th percentile. Only rows read at their source are shown as citations beside a score.".into(),
        fields: vec![Field { options, ..super::field("metric", "Metric", &wanted, &[]) }],
        keep: vec![("tab".into(), "studies".into())],
        heads: ["Metric", "Source", "Device", "Figure", "Study", "#Year", "#n", "Population", "Funder", "Read", "#Within tolerance", "#Prior"]
            .map(String::from)
            .to_vec(),
        rows: rows.map(|e| study(&registry, e)).collect(),
        filtered: !wanted.is_empty(),
        clear: Query::href(PATH, &[("tab", "studies")]),
        empty: "No study is known.".into(),
        ..Part::default()
    }];
    Ok(shown)
}

fn study(registry: &Registry, e: &EvidenceRow) -> Vec<Cell> {
    let any = e.source == "*";
    let source = if any { "any".into() } else { Source::from_provider(&e.source).name() };
    let within = registry.rule(e.metric).and_then(|r| e.figure.within(r));
    let prior = registry.prior(e.metric, if any { "unknown" } else { &e.source }, Some(e.device.as_str()));
    let words = |t: &str| if t.is_empty() { Cell::None } else { Cell::Text(t.to_owned()) };
    let percent = |p: f64| format!("{:.0} %", 100.0 * p);
    vec![
        Cell::Text(e.metric.name().into()),
        Cell::Text(source),
        words(&e.device),
        Cell::Text(e.published.clone()),
        Cell::Text(e.study.clone()),
        Cell::Number(e.year.to_string()),
        e.n.map_or(Cell::None, |n| Cell::Number(n.to_string())),
        words(&e.population),
        words(e.funder.as_deref().unwrap_or_default()),
        Cell::Text(
            match (e.basis, e.key) {
                (Basis::Assumed, _) => "an assumption, no study",
                (Basis::Requirement, _) => "a requirement, no study",
                (Basis::Study, Key::Seen) => "at its source",
                (Basis::Study, Key::Secondary) => "quoted elsewhere",
                (Basis::Study, Key::Known) => "not checked",
            }
            .into(),
        ),
        within.map_or(Cell::None, |p| Cell::Number(percent(p))),
        Cell::Number(format!("{} ({}–{})", percent(prior.probability), percent(prior.low()), percent(prior.high()))),
    ]
}

/// One metric, with the form that changes it and, where the URL carries numbers, what they would change.
pub(super) async fn one(conn: &mut PgConnection, service: &sqlx::PgPool, key: &str, query: &Query) -> sqlx::Result<Option<Shown>> {
    let registry = rescore::registry(conn).await?;
    let Some(rule) = Metric::from_key(key).and_then(|m| registry.rule(m)) else { return Ok(None) };
    let built_in = Registry::built_in().rule(rule.metric).unwrap_or(rule);
    let mut shown = shown(rule.metric.name(), version(&registry), "-");
    shown.up = Some((HREF.into(), "Registry".into()));
    shown.facts = vec![
        ("Unit".into(), Cell::Text(if rule.metric.unit().is_empty() { "none".into() } else { rule.metric.unit().into() })),
        ("Tolerance".into(), Cell::Text(format!("{}: {}", words::tolerance(rule.metric, rule.tolerance), rule.tolerance_source))),
        ("As shipped".into(), Cell::Text(words::tolerance(built_in.metric, built_in.tolerance))),
        ("Usual in people".into(), Cell::Text(usual(rule))),
        ("Studies".into(), Cell::Link(Query::href(PATH, &[("tab", "studies"), ("metric", key)]), "show".into())),
    ];
    let asked = query.some("tolerance").is_some();
    let mut wish = Wish::of(rule);
    if asked {
        wish = Wish::read(|name| query.get(name));
        match wish.overrides(&registry, rule) {
            Err(complaint) => shown.complaint = complaint,
            Ok(overrides) => shown.parts.push(impact(service, &overrides).await?),
        }
    }
    let field = |name: &str, label: &str, value: &str| super::field(name, label, value, &[]);
    let kinds = [
        ("absolute", format!("in {}", if rule.metric.unit().is_empty() { "its unit" } else { rule.metric.unit() })),
        ("relative", "percent".into()),
    ];
    shown.form = Some((
        "Change it".into(),
        "Scores then belong to a new version of the registry, which is in the audit log; all of history is scored again. Run beside the old scores everybody into a shadow first.".into(),
        Form {
            get: String::new(),
            action: SetRegistry::url().into(),
            fields: vec![
                field("tolerance", "Tolerance", &wish.tolerance),
                Field {
                    options: kinds.map(|(k, w)| (k.to_owned(), w)).to_vec(),
                    ..field("kind", "Tolerance is", &wish.kind)
                },
                field("low", "Possible from", &wish.low),
                field("high", "to", &wish.high),
                field("half_life", "Half-life (h)", &wish.half_life),
            ],
            hidden: vec![("metric".into(), key.into())],
            buttons: vec![
                ("Run beside the old".into(), "deed".into(), "shadow".into()),
                ("Apply and recalculate".into(), "deed".into(), "apply".into()),
            ],
            ask: Some((format!("{HREF}/{key}"), "Show the impact".into())),
        },
    ));
    Ok(Some(shown))
}

/// A change as it is typed.
pub(in super::super) struct Wish {
    pub tolerance: String,
    pub kind: String,
    pub low: String,
    pub high: String,
    pub half_life: String,
}

impl Wish {
    fn of(rule: &MetricRule) -> Self {
        let (tolerance, kind) = match rule.tolerance {
            Tolerance::Absolute(d) => (d, "absolute"),
            Tolerance::Relative(f) => (f * 100.0, "relative"),
        };
        Self {
            tolerance: tolerance.to_string(),
            kind: kind.into(),
            low: rule.hard.0.to_string(),
            high: rule.hard.1.to_string(),
            half_life: rule.half_life_hours.to_string(),
        }
    }

    pub(in super::super) fn read(get: impl Fn(&str) -> String) -> Self {
        Self { tolerance: get("tolerance"), kind: get("kind"), low: get("low"), high: get("high"), half_life: get("half_life") }
    }

    /// The registry in force with this change, under the next version; or what is wrong with it.
    pub(in super::super) fn overrides(&self, registry: &Registry, rule: &MetricRule) -> Result<Overrides, String> {
        let number = |text: &str, what: &str| {
            let read = text.trim().replace(',', ".").parse::<f64>().ok().filter(|x| x.is_finite());
            read.ok_or_else(|| format!("{what} has to be a number, not “{}”.", text::cut(text, 40)))
        };
        let tolerance = number(&self.tolerance, "The tolerance")?;
        let tolerance = if self.kind == "relative" { Tolerance::Relative(tolerance / 100.0) } else { Tolerance::Absolute(tolerance) };
        let hard = (number(&self.low, "The lowest possible value")?, number(&self.high, "The highest possible value")?);
        let half_life = number(&self.half_life, "The half-life")?;
        let mut overrides = registry.overrides();
        let built_in = Registry::built_in().rule(rule.metric).unwrap_or(rule);
        // What is as shipped is no change.
        set(&mut overrides.tolerances, rule.metric, tolerance, built_in.tolerance);
        set(&mut overrides.hard, rule.metric, hard, built_in.hard);
        set(&mut overrides.half_lives, rule.metric, half_life, built_in.half_life_hours);
        overrides.version = registry.next_version();
        match overrides.objection(built_in) {
            Some(objection) => Err(objection),
            None => Ok(overrides),
        }
    }
}

fn set<T: PartialEq>(map: &mut std::collections::BTreeMap<Metric, T>, metric: Metric, value: T, built_in: T) {
    if value == built_in {
        map.remove(&metric);
    } else {
        map.insert(metric, value);
    }
}

/// What a registry would change for some people, worked out while the reader waits.
async fn impact(service: &sqlx::PgPool, overrides: &Overrides) -> sqlx::Result<Part> {
    let mut conn = service.acquire().await?;
    let users = persons::some_with_values(&mut conn, SAMPLE).await?;
    let all = persons::count_with_values(&mut conn).await?;
    let preview = rescore::preview(&mut conn, &Registry::built_in().with(overrides), &users).await?;
    let rows: Vec<Vec<Cell>> = preview
        .badges
        .iter()
        .map(|((from, to), n)| vec![Cell::Text(format!("{} to {}", from.word(), to.word())), Cell::Number(text::count(*n as i64))])
        .collect();
    Ok(Part {
        title: "What this would change".into(),
        note: format!(
            "{} {} scores compared, {} of them move.",
            people(preview.persons as i64, users.len() as i64, all),
            text::count(preview.compared as i64),
            text::count((preview.compared - preview.moved.get(100).copied().unwrap_or(0)) as i64),
        ),
        heads: vec!["Badge".into(), "#Scores".into()],
        rows,
        empty: "No badge would change.".into(),
        ..Part::default()
    })
}

/// How many people would see another badge, from those looked at to all there are.
fn people(changed: i64, looked_at: i64, all: i64) -> String {
    if looked_at >= all {
        return match all {
            1 => format!("Of the one person with values, {changed} would see a badge change."),
            _ => format!("Of all {} people with values, {} would see a badge change.", text::count(all), text::count(changed)),
        };
    }
    format!(
        "Worked out for {looked_at} of the {} people with values, a fixed sample: {changed} of them would see a badge change, by that share about {} of all. \
         Run it beside the old to know it of everybody.",
        text::count(all),
        text::count((changed * all + looked_at / 2).checked_div(looked_at).unwrap_or(0))
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::{super::super::registry_deeds::DropShadow, *};
    use crate::{jobs::operations, store::audit::Actor};

    #[tokio::test]
    async fn what_takes_a_whole_run_to_have_again_is_not_thrown_away_without_a_question() {
        let t = crate::store::testing::database().await;
        let actor = Actor::system();
        let rule = Registry::built_in().rule(Metric::Steps).unwrap();
        let wish = Wish { tolerance: "23".into(), kind: "relative".into(), ..Wish::of(rule) };
        let mut tx = t.db.begin_service().await.unwrap();
        let (plain, reset) = (Query::parse(""), Query::parse("ask=reset"));
        assert!(metrics(&mut tx, &reset).await.unwrap().question.is_none(), "there is nothing to go back from");
        let overrides = wish.overrides(Registry::built_in(), rule).unwrap();
        operations::change_registry(&mut tx, Some(&overrides), &actor).await.unwrap();
        operations::start_shadow(&mut tx, None, &actor).await.unwrap();
        let now = chrono::Utc::now();
        let (page, asked) = (metrics(&mut tx, &plain).await.unwrap(), metrics(&mut tx, &reset).await.unwrap());
        let tried = beside(&mut tx, &Query::parse("tab=shadow"), now).await.unwrap();
        let dropped = beside(&mut tx, &Query::parse("tab=shadow&ask=drop"), now).await.unwrap();
        let pages = [(page, asked, ResetRegistry::url()), (tried, dropped, DropShadow::url())];
        for (page, asked, action) in pages {
            assert!(page.question.is_none() && !format!("{:?}", page.deeds).contains(action), "{:?}", page.deeds);
            assert!(format!("{:?}", page.deeds).contains("ask="), "{:?}", page.deeds);
            assert_eq!(asked.question.map(|q| q.action).as_deref(), Some(action));
        }
    }

    #[test]
    fn an_impact_says_of_whom_it_was_worked_out() {
        assert_eq!(people(3, 12, 12), "Of all 12 people with values, 3 would see a badge change.");
        let sample = people(10, 40, 1_201);
        assert!(
            sample.contains("for 40 of the 1,201 people") && sample.contains("10 of them") && sample.contains("about 300 of all"),
            "{sample}"
        );
        assert_eq!(people(0, 0, 0), "Of all 0 people with values, 0 would see a badge change.");
    }
}
