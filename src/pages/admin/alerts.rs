//! What on the dashboard asks for a look, worst first, each with the place where it is mended.

use super::AlertView;
use crate::components::text;
use chrono::TimeDelta;

/// A due job may wait this long before somebody should know.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);

/// Badly signed deliveries of an hour from which on it is no stray one.
const MANY_BADLY_SIGNED: i64 = 10;

/// Parts that a variable switches on: where its absence is felt, and what is found there.
const PARTS: [(&str, &str, &str); 4] = [
    ("TERRA_SIGNING_SECRETS", "/admin/webhooks?tab=refused", "See what was turned away"),
    ("ASSAY_SERVICE_KEY", "/admin/nodes", "See who works"),
    ("ASSAY_SECRET_KEY", "/account", "See your account"),
    ("TERRA_API_KEY", "/admin/connect", "See what is missing"),
];

/// What is known about the system.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// The snapshot's word; `unknown` without a fresh one.
    pub health: String,
    /// Names of the checks that are not well, worst first.
    pub unwell: Vec<String>,
    /// Jobs out of attempts.
    pub failed: i64,
    /// Dead letters nobody dealt with; `None`: their table was dropped.
    pub dead_letters: Option<i64>,
    /// How long the oldest due job has waited.
    pub waited: Option<TimeDelta>,
    /// Values of seven days below 40, and of 40 to 59.
    pub poor: i64,
    pub fair: i64,
    /// Deliveries with a known id but another body.
    pub conflicts: i64,
    /// Silent connections by provider: key, name, how many.
    pub silent: Vec<(String, String, i64)>,
    /// Connections that are revoked or in error, likewise.
    pub broken: Vec<(String, String, i64)>,
    /// Deliveries of the last hour that were signed, but not with our secret or by a wrong clock.
    pub badly_signed: i64,
    /// Deliveries of the last hour that were accepted.
    pub accepted: i64,
    /// Real persons whose id looks like an e-mail address, counted up to 1001.
    pub emails: i64,
    /// Kinds of job that a person paused.
    pub paused: Vec<String>,
    /// What is switched off because a value is absent, in sentences that name the variable.
    pub off: Vec<&'static str>,
}

