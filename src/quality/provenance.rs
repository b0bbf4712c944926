//! Provenance: how the number came to be, and what its provider says of it.

use super::registry::MetricRule;
use crate::model::{DayValue, FindingKind, UploadKind};

/// What a provider's own doubt leaves.
const FLAGGED: f64 = 0.5;

/// Probability that the way it came leaves the value as good as an automatic one. "Tentative" costs next to nothing:
/// 21 tentative nights agreed with a second device as well as 111 final ones (median deviation 10 against 18 min).
pub fn judge(rule: &MetricRule, value: &DayValue) -> f64 {
    let way = match value.origin.upload {
        UploadKind::Automatic | UploadKind::Update => 1.0,
        UploadKind::Tentative | UploadKind::Unknown => 0.99,
        UploadKind::ThirdParty => 0.97,
        UploadKind::Indeterminate => 0.95,
        UploadKind::Pending => 0.90,
        UploadKind::Manual => rule.manual,
        UploadKind::Delete => 0.05,
    };
    if doubted(value) { way * FLAGGED } else { way }
}

/// Whether the provider itself doubts the value.
pub fn doubted(value: &DayValue) -> bool {
    value.findings.iter().any(|f| f.kind == FindingKind::ProviderFlag && f.metric.is_none_or(|m| m == value.metric))
}

/// The way in words.
pub fn words(kind: UploadKind) -> &'static str {
    match kind {
        UploadKind::Automatic => "sent by the device",
        UploadKind::Update => "corrected by the provider",
        UploadKind::Unknown => "the provider does not say how it came to be",
        UploadKind::Tentative => "tentative: may still change",
        UploadKind::ThirdParty => "through another app",
        UploadKind::Indeterminate => "the provider could not tell",
        UploadKind::Pending => "not final yet",
        UploadKind::Manual => "entered or altered by hand",
        UploadKind::Delete => "deleted by the provider",
    }
}
