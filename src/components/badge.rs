//! Badges: a shape, a word and a colour together, so that none of the three has to be seen.

use crate::model::Badge;
use leptos::prelude::*;

/// The outline of a badge's shape in a 16 × 16 box: disc with a tick, disc, triangle, diamond with a bar, ring.
const fn shape(badge: Badge) -> &'static str {
    match badge {
        Badge::Excellent => "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.9 5.2-4.6 5a.9.9 0 0 1-1.3 0L4.1 9.2l1.2-1.2 1.3 1.3 4-4.3Z",
        Badge::Good => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2Z",
        Badge::Fair => "M8 1.5 15.2 14H.8Z",
        Badge::Poor => "M8 .6 15.4 8 8 15.4.6 8ZM4.8 7.1v1.8h6.4V7.1Z",
        Badge::Unknown => "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 2.2a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6Z",
    }
}

/// The shape alone, for legends; hidden from screen readers, the word stands beside it.
#[component]
pub fn BadgeMark(
    /// Which tier.
    badge: Badge,
) -> impl IntoView {
    view! {
        <svg class=format!("mark tier-{}", badge.key()) viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">
            <path fill-rule="evenodd" d=shape(badge)></path>
        </svg>
    }
}

/// A confidence with shape, number and word. Without a score it says Unknown, never a number.
#[component]
pub fn ScoreBadge(
    /// 0–100; `None` is Unknown.
    score: Option<i32>,
    /// Leaves the word to screen readers, where many stand in a row under a legend.
    #[prop(optional)]
    compact: bool,
) -> impl IntoView {
    let badge = Badge::of(score);
    view! {
        <span class=format!("badge tier-{}", badge.key())>
            <BadgeMark badge/>
            {score.map(|s| view! { <span class="badge-number">{s}</span> })}
            <span class=if compact && score.is_some() { "sr-only" } else { "badge-word" }>{badge.word()}</span>
        </span>
    }
    .into_any()
}

/// A state as a small chip with a shape: jobs, deliveries, checks. Unknown words are shown as they are.
#[component]
pub fn StateChip(
    /// The word as stored.
    #[prop(into)]
    state: String,
) -> impl IntoView {
    let badge = match state.as_str() {
        "completed" | "healthy" | "ok" | "active" | "accepted" | "info" => Badge::Excellent,
        "processing" | "running" | "reauthorised" | "duplicate" => Badge::Good,
        "pending" | "parked" | "degraded" | "warn" | "paused" | "conflict" | "disabled" => Badge::Fair,
        "failed" | "unhealthy" | "error" | "invalid" | "revoked" | "refused" | "unavailable" => Badge::Poor,
        _ => Badge::Unknown,
    };
    view! {
        <span class=format!("badge tier-{}", badge.key())>
            <BadgeMark badge/>
            <span class="badge-word">{state}</span>
        </span>
    }
    .into_any()
}
