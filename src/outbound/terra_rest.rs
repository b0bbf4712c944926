//! Terra's REST side. Answers of data are sent to our webhook, not to the caller: so everything that Terra knows comes
//! in through the one gateway, whoever asked for it.

use super::allowance::Allowance;
use crate::model::Model;
use chrono::NaiveDate;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header::HeaderMap, header::HeaderValue, redirect::Policy};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Days in one request of data: with more, Terra answers by way of a large request, hours later.
pub const MAX_DAYS: u32 = 28;
/// Users a page of [`Client::subscriptions`].
const PAGE: u32 = 500;
/// Answers are lists of users at most.
const MAX_ANSWER: usize = 16 << 20;
/// Terra waits for the provider before it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why Terra did not do it, for people. No key is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TerraError {
    /// A setting that no request can be made of.
    #[error("Terra's REST side cannot be used: {0}.")]
    Settings(&'static str),
    /// No connection, or no answer in time.
    #[error("Terra cannot be reached: {0}.")]
    Unreachable(String),
    /// Terra has a fault.
    #[error("Terra answered {0}; it is tried again later.")]
    Faulty(u16),
    /// The key or the developer id is wrong.
    #[error("Terra refuses our key (answer {0}). Check TERRA_API_KEY and TERRA_DEV_ID.")]
    Refused(u16),
    /// Terra knows no such connection.
    #[error("Terra does not know this connection.")]
    Unknown,
    /// As much as Terra allows was asked for.
    #[error("Terra allows no further request for this connection for {} s.", .0.as_secs())]
    Limited(Duration),
    /// One request asked for too much.
    #[error("Terra refuses a request over so many days.")]
    TooWide,
    /// Anything else.
    #[error("Terra answered {status}: {said}.")]
    Answered {
        /// The status.
        status: u16,
        /// Terra's own words, cut.
        said: String,
    },
    /// An answer that is not what Terra's description says.
    #[error("Terra's answer cannot be read: {0}.")]
    Unreadable(String),
}

impl TerraError {
    /// Whether trying again later may help.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Faulty(_) | Self::Limited(_) | Self::Unreadable(_))
    }
}

/// One of Terra's users: a connection of a person to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RemoteUser {
    /// Terra's id of the connection.
    pub user_id: String,
    /// The provider, in Terra's spelling.
    pub provider: String,
    /// Our user id, as given to Terra when the person connected.
    #[serde(default)]
    pub reference_id: Option<String>,
    /// What the person allowed, comma-separated.
    #[serde(default)]
    pub scopes: Option<String>,
    /// Whether Terra gets data for it.
    #[serde(default)]
    pub active: Option<bool>,
}

/// What Terra says of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UserInfo {
    /// The connection.
    pub user: RemoteUser,
    /// Whether the provider still lets Terra in.
    #[serde(default)]
    pub is_authenticated: Option<bool>,
}

impl UserInfo {
    /// Whether data can come.
    pub fn is_alive(&self) -> bool {
        self.user.active != Some(false) && self.is_authenticated != Some(false)
    }
}

/// A page of Terra's users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPage {
    /// The users.
    pub users: Vec<RemoteUser>,
    /// The next page; `None`: this is the last.
    pub next: Option<u32>,
}

/// What a connect link is asked for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WidgetSession {
    /// Whom the connection will belong to: our user id.
    pub reference_id: String,
    /// Where the person is sent afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_success_redirect_url: Option<String>,
    /// Where the person is sent when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_failure_redirect_url: Option<String>,
    /// Providers to choose from, comma-separated in Terra's spelling; `None`: those of Terra's dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<String>,
    /// The widget's language, such as `en`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A link under which a person connects a provider. Whoever opens it connects to that person.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ConnectLink {
    /// The address; https.
    pub url: String,
    /// Seconds until it ends.
    #[serde(default)]
    pub expires_in: Option<f64>,
}

