//! `/admin/people/{user_id}`: a person's trainers, name, export, and erasure. Administrators only.

use super::{Forms, Html, Refused, Visitor, field, html, said, status_of};
use crate::{
    access::AccessError,
    model::looks_like_email,
    outbound,
    store::{accounts, erase, persons},
};
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use uuid::Uuid;

const NOBODY: AccessError = AccessError::NotFound("There is no such person, or nothing is stored about them.");

fn address(user_id: &str) -> String {
    format!("/admin/people/{}", html::segment(user_id))
}

pub(super) async fn show(State(forms): State<Forms>, visitor: Visitor, Path(user_id): Path<String>) -> Response {
    shown(&forms, &visitor, &user_id, StatusCode::OK, None).await
}

/// The page; with a form that was refused, if one was.
async fn shown(forms: &Forms, visitor: &Visitor, user_id: &str, status: StatusCode, refused: Option<Refused>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let found = async {
        let label = persons::label(&forms.access.db, caller, user_id).await?.ok_or(NOBODY)?;
        let theirs = persons::trainers_of(&forms.access.db, caller, user_id).await?;
        let trainers = accounts::list(&forms.access.db, caller).await?;
        let counts = erase::counts(&forms.access.db, user_id).await?;
        Ok::<_, AccessError>((label, theirs, trainers, counts))
    };
    let (label, theirs, accounts, counts) = match found.await {
        Ok(found) => found,
        Err(error) => return forms.failed(visitor, &error, "/clients"),
    };
    let here = address(user_id);
    let is_theirs = |id: Uuid| theirs.contains(&id);
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .filter(|a| is_theirs(a.id))
        .map(|a| {
            vec![html::escape(&a.email), html::escape(&a.display_name), html::deed(&format!("{here}/trainers/{}/remove", a.id), "Remove")]
        })
        .collect();
    let ids: Vec<(String, String)> = accounts
        .iter()
        .filter(|a| a.role == "trainer" && a.disabled_at.is_none() && !is_theirs(a.id))
        .map(|a| (a.id.to_string(), a.email.clone()))
        .collect();
    let free: Vec<(&str, &str)> = ids.iter().map(|(id, email)| (id.as_str(), email.as_str())).collect();
    let name = label.as_deref().unwrap_or(user_id);
    let mut page = Html::again(refused).heading(name).said(visitor.said).text(&format!("The person with the user id {user_id}."));
    if looks_like_email(user_id) {
        page = page.notice(
            "This id looks like an e-mail address: it names somebody in addresses, lists and logs. Connect them anew under a pseudonym.",
        );
    }
    page = page.link(&format!("/clients/{}", html::segment(user_id)), "Their metrics").section("Trainers");
    page = if rows.is_empty() {
        page.text("No trainer sees this person.")
    } else {
        page.table("Trainers of this person", &["E-mail", "Name", ""], &rows)
    };
    if free.is_empty() {
        page = page.text("There is no other trainer to assign.");
    } else {
        page = page.form(&format!("{here}/trainers"), &[field::choice("Trainer", "trainer", &free)], "Assign");
    }
    let field = field::filled("Name", "label", "text", label.as_deref().unwrap_or_default(), "empty: the user id");
    page = page.section("What pages call them").form(&format!("{here}/label"), &[field], "Save");
    let export = format!("/clients/{}/export", html::segment(user_id));
    page = page
        .section("Take their data away")
        .text("Each export is in the audit log.")
        .link(&format!("{export}.json"), "Everything, as JSON")
        .link(&format!("{export}.csv"), "Day values and scores, as CSV")
        .section("Erase this person")
        .warning(&format!("This removes at least {} rows of {name} ({user_id}) for ever, the deliveries as they came included.", counts.total()))
        .table("What would go, at least", &["Table", "Rows"], &lines(&counts))
        .text("Their connections are ended at Terra first, where its key is configured. What Terra still sends is emptied and makes nobody anew; only connecting again does.")
        .danger(
            &format!("{here}/erase"),
            &[field::input(&format!("To confirm, type the user id: {user_id}"), "confirm", "text", "off", "")],
            "Erase for ever",
        );
    // No name in the title: it ends up in histories.
    forms.page(visitor, status, "Person", page)
}

