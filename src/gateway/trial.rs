//! `POST /functions/v1/terra-webhook-test`: a realistic delivery of a type of data, or news of a connection, through the same door as Terra's.
//!
//! With `dryRun` nothing is stored: the answer shows the body, the headers and what normalising yields. Without, the
//! delivery is signed and received like any other, for a person who is marked as simulated and can be removed, until a
//! delivery from outside makes them real; the audit log says who sent it.

use super::{Gateway, answer};
use crate::calibration::simulator::{self, Delivery, TEST_KINDS};
use crate::store::{audit, audit::Actor, connections, deliveries, simulated::TRIAL_AGENT};
use crate::terra;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use chrono::{DateTime, Days, NaiveDate, Utc};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Who is asked for, when nobody is named: the checklist's user.
pub const TEST_USER: &str = "test-user-id";

/// So long a dry run waits for a database that is away.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Who ordered it on a page of this program, which has found out that they may. It is put on a request inside the process:
/// none from outside carries it.
#[derive(Debug, Clone)]
pub struct OrderedBy(pub Actor);

/// Proves from a request's headers who is asking, if they may: an administrator's session.
pub type Authorise = Arc<dyn Fn(&HeaderMap) -> BoxFuture<'static, Option<Actor>> + Send + Sync>;

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "whoop")]
    provider: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, alias = "user_id")]
    user_id: Option<String>,
    #[serde(default)]
    date: Option<NaiveDate>,
}

fn whoop() -> String {
    "WHOOP".into()
}

pub(super) async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.0.ip());
    let (parts, body) = request.into_parts();
    let caller = gateway.caller(&parts.headers, peer);
    let request_id = parts.headers.get("x-request-id");
    let actor = match parts.extensions.get::<OrderedBy>() {
        Some(OrderedBy(actor)) => Some(actor.clone()),
        None => gateway.asking(&parts.headers).await.map(|asking| Actor {
            address: Some(caller.to_string()),
            request_id: request_id.and_then(|id| id.to_str().ok()).map(str::to_owned),
            ..asking
        }),
    };
    let Some(actor) = actor else {
        let decision = gateway.limiter.check(&gateway.settings.unsigned, &super::address::limited_as(caller), Instant::now());
        return if decision.is_allowed() { gateway.closed() } else { decision.problem() };
    };
    let read = super::body::read(body, 16 << 10, &mut gateway.budget.hold(), Instant::now() + Duration::from_secs(5)).await;
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => return answer::body_refusal(error).1,
    };
    let order: Order = match serde_json::from_slice(&bytes) {
        Ok(order) => order,
        Err(error) => {
            return answer::refusal(StatusCode::BAD_REQUEST, "not_an_order", &format!("The body does not say what to send: {error}."));
        }
    };
    gateway.execute(&order, &actor, request_id, Utc::now()).await.unwrap_or_else(|refusal| refusal)
}

