//! `/account`: the caller's own password, sessions, second factor and keys.

use super::{Forms, Html, Refused, Visitor, field, html, said, status_of};
use crate::{
    access::{AccessError, account, api_key, session, totp},
    store::{Caller, accounts, api_keys, sessions},
};
use axum::{
    Form,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use uuid::Uuid;

const BACK: &str = "/account";
const TITLE: &str = "Your account";
const PASSWORD: &str = "/account/password";
const FACTOR: &str = "/account/second-factor";
const FACTOR_OFF: &str = "/account/second-factor/off";
const KEYS: &str = "/account/keys";

pub(super) async fn show(State(forms): State<Forms>, visitor: Visitor) -> Response {
    shown(&forms, &visitor, StatusCode::OK, None).await
}

/// The page; with a form that was refused, if one was.
async fn shown(forms: &Forms, visitor: &Visitor, status: StatusCode, refused: Option<Refused>) -> Response {
    if let Some(caller) = &visitor.enrolling {
        let page = Html::again(refused).heading(TITLE).notice("Administrators here need a second factor. Set it up to go on.");
        return match second_factor_section(forms, caller, page).await {
            Ok(page) => forms.page(visitor, status, TITLE, page),
            Err(error) => forms.failed(visitor, &error, "/login"),
        };
    }
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    match body(forms, caller, visitor.said, refused).await {
        Ok(page) => forms.page(visitor, status, TITLE, page),
        Err(error) => forms.failed(visitor, &error, "/"),
    }
}

/// The page again, with the form as it was sent; a page of its own for what its sender cannot mend.
async fn again(forms: &Forms, visitor: &Visitor, error: &AccessError, action: &str, values: &[(&str, &str)]) -> Response {
    match Refused::of(error, action, values) {
        Some(refused) => shown(forms, visitor, status_of(error), Some(refused)).await,
        None => forms.failed(visitor, error, BACK),
    }
}

async fn body(forms: &Forms, caller: &Caller, said: Option<&str>, refused: Option<Refused>) -> Result<Html, AccessError> {
    let page = Html::again(refused).heading(TITLE).said(said);
    let page = page.text(&format!("Logged in as {} ({}).", caller.email, caller.role.word()));
    let page = page.section("Password").form(
        PASSWORD,
        &[
            field::username(&caller.email),
            field::input("Present password", "present", "password", "current-password", ""),
            field::input(
                "New password",
                "fresh",
                "password",
                "new-password",
                "At least 12 characters. All sessions end, this one is renewed.",
            ),
        ],
        "Change password",
    );
    let rows: Vec<Vec<String>> = sessions::list(&forms.access.db, caller)
        .await?
        .iter()
        .map(|s| {
            let end = if s.current { "this one".to_owned() } else { html::deed(&format!("/account/sessions/{}/end", s.id), "End") };
            let place = [s.address.as_deref(), s.user_agent.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" · ");
            vec![html::time(s.created_at), html::time(s.last_seen_at), html::time(s.expires_at), html::escape(&place), end]
        })
        .collect();
    let page = page.section("Sessions").table("Your sessions", &["Login", "Last use", "Ends at the latest", "From", ""], &rows);
    let page = match rows.len() {
        0 | 1 => page,
        _ => page.part(&html::deed("/account/sessions/end-others", "End all others")),
    };
    let page = second_factor_section(forms, caller, page).await?;
    keys_section(forms, caller, page).await
}

async fn second_factor_section(forms: &Forms, caller: &Caller, page: Html) -> Result<Html, AccessError> {
    let page = page.section("Second factor");
    let Some(vault) = &forms.access.vault else { return Ok(page.text("Not available on this server: ASSAY_SECRET_KEY is not set.")) };
    let known = accounts::by_id(forms.access.db.service(), caller.account_id).await?;
    if known.is_some_and(|a| a.totp_secret.is_some()) {
        let fields = [field::username(&caller.email), field::input("Present password", "present", "password", "current-password", "")];
        return Ok(page.text("On: your authenticator app is asked at each login.").form(FACTOR_OFF, &fields, "Turn off"));
    }
    // After a mistyped code it is still the secret that the app has.
    let enrolment = match page.sent(FACTOR, "sealed").and_then(|sealed| totp::resume(vault, caller, sealed)) {
        Some(enrolment) => enrolment,
        None => totp::begin(vault, caller)?,
    };
    let page = page.text("Off. Add this secret to an authenticator app, then enter the six digits that it shows. Your other sessions end.");
    let fields = [field::hidden("sealed", &enrolment.sealed), field::input("Six digits", "code", "text", "one-time-code", "")];
    Ok(page.code(&enrolment.secret).code(&enrolment.address).form(FACTOR, &fields, "Turn on"))
}

async fn keys_section(forms: &Forms, caller: &Caller, page: Html) -> Result<Html, AccessError> {
    let rows: Vec<Vec<String>> = api_keys::list(&forms.access.db, caller)
        .await?
        .iter()
        .map(|k| {
            let end = if k.revoked_at.is_some() {
                "revoked".to_owned()
            } else {
                html::anchor(&format!("/account/keys/{}/revoke", k.id), "Revoke…")
            };
            vec![
                html::escape(&k.name),
                html::escape(&k.email),
                html::escape(&k.scopes.join(", ")),
                html::day(k.last_used_at, "never"),
                html::day(k.expires_at, "never"),
                end,
            ]
        })
        .collect();
    let fields = [
        field::input("Name", "name", "text", "off", "What will use it."),
        field::boxes("What it may read", "scope", api_key::SCOPES),
        field::choice("Lives", "days", &[("90", "90 days"), ("30", "30 days"), ("365", "a year")]),
    ];
    let page = page.section("Keys for programs").text("A program that has one reads what its account may read, and changes nothing.");
    let page = match rows.is_empty() {
        true => page.text("There is no key yet."),
        false => page.table("Keys for programs", &["Name", "Account", "For", "Last use", "Ends", ""], &rows),
    };
    Ok(page.form(KEYS, &fields, "Make a key"))
}

#[derive(Deserialize)]
pub(super) struct Passwords {
    present: String,
    fresh: String,
}

pub(super) async fn change_password(State(forms): State<Forms>, visitor: Visitor, Form(form): Form<Passwords>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    if let Some(refusal) = forms.limited(&visitor, Some(caller)) {
        return refusal;
    }
    let agent = visitor.user_agent.as_deref();
    match account::change_password(&forms.access.db, caller, &visitor.actor(caller), &form.present, &form.fresh, agent).await {
        Ok(token) => {
            let mut response = said::redirect(BACK, "password-changed");
            response.headers_mut().append(header::SET_COOKIE, session::cookie(&forms.access.site, &token));
            response
        }
        Err(error) => again(&forms, &visitor, &error, PASSWORD, &[]).await,
    }
}

pub(super) async fn end_session(State(forms): State<Forms>, visitor: Visitor, Path(id): Path<Uuid>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    settled(&forms, &visitor, account::revoke_session(&forms.access.db, caller, &visitor.actor(caller), id).await, "session-ended")
}

pub(super) async fn end_others(State(forms): State<Forms>, visitor: Visitor) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    settled(&forms, &visitor, account::revoke_other_sessions(&forms.access.db, caller, &visitor.actor(caller)).await, "others-ended")
}