/// Speaks to Terra with our key. Cheap to clone; clones share what they have asked for.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    allowance: Arc<Allowance>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for Terra at `base`, such as `https://api.tryterra.co/v2`.
    ///
    /// # Errors
    /// `Settings`, when the address is none or the key holds what a header cannot.
    pub fn new(base: &str, key: &str, dev_id: &str) -> Result<Self, TerraError> {
        let wrong = TerraError::Settings;
        let base = Url::parse(&format!("{}/", base.trim_end_matches('/'))).map_err(|_| wrong("TERRA_API_URL is not an address"))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong("TERRA_API_URL must begin with https"));
        }
        let mut key = HeaderValue::from_str(key).map_err(|_| wrong("TERRA_API_KEY holds characters that no key has"))?;
        key.set_sensitive(true);
        let dev_id = HeaderValue::from_str(dev_id).map_err(|_| wrong("TERRA_DEV_ID holds characters that no id has"))?;
        let headers = HeaderMap::from_iter(
            [("x-api-key", key), ("dev-id", dev_id)].map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value)),
        );
        let http = reqwest::Client::builder()
            .default_headers(headers)
            // The key goes to the configured address and nowhere else.
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(PATIENCE)
            .build()
            .map_err(|_| wrong("the TLS library cannot be started"))?;
        Ok(Self { http, base, allowance: Arc::default() })
    }

    /// A link under which a person connects a provider.
    ///
    /// # Errors
    /// [`TerraError`].
    pub async fn generate_widget_session(&self, session: &WidgetSession) -> Result<ConnectLink, TerraError> {
        let link: ConnectLink = read(send(self.ask(Method::POST, "auth/generateWidgetSession")?.json(session)).await?).await?;
        // It is put on a page: nothing but a plain link may come through.
        if !link.url.starts_with("https://") {
            return Err(TerraError::Unreadable("the link does not begin with https".into()));
        }
        Ok(link)
    }

    /// Asks Terra to send a model's data from the day `from` until before the day `until`, at most [`MAX_DAYS`] of them,
    /// to our webhook.
    ///
    /// # Errors
    /// [`TerraError`]; `Limited` also before Terra is asked, when the hour's days are used up.
    pub async fn request_data(&self, model: Model, terra_user_id: &str, from: NaiveDate, until: NaiveDate) -> Result<(), TerraError> {
        let days = u32::try_from((until - from).num_days()).unwrap_or(0);
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(TerraError::TooWide);
        }
        self.allowance.take(terra_user_id, days, Instant::now()).map_err(TerraError::Limited)?;
        let mut request = self.ask(Method::GET, model.word())?.query(&[("user_id", terra_user_id), ("to_webhook", "true")]);
        if model != Model::Athlete {
            let (from, until) = (from.to_string(), until.to_string());
            request = request.query(&[("start_date", from.as_str()), ("end_date", &until), ("with_samples", "true")]);
        }
        let answer = send(request).await;
        match &answer {
            Ok(answer) if number(answer.headers(), "x-terra-ratelimit-remaining") == Some(0) => {
                self.pause(terra_user_id, wait(answer.headers()))
            }
            Err(TerraError::Limited(wait)) => self.pause(terra_user_id, *wait),
            _ => {}
        }
        answer.map(drop)
    }

    fn pause(&self, terra_user_id: &str, wait: Duration) {
        self.allowance.wait_until(terra_user_id, Instant::now() + wait);
    }

    /// What Terra says of one connection; `None`: Terra does not know it.
    ///
    /// # Errors
    /// [`TerraError`].
    pub async fn user_info(&self, terra_user_id: &str) -> Result<Option<UserInfo>, TerraError> {
        match send(self.ask(Method::GET, "userInfo")?.query(&[("user_id", terra_user_id)])).await {
            Ok(answer) => read(answer).await.map(Some),
            Err(TerraError::Unknown) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// A page of everybody Terra has for us; the first is 0.
    ///
    /// # Errors
    /// [`TerraError`].
    pub async fn subscriptions(&self, page: u32) -> Result<UserPage, TerraError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Answer {
            Paged { data: Data },
            Whole { users: Vec<RemoteUser> },
        }
        #[derive(Deserialize)]
        struct Data {
            next: Option<u32>,
            results: Vec<RemoteUser>,
        }
        let answer = send(self.ask(Method::GET, "subscriptions")?.query(&[("page", page), ("per_page", PAGE)])).await?;
        Ok(match read(answer).await? {
            // A next page that is not ahead would be asked for ever.
            Answer::Paged { data } => UserPage { users: data.results, next: data.next.filter(|next| *next > page) },
            Answer::Whole { users } => UserPage { users, next: None },
        })
    }

    /// Ends a connection at Terra, which then forgets its data. `false`: Terra did not know it.
    ///
    /// # Errors
    /// [`TerraError`]; also when Terra refuses it in an answer of 200, as its description allows, and when that answer cannot be read:
    /// whoever asked tells people that the connection has ended, so Terra must have said so.
    pub async fn deauthenticate(&self, terra_user_id: &str) -> Result<bool, TerraError> {
        let answer = match send(self.ask(Method::DELETE, "auth/deauthenticateUser")?.query(&[("user_id", terra_user_id)])).await {
            Ok(answer) => answer,
            Err(TerraError::Unknown) => return Ok(false),
            Err(other) => return Err(other),
        };
        let status = answer.status().as_u16();
        let json: Value = read(answer).await?;
        // The description does not require the word; without it the status counts.
        match json.get("status").and_then(Value::as_str) {
            Some("error") => Err(TerraError::Answered { status, said: words(&json) }),
            _ => Ok(true),
        }
    }

    fn ask(&self, method: Method, path: &str) -> Result<RequestBuilder, TerraError> {
        let url = self.base.join(path).map_err(|_| TerraError::Settings("TERRA_API_URL cannot be extended by a path"))?;
        Ok(self.http.request(method, url))
    }
}