/// The alerts; without any, the all-clear.
pub(super) fn alerts(s: &Signs) -> Vec<AlertView> {
    let n = |count: i64, one: &str, many: &str| format!("{} {}", text::count(count), if count == 1 { one } else { many });
    let alert = |tone: &str, text: String, href: &str, action: &str| AlertView {
        tone: tone.into(),
        text,
        href: href.into(),
        action: action.into(),
    };
    let unwell = s.unwell.join(", ");
    let mut list = Vec::new();
    match s.health.as_str() {
        "unhealthy" => {
            list.push(alert("bad", format!("A part of the system does not do its work: {unwell}."), "#health", "See the checks"))
        }
        "degraded" => list.push(alert("warn", format!("Works, but not as it should: {unwell}."), "#health", "See the checks")),
        "healthy" => {}
        _ => list.push(alert(
            "warn",
            "Nobody has checked the system for five minutes: no worker leads.".into(),
            "/admin/nodes",
            "See the nodes",
        )),
    }
    if s.failed > 0 {
        let text = format!("{} out of attempts.", n(s.failed, "job is", "jobs are"));
        list.push(alert("bad", text, "/admin/dead-letters", "See why, and bring them back"));
    } else if let Some(letters @ 1..) = s.dead_letters {
        let text = format!("{} nobody dealt with.", n(letters, "dead letter", "dead letters"));
        list.push(alert("warn", text, "/admin/dead-letters", "Bring back or discard"));
    }
    if let Some(waited) = s.waited.filter(|w| *w > PATIENCE) {
        let text = format!("A job that is due has waited for {}: workers are missing or behind.", text::span(waited));
        list.push(alert("bad", text, "/admin/nodes", "See who works"));
    }
    if s.poor > 0 {
        let text = format!("{} of the last 7 days below 40: do not act on them.", n(s.poor, "value", "values"));
        list.push(alert("bad", text, "/clients?tier=poor&week=1", "See whose"));
    }
    if s.fair > 0 {
        let text = format!("{} of the last 7 days at 40 to 59: look twice.", n(s.fair, "value", "values"));
        list.push(alert("warn", text, "/clients?tier=fair&week=1", "See whose"));
    }
    if s.conflicts > 0 {
        let what = n(s.conflicts, "delivery came", "deliveries came");
        let text = format!("{what} with a known id but another body, kept and not processed.");
        list.push(alert("warn", text, "/admin/webhooks?status=conflict", "Compare them"));
    }
    if s.badly_signed >= MANY_BADLY_SIGNED {
        let what = n(s.badly_signed, "delivery", "deliveries");
        let text = format!("{what} of the last hour were refused: signed with another secret, or by a wrong clock.");
        let tone = if s.accepted == 0 { "bad" } else { "warn" };
        list.push(alert(tone, text, "/admin/webhooks?tab=refused", "See from where"));
    }
    for (key, name, count) in &s.broken {
        let what = n(*count, "connection is", "connections are");
        let text = format!("{name}: {what} revoked or in error. Connecting again mends that.");
        let href = format!("/admin/connections?provider={}&state=broken", text::segment(key));
        list.push(alert("warn", text, &href, "See whose"));
    }
    for (key, name, count) in &s.silent {
        let text = format!("{name}: {} silent for two days or more.", n(*count, "connection", "connections"));
        let href = format!("/admin/connections?provider={}&state=silent", text::segment(key));
        list.push(alert("warn", text, &href, "See whose"));
    }
    if s.emails > 0 {
        let what = match s.emails {
            1001.. => "More than 1,000 people have an id that looks".to_owned(),
            1 => "1 person has an id that looks".to_owned(),
            many => format!("{} people have an id that looks", text::count(many)),
        };
        let text = format!("{what} like an e-mail address: it names them in addresses, lists and logs. Connect them under a pseudonym.");
        list.push(alert("warn", text, "/clients?q=%40", "See whose"));
    }
    if s.dead_letters.is_none() {
        let text = "The dead-letter table was dropped; failed jobs are no longer copied.";
        list.push(alert("warn", text.into(), "/admin/dead-letters", "How to put it back"));
    }
    let well = list.is_empty();
    if !s.paused.is_empty() {
        let text = format!("Paused: {}. Such jobs wait until somebody resumes them.", s.paused.join(", "));
        list.push(alert("note", text, "/admin/kinds", "See the kinds"));
    }
    for off in &s.off {
        let part = PARTS.into_iter().find(|(variable, ..)| off.contains(variable));
        let (variable, href, action) = part.unwrap_or(("", "/admin/settings", "See the settings"));
        // Without a signing secret nothing comes in; the rest may be off on purpose, and is only said.
        let tone = if variable == "TERRA_SIGNING_SECRETS" { "bad" } else { "note" };
        let mut sentence = format!("{off}.");
        if let Some(first) = sentence.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        list.push(alert(tone, sentence, href, action));
    }
    // Stable: within one tone the order above stays.
    list.sort_by_key(|a| ["bad", "warn"].iter().position(|tone| *tone == a.tone).unwrap_or(2));
    if well && list.iter().all(|a| a.tone == "note") {
        list.insert(0, alert("good", "Nothing needs a look.".into(), "", ""));
    }
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: crate::server::config::Options,
    }

    fn all() -> Signs {
        Signs {
            health: "degraded".into(),
            unwell: vec!["webhooks".into()],
            failed: 0,
            dead_letters: Some(1),
            waited: Some(TimeDelta::minutes(6)),
            poor: 1,
            fair: 2,
            conflicts: 3,
            silent: vec![("whoop".into(), "WHOOP".into(), 4)],
            broken: vec![("oura".into(), "Oura".into(), 1)],
            badly_signed: 12,
            accepted: 3,
            emails: 1,
            paused: vec!["vacuum".into()],
            off: vec!["no second factor: ASSAY_SECRET_KEY is not set"],
        }
    }

    #[test]
    fn every_alert_leads_to_where_it_is_mended_and_the_worst_stand_first() {
        for health in ["unhealthy", "degraded", "unknown"] {
            for (failed, letters) in [(0, Some(2)), (5, Some(5)), (0, None)] {
                let list = alerts(&Signs { health: health.into(), failed, dead_letters: letters, ..all() });
                assert!(list.len() >= 12, "{list:?}");
                assert!(list.iter().all(|a| !a.href.is_empty() && !a.action.is_empty() && !a.text.is_empty()), "{list:?}");
                let ranks: Vec<_> = list.iter().map(|a| ["bad", "warn", "note"].iter().position(|tone| *tone == a.tone).unwrap()).collect();
                assert!(ranks.is_sorted(), "{list:?}");
            }
        }
    }

    #[test]
    fn a_well_system_is_all_clear_and_a_short_wait_is_none() {
        let list =
            alerts(&Signs { health: "healthy".into(), dead_letters: Some(0), waited: Some(TimeDelta::minutes(4)), ..Signs::default() });
        assert_eq!(list.iter().map(|a| a.tone.as_str()).collect::<Vec<_>>(), ["good"]);
    }

    fn well() -> Signs {
        Signs { health: "healthy".into(), dead_letters: Some(0), ..Signs::default() }
    }

    #[test]
    fn each_part_that_is_switched_off_is_said_and_leads_to_where_it_is_missed() {
        let off = Cli::parse_from(["assay"]).options.parse().unwrap().switched_off();
        assert_eq!(off.len(), PARTS.len(), "{off:?}");
        let list = alerts(&Signs { off: off.clone(), ..well() });
        assert_eq!((list.len(), list[0].tone.as_str()), (off.len(), "bad"), "without a signing secret nothing comes in: {list:?}");
        for (sentence, (variable, href, _)) in off.iter().zip(PARTS) {
            assert!(sentence.contains(variable), "{sentence}");
            assert!(list.iter().any(|a| a.href == href && a.text.ends_with(&format!("{}.", &sentence[1..]))), "{sentence}: {list:?}");
        }
        let list = alerts(&Signs { off: off[1..].to_vec(), ..well() });
        assert_eq!(list.iter().map(|a| a.tone.as_str()).collect::<Vec<_>>(), ["good", "note", "note", "note"], "{list:?}");
    }

    #[test]
    fn ids_that_name_people_are_a_warning_and_a_pause_is_a_note() {
        let tones = |s: Signs| alerts(&s).into_iter().map(|a| a.tone).collect::<Vec<_>>();
        assert_eq!(tones(Signs { emails: 2, ..well() }), ["warn"]);
        assert_eq!(tones(Signs { paused: vec!["vacuum".into()], ..well() }), ["good", "note"]);
    }

    #[test]
    fn a_stray_bad_signature_is_no_alert_many_are_and_alone_they_are_a_problem() {
        let tone = |badly_signed, accepted| alerts(&Signs { badly_signed, accepted, ..well() })[0].tone.clone();
        assert_eq!([tone(9, 0), tone(10, 500), tone(10, 0)], ["good", "warn", "bad"]);
    }
}
