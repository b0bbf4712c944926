//! Reads single fields of an element, naming what could not be used.
//!
//! Null, absent and empty are the same: nothing was said. A value of the wrong type is left out with a finding and costs
//! nothing else. Zero is a value.

use super::fields::{Convert, Field, Take};
use super::time::{Moment, moment};
use crate::model::{Finding, FindingKind, Metric};
use serde_json::Value;

/// Findings of one record, at most; a payload of nonsense must not become megabytes of complaints.
const MAX_FINDINGS: usize = 40;

pub(super) struct Reader<'a> {
    element: &'a Value,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(element: &'a Value) -> Self {
        Self { element, findings: Vec::new() }
    }

    /// Notes something, once.
    pub(super) fn note(&mut self, kind: FindingKind, metric: Option<Metric>, detail: String) {
        self.propose(Finding { kind, metric, detail, proposed: None });
    }

    /// The same with a proposed reading.
    pub(super) fn propose(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn bad(&mut self, metric: Option<Metric>, path: &str, found: &Value, wanted: &str) {
        self.note(FindingKind::BadField, metric, format!("{path} is {}, not {wanted}; left out", what(found)));
    }

    /// The value at a dotted path; `None` for null, absent and empty ones. A container of a wrong type is named.
    pub(super) fn at(&mut self, path: &str, metric: Option<Metric>) -> Option<&'a Value> {
        let mut value = self.element;
        let mut seen = 0;
        for step in path.split('.') {
            match value {
                Value::Object(fields) => value = fields.get(step)?,
                found if is_nothing(found) => return None,
                found => {
                    let container = path.get(..seen).unwrap_or(path).trim_end_matches('.');
                    self.bad(metric, container, found, "an object");
                    return None;
                }
            }
            seen += step.len() + 1;
        }
        (!is_nothing(value)).then_some(value)
    }

    /// A finite number.
    pub(super) fn number(&mut self, path: &str, metric: Option<Metric>) -> Option<f64> {
        let value = self.at(path, metric)?;
        let number = value.as_f64().filter(|number| number.is_finite());
        if number.is_none() {
            self.bad(metric, path, value, "a number");
        }
        number
    }

    pub(super) fn text(&mut self, path: &str) -> Option<&'a str> {
        let value = self.at(path, None)?;
        let text = value.as_str();
        if text.is_none() {
            self.bad(None, path, value, "text");
        }
        text
    }

    pub(super) fn truth(&mut self, path: &str) -> Option<bool> {
        let value = self.at(path, None)?;
        let truth = value.as_bool();
        if truth.is_none() {
            self.bad(None, path, value, "true or false");
        }
        truth
    }

    pub(super) fn list(&mut self, path: &str) -> &'a [Value] {
        match self.at(path, None) {
            Some(Value::Array(items)) => items,
            Some(found) => {
                self.bad(None, path, found, "a list");
                &[]
            }
            None => &[],
        }
    }

    pub(super) fn moment(&mut self, path: &str) -> Option<Moment> {
        let text = self.text(path)?;
        let moment = moment(text);
        if moment.is_none() {
            self.note(FindingKind::BadField, None, format!("{path} is no date and time of ISO 8601; left out"));
        }
        moment
    }

    /// A whole number from 0 to 255, also when written as `1.0`.
    pub(super) fn code(&mut self, path: &str) -> Option<u8> {
        let number = self.number(path, None)?;
        let code = (0_u8..=u8::MAX).find(|code| (f64::from(*code) - number).abs() < f64::EPSILON);
        if code.is_none() {
            self.note(FindingKind::BadField, None, format!("{path} is {number}, not a code; left out"));
        }
        code
    }

    /// What the rows give, in our units, each metric once; the second number is how many samples the means rest on.
    pub(super) fn values(&mut self, rows: impl Iterator<Item = &'static Field>) -> (Vec<(Metric, f64)>, u32) {
        let (mut values, mut samples) = (Vec::<(Metric, f64)>::new(), 0);
        for field in rows {
            if values.iter().any(|(metric, _)| *metric == field.metric) {
                continue;
            }
            let metric = Some(field.metric);
            let raw = match field.take {
                Take::Value(path) => self.number(path, metric),
                Take::Sum(paths) => paths.iter().filter_map(|path| self.number(path, metric)).reduce(|sum, part| sum + part),
                Take::Mean { list, item } => {
                    let mean = self.mean(list, item, field.metric);
                    samples = samples.max(mean.map_or(0, |(_, count)| count));
                    mean.map(|(mean, _)| mean)
                }
            };
            let Some(raw) = raw else { continue };
            let value = field.convert.apply(raw);
            if field.convert == Convert::FractionToPercent && (value - raw).abs() > 0.0 {
                self.note(
                    FindingKind::FractionPercent,
                    metric,
                    format!("{} was delivered as {raw} and read as a fraction: {value} %", field.path()),
                );
            }
            if value.is_finite() {
                values.push((field.metric, value));
            }
        }
        (values, samples)
    }

    fn mean(&mut self, list: &str, item: &str, metric: Metric) -> Option<(f64, u32)> {
        let (mut sum, mut count, mut bad) = (0.0, 0_u32, 0_u32);
        for entry in self.list(list) {
            match entry.get(item) {
                Some(value) if is_nothing(value) => {}
                Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
                    Some(number) => (sum, count) = (sum + number, count + 1),
                    None => bad += 1,
                },
                None => {}
            }
        }
        if bad > 0 {
            self.note(FindingKind::BadField, Some(metric), format!("{bad} entries of {list} had no number in {item}; left out"));
        }
        (count > 0).then(|| (sum / f64::from(count), count))
    }
}

/// Null and the empty forms that stand for it.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What a value is, for people. Never the value itself: it could be personal.
fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
