//! An event's elements as records.
//!
//! An element whose day cannot be told is refused with a finding, never dated "today". Two elements of one delivery that
//! are the same record become one, the later one over the earlier.

use super::event::{Event, EventKind};
use super::fields::{self, Part, RETIRED};
use super::reader::{Reader, is_nothing};
use super::text::{check, clean};
use super::time::Moment;
use super::{body, checks, coverage, providers};
use crate::model::{Coverage, Device, Finding, FindingKind, Instant, Model, Origin, Record, UploadKind};
use chrono::NaiveDate;
use serde_json::Value;

/// Longest record key, in characters; a longer `summary_id` is not used.
const MAX_KEY: usize = 200;
/// A day further ahead than this of the moment Terra produced the payload is suspicious, in days: no zone is further.
const MAX_DAYS_AHEAD: i64 = 2;

/// What a delivery gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Normalised {
    /// One a night, nap, workout, measurement or day; each key at most once.
    pub records: Vec<Record>,
    /// What concerns the delivery as a whole, and why elements of it were refused.
    pub findings: Vec<Finding>,
    /// Elements that were refused.
    pub refused: u32,
}

/// The records of an event. `produced` is when Terra made the payload (its ordering timestamp), where known: it tells
/// whether a day was over by then. An event without data gives nothing.
pub fn normalise(event: &Event, produced: Option<Instant>) -> Normalised {
    let mut out = Normalised::default();
    if event.lost_numbers > 0 {
        out.findings.push(bad(format!("{} numbers were too large to read and were left out", event.lost_numbers)));
    }
    let EventKind::Data(model) = event.kind else { return out };
    if matches!(model, Model::Athlete | Model::Menstruation) {
        return out;
    }
    for (index, element) in elements(&event.body, model).enumerate() {
        match element_records(model, element, produced) {
            Ok(records) => records.into_iter().for_each(|mut record| {
                if let Some(user) = &event.user {
                    providers::mark(&user.provider, &mut record);
                }
                add(&mut out.records, record);
            }),
            Err(why) => {
                out.refused += 1;
                if out.findings.len() < 20 {
                    out.findings.push(bad(format!("element {} was left out: {why}", index + 1)));
                }
            }
        }
    }
    out
}

fn bad(detail: String) -> Finding {
    Finding { kind: FindingKind::BadField, metric: None, detail, proposed: None }
}

/// The elements of `data`, be it a list or, in older forms, one object under `data` or under the model's name.
fn elements(body: &Value, model: Model) -> impl Iterator<Item = &Value> {
    let data = body.get("data").or_else(|| body.get(model.word()));
    let (list, single) = match data {
        Some(Value::Array(items)) => (items.as_slice(), None),
        Some(Value::Null) | None => (&[][..], None),
        Some(other) => (&[][..], Some(other)),
    };
    list.iter().chain(single)
}

/// Puts a record in, over an earlier one of the same key: what the later one says wins, what it leaves out stays.
fn add(records: &mut Vec<Record>, record: Record) {
    let Some(earlier) = records.iter_mut().find(|earlier| earlier.key == record.key && earlier.model == record.model) else {
        records.push(record);
        return;
    };
    let mut merged = record;
    if !merged.deleted {
        merged.nap = merged.nap.or(earlier.nap);
        for (metric, value) in earlier.values.drain(..) {
            if !merged.values.iter().any(|(known, _)| *known == metric) {
                merged.values.push((metric, value));
            }
        }
    }
    *earlier = merged;
}

fn element_records(model: Model, element: &Value, produced: Option<Instant>) -> Result<Vec<Record>, String> {
    if !element.is_object() {
        return Err("it is not an object".to_owned());
    }
    let mut reader = Reader::new(element);
    let start = reader.moment("metadata.start_time");
    let end = reader.moment("metadata.end_time");
    let upload = upload_kind(&mut reader, model);
    let date = local_date(&mut reader, model, start, end, upload, produced)?;
    if produced.is_some_and(|produced| (date - produced.date_naive()).num_days() > MAX_DAYS_AHEAD) {
        reader.note(FindingKind::Implausible, None, format!("the day {date} lies ahead of the moment the payload was made"));
    }
    let retired: Vec<&str> = RETIRED.iter().filter(|(m, path)| *m == model && present(element, path)).map(|(_, path)| *path).collect();
    if !retired.is_empty() {
        reader.note(FindingKind::BadField, None, format!("fields of the 2021 format, not read: {}", retired.join(", ")));
    }
    let whole = Whole { model, date, start, end, produced, origin: origin(&mut reader, upload) };
    if model == Model::Body {
        return Ok(body::records(reader, element, &whole));
    }
    let (values, _) = reader.values(fields::of(model, Part::Whole));
    let mut seen = coverage::of(&mut reader, model, end);
    seen.cut_s = match (model, start) {
        (Model::Daily | Model::Nutrition, Some(start)) => coverage::day_cut(start, end, produced),
        _ => coverage::session_cut(start, end, produced),
    };
    let key = match model {
        Model::Activity | Model::Sleep => session_key(&mut reader, start, end)?,
        _ => date.to_string(),
    };
    let nap = if model == Model::Sleep { reader.truth("metadata.is_nap") } else { None };
    checks::record(&mut reader, model, &values, &seen, start, end);
    let mut record = whole.record(key, values, seen, reader.findings);
    record.nap = nap;
    if record.deleted {
        record.values.clear();
    }
    Ok(vec![record])
}