/// Tables with rows; the empty ones say nothing.
fn lines(report: &erase::Report) -> Vec<Vec<String>> {
    report
        .rows
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(table, n)| vec![format!("<code>{}</code>", html::escape(table)), n.to_string()])
        .collect()
}

#[derive(Deserialize)]
pub(super) struct Confirmed {
    confirm: String,
}

pub(super) async fn erase(
    State(forms): State<Forms>,
    visitor: Visitor,
    Path(user_id): Path<String>,
    Form(form): Form<Confirmed>,
) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let here = address(&user_id);
    // An id may begin or end with blanks; who copied it may have added some.
    if form.confirm != user_id && form.confirm.trim() != user_id.trim() {
        let error = AccessError::invalid("confirm", "That is not the user id of this person; nothing was erased.");
        return again(&forms, &visitor, &user_id, &error, &format!("{here}/erase"), &[("confirm", &form.confirm)]).await;
    }
    let done = async {
        persons::label(&forms.access.db, caller, &user_id).await?.ok_or(NOBODY)?;
        Ok::<_, AccessError>(outbound::erase_person(&forms.access.db, forms.terra.as_ref(), &visitor.actor(caller), &user_id).await?)
    };
    match done.await {
        Ok((left, report)) => {
            let page = Html::new().heading("Erased").notice(&format!("{} rows are gone.", report.total()));
            let page = left.failed.iter().fold(page, |page, sentence| page.notice(&format!("A connection goes on at Terra: {sentence}")));
            let page = page
                .section("Report")
                .text(&format!(
                    "{} entries of the audit log lost the identity and stay. Backups keep what they had until they expire.",
                    report.anonymised_audit_entries
                ))
                .table("What went", &["Table", "Rows"], &lines(&report))
                .link("/clients", "To the people");
            forms.page(&visitor, StatusCode::OK, "Erased", page)
        }
        Err(error) => forms.failed(&visitor, &error, &here),
    }
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    trainer: Uuid,
}

pub(super) async fn assign(
    State(forms): State<Forms>,
    visitor: Visitor,
    Path(user_id): Path<String>,
    Form(form): Form<Chosen>,
) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let done = async {
        persons::label(&forms.access.db, caller, &user_id).await?.ok_or(NOBODY)?;
        accounts::by_id(forms.access.db.service(), form.trainer).await?.ok_or(AccessError::NotFound("There is no such account."))?;
        persons::assign(&forms.access.db, &visitor.actor(caller), &[(form.trainer, user_id.clone())]).await?;
        Ok(())
    };
    settled(&forms, &visitor, &user_id, done.await, "assigned")
}

/// The page again, with the form as it was sent; a page of its own for what its sender cannot mend.
async fn again(forms: &Forms, visitor: &Visitor, user_id: &str, error: &AccessError, action: &str, values: &[(&str, &str)]) -> Response {
    match Refused::of(error, action, values) {
        Some(refused) => shown(forms, visitor, user_id, status_of(error), Some(refused)).await,
        None => forms.failed(visitor, error, &address(user_id)),
    }
}

pub(super) async fn unassign(State(forms): State<Forms>, visitor: Visitor, Path((user_id, trainer)): Path<(String, Uuid)>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let done = persons::unassign(&forms.access.db, &visitor.actor(caller), trainer, &user_id).await;
    settled(&forms, &visitor, &user_id, done.map(drop).map_err(AccessError::from), "unassigned")
}

#[derive(Deserialize)]
pub(super) struct Named {
    label: String,
}

pub(super) async fn label(State(forms): State<Forms>, visitor: Visitor, Path(user_id): Path<String>, Form(form): Form<Named>) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let done = match persons::set_label(&forms.access.db, &visitor.actor(caller), &user_id, Some(&form.label)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(NOBODY),
        Err(error) => Err(error.into()),
    };
    settled(&forms, &visitor, &user_id, done, "named")
}

/// Back to the page, which says what was done, or the refusal.
fn settled(forms: &Forms, visitor: &Visitor, user_id: &str, done: Result<(), AccessError>, code: &str) -> Response {
    match done {
        Ok(()) => said::redirect(&address(user_id), code),
        Err(error) => forms.failed(visitor, &error, &address(user_id)),
    }
}
