//! The one error the browser sees: what kind it is, a safe sentence, and the request id to quote.
//!
//! Causes stay on the server: [`AppError::internal`] logs them and gives a sentence without them.

use leptos::server_fn::codec::JsonEncoding;
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use serde::{Deserialize, Serialize};

/// What went wrong, as far as the reader is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Nobody is logged in.
    Unauthenticated,
    /// Logged in, but not allowed. For things whose existence is a secret use `NotFound`.
    Forbidden,
    /// It is not there, or not for this reader.
    NotFound,
    /// The input cannot be used; the sentence says why.
    Invalid,
    /// Something else happened meanwhile.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// The database or another part is away; trying again helps.
    Unavailable,
    /// Our fault.
    Internal,
}

/// An error for people. Serialised to the browser as it is, so it must never hold a cause or personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppError {
    /// What kind.
    pub kind: ErrorKind,
    /// What happened and what to do.
    pub message: String,
    /// Finds the cause in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl AppError {
    /// An error with a sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let error = Self { kind, message: message.into(), request_id: None };
        #[cfg(feature = "ssr")]
        error.tell_status();
        error
    }

    /// Nobody is logged in.
    pub fn unauthenticated() -> Self {
        Self::new(ErrorKind::Unauthenticated, "Your session has ended. Log in again; nothing was changed.")
    }

    /// Logged in, not allowed.
    pub fn forbidden() -> Self {
        Self::new(ErrorKind::Forbidden, "This is for administrators.")
    }

    /// Not there, or not for this reader: the two look the same.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorKind::NotFound, format!("{what} does not exist, or is not yours to see."))
    }

    /// Input that cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The HTTP status that says the same.
    pub const fn status(&self) -> u16 {
        match self.kind {
            ErrorKind::Unauthenticated => 401,
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Invalid => 422,
            ErrorKind::Conflict => 409,
            ErrorKind::RateLimited => 429,
            ErrorKind::Unavailable => 503,
            ErrorKind::Internal => 500,
        }
    }
}

#[cfg(feature = "ssr")]
impl AppError {
    /// Gives the answer of a server function the status that the error means; Leptos by itself answers 500. A form sent
    /// without JavaScript is answered with a redirect, which must stay one, and a page decides for itself.
    fn tell_status(&self) {
        use leptos::prelude::use_context;
        let Some(parts) = use_context::<axum::http::request::Parts>() else { return };
        let wants_page = parts.headers.get("accept").and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("text/html"));
        if let (false, Some(options), Ok(status)) =
            (wants_page, use_context::<leptos_axum::ResponseOptions>(), axum::http::StatusCode::from_u16(self.status()))
        {
            options.set_status(status);
        }
    }

    /// Logs the cause with the request id and gives the sentence that goes out instead.
    pub fn internal(request_id: &str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(request_id, cause = %cause, "request failed");
        Self {
            request_id: Some(request_id.to_owned()),
            ..Self::new(ErrorKind::Internal, "Something went wrong on our side. Try again; if it stays, quote the request id.")
        }
    }

    /// From a database error: an unreachable database is told apart from a fault of ours.
    pub fn database(request_id: &str, cause: &sqlx::Error) -> Self {
        let away = matches!(cause, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_))
            || cause
                .as_database_error()
                .and_then(|e| e.code())
                .is_some_and(|c| c.starts_with("57P") || c.starts_with("08") || c.starts_with("53"));
        let mut error = Self::internal(request_id, cause);
        if away {
            error.kind = ErrorKind::Unavailable;
            error.message = "The database does not answer just now. Nothing was lost; try again in a moment.".into();
        }
        error
    }
}

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for AppError {}

impl FromServerFnError for AppError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(value: ServerFnErrorErr) -> Self {
        match value {
            ServerFnErrorErr::Args(_) | ServerFnErrorErr::MissingArg(_) | ServerFnErrorErr::Deserialization(_) => {
                Self::invalid("The request could not be read. A newer version may be out: reload the page.")
            }
            ServerFnErrorErr::Request(_) => {
                Self::new(ErrorKind::Unavailable, "The server cannot be reached. Check the connection and try again.")
            }
            _ => Self::new(ErrorKind::Internal, "Something went wrong. Reload the page and try again."),
        }
    }
}