impl Gateway {
    /// What is said to whoever may not. Where no key is configured, none can be right.
    fn closed(&self) -> Response {
        if self.settings.service_key.is_none() {
            let message = "No service key is configured here: set ASSAY_SERVICE_KEY. An administrator's session opens this too.";
            return answer::unavailable("no_service_key", message, 60);
        }
        let message = "This needs the service key as a bearer token, or an administrator's session.";
        let answer = answer::refusal(StatusCode::UNAUTHORIZED, "unauthorised", message);
        answer::with(answer, header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// Who is asking, where the service key or the configured second way opens the test endpoint to them. The key is
    /// compared by its hash, in constant time.
    async fn asking(&self, headers: &HeaderMap) -> Option<Actor> {
        let hash = |text: &str| -> [u8; 32] {
            use sha2::Digest;
            sha2::Sha256::digest(text.as_bytes()).into()
        };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.split_once(' '));
        let given = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let by_key = match (&self.settings.service_key, given) {
            (Some(key), Some(given)) => bool::from(hash(key).ct_eq(&hash(given))),
            _ => false,
        };
        match (&self.settings.authorise, by_key) {
            (_, true) => Some(Actor { name: "service key".into(), ..Actor::system() }),
            (Some(authorise), false) => authorise(headers).await,
            (None, false) => None,
        }
    }

    async fn execute(
        &self,
        order: &Order,
        actor: &Actor,
        request_id: Option<&HeaderValue>,
        now: DateTime<Utc>,
    ) -> Result<Response, Response> {
        let user_id = order.user_id.as_deref().unwrap_or(TEST_USER);
        let provider = order.provider.to_ascii_uppercase();
        let terra_id = self.present_id(simulator::terra_id(user_id, &provider)).await;
        let delivery = make(order, &provider, user_id, &terra_id, now)?;
        let Some(signature) = self.settings.secrets.sign(now.timestamp(), &delivery.body) else {
            return Err(answer::unavailable(
                "no_signing_secret",
                "No signing secret is configured, so the delivery cannot be signed. Set TERRA_SIGNING_SECRETS.",
                60,
            ));
        };
        let mut headers = headers(&delivery, &signature);
        if order.dry_run {
            return Ok(answer::json_answer(StatusCode::OK, &preview(&delivery, &headers)));
        }
        // What comes of it is found by the id of this request.
        headers.extend(request_id.map(|id| (HeaderName::from_static("x-request-id"), id.clone())));
        match self.claim(order, user_id, actor, &delivery.trace_id).await {
            Ok(true) => {}
            Ok(false) => {
                return Err(answer::refusal(
                    StatusCode::CONFLICT,
                    "real_person",
                    "This user_id belongs to a real person; simulated data would mix with theirs. Name another one.",
                ));
            }
            Err(error) => {
                tracing::error!(%error, "a test delivery could not be prepared");
                return Err(answer::unavailable("unavailable", "The database does not answer just now. Try again in a moment.", 1));
            }
        }
        let answer = self.receive_own(&headers, Body::from(delivery.body.clone())).await;
        let (parts, body) = answer.into_parts();
        let said = axum::body::to_bytes(body, 64 << 10).await.ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
        let sent = json!({ "success": parts.status.is_success(), "dryRun": false, "type": order.kind, "provider": order.provider, "user_id": user_id,
            "trace_id": delivery.trace_id, "webhook": { "status": parts.status.as_u16(), "body": said } });
        Ok(answer::json_answer(parts.status, &sent))
    }

    /// What the test's connection is called since a test event authorised it anew. It is followed from its first id, so no test
    /// ever speaks of a connection that somebody really made.
    async fn present_id(&self, first: String) -> String {
        let known = tokio::time::timeout(LOOK_UP, connections::present_id(self.db.service(), &first)).await;
        // A dry run needs no database, and without one nothing else is sent.
        known.ok().and_then(Result::ok).flatten().unwrap_or(first)
    }

    /// Marks the person as simulated and writes down who sends them a delivery, before it is sent: its own commit is the
    /// gateway's. `false`: the person is a real one, and nothing is sent.
    async fn claim(&self, order: &Order, user_id: &str, actor: &Actor, trace_id: &str) -> sqlx::Result<bool> {
        let mut tx = self.db.begin_service().await?;
        if !deliveries::claim_simulated(&mut tx, user_id, user_id == TEST_USER).await? {
            return Ok(false);
        }
        let detail = json!({ "type": order.kind, "provider": order.provider, "trace_id": trace_id });
        audit::write(&mut *tx, actor, "test_event.send", Some(user_id), &detail).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Builds the delivery: yesterday's, because that day is complete, unless a date is given.
#[allow(clippy::result_large_err, reason = "the error is the answer itself, made once")]
fn make(order: &Order, provider: &str, user_id: &str, terra_id: &str, now: DateTime<Utc>) -> Result<Delivery, Response> {
    let bad = |reason: &str, message: String| answer::refusal(StatusCode::UNPROCESSABLE_ENTITY, reason, &message);
    if user_id.is_empty() || user_id.chars().count() > terra::MAX_USER_ID || user_id.contains('\0') {
        return Err(bad("user_id", format!("user_id must have 1 to {} characters.", terra::MAX_USER_ID)));
    }
    if provider.is_empty() || provider.len() > 64 || !provider.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return Err(bad("provider", "provider must be a name of letters, digits, _ and -, such as WHOOP.".into()));
    }
    let today = now.date_naive();
    let date = order
        .date
        .or_else(|| today.checked_sub_days(Days::new(1)))
        .filter(|d| (1990..=2200).contains(&chrono::Datelike::year(d)) && *d <= today);
    let Some(date) = date else { return Err(bad("date", "date must not lie in the future.".into())) };
    let kind = order.kind.trim().to_ascii_lowercase();
    let seed = u64::try_from(now.timestamp_micros()).unwrap_or(0);
    simulator::one_delivery(&kind, provider, user_id, terra_id, date, now, seed)
        .ok_or_else(|| bad("type", format!("type must be one of: {}.", TEST_KINDS.join(", "))))
}

/// The headers Terra would send.
fn headers(delivery: &Delivery, signature: &str) -> HeaderMap {
    let ordering = delivery.ordering_ms.to_string();
    let pairs = [
        ("content-type", "application/json"),
        ("user-agent", TRIAL_AGENT),
        ("x-terra-signature", signature),
        ("x-terra-trace-id", &delivery.trace_id),
        ("x-terra-ordering-timestamp", &ordering),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))).collect()
}

/// What a dry run shows. The signature is real, and of use only for this body and for a few minutes.
fn preview(delivery: &Delivery, headers: &HeaderMap) -> Value {
    let shown: serde_json::Map<String, Value> =
        headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().into())).collect();
    let produced = DateTime::from_timestamp_millis(delivery.ordering_ms);
    let yields = match terra::parse(&delivery.body) {
        Ok(event) => {
            let found = terra::normalise(&event, produced);
            json!({ "records": found.records, "findings": found.findings, "refused": found.refused })
        }
        Err(why) => json!({ "error": why.to_string() }),
    };
    let body = serde_json::from_slice::<Value>(&delivery.body).unwrap_or_default();
    json!({ "success": true, "dryRun": true, "headers": shown, "body": body, "normalised": yields })
}
