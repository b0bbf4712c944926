//! Who asks: the key, its limit, its scope, in this order; then the handler, with what it needs to answer.

use super::{Api, answer::Form, problem::Problem, query::Query};
use crate::{
    access::{Visit, api_key, service_key},
    gateway::Policy,
    model::Role,
    quality::Registry,
    rescore,
    store::{
        api_keys::Found,
        audit::{self, Actor},
    },
};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::Response,
};
use sqlx::{Postgres, Transaction};
use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

/// What the middleware needs.
#[derive(Clone)]
pub struct Gate {
    /// The pools and the limiter.
    pub api: Api,
    /// What a key must have been made for.
    pub scope: &'static str,
}

/// Keys that turn out to be nobody's, by address: a guess costs the database one look-up.
const UNKNOWN_KEYS: Policy = Policy { name: "unknown-keys", quota: 60, window: Duration::from_secs(60) };

/// The middleware of the guarded routes.
pub async fn gate(State(Gate { api, scope }): State<Gate>, mut request: Request, next: Next) -> Response {
    let visit = request.extensions().get::<Visit>().cloned().unwrap_or_default();
    let found = match api_key::identify(&api.db, request.headers()).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let given = service_key::bearer(request.headers()).is_some();
            let from = visit.address.as_deref().unwrap_or("unknown");
            let decision = given.then(|| api.limiter.check(&UNKNOWN_KEYS, from, Instant::now()));
            return match decision.filter(|d| !d.is_allowed()) {
                Some(decision) => Problem::too_many(&decision).into(),
                None => Problem::unauthenticated(given).into(),
            };
        }
        Err(error) => return Problem::database(visit.request_id.as_deref().unwrap_or("-"), &error).into(),
    };
    let decision = api.limiter.check(&Policy::API, &found.key_id.to_string(), Instant::now());
    let mut response = if !decision.is_allowed() {
        Problem::too_many(&decision).into()
    } else if !api_key::allows(&found, scope) {
        Problem::scope(scope).into()
    } else {
        request.extensions_mut().insert(found);
        next.run(request).await
    };
    response.headers_mut().extend(decision.headers());
    response
}

/// One request that passed the gate.
pub struct Ask {
    api: Api,
    found: Found,
    visit: Visit,
    /// Its path, for the address of the next page.
    pub path: String,
    /// What stands after the question mark.
    pub raw_query: String,
    headers: HeaderMap,
}

impl FromRequestParts<Api> for Ask {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        // Without the gate in front of it a handler gets nothing.
        let found = parts.extensions.get::<Found>().cloned().ok_or_else(|| Problem::unauthenticated(false))?;
        let inner = parts.uri.path().to_owned();
        Ok(Self {
            api: api.clone(),
            found,
            visit: parts.extensions.get::<Visit>().cloned().unwrap_or_default(),
            path: format!("{}{}", super::BASE, inner.strip_prefix(super::BASE).unwrap_or(&inner)),
            raw_query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
        })
    }
}

impl Ask {
    /// The parameters, and the form that is wanted.
    ///
    /// # Errors
    /// 406 when no form of ours is acceptable.
    pub fn query(&self) -> Result<(Query, Form), Problem> {
        let mut query = Query::new(&self.raw_query);
        let form = Form::wanted(&mut query, &self.headers)?;
        Ok((query, form))
    }

    /// The request's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A read-only transaction with the eyes of the key's owner.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(&self) -> Result<Transaction<'static, Postgres>, Problem> {
        self.api.db.begin_as(&self.found.caller).await.map_err(|e| self.db(&e))
    }

    /// The registry in force. The program itself reads it: it is nobody's data, and settings are not for trainers.
    ///
    /// # Errors
    /// The database's.
    pub async fn registry(&self) -> Result<Cow<'static, Registry>, Problem> {
        let read = async { rescore::registry(&mut *self.api.db.service().acquire().await?).await };
        read.await.map_err(|e| self.db(&e))
    }

    /// Records that a trainer's key looked at a person, before anything is shown.
    ///
    /// # Errors
    /// The database's.
    pub async fn note_reading(&self, user_id: &str) -> Result<(), Problem> {
        let caller = &self.found.caller;
        if caller.role != Role::Trainer {
            return Ok(());
        }
        let mut actor = Actor::of(caller, self.visit.address.clone(), self.visit.request_id.clone());
        actor.name = format!("{} (key {})", actor.name, self.found.name);
        audit::note_reading(&self.api.db, &actor, user_id).await.map_err(|e| self.db(&e))
    }

    /// A database error as the reader may see it; the cause is logged under the request's id.
    pub fn db(&self, cause: &sqlx::Error) -> Problem {
        Problem::database(self.visit.request_id.as_deref().unwrap_or("-"), cause)
    }
}

/// Whose data a path is about, percent-decoded. What no `user_id` can be is simply not found.
pub struct Person(pub String);

impl FromRequestParts<Api> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let path = axum::extract::Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, api).await;
        path.ok()
            .and_then(|mut p| p.0.remove("user_id"))
            .filter(|id| !id.contains('\0') && id.chars().nth(512).is_none())
            .map(Self)
            .ok_or_else(no_such_person)
    }
}

/// 404 for a person: absent, or another trainer's.
pub fn no_such_person() -> Problem {
    Problem::not_found("There is no such person among those whom the key's owner may see.")
}

/// The request's own word on which answers it has already.
pub fn if_none_match(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}
