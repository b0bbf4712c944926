//! From one URL, the owner's, to three pools with three sets of rights.
//!
//! The two login roles are made by the owner at migration. Their passwords are derived from the owner's, so
//! that every node with the same `DATABASE_URL` can log in and nothing has to be handed round. Without a
//! password of the owner (a socket with trust authentication, as the embedded database has) they have none.

use super::Db;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use std::{
    fmt,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// Logs in for web requests; may become `authenticated` or `anon`, and is nothing by itself.
pub(super) const WEB_ROLE: &str = "assay_web";
/// Logs in for gateway and workers; a member of `service_role`.
pub(super) const WORKER_ROLE: &str = "assay_worker";

/// Why there is no connection, as a sentence with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct ConnectError {
    /// For people.
    pub sentence: String,
    /// Whether time may mend it, see [`may_pass`].
    pub away: bool,
}

/// Whether time may mend an error of the database, and a setting need not be to blame: the server cannot be reached, starts
/// or stops, has no connection or no room left just now, or a lock was not given.
pub fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(e) => {
            e.code().is_some_and(|code| ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "55P03")
        }
        _ => false,
    }
}

/// What all our connections have. Compiling a plan (JIT) takes longer than any statement of ours, and the planner's
/// guess for a table that has just been filled would often ask for it.
fn tuned(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("assay").options([("jit", "off")])
}

/// The owner's URL, parsed. Debug shows no password.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
    password: Option<String>,
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({}@{}:{})", self.options.get_username(), self.options.get_host(), self.options.get_port())
    }
}

impl DatabaseUrl {
    /// Parses `postgres://user:password@host:port/database`.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let scheme_ok = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = PgConnectOptions::from_str(url).ok().filter(|_| scheme_ok).ok_or_else(|| ConnectError {
            sentence: "DATABASE_URL is not a PostgreSQL address; it looks like postgres://user:password@host:5432/database.".into(),
            away: false,
        })?;
        let password = password_of(&options);
        Ok(Self { options: tuned(options), password })
    }

    /// The owner on a Unix socket with trust authentication: the embedded database.
    pub fn socket(directory: &std::path::Path, port: u16, user: &str, database: &str) -> Self {
        let options = PgConnectOptions::new_without_pgpass().socket(directory).port(port).username(user).database(database);
        Self { options: tuned(options), password: None }
    }

    /// The same server and owner, another database.
    pub fn with_database(&self, database: &str) -> Self {
        Self { options: self.options.clone().database(database), password: self.password.clone() }
    }

    /// The owner's connection options.
    pub fn owner_options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The derived password of a login role; `None` where the owner has none either.
    pub(super) fn password_for(&self, role: &str) -> Option<String> {
        let owner = self.password.as_ref()?;
        // A key of any length is accepted by HMAC; the error cannot occur.
        let mut mac = Hmac::<Sha256>::new_from_slice(owner.as_bytes()).ok()?;
        mac.update(b"assay login role ");
        mac.update(role.as_bytes());
        Some(hex::encode(mac.finalize().into_bytes()))
    }

    fn options_for(&self, role: &str) -> PgConnectOptions {
        let options = self.options.clone().username(role);
        match self.password_for(role) {
            Some(password) => options.password(&password),
            None => options,
        }
    }

    /// Opens the pools. Connections are made when first needed, so this does not wait for PostgreSQL.
    pub fn pools(&self, web: u32, service: u32) -> Db {
        let renewal = Arc::new(Renewal::default());
        Db {
            pulses: Arc::default(),
            downloads: Arc::new(tokio::sync::Semaphore::new(super::DOWNLOADS)),
            owner: pool(2, &renewal).connect_lazy_with(self.options.clone()),
            service: pool(service, &renewal).connect_lazy_with(self.options_for(WORKER_ROLE)),
            web: pool(web, &renewal).connect_lazy_with(self.options_for(WEB_ROLE)),
            renewal,
        }
    }

    /// Whether the server cannot be reached or takes nobody in just now.
    pub async fn is_away(&self) -> bool {
        self.check().await.is_err_and(|e| e.away)
    }

    /// Waits until the owner can connect, or says why not.
    pub async fn check(&self) -> Result<(), ConnectError> {
        let attempt = tokio::time::timeout(Duration::from_secs(10), self.options.connect()).await;
        let at = format!("{}:{}", self.options.get_host(), self.options.get_port());
        let (why, away) = match attempt {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(e)) => (format!("does not let us in: {}", plain(&e)), may_pass(&e)),
            Err(_) => ("did not answer within 10 seconds".to_owned(), true),
        };
        Err(ConnectError { sentence: format!("PostgreSQL at {at} {why}. Check DATABASE_URL and that the server runs."), away })
    }
}

