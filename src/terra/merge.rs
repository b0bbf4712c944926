//! What a record comes to when deliveries arrive in any order, twice, or not at all.
//!
//! Each value carries the stamp of the delivery that said it, and a deletion carries one too. Merging keeps, for each
//! metric, what the latest delivery said, and drops what is not later than the latest deletion. Both are maxima, so
//! [`merge`] is commutative, associative and idempotent: the end depends on which deliveries came, not on when.

use crate::model::{Device, Finding, Instant, Metric, Ordering, Record, Source};
use uuid::Uuid;

/// Which delivery said something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Its place in the total order.
    pub ordering: Ordering,
    /// Its row.
    pub delivery_id: Uuid,
    /// When it was received.
    pub received_at: Instant,
}

/// One value with its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredValue {
    /// Which metric.
    pub metric: Metric,
    /// In the metric's unit.
    pub value: f64,
    /// The delivery that said it.
    pub stamp: Stamp,
    /// What that delivery's record was suspected of, concerning this metric.
    pub findings: Vec<Finding>,
}

/// A record as its deliveries so far left it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// The latest delivery's record; its `values` are empty, its `findings` are those of no stored value.
    pub record: Record,
    /// The provider.
    pub source: Source,
    /// The latest delivery.
    pub stamp: Stamp,
    /// Each metric's value, sorted by metric.
    pub values: Vec<StoredValue>,
    /// The latest delivery that named a device, with its place in the order: a null must not erase what measured it.
    pub device: Option<(Device, Ordering)>,
    /// The latest delivery that said whether it is a nap, likewise: a null must not make a nap a night.
    pub nap: Option<(bool, Ordering)>,
    /// The latest deletion.
    pub deletion: Option<Ordering>,
}

impl StoredRecord {
    /// A record as one delivery alone leaves it.
    pub fn new(mut record: Record, source: Source, stamp: Stamp) -> Self {
        let mut findings = std::mem::take(&mut record.findings);
        let mut values: Vec<StoredValue> = std::mem::take(&mut record.values)
            .into_iter()
            .map(|(metric, value)| StoredValue {
                metric,
                value,
                stamp: stamp.clone(),
                findings: findings.extract_if(.., |finding| finding.metric == Some(metric)).collect(),
            })
            .collect();
        values.sort_by_key(|value| value.metric);
        record.findings = findings;
        let device = record.origin.device.clone().map(|device| (device, stamp.ordering.clone()));
        let nap = record.nap.map(|nap| (nap, stamp.ordering.clone()));
        let deletion = record.deleted.then(|| stamp.ordering.clone());
        let mut stored = Self { record, source, stamp, values, device, nap, deletion };
        stored.forget_deleted();
        stored
    }

    /// The value of a metric.
    pub fn get(&self, metric: Metric) -> Option<&StoredValue> {
        self.values.iter().find(|value| value.metric == metric)
    }

    /// Whether it is a nap, as far as anybody said.
    pub fn is_nap(&self) -> bool {
        self.nap.as_ref().is_some_and(|(nap, _)| *nap)
    }

    /// The record with its values and findings put back together, and the device that is known.
    pub fn to_record(&self) -> Record {
        let mut record = self.record.clone();
        record.values = self.values.iter().map(|value| (value.metric, value.value)).collect();
        record.findings.extend(self.values.iter().flat_map(|value| value.findings.iter().cloned()));
        record.origin.device = self.device.as_ref().map(|(device, _)| device.clone());
        record
    }

    fn forget_deleted(&mut self) {
        if let Some(deletion) = &self.deletion {
            self.values.retain(|value| value.stamp.ordering > *deletion);
            self.device.take_if(|(_, ordering)| *ordering <= *deletion);
            self.nap.take_if(|(_, ordering)| *ordering <= *deletion);
        }
        self.record.origin.device = self.device.as_ref().map(|(device, _)| device.clone());
        self.record.nap = self.nap.as_ref().map(|(nap, _)| *nap);
    }
}

/// The record that both deliveries leave. Equal orderings are the same delivery; then `incoming` stands, so that
/// reading a delivery again with better eyes takes effect.
pub fn merge(existing: Option<StoredRecord>, incoming: StoredRecord) -> StoredRecord {
    let Some(existing) = existing else { return incoming };
    let (older, mut newest) = if existing.stamp.ordering > incoming.stamp.ordering { (incoming, existing) } else { (existing, incoming) };
    for value in older.values {
        match newest.values.iter_mut().find(|known| known.metric == value.metric) {
            Some(known) if known.stamp.ordering >= value.stamp.ordering => {}
            Some(known) => *known = value,
            None => newest.values.push(value),
        }
    }
    newest.values.sort_by_key(|value| value.metric);
    if let Some((device, ordering)) = older.device
        && newest.device.as_ref().is_none_or(|(_, known)| *known < ordering)
    {
        newest.device = Some((device, ordering));
    }
    if let Some((nap, ordering)) = older.nap
        && newest.nap.as_ref().is_none_or(|(_, known)| *known < ordering)
    {
        newest.nap = Some((nap, ordering));
    }
    newest.deletion = newest.deletion.max(older.deletion);
    newest.forget_deleted();
    newest
}
