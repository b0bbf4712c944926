//! From cookie to caller: a middleware that puts an [`Identity`] into the request's extensions.
//!
//! A request without our cookie costs nothing; with one it costs one statement. Whoever needs a caller asks
//! [`Identity::caller`] or [`Identity::admin`] in its first line and returns the refusal.

use super::{Access, problem, session};
use crate::{
    model::Role,
    store::{Caller, sessions},
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Who is asking; `None`: nobody who proved it.
#[derive(Debug, Clone, Default)]
pub struct Identity(pub Option<Caller>);

/// Somebody with the right password who must add a second factor before anything else. Only `/account` knows this one;
/// for everything else the [`Identity`] is empty.
#[derive(Debug, Clone)]
pub struct Enrolling(pub Caller);

/// Where a request comes from and its id, for the audit log. Put into the extensions by whoever knows the proxies.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// The client's address, after trusted proxies.
    pub address: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

/// The database did not answer, so nothing is known about the caller: no reason to send anybody to the login page.
#[derive(Debug, Clone, Copy)]
pub struct Unavailable;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody is logged in: 401.
    #[error("Your session has ended. Log in again; nothing was changed.")]
    Anonymous,
    /// Somebody is, but may not: 403.
    #[error("This is for administrators.")]
    Forbidden,
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::Anonymous => problem(StatusCode::UNAUTHORIZED, "Not logged in", &self.to_string()),
            Self::Forbidden => problem(StatusCode::FORBIDDEN, "Not allowed", &self.to_string()),
        }
    }
}

impl Identity {
    /// Somebody who is logged in.
    ///
    /// # Errors
    /// [`Denied::Anonymous`].
    pub fn caller(&self) -> Result<&Caller, Denied> {
        self.0.as_ref().ok_or(Denied::Anonymous)
    }

    /// An administrator.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admin(&self) -> Result<&Caller, Denied> {
        let caller = self.caller()?;
        if caller.role == Role::Admin { Ok(caller) } else { Err(Denied::Forbidden) }
    }

    /// The role, where somebody is logged in.
    pub fn role(&self) -> Option<Role> {
        self.0.as_ref().map(|c| c.role)
    }
}

/// The middleware. Mount it around everything that a cookie may authenticate.
pub async fn identify(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let mut identity = Identity::default();
    if let Some(token) = session::token_of(request.headers(), &access.site) {
        match sessions::find(&access.db, &token, session::IDLE_SECONDS).await {
            Ok(Some(found)) if found.must_enrol && access.vault.is_some() => {
                request.extensions_mut().insert(Enrolling(found.caller));
            }
            Ok(found) => identity.0 = found.map(|f| f.caller),
            Err(error) => {
                tracing::warn!(%error, "a session could not be looked up");
                request.extensions_mut().insert(Unavailable);
            }
        }
    }
    request.extensions_mut().insert(identity);
    next.run(request).await
}
