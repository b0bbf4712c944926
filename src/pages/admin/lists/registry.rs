//! `/admin/settings/registry`: what the scorer takes as given, metric by metric and study by study; one metric with the
//! form that changes it; and, under `tab=shadow`, what another registry or program would change.

use super::{
    super::{
        registry_deeds::{DropShadow, PromoteShadow, ResetRegistry, SetRegistry, StartShadow},
        screen::{Cell, Field, Form, Part, Running, Shown},
    },
    Query, chip, text, time,
};
use crate::{
    model::{Badge, Instant, Metric, Source},
    quality::{
        EvidenceRow, MetricRule, REGISTRY_VERSION, Registry, SCORER_VERSION,
        explain::words,
        registry::{Key, Needs, Overrides, Scale, Tolerance},
    },
    rescore,
    store::{operations::Operation, persons, shadow},
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

pub(super) const PATH: &str = "settings/registry";
const HREF: &str = "/admin/settings/registry";
/// Persons whose scores a preview works out: it answers while somebody waits.
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
pub(super) async fn metrics(conn: &mut PgConnection) -> sqlx::Result<Shown> {
    let registry = rescore::registry(conn).await?;
    let changed = registry.version != REGISTRY_VERSION;
    let mut shown = shown("Registry", version(&registry), "");
    if changed {
        shown.deeds = vec![Cell::Buttons(vec![("Back to the built-in registry".into(), ResetRegistry::url().into(), Vec::new())])];
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
        fields: vec![Field { name: "metric".into(), label: "Metric".into(), value: wanted.clone(), options }],
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
            match e.key {
                Key::Seen => "at its source",
                Key::Secondary => "quoted elsewhere",
                Key::Known => "not checked",
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
    let field =
        |name: &str, label: &str, value: &str| Field { name: name.into(), label: label.into(), value: value.into(), options: Vec::new() };
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
    let preview = rescore::preview(&mut conn, &Registry::built_in().with(overrides), &users).await?;
    let rows: Vec<Vec<Cell>> = preview
        .badges
        .iter()
        .map(|((from, to), n)| vec![Cell::Text(format!("{} to {}", from.word(), to.word())), Cell::Number(text::count(*n as i64))])
        .collect();
    Ok(Part {
        title: "What this would change".into(),
        note: format!(
            "Of {} people looked at, {} would see a badge change; {} scores compared, {} of them move.",
            users.len(),
            preview.persons,
            text::count(preview.compared as i64),
            text::count((preview.compared - preview.moved.get(100).copied().unwrap_or(0)) as i64),
        ),
        heads: vec!["Badge".into(), "#Scores".into()],
        rows,
        empty: "No badge would change.".into(),
        ..Part::default()
    })
}

/// The shadow: how far it is, and what would change.
pub(super) async fn beside(conn: &mut PgConnection, now: Instant) -> sqlx::Result<Shown> {
    let registry = rescore::registry(conn).await?;
    let mut shown = shown("Registry", format!("{} This program's scorer is version {SCORER_VERSION}.", version(&registry)), "shadow");
    let start = |label: &str| Cell::Buttons(vec![(label.to_owned(), StartShadow::url().to_owned(), Vec::new())]);
    let Some(operation) = shadow::current(conn).await? else {
        shown.deeds = vec![start("Score everybody beside the old")];
        shown.parts = vec![Part {
            title: "Difference".into(),
            empty: "Nothing is scored beside the old. Start it here to see what this version of the program would change, or from a metric to try another number.".into(),
            heads: vec!["Badge".into()],
            ..Part::default()
        }];
        return Ok(shown);
    };
    let button = |label: &str, url: &str| (label.to_owned(), url.to_owned(), Vec::new());
    let mut buttons = vec![button("Drop it", DropShadow::url())];
    if operation.state == "completed" {
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
        ("Started".into(), time(Some(operation.started_at), now)),
        ("By".into(), Cell::Text(operation.started_by.clone())),
    ];
    if operation.state == "completed" {
        let d = shadow::difference(conn).await?;
        shown.facts.extend([
            ("Scores compared".to_owned(), Cell::Number(text::count(d.compared))),
            ("That differ".to_owned(), Cell::Number(text::count(d.differing))),
            ("Only beside".to_owned(), Cell::Number(text::count(d.new))),
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
                        super::person(Some(user)),
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
