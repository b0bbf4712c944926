//! `/account`: the caller's own password, sessions, second factor and keys.

use super::{Forms, Html, Visitor, html};
use crate::{
    access::{AccessError, account, api_key, guard, session, totp},
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

pub(super) async fn show(State(forms): State<Forms>, visitor: Visitor) -> Response {
    if let Some(caller) = &visitor.enrolling {
        let page = Html::new().heading("Your account").notice("Administrators here need a second factor. Set it up to go on.");
        return match second_factor_section(&forms, caller, page).await {
            Ok(page) => forms.page(&visitor, StatusCode::OK, "Your account", page),
            Err(error) => forms.failed(&visitor, &error, "/login"),
        };
    }
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    match body(&forms, caller).await {
        Ok(page) => forms.page(&visitor, StatusCode::OK, "Your account", page),
        Err(error) => forms.failed(&visitor, &error, "/"),
    }
}

async fn body(forms: &Forms, caller: &Caller) -> Result<Html, AccessError> {
    let page = Html::new().heading("Your account").text(&format!("Logged in as {} ({}).", caller.email, caller.role.word()));
    let page = page.section("Password").form(
        "/account/password",
        &[
            html::username(&caller.email),
            html::input("Present password", "present", "password", "current-password", ""),
            html::input(
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
        let field =
            format!("{}{}", html::username(&caller.email), html::input("Present password", "present", "password", "current-password", ""));
        return Ok(page.text("On: your authenticator app is asked at each login.").form(
            "/account/second-factor/off",
            &[field],
            "Turn off",
        ));
    }
    let enrolment = totp::begin(vault, caller)?;
    let page = page.text("Off. Add this secret to an authenticator app, then enter the six digits that it shows.");
    let fields = [html::hidden("sealed", &enrolment.sealed), html::input("Six digits", "code", "text", "one-time-code", "")];
    Ok(page.code(&enrolment.secret).code(&enrolment.address).form("/account/second-factor", &fields, "Turn on"))
}

async fn keys_section(forms: &Forms, caller: &Caller, page: Html) -> Result<Html, AccessError> {
    let rows: Vec<Vec<String>> = api_keys::list(&forms.access.db, caller)
        .await?
        .iter()
        .map(|k| {
            let end =
                if k.revoked_at.is_some() { "revoked".to_owned() } else { html::deed(&format!("/account/keys/{}/revoke", k.id), "Revoke") };
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
        html::input("Name", "name", "text", "off", "What will use it."),
        html::boxes("What it may read", "scope", api_key::SCOPES),
        html::choice("Lives", "days", &[("90", "90 days"), ("30", "30 days"), ("365", "a year")]),
    ];
    let page = page.section("Keys for programs").text("A program that has one reads what its account may read, and changes nothing.");
    let page = match rows.is_empty() {
        true => page.text("There is no key yet."),
        false => page.table("Keys for programs", &["Name", "Account", "For", "Last use", "Ends", ""], &rows),
    };
    Ok(page.form("/account/keys", &fields, "Make a key"))
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
            let mut response = guard::redirect(BACK);
            response.headers_mut().append(header::SET_COOKIE, session::cookie(&forms.access.site, &token));
            response
        }
        Err(error) => forms.failed(&visitor, &error, BACK),
    }
}

pub(super) async fn end_session(State(forms): State<Forms>, visitor: Visitor, Path(id): Path<Uuid>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    settled(&forms, &visitor, account::revoke_session(&forms.access.db, caller, &visitor.actor(caller), id).await)
}

pub(super) async fn end_others(State(forms): State<Forms>, visitor: Visitor) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    settled(&forms, &visitor, account::revoke_other_sessions(&forms.access.db, caller, &visitor.actor(caller)).await)
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
    settled(&forms, &visitor, totp::finish(&forms.access.db, vault, caller, &visitor.actor(caller), &form.sealed, &form.code, now).await)
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
        Ok(()) => totp::remove(&forms.access.db, &visitor.actor(caller), caller.account_id).await,
        Err(error) => Err(error),
    };
    settled(&forms, &visitor, done)
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
        Err(error) => forms.failed(&visitor, &error, BACK),
    }
}

pub(super) async fn revoke_key(State(forms): State<Forms>, visitor: Visitor, Path(id): Path<Uuid>) -> Response {
    let caller = match visitor.identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    settled(&forms, &visitor, api_key::revoke(&forms.access.db, caller, &visitor.actor(caller), id).await)
}

/// Back to the page, or the refusal.
fn settled(forms: &Forms, visitor: &Visitor, done: Result<(), AccessError>) -> Response {
    match done {
        Ok(()) => guard::redirect(BACK),
        Err(error) => forms.failed(visitor, &error, BACK),
    }
}