/// What the records of one element share.
pub(super) struct Whole {
    pub(super) model: Model,
    pub(super) date: NaiveDate,
    pub(super) start: Option<Moment>,
    pub(super) end: Option<Moment>,
    pub(super) produced: Option<Instant>,
    pub(super) origin: Origin,
}

impl Whole {
    pub(super) fn record(
        &self,
        key: String,
        values: Vec<(crate::model::Metric, f64)>,
        coverage: Coverage,
        findings: Vec<Finding>,
    ) -> Record {
        Record {
            model: self.model,
            key,
            date: self.date,
            start: self.start.map(|start| start.instant),
            end: self.end.map(|end| end.instant),
            nap: None,
            deleted: self.origin.upload == UploadKind::Delete,
            origin: self.origin.clone(),
            coverage,
            values,
            findings,
        }
    }
}

/// The day an element belongs to: for sleep the day of waking, else the day of its start, both as written.
fn local_date(
    reader: &mut Reader<'_>,
    model: Model,
    start: Option<Moment>,
    end: Option<Moment>,
    upload: UploadKind,
    produced: Option<Instant>,
) -> Result<NaiveDate, String> {
    let (found, name) = if model == Model::Sleep { (end, "end_time") } else { (start, "start_time") };
    if let Some(moment) = found {
        return Ok(moment.date());
    }
    // A deletion names its record by id and holds no value, so a stand-in date invents nothing.
    if upload == UploadKind::Delete && reader.text("metadata.summary_id").is_some() {
        return Ok(produced.map_or(NaiveDate::default(), |produced| produced.date_naive()));
    }
    Err(format!("metadata.{name} is missing or unreadable, so its day is unknown"))
}

/// `summary_id`, else start and end in UTC.
fn session_key(reader: &mut Reader<'_>, start: Option<Moment>, end: Option<Moment>) -> Result<String, String> {
    let id = match reader.at("metadata.summary_id", None) {
        Some(Value::String(text)) => check(text, "metadata.summary_id", MAX_KEY),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err("metadata.summary_id is neither text nor a number".to_owned()),
        None => Ok(None),
    };
    match id {
        Ok(Some(id)) => return Ok(id),
        Ok(None) => {}
        Err(why) => reader.note(FindingKind::BadField, None, format!("{why}; start and end name the session instead")),
    }
    let written = |moment: Option<Moment>| moment.map(|moment| moment.instant.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    match (written(start), written(end)) {
        (None, None) => Err("it has neither a summary_id nor a start or end".to_owned()),
        (start, end) => Ok(format!("{}/{}", start.unwrap_or_default(), end.unwrap_or_default())),
    }
}

/// `upload_type` in one vocabulary: sleep numbers it in another order than the other models, and body has none.
fn upload_kind(reader: &mut Reader<'_>, model: Model) -> UploadKind {
    let Some(code) = reader.code("metadata.upload_type") else { return UploadKind::Unknown };
    match (model == Model::Sleep, code) {
        (_, 0) => UploadKind::Unknown,
        (true, 1) | (false, 2) => UploadKind::Manual,
        (true, 2) | (false, 1) => UploadKind::Automatic,
        (true, 3) => UploadKind::Tentative,
        (true, 4) => UploadKind::Indeterminate,
        (false, 3) => UploadKind::Update,
        (false, 4) => UploadKind::Delete,
        (false, 5) => UploadKind::Pending,
        (false, 6) => UploadKind::ThirdParty,
        (_, other) => {
            reader.note(FindingKind::BadField, None, format!("metadata.upload_type {other} is not known"));
            UploadKind::Unknown
        }
    }
}

/// Device and the provider's quality flags. Serial numbers are personal and are not read.
fn origin(reader: &mut Reader<'_>, upload: UploadKind) -> Origin {
    let mut text = |path: &str| reader.text(path).and_then(|text| clean(text, 120));
    let device = Device {
        name: text("device_data.name"),
        manufacturer: text("device_data.manufacturer"),
        firmware: text("device_data.software_version"),
    };
    let mut flags = Vec::new();
    for (path, name, plain) in [
        ("cheat_detection", "cheat_detection", 0.0),
        ("metadata.timestamp_localization", "timestamp_localization", 1.0),
        ("glucose_data.sensor_usage", "sensor_usage", 100.0),
    ] {
        if let Some(value) = reader.number(path, None).filter(|value| (value - plain).abs() > f64::EPSILON) {
            flags.push(format!("{name}={value}"));
        }
    }
    for (path, name) in [
        ("respiration_data.breaths_data.on_demand_reading", "on_demand_breaths"),
        ("respiration_data.oxygen_saturation_data.on_demand_reading", "on_demand_oxygen"),
    ] {
        if reader.truth(path) == Some(true) {
            flags.push(format!("{name}=true"));
        }
    }
    Origin { upload, device: (device != Device::default()).then_some(device), flags }
}

fn present(element: &Value, path: &str) -> bool {
    let found = path.split('.').try_fold(element, |value, step| value.get(step));
    found.is_some_and(|value| !is_nothing(value))
}
