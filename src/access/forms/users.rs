//! `/admin/users`: accounts, invitations, roles. Administrators only.

use super::{Forms, Html, Refused, Visitor, field, html, said, status_of};
use crate::{
    access::{AccessError, account, invite, totp},
    model::Role,
    store::accounts,
};
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use uuid::Uuid;

const BACK: &str = "/admin/users";
const INVITE: &str = "/admin/users/invite";
const ACCOUNT: &str = "/account";
const FACTOR_OFF: &str = "second-factor-off";

const OWN: AccessError =
    AccessError::Conflict("Your own password and second factor are changed on your account page, which asks for your password first.");

pub(super) async fn show(State(forms): State<Forms>, visitor: Visitor) -> Response {
    shown(&forms, &visitor, StatusCode::OK, None).await
}

/// The page; with the invitation that was refused, if one was.
async fn shown(forms: &Forms, visitor: &Visitor, status: StatusCode, refused: Option<Refused>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let all = match accounts::list(&forms.access.db, caller).await {
        Ok(all) => all,
        Err(error) => return forms.failed(visitor, &error.into(), "/admin"),
    };
    let demanded = match account::second_factor_demanded(&forms.access.db).await {
        Ok(demanded) => demanded,
        Err(error) => return forms.failed(visitor, &error, "/admin"),
    };
    let rows: Vec<Vec<String>> = all.iter().map(|a| row(a, caller.account_id)).collect();
    let fields = [
        field::input("E-mail", "email", "email", "off", ""),
        field::input("Name", "name", "text", "off", ""),
        field::choice("Role", "role", &[("trainer", "trainer"), ("admin", "administrator")]),
    ];
    let page = Html::again(refused)
        .heading("Users")
        .said(visitor.said)
        .section("Accounts")
        .table("Accounts", &["E-mail", "Name", "Role", "Clients", "State", ""], &rows)
        .section("Invite somebody")
        .text("No mail is sent: you get a link to hand over. It works once, for three days.")
        .form(INVITE, &fields, "Make the link")
        .section("Second factor");
    let page =
        match (forms.access.vault.is_some(), demanded) {
            (false, _) => page.text("Not available on this server: ASSAY_SECRET_KEY is not set."),
            (true, true) => page
                .text("Administrators must have a second factor: one without is led to set it up before anything else.")
                .form("/admin/users/second-factor", &[field::hidden("demand", "off")], "Leave it to each administrator"),
            (true, false) => page
                .text("Each administrator decides. When you demand it, one without is led to set it up before anything else, you too.")
                .form("/admin/users/second-factor", &[field::hidden("demand", "on")], "Demand it of administrators"),
        };
    forms.page(visitor, status, "Users", page)
}

fn row(a: &accounts::Listed, own: Uuid) -> Vec<String> {
    let deed = |word: &str, text: &str| html::deed(&format!("/admin/users/{}/{word}", a.id), text);
    let (state, switch) =
        if a.disabled_at.is_some() { ("shut out", deed("enable", "Let in")) } else { ("active", deed("disable", "Shut out")) };
    let ask = |word: &str, text: &str| html::anchor(&format!("/admin/users/{}/{word}", a.id), text);
    let role = if a.role == "admin" { deed("trainer", "Make trainer") } else { ask("admin", "Make administrator…") };
    let secrets = if a.id == own {
        html::anchor(ACCOUNT, "Password and second factor")
    } else {
        [deed("link", "New password link"), ask(FACTOR_OFF, "Turn second factor off…")].concat()
    };
    let deeds = format!("<div class=\"actions\">{switch}{role}{}{secrets}</div>", deed("sign-out", "End sessions"));
    vec![html::escape(&a.email), html::escape(&a.display_name), a.role.clone(), a.clients.to_string(), state.to_owned(), deeds]
}

#[derive(Deserialize)]
pub(super) struct Guest {
    email: String,
    name: String,
    role: String,
}

pub(super) async fn invite(State(forms): State<Forms>, visitor: Visitor, Form(form): Form<Guest>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let made = match Role::from_word(&form.role) {
        Some(role) => invite::invite(&forms.access.db, &visitor.actor(caller), &form.email, &form.name, role).await,
        None => Err(AccessError::invalid("role", "Choose a role.")),
    };
    let sent = [("email", form.email.as_str()), ("name", &form.name), ("role", &form.role)];
    match made.as_ref().err().and_then(|error| Some((Refused::of(error, INVITE, &sent)?, status_of(error)))) {
        Some((refused, status)) => shown(&forms, &visitor, status, Some(refused)).await,
        None => link(&forms, &visitor, made),
    }
}