async fn send(request: RequestBuilder) -> Result<Response, TerraError> {
    let response = request.send().await.map_err(|error| TerraError::Unreachable(super::cause(error)))?;
    let status = response.status();
    Err(match status {
        _ if status.is_success() => return Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TerraError::Refused(status.as_u16()),
        StatusCode::NOT_FOUND => TerraError::Unknown,
        StatusCode::TOO_MANY_REQUESTS if response.headers().get("x-terra-ratelimit-rule").is_some_and(|rule| rule == "r1") => {
            TerraError::TooWide
        }
        StatusCode::TOO_MANY_REQUESTS => TerraError::Limited(wait(response.headers())),
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => TerraError::Faulty(status.as_u16()),
        _ => TerraError::Answered { status: status.as_u16(), said: said(response).await },
    })
}

/// How long Terra asks us to wait: at least a second, at most two hours; a minute when it does not say.
fn wait(headers: &HeaderMap) -> Duration {
    let seconds = number(headers, "retry-after").or_else(|| number(headers, "x-terra-ratelimit-reset-after")).unwrap_or(60);
    Duration::from_secs(seconds.clamp(1, 7200))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

async fn body(mut response: Response) -> Result<Vec<u8>, TerraError> {
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| TerraError::Unreachable(super::cause(error)))? {
        if bytes.len() + part.len() > MAX_ANSWER {
            return Err(TerraError::Unreadable("it is too long".into()));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, TerraError> {
    // The parser's words name a place in the answer and quote nothing of it.
    serde_json::from_slice(&body(response).await?).map_err(|error| TerraError::Unreadable(error.to_string()))
}

/// Terra's own words about a refusal, on one line.
async fn said(response: Response) -> String {
    let body = body(response).await.unwrap_or_default();
    words(&serde_json::from_slice::<Value>(&body).unwrap_or_default())
}

/// The words in it about a refusal.
fn words(json: &Value) -> String {
    let words = ["message", "detail"].into_iter().find_map(|name| json.get(name)?.as_str()).unwrap_or("it gave no reason");
    words.chars().filter(|c| !c.is_control()).take(200).collect::<String>().trim_end_matches('.').to_owned()
}
