//! The webhook's way in, from the first header to the answer. Read [`Gateway::receive`] from top to bottom.

use super::admission::{self, Packing, Signed, Unusable};
use super::answer;
use super::body::{self, BodyError, MAX_BODY};
use super::counters::Outcome;
use super::flush::Committed;
use super::limiter::{Decision, Policy};
use super::signature::{self, Claim, Problem};
use super::{Gateway, address, trial};
use crate::store::deliveries::Status;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use chrono::Utc;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer is given within this time: Terra waits for 8 seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(7);
/// Of it, the body has this long to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// Bodies above this are hashed apart from the threads that serve requests.
const INLINE: usize = 256 << 10;
/// A body without a signature is read up to here: it can only be the test body.
const UNSIGNED_LIMIT: usize = 1 << 10;

/// Where Terra delivers.
pub const WEBHOOK: &str = "/functions/v1/webhook-terra";

/// The gateway's routes. The server adds the state, and connection information for callers' addresses.
pub fn routes() -> Router<Arc<Gateway>> {
    let hello = || async { "Terra's webhooks are received here, by POST.\n" };
    Router::new()
        .route(WEBHOOK, post(webhook).get(hello).fallback(|| async { answer::wrong_method("GET, HEAD, POST") }))
        .route("/functions/v1/terra-webhook-test", post(trial::handle).fallback(|| async { answer::wrong_method("POST") }))
}

async fn webhook(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    gateway.answer_delivery(request).await
}

/// A refusal on its way out: how it counts, and what the caller sees.
struct Refusal {
    outcome: Outcome,
    reason: &'static str,
    answer: Response,
}

impl Refusal {
    fn new(reason: &'static str, answer: Response) -> Self {
        Self { outcome: Outcome::Refused, reason, answer }
    }

    fn limited(decision: &Decision) -> Self {
        Self { outcome: Outcome::RateLimited, ..Self::new("rate_limited", decision.problem()) }
    }

    /// It was believed and could not be stored. Health speaks of the database when it counts one of these, so nothing
    /// that a stranger can cause may be one.
    fn not_stored() -> Self {
        let message = "The delivery could not be stored just now. Send it again.";
        Self { outcome: Outcome::Unavailable, ..Self::new("unavailable", answer::unavailable("unavailable", message, 1)) }
    }

    fn body(error: BodyError) -> Self {
        let (reason, answer) = answer::body_refusal(error);
        Self::new(reason, answer)
    }

    fn signature(problem: Problem) -> Self {
        Self::new(problem.code(), answer::refusal(StatusCode::UNAUTHORIZED, problem.code(), problem.sentence()))
    }
}