#[derive(Deserialize)]
pub(super) struct FirstCode {
    sealed: String,
    code: String,
}

/// Also for whoever is held at enrolling: this is the way out.
pub(super) async fn second_factor(State(forms): State<Forms>, visitor: Visitor, Form(form): Form<FirstCode>) -> Response {
    let Some(caller) = visitor.enrolling.as_ref().or(visitor.identity.0.as_ref()) else {
        return crate::access::Denied::Anonymous.into_response();
    };
    if let Some(refusal) = forms.limited(&visitor, Some(caller)) {
        return refusal;
    }
    let Some(vault) = &forms.access.vault else {
        return forms.refusal(&visitor, StatusCode::CONFLICT, "Not done", "ASSAY_SECRET_KEY is not set.", BACK);
    };
    let now = chrono::Utc::now().timestamp();
    match totp::finish(&forms.access.db, vault, caller, &visitor.actor(caller), &form.sealed, &form.code, now).await {
        Ok(()) => said::redirect(BACK, "factor-on"),
        Err(error) => again(&forms, &visitor, &error, FACTOR, &[("sealed", &form.sealed), ("code", &form.code)]).await,
    }
}

#[derive(Deserialize)]
pub(super) struct Present {
    present: String,
}

pub(super) async fn second_factor_off(State(forms): State<Forms>, visitor: Visitor, Form(form): Form<Present>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    if let Some(refusal) = forms.limited(&visitor, Some(caller)) {
        return refusal;
    }
    let done = match account::confirm_password(&forms.access.db, caller, &form.present).await {
        Ok(()) => totp::remove_own(&forms.access.db, caller, &visitor.actor(caller)).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => said::redirect(BACK, "factor-off"),
        Err(error) => again(&forms, &visitor, &error, FACTOR_OFF, &[]).await,
    }
}

