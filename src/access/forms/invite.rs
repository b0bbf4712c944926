//! `/invite/{token}`: sets the password of an invitation or a reset.

use super::{Forms, Html, Visitor, html, status_of};
use crate::access::{AccessError, guard, invite};
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
        Err(error @ AccessError::Invalid(_)) => match invite::look_up(&forms.access.db, &token).await {
            Ok(email) => forms.page(&visitor, status_of(&error), TITLE, body(&token, &email, Some(&error.to_string()))),
            Err(error) => forms.failed(&visitor, &error, "/login"),
        },
        Err(error) => forms.failed(&visitor, &error, "/login"),
    }
}

fn body(token: &str, email: &str, notice: Option<&str>) -> Html {
    let page = Html::new().heading(TITLE).text(&format!("For the account {email}."));
    let page = match notice {
        Some(sentence) => page.notice(sentence),
        None => page,
    };
    let field =
        html::input("New password", "password", "password", "new-password", "At least 12 characters, for example four unrelated words.");
    page.section("New password").form(&format!("/invite/{token}"), &[field], "Set password")
}
