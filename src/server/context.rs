//! What a request brings along to pages and server functions.
//!
//! Put into Leptos' context by the router for each request. While routes are listed at start there is no request:
//! then nobody is logged in and nothing panics.

use crate::{
    error::{AppError, ErrorKind},
    model::Role,
    server::Services,
    store::{Caller, audit::Actor},
};
use sqlx::{Postgres, Transaction};
use std::net::IpAddr;
use std::sync::Arc;

/// One request: who asks, from where, and what the server has to answer with.
#[derive(Clone)]
pub struct Request {
    /// Pools, configuration and the running parts.
    pub services: Arc<Services>,
    /// Who is logged in.
    pub caller: Option<Caller>,
    /// Whether somebody may well be logged in, but could not be looked up: the database is away.
    pub unknown: bool,
    /// In the answer's header, the log and error messages.
    pub request_id: String,
    /// Where from, after trusted proxies.
    pub address: Option<IpAddr>,
}

impl Request {
    /// The current request, in a page or server function.
    ///
    /// # Errors
    /// Outside a request.
    pub fn current() -> Result<Self, AppError> {
        leptos::prelude::use_context::<Self>().ok_or_else(|| AppError::internal("-", &"no request in context"))
    }

    /// The caller, whoever it is.
    ///
    /// # Errors
    /// `Unauthenticated` when nobody is logged in; `Unavailable` when that cannot be told.
    pub fn account(&self) -> Result<&Caller, AppError> {
        self.caller.as_ref().ok_or_else(|| {
            answered(if self.unknown {
                AppError::new(ErrorKind::Unavailable, "The database does not answer just now. Nothing was lost; try again in a moment.")
            } else {
                AppError::unauthenticated()
            })
        })
    }

    /// The caller, an administrator.
    ///
    /// # Errors
    /// `Unauthenticated`, or `Forbidden` for a trainer.
    pub fn admin(&self) -> Result<&Caller, AppError> {
        let caller = self.account()?;
        if caller.role == Role::Admin { Ok(caller) } else { Err(answered(AppError::forbidden())) }
    }

    /// Who acts, for the audit log.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub fn actor(&self) -> Result<Actor, AppError> {
        Ok(Actor::of(self.account()?, self.address.map(|a| a.to_string()), Some(self.request_id.clone())))
    }

    /// A read-only transaction with the caller's eyes.
    ///
    /// # Errors
    /// `Unauthenticated`, or the database is away.
    pub async fn read(&self) -> Result<Transaction<'static, Postgres>, AppError> {
        self.services.db.begin_as(self.account()?).await.map_err(|e| self.db(&e))
    }

    /// A refusal with the status it means.
    pub fn refused(&self, error: AppError) -> AppError {
        answered(error)
    }

    /// A database error as the reader may see it; the cause is logged under the request id.
    pub fn db(&self, cause: &sqlx::Error) -> AppError {
        answered(AppError::database(&self.request_id, cause))
    }
}

/// Gives the answer the status that the error means; Leptos by itself answers 500 to every error of a server function.
fn answered(error: AppError) -> AppError {
    if let (Some(options), Ok(status)) =
        (leptos::prelude::use_context::<leptos_axum::ResponseOptions>(), axum::http::StatusCode::from_u16(error.status()))
    {
        options.set_status(status);
    }
    error
}