#[derive(Deserialize)]
pub(super) struct Demand {
    demand: String,
}

pub(super) async fn demand(State(forms): State<Forms>, visitor: Visitor, Form(form): Form<Demand>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    if forms.access.vault.is_none() {
        return forms.failed(&visitor, &AccessError::Conflict("ASSAY_SECRET_KEY is not set: nobody could set up a second factor."), BACK);
    }
    let on = form.demand == "on";
    match account::demand_second_factor(&forms.access.db, caller, &visitor.actor(caller), on).await {
        Ok(()) => said::redirect(BACK, if on { "factor-demanded" } else { "factor-left" }),
        Err(error) => forms.failed(&visitor, &error, BACK),
    }
}

fn own(forms: &Forms, visitor: &Visitor) -> Response {
    let page = Html::new().heading("Not done").notice(&OWN.to_string()).link(ACCOUNT, "To your account");
    forms.page(visitor, status_of(&OWN), "Not done", page)
}

/// The question before somebody may see and do everything, or loses their second factor: neither is simply taken back.
pub(super) async fn ask(State(forms): State<Forms>, visitor: Visitor, Path((id, deed)): Path<(Uuid, String)>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    if id == caller.account_id && deed == FACTOR_OFF {
        return own(&forms, &visitor);
    }
    let all = match accounts::list(&forms.access.db, caller).await {
        Ok(all) => all,
        Err(error) => return forms.failed(&visitor, &error.into(), BACK),
    };
    let Some(account) = all.iter().find(|a| a.id == id) else {
        return forms.failed(&visitor, &AccessError::NotFound("There is no such account."), BACK);
    };
    let (title, question, verb) = match deed.as_str() {
        "admin" => (
            "Make an administrator",
            format!(
                "Make {} an administrator? They then see everybody and may do everything, inviting and erasing included.",
                account.email
            ),
            "Make administrator",
        ),
        FACTOR_OFF => (
            "Turn a second factor off",
            format!(
                "Turn the second factor of {} off? All their sessions end. Then the password alone lets in, until they set up another one.",
                account.email
            ),
            "Turn off",
        ),
        _ => return forms.failed(&visitor, &AccessError::NotFound("There is no such question."), BACK),
    };
    let page = Html::new().heading(title).text(&question).danger(&format!("{BACK}/{id}/{deed}"), &[], verb).link(BACK, "Keep as it is");
    forms.page(&visitor, StatusCode::OK, title, page)
}

/// One deed on one account: `disable`, `enable`, `admin`, `trainer`, `sign-out`, `link`, `second-factor-off`.
pub(super) async fn change(State(forms): State<Forms>, visitor: Visitor, Path((id, deed)): Path<(Uuid, String)>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    // With one's own account they would get around the password that the account page asks for.
    if id == caller.account_id && matches!(deed.as_str(), "link" | FACTOR_OFF) {
        return own(&forms, &visitor);
    }
    let (db, actor) = (&forms.access.db, visitor.actor(caller));
    let (done, code) = match deed.as_str() {
        "disable" => (account::set_disabled(db, &actor, id, true).await, "shut-out"),
        "enable" => (account::set_disabled(db, &actor, id, false).await, "let-in"),
        "admin" => (account::set_role(db, &actor, id, Role::Admin).await, "made-admin"),
        "trainer" => (account::set_role(db, &actor, id, Role::Trainer).await, "made-trainer"),
        "sign-out" => (account::end_sessions(db, &actor, id).await, "signed-out"),
        FACTOR_OFF => (totp::remove(db, &actor, id).await, "their-factor-off"),
        "link" => return link(&forms, &visitor, invite::reset_link(db, &actor, id).await),
        _ => (Err(AccessError::NotFound("There is no such action.")), ""),
    };
    match done {
        Ok(()) => said::redirect(BACK, code),
        Err(error) => forms.failed(&visitor, &error, BACK),
    }
}

/// The link with the public address, or else the one this administrator used.
fn link(forms: &Forms, visitor: &Visitor, made: Result<invite::Invitation, AccessError>) -> Response {
    match made {
        Ok(invitation) => {
            let seen = visitor.host.as_deref().map(|h| format!("http://{h}")).unwrap_or_default();
            let address = format!("{}{}", forms.access.site.origin().unwrap_or(&seen), invitation.path);
            let page = Html::new()
                .heading("A link to hand over")
                .text("Shown only here. It sets the password once, within three days.")
                .code(&address)
                .link(BACK, "Done");
            forms.page(visitor, StatusCode::OK, "A link to hand over", page)
        }
        Err(error) => forms.failed(visitor, &error, BACK),
    }
}
