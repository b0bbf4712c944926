//! What an action came to. The answer to a form is a redirect with `?notice=code`, so the sentence is there with and
//! without JavaScript, and a reload does not repeat the action.

use super::{Alert, Announcer, text};
use leptos::prelude::*;
use leptos_router::hooks::{use_location, use_query_map};

/// The sentence of a notice and whether it is good news. An unknown code has none: the URL is anybody's to write.
fn sentence(code: &str, n: &str) -> Option<(&'static str, String)> {
    match code.strip_suffix("-so-far") {
        Some(code) => {
            whole(code, n).map(|(_, done)| ("warn", format!("{done} Then it stopped, because it took long: press again for the rest.")))
        }
        None => whole(code, n),
    }
}

/// The same for what was done to its end.
fn whole(code: &str, n: &str) -> Option<(&'static str, String)> {
    let n = if n.len() <= 12 && n.bytes().all(|b| b.is_ascii_digit()) { n.parse::<i64>().unwrap_or(0) } else { 0 };
    let jobs = text::plural(n, "job", "jobs");
    Some(match code {
        "recalculation-started" => ("good", "Recalculation started. Its progress is shown below.".into()),
        "recalculation-running" => ("note", "A recalculation is already running; its progress is shown below.".into()),
        "recalculation-cancelled" => ("good", "The recalculation was stopped. Scores already recalculated stay.".into()),
        "nothing-to-cancel" => ("note", "There was nothing to stop: the operation had already ended.".into()),
        "jobs-retried" if n == 0 => ("note", "No failed jobs were waiting to be retried.".into()),
        "jobs-retried" => ("good", format!("{jobs} went back to the queue.")),
        "discard-started" => ("good", format!("Discarding; {jobs} will not run again. The progress is shown below.")),
        "jobs-cancelled" => ("good", format!("{jobs} cancelled; running ones were asked to stop.")),
        "jobs-run" if n == 0 => ("note", "No job was waiting for a later time.".into()),
        "jobs-run" => ("good", format!("{jobs} made due now.")),
        "jobs-put-off" => ("good", format!("{jobs} put off by an hour.")),
        "operation-stopped" => ("good", "Stopped. What was done before stays done.".into()),
        "delivery-replayed" => ("good", "The delivery is on its way again; its new job is listed below.".into()),
        "test-sent" => ("good", "The test event was sent and received.".into()),
        "redrive-started" if n == 0 => ("note", "There was no open letter left to bring back.".into()),
        "redrive-started" => ("good", format!("{} way back to the queue.", text::plural(n, "job on its", "jobs on their"))),
        "finding-decided" => ("good", "Noted. The scores that depend on it follow in a moment.".into()),
        "nothing-to-decide" => ("note", "There was no decision to take back.".into()),
        "registry-changed" => ("good", "The registry was changed; everybody is scored again under it.".into()),
        "shadow-started" => ("good", "Scoring beside the old has started. Reload to see how far it is.".into()),
        "shadow-promoted" => ("good", "Put into force. What came meanwhile is being scored too.".into()),
        "shadow-dropped" => ("good", "Dropped. What is in force stays.".into()),
        "no-shadow" => ("note", "There was nothing finished to decide about.".into()),
        "calibration-started" => ("good", "The report is being worked out; reload in a minute.".into()),
        "kind-changed" => ("good", "Changed; it holds from the next job on.".into()),
        "clients-assigned" if n == 0 => ("note", "They were assigned already.".into()),
        "clients-assigned" => ("good", format!("{} assigned.", text::plural(n, "person", "people"))),
        "client-unassigned" => ("good", "Taken away; the trainer no longer sees this person.".into()),
        "client-not-theirs" => ("note", "Nothing was changed: this person was not assigned to this trainer.".into()),
        "replay-started" => {
            let deliveries = text::plural(n, "delivery is on its way", "deliveries are on their way");
            ("good", format!("{deliveries} again; the progress is shown below."))
        }
        "settings-saved" => ("good", "Settings saved.".into()),
        "schedule-changed" => ("good", "Schedule changed.".into()),
        "source-chosen" => ("good", "From now on this source is taken. What the others say is kept and shown.".into()),
        "source-same" => ("note", "It was so already; nothing was changed.".into()),
        "logged_out" => ("good", "You are logged out.".into()),
        "password_set" => ("good", "Your password is set. Log in with it now.".into()),
        "new-version" => ("note", "A new version of Assay is out. The page was reloaded; please repeat what you did.".into()),
        _ => return None,
    })
}

/// The notice of the URL, if any; else why the form that was sent just now did not work, until the reader goes on.
#[component]
pub fn Flash() -> impl IntoView {
    let query = use_query_map();
    let failure = use_context::<crate::pages::session::Session>().map(|s| s.failure).unwrap_or_default();
    let location = Here(use_location());
    let here = location.href();
    let said = Memo::new(move |_| {
        let query = query.read();
        let notice = query.get_str("notice").and_then(|code| sentence(code, query.get_str("n").unwrap_or_default()));
        notice.or_else(|| (!failure.is_empty() && here == location.href()).then(|| ("bad", failure.clone())))
    });
    // It stands in the document from the start, where nobody announces it.
    Effect::new(move |_| {
        if let Some((_, text)) = said.get() {
            Announcer::say(&text);
        }
    });
    move || said.get().map(|(tone, text)| view! { <Alert tone>{text}</Alert> })
}

/// Where the reader is.
struct Here(leptos_router::location::Location);

impl Here {
    fn href(&self) -> String {
        format!("{}?{}", self.0.pathname.get(), self.0.search.get())
    }
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn a_notice_says_only_what_we_wrote() {
        assert_eq!(sentence("jobs-retried", "3").map(|s| s.1).as_deref(), Some("3 jobs went back to the queue."));
        assert_eq!(sentence("jobs-retried", "<b>").map(|s| s.1).as_deref(), Some("No failed jobs were waiting to be retried."));
        assert!(sentence("<script>", "1").is_none() && sentence("x-so-far", "1").is_none());
    }

    #[test]
    fn one_is_not_said_as_many() {
        for (code, one) in [
            ("jobs-retried", "1 job went back to the queue."),
            ("jobs-cancelled", "1 job cancelled; running ones were asked to stop."),
            ("redrive-started", "1 job on its way back to the queue."),
            ("discard-started", "Discarding; 1 job will not run again. The progress is shown below."),
            ("replay-started", "1 delivery is on its way again; the progress is shown below."),
            ("clients-assigned", "1 person assigned."),
        ] {
            assert_eq!(sentence(code, "1").map(|s| s.1).as_deref(), Some(one), "{code}");
        }
        assert_eq!(sentence("redrive-started", "2").map(|s| s.1).as_deref(), Some("2 jobs on their way back to the queue."));
        assert_eq!(sentence("clients-assigned", "0").map(|s| s.1).as_deref(), Some("They were assigned already."));
    }

    #[test]
    fn a_deed_that_stopped_halfway_says_so() {
        let said = sentence("jobs-cancelled-so-far", "30000");
        assert_eq!(said.as_ref().map(|s| s.0), Some("warn"));
        assert!(said.is_some_and(|s| s.1.starts_with("30,000 jobs cancelled") && s.1.ends_with("press again for the rest.")));
    }
}
