//! `/invite/{token}`: sets the password of an invitation or a reset.

use super::{Forms, Html, Refused, Visitor, field, status_of};
use crate::access::{guard, invite};
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;

const TITLE: &str = "Set your password";

pub(super) async fn show(State(forms): State<Forms>, visitor: Visitor, Path(token): Path<String>) -> Response {
    match invite::look_up(&forms.access.db, &token).await {
        Ok(email) => forms.page(&visitor, StatusCode::OK, TITLE, body(&token, &email, None)),
        Err(error) => forms.failed(&visitor, &error, "/login"),
    }
}

#[derive(Deserialize)]
pub(super) struct NewPassword {
    password: String,
}

pub(super) async fn accept(
    State(forms): State<Forms>,
    Path(token): Path<String>,
    visitor: Visitor,
    Form(form): Form<NewPassword>,
) -> Response {
    if let Some(refusal) = forms.limited(&visitor, None) {
        return refusal;
    }
    match invite::accept(&forms.access.db, &token, &form.password, visitor.visit.address.clone()).await {
        Ok(()) => guard::redirect("/login?notice=password_set"),
        Err(error) => match (Refused::of(&error, &action(&token), &[]), invite::look_up(&forms.access.db, &token).await) {
            (Some(refused), Ok(email)) => forms.page(&visitor, status_of(&error), TITLE, body(&token, &email, Some(refused))),
            (Some(_), Err(gone)) => forms.failed(&visitor, &gone, "/login"),
            (None, _) => forms.failed(&visitor, &error, "/login"),
        },
    }
}

fn action(token: &str) -> String {
    format!("/invite/{token}")
}

fn body(token: &str, email: &str, refused: Option<Refused>) -> Html {
    let page = Html::again(refused).heading(TITLE).text(&format!("For the account {email}."));
    let field =
        field::input("New password", "password", "password", "new-password", "At least 12 characters, for example four unrelated words.");
    page.section("New password").form(&action(token), &[field::username(email), field], "Set password")
}
