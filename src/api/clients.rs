//! Persons whose data arrive, by id, with how far their last week can be trusted and what they are connected to.

use super::{
    Api,
    answer::{Form, Line, Page, maybe, moment, text},
    cursor,
    gate::{Ask, Person, no_such_person},
    problem::{Problem, Refusals},
};
use crate::store::read_api::{self, ClientRow};
use axum::{extract::State, response::Response};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

/// A connection to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClientConnection {
    /// In lower case.
    pub provider: String,
    /// active, reauthorised, error, revoked or deauthorised.
    pub state: String,
    /// When data last came.
    pub last_data_at: Option<DateTime<Utc>>,
}

/// How far a person's last seven days of data can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Confidence {
    /// The average score; null: nothing was scored.
    #[schema(minimum = 0, maximum = 100)]
    pub average: Option<i32>,
    /// Scores in these days.
    pub scored: i64,
    /// Scores below 40 among them.
    pub poor: i64,
    /// The newest day with a value, with which the seven days end.
    pub newest_day: Option<NaiveDate>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Client {
    /// Who: the `reference_id` under which data arrive.
    pub user_id: String,
    /// What pages call this person.
    pub label: Option<String>,
    /// Made up, for the demonstration.
    pub simulated: bool,
    /// Since when known here.
    pub created_at: DateTime<Utc>,
    /// When data last came.
    pub last_data_at: Option<DateTime<Utc>>,
    /// How far the last seven days of data can be trusted.
    pub confidence: Confidence,
    /// To providers.
    pub connections: Vec<ClientConnection>,
}

impl From<ClientRow> for Client {
    fn from(row: ClientRow) -> Self {
        let connections: Vec<ClientConnection> = row
            .connections
            .0
            .into_iter()
            .map(|c| ClientConnection { provider: c.provider, state: c.state, last_data_at: c.last_data_at })
            .collect();
        Self {
            user_id: row.user_id,
            label: row.label,
            simulated: row.simulated,
            created_at: row.created_at,
            last_data_at: connections.iter().filter_map(|c| c.last_data_at).max(),
            confidence: Confidence {
                average: row.average.map(|a| a.round() as i32),
                scored: row.scored,
                poor: row.poor,
                newest_day: row.newest,
            },
            connections,
        }
    }
}

impl Line for Client {
    fn columns() -> Vec<&'static str> {
        vec!["user_id", "label", "simulated", "created_at", "last_data_at", "average", "scored", "poor", "newest_day", "connections"]
    }

    fn fields(&self) -> Vec<String> {
        let connections: Vec<String> = self.connections.iter().map(|c| format!("{}:{}", c.provider, c.state)).collect();
        vec![
            text(&self.user_id),
            self.label.as_deref().map(text).unwrap_or_default(),
            self.simulated.to_string(),
            moment(self.created_at),
            self.last_data_at.map(moment).unwrap_or_default(),
            maybe(self.confidence.average),
            self.confidence.scored.to_string(),
            self.confidence.poor.to_string(),
            maybe(self.confidence.newest_day),
            text(&connections.join(" ")),
        ]
    }
}

/// A page of persons.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "for the description; the fields are read by name in query.rs")]
pub struct ClientParams {
    /// Rows a page; 100 where it is absent.
    #[param(minimum = 1, maximum = 1000, required = false)]
    limit: i64,
    /// `next` of the page before.
    #[param(required = false)]
    cursor: String,
    /// The form of the answer; overrides `Accept`.
    #[param(inline, required = false)]
    format: Form,
}

/// The form of an answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FormParam {
    /// The form of the answer; overrides `Accept`.
    #[param(inline, required = false)]
    #[expect(dead_code, reason = "for the description; read by name in query.rs")]
    format: Form,
}

/// The persons the key's owner may see
///
/// All for an administrator's key, the assigned clients for a trainer's; by `user_id`.
#[utoipa::path(
    get, path = "/clients", tag = "clients", operation_id = "list_clients", params(ClientParams),
    responses(
        (status = 200, description = "A page of persons",
            headers(("ETag" = String, description = "Of this content"), ("Link" = String, description = "The next page (RFC 8288)")),
            content((Page<Client> = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["metrics:read"]))
)]
pub async fn list_clients(State(_): State<Api>, ask: Ask) -> Result<Response, Problem> {
    let (mut query, form) = ask.query()?;
    let limit = query.limit();
    let question = cursor::question(&["clients"]);
    let after: Option<String> = query.cursor(&question);
    let unusable = after.as_ref().is_some_and(|a| a.contains('\0'));
    query.done()?;
    if unusable {
        return Err(no_such_person());
    }
    let mut tx = ask.read().await?;
    let mut rows = read_api::clients(&mut tx, None, after.as_deref(), limit + 1).await.map_err(|e| ask.db(&e))?;
    drop(tx);
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|row| cursor::write(&question, &row.user_id));
    Ok(ask.page(form, rows.into_iter().map(Client::from).collect(), next))
}

/// One person
#[utoipa::path(
    get, path = "/clients/{user_id}", tag = "clients", operation_id = "get_client",
    params(("user_id" = String, Path, description = "Whose, percent-encoded"), FormParam),
    responses(
        (status = 200, description = "The person", headers(("ETag" = String, description = "Of this content")),
            content((Client = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["metrics:read"]))
)]
pub async fn get_client(State(_): State<Api>, Person(user_id): Person, ask: Ask) -> Result<Response, Problem> {
    let (query, form) = ask.query()?;
    query.done()?;
    let mut tx = ask.read().await?;
    let rows = read_api::clients(&mut tx, Some(&user_id), None, 1).await.map_err(|e| ask.db(&e))?;
    drop(tx);
    let client: Client = rows.into_iter().next().ok_or_else(no_such_person)?.into();
    ask.note_reading(&user_id).await?;
    Ok(ask.one(form, &client))
}