/// The form's fields: `name`, `days`, and `scope` as often as boxes are ticked.
type NewKey = Vec<(String, String)>;

pub(super) async fn make_key(State(forms): State<Forms>, visitor: Visitor, Form(form): Form<NewKey>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let all = |wanted: &str| form.iter().filter(|(k, _)| k == wanted).map(|(_, v)| v.clone()).collect::<Vec<_>>();
    let (name, scopes) = (all("name").concat(), all("scope"));
    let days = all("days").concat().parse().unwrap_or(0);
    let made = api_key::create(&forms.access.db, caller, &visitor.actor(caller), &name, &scopes, days, chrono::Utc::now()).await;
    match made {
        Ok((_, text)) => {
            let page = Html::new().heading("A new key").text("Copy it now: it is shown only here.").code(&text).link(BACK, "Done");
            forms.page(&visitor, StatusCode::OK, "A new key", page)
        }
        Err(error) => {
            let sent: Vec<(&str, &str)> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            again(&forms, &visitor, &error, KEYS, &sent).await
        }
    }
}

/// The question before a key is revoked: whatever uses it stops at once, and no key comes back.
pub(super) async fn ask_revoke(State(forms): State<Forms>, visitor: Visitor, Path(id): Path<Uuid>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let keys = match api_keys::list(&forms.access.db, caller).await {
        Ok(keys) => keys,
        Err(error) => return forms.failed(&visitor, &error.into(), BACK),
    };
    let Some(key) = keys.iter().find(|k| k.id == id && k.revoked_at.is_none()) else {
        return forms.failed(&visitor, &AccessError::NotFound("There is no such key, or it was revoked already."), BACK);
    };
    let page = Html::new()
        .heading("Revoke a key")
        .text(&format!("Revoke the key “{}”? Programs that use it are refused from now on. A key does not come back.", key.name))
        .danger(&format!("{KEYS}/{id}/revoke"), &[], "Revoke")
        .link(BACK, "Keep");
    forms.page(&visitor, StatusCode::OK, "Revoke a key", page)
}

pub(super) async fn revoke_key(State(forms): State<Forms>, visitor: Visitor, Path(id): Path<Uuid>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    settled(&forms, &visitor, api_key::revoke(&forms.access.db, caller, &visitor.actor(caller), id).await, "key-revoked")
}

/// Back to the page, which says what was done, or the refusal.
fn settled(forms: &Forms, visitor: &Visitor, done: Result<(), AccessError>, code: &str) -> Response {
    match done {
        Ok(()) => said::redirect(BACK, code),
        Err(error) => forms.failed(visitor, &error, BACK),
    }
}
