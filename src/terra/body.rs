//! A body element is several records: each measurement by its own time, the day's averages, glucose, blood pressure.

use super::fields::{self, Part};
use super::normalise::Whole;
use super::reader::Reader;
use super::time::moment;
use super::{checks, coverage};
use crate::model::{Coverage, FindingKind, Model, Record};
use serde_json::Value;

/// The records of a body element; `reader` has read its metadata.
pub(super) fn records(mut reader: Reader<'_>, element: &Value, whole: &Whole) -> Vec<Record> {
    let mut records = measurements(&mut reader, whole);
    for (part, key) in [(Part::Glucose, "glucose"), (Part::Pressure, "pressure")] {
        let mut part_reader = Reader::new(element);
        let (values, samples) = part_reader.values(fields::of(Model::Body, part));
        if values.is_empty() && part_reader.findings.is_empty() {
            continue;
        }
        let list = if part == Part::Glucose { "glucose_data.blood_glucose_samples" } else { "blood_pressure_data.blood_pressure_samples" };
        let delivered = u32::try_from(part_reader.list(list).len()).unwrap_or(u32::MAX);
        let mut seen = Coverage { samples: Some(samples.max(delivered)).filter(|count| *count > 0), ..Coverage::default() };
        if let (Part::Glucose, Some(start)) = (part, whole.start) {
            seen.cut_s = coverage::day_cut(start, whole.end, whole.produced);
        }
        checks::record(&mut part_reader, Model::Body, &values, &seen, None, None);
        records.push(whole.record(format!("{}/{key}", whole.date), values, seen, part_reader.findings));
    }
    let (values, _) = reader.values(fields::of(Model::Body, Part::Whole));
    let seen = coverage::of(&mut reader, Model::Body, None);
    checks::record(&mut reader, Model::Body, &values, &seen, None, None);
    // An element of measurements alone needs no day record, unless something is to be said about it as a whole.
    if !values.is_empty() || !reader.findings.is_empty() || records.is_empty() {
        records.push(whole.record(whole.date.to_string(), values, seen, reader.findings));
    }
    records
}

fn measurements(reader: &mut Reader<'_>, whole: &Whole) -> Vec<Record> {
    let mut records = Vec::new();
    for (index, entry) in reader.list("measurements_data.measurements").iter().enumerate() {
        if !entry.is_object() {
            reader.note(FindingKind::BadField, None, format!("measurement {} is not an object; left out", index + 1));
            continue;
        }
        let mut one = Reader::new(entry);
        let (values, _) = one.values(fields::of(Model::Body, Part::Measurement));
        let at = one.text("measurement_time").and_then(moment);
        if at.is_none() {
            one.note(FindingKind::MissingPart, None, "the measurement has no readable time; its place in the list names it".to_owned());
        }
        checks::measurement(&mut one, &values);
        let key = match at {
            Some(at) => at.instant.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string(),
            None => format!("{}/{}", whole.date, index + 1),
        };
        let mut record = whole.record(key, values, Coverage::default(), one.findings);
        if let Some(at) = at {
            (record.date, record.start, record.end) = (at.date(), Some(at.instant), Some(at.instant));
        }
        if !record.values.is_empty() || !record.findings.is_empty() {
            records.push(record);
        }
    }
    records
}
