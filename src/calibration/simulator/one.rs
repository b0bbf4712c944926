//! A single realistic delivery of any type and provider, for the test endpoint.

use super::device::Kind;
use super::habit::Change;
use super::news::{change, event};
use super::observe::report;
use super::person::Person;
use super::physiology::{Session, number};
use super::rng::{Rng, word};
use super::wire::{Json, Sender, VERSION, object, text};
use super::{Delivery, Instant};
use crate::model::Model;
use chrono::{NaiveDate, Timelike};

/// The types [`one_delivery`] can make, in Terra's words.
pub const TEST_KINDS: [&str; 13] = [
    "activity",
    "body",
    "daily",
    "sleep",
    "nutrition",
    "menstruation",
    "athlete",
    "auth",
    "deauth",
    "user_reauth",
    "access_revoked",
    "connection_error",
    "permission_change",
];

/// Terra's id of a simulated person's connection with a provider, as it is at first: always the same.
pub fn terra_id(user_id: &str, provider: &str) -> String {
    Rng::keyed(word(user_id), &[word("terra"), word(provider)]).uuid()
}

/// A realistic delivery of a type (see [`TEST_KINDS`]) for a provider in Terra's spelling, about `date`, produced at
/// `at`. When `at` lies inside the day, a daily summary covers the day until then, as Terra's would; give yesterday for
/// a finished one. A provider the simulator has no device for is given the nearest device under its own name.
/// The seed chooses values and trace id. `terra_id` is the connection's present id. `None` for an unknown type.
pub fn one_delivery(
    kind: &str,
    provider: &str,
    user_id: &str,
    terra_id: &str,
    date: NaiveDate,
    at: Instant,
    seed: u64,
) -> Option<Delivery> {
    let keys = [word("one"), word(kind), word(provider), word(user_id), number(date) as u64, at.timestamp_millis() as u64];
    let mut r = Rng::keyed(seed, &keys);
    let mut person = Person::new(Rng::keyed(seed, &[word(user_id)]).bits(), 0);
    user_id.clone_into(&mut person.user_id);
    person.zone_h = 0;
    // Never without the device, so that there is something to deliver.
    person.care = 1.0;
    let device = device(kind, provider);
    let sender = Sender { reference_id: user_id, terra_id: terra_id.to_owned(), provider, kind: device, zone_h: 0 };
    let body = match kind {
        "daily" => {
            let elapsed = if at.date_naive() == date { Some(at.num_seconds_from_midnight() as i32) } else { None };
            sender.daily(&found(&person, device, Model::Daily, date, elapsed)?, date)
        }
        "sleep" => sender.sleep(&found(&person, device, Model::Sleep, date, None)?, date, false, r.uuid()),
        "body" => sender.body(&found(&person, device, Model::Body, date, None)?, date, (person.wake_h + 0.4) * 3_600.0, person.height_cm),
        "activity" => {
            let mut report = found(&person, device, Model::Daily, date, None)?;
            report.day.session.get_or_insert(Session { minutes: person.session_min.round(), intensity: 0.7, kind: 8 });
            sender.activity(&report, date, (person.wake_h + 0.6) * 3_600.0, r.uuid())?
        }
        "nutrition" => nutrition(&sender, &person, date, &mut r),
        "menstruation" => menstruation(&sender, &person, date),
        "athlete" => athlete(&sender, &person),
        _ => match change(kind)? {
            Change::Renewed => event(&Sender { terra_id: r.uuid(), ..sender }, Change::Renewed, terra_id.to_owned()),
            other => event(&sender, other, String::new()),
        },
    };
    Some(Delivery { trace_id: r.uuid(), ordering_ms: at.timestamp_millis(), body: serde_json::to_vec(&body).ok()?, at })
}

/// The provider's own device if it measures such a thing, else one that does.
fn device(kind: &str, provider: &str) -> Kind {
    let own = Kind::of_provider(provider);
    match kind {
        "body" => Kind::Withings,
        "daily" | "activity" => own.filter(|k| !k.daily().is_empty()).unwrap_or(Kind::Fitbit),
        "sleep" => own.filter(|k| !k.nightly().is_empty()).unwrap_or(Kind::Fitbit),
        _ => own.unwrap_or(Kind::Fitbit),
    }
}

/// The report of the first like-minded person who wore the device that day (or stepped on the scale).
fn found(person: &Person, kind: Kind, model: Model, date: NaiveDate, until: Option<i32>) -> Option<super::observe::Report> {
    (0..64).find_map(|index| {
        let candidate = Person { index, ..person.clone() };
        let wear = candidate.wear(kind, date);
        let whole = model == Model::Body || (wear.night == 1.0 && wear.movement() > 0.9);
        if whole { report(&candidate, kind, model, date, until, 0.0) } else { None }
    })
}

fn nutrition(sender: &Sender<'_>, person: &Person, date: NaiveDate, r: &mut Rng) -> Json {
    let energy = (person.basal_kcal() * r.between(1.25, 1.7)).round();
    let grams = |share: f64, kcal_per_gram: f64| Some(Json::Number((energy * share / kcal_per_gram).round()));
    sender.data(
        "nutrition",
        object([
            ("metadata", sender.day_metadata(date, None)),
            (
                "summary",
                object([
                    (
                        "macros",
                        object([
                            ("calories", Some(Json::Number(energy))),
                            ("protein_g", grams(0.2, 4.0)),
                            ("carbohydrates_g", grams(0.48, 4.0)),
                            ("fat_g", grams(0.32, 9.0)),
                            ("fiber_g", grams(0.03, 2.0)),
                        ]),
                    ),
                    ("water_ml", Some(Json::Number((r.between(14.0, 30.0)).round() * 100.0))),
                ]),
            ),
        ]),
    )
}

fn menstruation(sender: &Sender<'_>, person: &Person, date: NaiveDate) -> Json {
    let day = number(date).rem_euclid(person.cycle_days) + 1;
    let phase = match day {
        1..=5 => 1.0,
        6..=10 => 2.0,
        11..=13 => 3.0,
        14 => 4.0,
        _ => 5.0,
    };
    let began = super::observe::days_on(date, 1 - day);
    sender.data(
        "menstruation",
        object([
            ("metadata", sender.day_metadata(date, None)),
            (
                "menstruation_data",
                object([
                    ("period_start_date", Some(text(began.to_string()))),
                    ("day_in_cycle", Some(Json::Number(day as f64))),
                    ("period_length_days", Some(Json::Number(5.0))),
                    ("cycle_length_days", Some(Json::Number(person.cycle_days as f64))),
                    ("current_phase", Some(Json::Number(phase))),
                    ("is_predicted_cycle", Some(Json::Flag(false))),
                ]),
            ),
        ]),
    )
}

/// Nobody's name, address or birthday: a simulated athlete has none.
fn athlete(sender: &Sender<'_>, person: &Person) -> Json {
    Json::Object(vec![
        ("type", text("athlete")),
        ("version", text(VERSION)),
        ("user", sender.user(true)),
        (
            "athlete",
            Json::Object(vec![
                ("first_name", text("Simulated")),
                ("last_name", text("Person")),
                ("sex", text(if person.female { "female" } else { "male" })),
                ("age", Json::Number(person.age.floor())),
            ]),
        ),
    ])
}