impl Gateway {
    /// The caller's address, believing forwarded ones only from trusted proxies.
    pub fn caller(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let trusted = &self.settings.trusted_proxies;
        if trusted.is_empty() {
            return peer.to_canonical();
        }
        let forwarded: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).collect();
        address::client(peer, forwarded.into_iter(), trusted)
    }

    /// As [`Gateway::receive`], for a request of whoever is connected.
    pub async fn answer_delivery(&self, request: Request) -> Response {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.0.ip());
        let (parts, body) = request.into_parts();
        let caller = self.caller(&parts.headers, peer);
        self.receive(&parts.headers, body, caller).await
    }

    /// Receives one delivery and answers it. A 200 with `received: true` and a status means that it is durable.
    pub async fn receive(&self, headers: &HeaderMap, body: Body, caller: IpAddr) -> Response {
        self.answer(caller, async {
            self.admitted(caller)?;
            self.deliver(headers, body, caller, Instant::now()).await
        })
        .await
    }

    /// As [`Gateway::receive`], for a delivery that this program made itself: it comes from nowhere.
    pub(super) async fn receive_own(&self, headers: &HeaderMap, body: Body) -> Response {
        let caller = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.answer(caller, self.deliver(headers, body, caller, Instant::now())).await
    }

    async fn answer(&self, caller: IpAddr, delivered: impl Future<Output = Result<Response, Refusal>>) -> Response {
        let arrived = Instant::now();
        let answer = match delivered.await {
            Ok(answer) => answer,
            Err(Refusal { outcome, reason, mut answer }) => {
                crate::meter::REFUSED.of(reason).add(1);
                self.counters.refuse(outcome, reason, caller);
                answer.extensions_mut().insert(crate::logbook::Said(reason));
                answer
            }
        };
        crate::meter::ACK_SECONDS.took(arrived.elapsed());
        answer
    }

    /// Whether the caller's address is on the list, where there is one.
    #[allow(clippy::result_large_err, reason = "a refusal carries its answer; it is made once a request")]
    fn admitted(&self, caller: IpAddr) -> Result<(), Refusal> {
        if self.settings.allow_list.is_empty() || self.settings.allow_list.contains(caller) {
            return Ok(());
        }
        let decision = self.limit_unsigned(caller)?;
        let answer = answer::refusal(StatusCode::FORBIDDEN, "address_not_allowed", "Deliveries are taken from Terra's addresses only.");
        Err(Refusal::new("address_not_allowed", limited(answer, &decision)))
    }

    async fn deliver(&self, headers: &HeaderMap, body: Body, caller: IpAddr, arrived: Instant) -> Result<Response, Refusal> {
        let values = signature::HEADERS.iter().flat_map(|name| headers.get_all(*name)).map(HeaderValue::as_bytes);
        let claims = match signature::claim(values, Utc::now().timestamp(), self.settings.tolerance) {
            Ok(claims) => claims,
            Err(problem) => return self.unsigned(problem, headers, body, caller, arrived).await,
        };
        if self.settings.secrets.is_empty() {
            return Err(no_secret());
        }
        if declared_length(headers).is_some_and(|n| n > MAX_BODY as u64) {
            drain(headers, body);
            return Err(self.unproven(Refusal::body(BodyError::TooLarge), caller));
        }
        let doubted = self.limiter.is_used_up(&self.settings.unsigned, &address::limited_as(caller), Instant::now());
        let mut held = if doubted { self.budget.hold_in_doubt() } else { self.budget.hold() };
        let raw = body::read(body, MAX_BODY, &mut held, arrived + BODY_LIMIT).await.map_err(|error| match error {
            BodyError::NoMemory => Refusal::body(error), // not the caller's fault
            _ => self.unproven(Refusal::body(error), caller),
        })?;
        let signed = self.verify(&claims, raw, admission::packing(headers), doubted, &mut held).map_err(|unusable| match unusable {
            Unusable::Mismatch => self.unproven(Refusal::signature(Problem::Mismatch), caller),
            Unusable::Body(error) => Refusal::body(error),
        })?;
        let sender = self.settings.secrets.sender(signed.secret);
        let decision = self.limiter.check(&Policy::sender(self.settings.sender_rate), sender, Instant::now());
        if !decision.is_allowed() {
            return Err(Refusal::limited(&decision));
        }
        if !admission::is_json_type(headers) || admission::packing(headers) == Packing::Other {
            let answer = answer::refusal(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send application/json, plain or with Content-Encoding: gzip.",
            );
            return Err(Refusal::new(
                "unsupported_media_type",
                answer::with(answer, header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
            ));
        }
        self.store(signed, headers, held, arrived).await
    }

    /// A well-formed, fresh claim against the body. Large bodies are hashed where nobody else has to wait for it.
    fn verify(&self, claims: &[Claim<'_>], raw: Bytes, packing: Packing, doubted: bool, held: &mut body::Held) -> Result<Signed, Unusable> {
        let (secrets, packed) = (&self.settings.secrets, packing == Packing::Gzip);
        // Whoever used up what strangers may do gets nothing unpacked any more.
        apart(raw.len() > INLINE || packed, || admission::verify(claims, secrets, raw, packing, !doubted, held))
    }

    /// Admits, waits for the commit, answers.
    async fn store(&self, signed: Signed, headers: &HeaderMap, held: body::Held, arrived: Instant) -> Result<Response, Refusal> {
        let large = signed.content.len() > INLINE;
        let mut admitted = apart(large, || admission::admit(signed.content, headers, Utc::now()));
        admitted.delivery.signed_by = Some(self.settings.secrets.sender(signed.secret).to_owned());
        let (status, reason) = (admitted.delivery.status, admitted.reason);
        let subject = crate::logbook::Subject { user_id: admitted.delivery.user_id.clone(), delivery_id: admitted.delivery.id };
        let Ok(committed) = self.committer.commit(admitted.delivery, held, arrived + ANSWER_LIMIT).await else {
            return Err(Refusal::not_stored());
        };
        self.counters.count(match (status, committed) {
            (Status::Invalid, _) => Outcome::Invalid,
            (_, Committed::Duplicate) => Outcome::Duplicate,
            (_, Committed::Conflict) => Outcome::Conflict,
            (Status::Ignored, _) => Outcome::Ignored,
            _ => Outcome::Accepted,
        });
        let mut answer = match (status, &reason) {
            (Status::Invalid, Some((code, sentence))) => answer::refusal(StatusCode::BAD_REQUEST, code, sentence),
            _ => answer::stored(committed, reason.as_ref()),
        };
        answer.extensions_mut().insert(subject);
        Ok(answer)
    }

    /// A caller that did not sign, or not well: limited before anything of the body is read. Only the test body gets
    /// a 200, and it counts as well.
    async fn unsigned(
        &self,
        problem: Problem,
        headers: &HeaderMap,
        body: Body,
        caller: IpAddr,
        arrived: Instant,
    ) -> Result<Response, Refusal> {
        let decision = self.limit_unsigned(caller)?;
        let length = declared_length(headers);
        if problem == Problem::Missing && length.is_none_or(|n| n <= UNSIGNED_LIMIT as u64) {
            let read = body::read(body, UNSIGNED_LIMIT, &mut self.budget.hold(), arrived + BODY_LIMIT).await;
            if read.is_ok_and(|bytes| admission::is_test(&bytes)) {
                self.counters.count(Outcome::Test);
                return Ok(limited(answer::json_answer(StatusCode::OK, &serde_json::json!({ "received": true, "test": true })), &decision));
            }
        } else {
            drain(headers, body);
        }
        let mut refusal = if length.is_some_and(|n| n > MAX_BODY as u64) {
            Refusal::body(BodyError::TooLarge)
        } else if self.settings.secrets.is_empty() {
            no_secret()
        } else {
            Refusal::signature(problem)
        };
        refusal.answer = limited(refusal.answer, &decision);
        Err(refusal)
    }

    /// The refusal of a caller who claimed to have signed and did not prove it: it counts as those who did not sign.
    fn unproven(&self, mut refusal: Refusal, caller: IpAddr) -> Refusal {
        match self.limit_unsigned(caller) {
            Ok(decision) => {
                refusal.answer = limited(refusal.answer, &decision);
                refusal
            }
            Err(over) => over,
        }
    }

    #[allow(clippy::result_large_err, reason = "the error is the answer itself, made once")]
    fn limit_unsigned(&self, caller: IpAddr) -> Result<Decision, Refusal> {
        let decision = self.limiter.check(&self.settings.unsigned, &address::limited_as(caller), Instant::now());
        if decision.is_allowed() { Ok(decision) } else { Err(Refusal::limited(&decision)) }
    }
}

/// Without a secret nothing can be believed, and nothing is open by default: Terra is asked to come again.
fn no_secret() -> Refusal {
    let message = "No signing secret is configured, so no delivery can be verified. Set TERRA_SIGNING_SECRETS.";
    Refusal::new("no_signing_secret", answer::unavailable("no_signing_secret", message, 60))
}

/// Lets a caller that is still sending come to its end and read the answer; one that asked first whether it may send
/// has been answered.
fn drain(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(header::EXPECT) {
        tokio::spawn(body::drain(body));
    }
}

fn limited(mut answer: Response, decision: &Decision) -> Response {
    answer.headers_mut().extend(decision.headers());
    answer
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Runs work that takes long where other requests need not wait for it: the runtime moves them to another thread.
/// A runtime of one thread has nowhere to move them to.
fn apart<T>(long: bool, work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    if long && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread { tokio::task::block_in_place(work) } else { work() }
}