/// Since when connections are good: those made before are not used any more.
#[derive(Debug, Default)]
pub(crate) struct Renewal(RwLock<Option<Instant>>);

impl Renewal {
    pub(crate) fn now(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn outdates(&self, age: Duration) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| age >= since.elapsed())
    }
}

/// How every pool of ours holds its connections.
fn pool(size: u32, renewal: &Arc<Renewal>) -> PgPoolOptions {
    let renewal = Arc::clone(renewal);
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(600))
        .test_before_acquire(false)
        // A connection that was idle for a while may have died with its server: asked first, so that an outage
        // that is over fails nobody's work. A busy one costs no round trip.
        .before_acquire(move |conn, meta| {
            let outdated = renewal.outdates(meta.age);
            Box::pin(async move {
                if outdated {
                    return Ok(false);
                }
                if meta.idle_for > Duration::from_secs(1) {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
}

/// A database error in one line without Rust's wrapping.
pub(super) fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => db.message().trim_end_matches('.').to_owned(),
        sqlx::Error::Io(io) => io.to_string(),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// The password that sqlx logs in with, wherever it found it: before the `@`, in `?password=`, in PGPASSWORD or in .pgpass. It gives it
/// back as part of an address only, and panics where a name or a host does not go into one: so these are others here.
fn password_of(options: &PgConnectOptions) -> Option<String> {
    let address = options.clone().username("owner").host("host").to_url_lossy();
    percent_decoded(address.password()?).filter(|p| !p.is_empty())
}

fn percent_decoded(password: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(password.len());
    let mut input = password.bytes();
    while let Some(b) = input.next() {
        if b == b'%' {
            let digits = [input.next()?, input.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_decoded_and_never_shown() {
        let password = |url: &str| DatabaseUrl::parse(url).ok().and_then(|u| u.password);
        for url in [
            "postgres://u:a%40b%25%26%C3%A4@h:1/d",
            "postgres://u:a%40b%25%26%C3%A4@[::1]:1/d?sslmode=disable",
            "postgres://u@h/d?password=a%40b%25%26%C3%A4",
            "postgres://a%2Fb:a%40b%25%26%C3%A4@%2Ftmp/d",
            "postgres:///d?host=::1&user=u&password=a%40b%25%26%C3%A4",
        ] {
            assert_eq!(password(url).as_deref(), Some("a@b%&ä"), "{url}");
        }
        let around = std::env::var("PGPASSWORD").ok().filter(|p| !p.is_empty());
        assert_eq!((password("postgres://u@h/d"), password("postgres://h/d")), (around.clone(), around));
        let url = DatabaseUrl::parse("postgres://u:secret@h/d").map(|u| format!("{u:?}"));
        assert_eq!(url.ok().as_deref(), Some("DatabaseUrl(u@h:5432)"));
        assert!(DatabaseUrl::parse("mysql://u@h/d").is_err());
        assert!(DatabaseUrl::parse("nonsense").is_err());
    }

    #[test]
    fn what_time_may_mend_is_told_from_a_wrong_setting() {
        use std::io::ErrorKind::{ConnectionRefused, UnexpectedEof};
        assert!(may_pass(&sqlx::Error::PoolTimedOut), "a pool waits in vain where PostgreSQL has no connection left");
        assert!([ConnectionRefused, UnexpectedEof].into_iter().all(|kind| may_pass(&sqlx::Error::Io(kind.into()))));
        assert!(!may_pass(&sqlx::Error::RowNotFound) && !may_pass(&sqlx::Error::Tls("the certificate is another's".into())));
    }
}
