//! `/admin/settings/retention`: how long things are kept. Administrators only.

use super::{Forms, Html, Refused, Visitor, field};
use crate::{
    access::{AccessError, guard},
    store::retention::{self, FIELDS, Retention},
};
use axum::{
    Form,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use std::collections::HashMap;

const BACK: &str = "/admin/settings/retention";
const TITLE: &str = "How long things are kept";

pub(super) async fn show(State(forms): State<Forms>, visitor: Visitor) -> Response {
    if let Err(denied) = visitor.identity.admin() {
        return denied.into_response();
    }
    match retention::read(forms.access.db.service()).await {
        Ok(kept) => {
            let values = kept.days().map(|d| d.map(|d| d.to_string()).unwrap_or_default());
            forms.page(&visitor, StatusCode::OK, TITLE, body(&values, None))
        }
        Err(error) => forms.failed(&visitor, &error.into(), "/admin/settings"),
    }
}

fn body(values: &[String; 8], refused: Option<Refused>) -> Html {
    let fields: Vec<_> = FIELDS
        .iter()
        .zip(values)
        .map(|((name, about, fewest, for_ever), value)| {
            let least = if *fewest == 1 { "at least one day".to_owned() } else { format!("at least {fewest} days") };
            let hint = if *for_ever { format!("{least}, or empty: for ever") } else { least };
            field::filled(about, name, "number", value, &hint)
        })
        .collect();
    Html::again(refused)
        .heading(TITLE)
        .section("Days")
        .text("Once a day the job “retention” removes what is older. Values, scores and records are kept until a person is erased.")
        .form(BACK, &fields, "Save")
        .link("/admin/settings", "Back to the settings")
}

pub(super) async fn change(State(forms): State<Forms>, visitor: Visitor, Form(form): Form<HashMap<String, String>>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let values = FIELDS.map(|(name, ..)| form.get(name).map(|v| v.trim().to_owned()).unwrap_or_default());
    let fresh = match read(&values) {
        Ok(fresh) => fresh,
        Err((field, sentence)) => {
            let sent: Vec<(&str, &str)> = FIELDS.iter().zip(&values).map(|((name, ..), v)| (*name, v.as_str())).collect();
            let refused = Refused::new(BACK, field, &sentence, &sent);
            return forms.page(&visitor, StatusCode::UNPROCESSABLE_ENTITY, TITLE, body(&values, Some(refused)));
        }
    };
    match retention::change(&forms.access.db, caller, &visitor.actor(caller), &fresh).await {
        Ok(_) => guard::redirect("/admin/settings?notice=settings-saved"),
        Err(error) => forms.failed(&visitor, &AccessError::from(error), BACK),
    }
}

/// The fields as typed, checked; else the field where the mistake is, if it is in one, and what it is.
fn read(values: &[String; 8]) -> Result<Retention, (&'static str, String)> {
    let mut days = [None; 8];
    for ((slot, value), (name, about, ..)) in days.iter_mut().zip(values).zip(FIELDS) {
        if !value.is_empty() {
            *slot = Some(value.parse::<i32>().map_err(|_| (name, format!("{about}: enter a number of days.")))?);
        }
    }
    // What must have a number and has none becomes one that the check refuses, with its sentence.
    Retention {
        raw_days: days[0],
        key_days: days[1],
        history_days: days[2].unwrap_or(0),
        log_days: days[3].unwrap_or(0),
        letter_days: days[4].unwrap_or(0),
        figure_days: days[5].unwrap_or(0),
        audit_days: days[6],
        useless_days: days[7],
    }
    .checked()
    .map_err(|sentence| (FIELDS.iter().find(|(_, about, ..)| sentence.starts_with(&format!("{about}:"))).map_or("", |f| f.0), sentence))
}
