//! The database of a command: the one of `DATABASE_URL`, or our own.

use super::{config::Config, embedded, start_error::StartError};
use crate::store::{DatabaseUrl, Db, ensure_logins, migrate};
use std::time::{Duration, Instant};

/// The most connections for pages, and for gateway and endpoints.
const WEB_CONNECTIONS: u32 = 16;
const SERVICE_CONNECTIONS: u32 = 8;

/// The most connections for jobs: one a slot, and some for heartbeat, leader and statistics.
pub fn job_connections(settings: &crate::jobs::Settings) -> u32 {
    u32::try_from(settings.slots + settings.slow_slots + 4).unwrap_or(u32::MAX).clamp(12, 64)
}

/// An open, migrated database, and the server behind it when it is ours.
pub struct Opened {
    /// The pools.
    pub db: Db,
    /// The owner's address.
    pub url: DatabaseUrl,
    embedded: Option<embedded::Embedded>,
}

/// Opens it, starting and migrating as needed.
///
/// # Errors
/// One sentence.
pub async fn open(config: &Config) -> Result<Opened, StartError> {
    let (url, embedded) = reach(config).await?;
    if migrate(&url).await? {
        tracing::info!("the database schema was brought up to date");
    }
    // Pages, gateway and jobs each have connections of their own: one cannot starve the other.
    let db = url.pools(WEB_CONNECTIONS, SERVICE_CONNECTIONS);
    ensure_logins(&url, &db).await?;
    Ok(Opened { db, url, embedded })
}

/// Opens it as it is, without migrating: for who only looks.
///
/// # Errors
/// One sentence.
pub async fn open_to_look(config: &Config) -> Result<Opened, String> {
    if let Some(opened) = beside(config).await {
        return Ok(opened);
    }
    let (url, embedded) = reach(config).await?;
    Ok(Opened { db: url.pools(2, 2), url, embedded })
}

async fn reach(config: &Config) -> Result<(DatabaseUrl, Option<embedded::Embedded>), StartError> {
    Ok(match &config.database {
        Some(url) => {
            url.check().await?;
            (url.clone(), None)
        }
        None => {
            let server = embedded::start(&config.data_dir).await?;
            (server.url.clone(), Some(server))
        }
    })
}

impl Opened {
    /// Closes the pools and stops our own server.
    pub async fn close(self) {
        self.db.close().await;
        if let Some(server) = self.embedded {
            server.stop().await;
        }
    }
}

/// What `simulate` and `replay` sign with: the given secret, the configured one, or the one of the data directory.
///
/// # Errors
/// A sentence when there is none.
pub fn signing_secret(config: &Config, given: Option<&str>) -> Result<String, String> {
    if let Some(secret) = given.or_else(|| config.signing_secrets.first().map(|s| s.expose())) {
        return Ok(secret.to_owned());
    }
    std::fs::read_to_string(config.data_dir.join(SIGNING_SECRET)).map(|s| s.trim().to_owned()).map_err(|_| {
        "there is no secret to sign with: set TERRA_SIGNING_SECRETS, or start Assay once so that it makes one in its data directory."
            .to_owned()
    })
}

/// File names of the generated secrets in the data directory.
pub const SIGNING_SECRET: &str = "signing-secret";
/// Likewise.
pub const SERVICE_KEY: &str = "service-key";

/// In embedded mode, what is absent is generated into the data directory.
///
/// # Errors
/// A sentence when it cannot be written.
pub fn complete_secrets(config: &mut Config) -> Result<(), String> {
    if config.database.is_some() {
        return Ok(());
    }
    if config.signing_secrets.is_empty() {
        config.signing_secrets.push(embedded::generated_secret(&config.data_dir, SIGNING_SECRET)?);
    }
    if config.service_key.is_none() {
        config.service_key = Some(embedded::generated_secret(&config.data_dir, SERVICE_KEY)?);
    }
    Ok(())
}

/// The same for who only looks: what an earlier start generated, and nothing new.
#[must_use]
pub fn with_kept_secrets(config: &Config) -> Config {
    let mut config = config.clone();
    if config.database.is_none() {
        if config.signing_secrets.is_empty() {
            config.signing_secrets.extend(embedded::kept_secret(&config.data_dir, SIGNING_SECRET));
        }
        if config.service_key.is_none() {
            config.service_key = embedded::kept_secret(&config.data_dir, SERVICE_KEY);
        }
    }
    config
}

/// Opens the database of a program that may be running: the configured one, or the embedded one through the socket of
/// the running Assay; starts our own only when nobody has. A program that is just starting is waited for.
///
/// # Errors
/// One sentence.
pub async fn open_running(config: &Config) -> Result<Opened, String> {
    match beside(config).await {
        Some(opened) => Ok(opened),
        None => Ok(open(config).await?),
    }
}

/// How long a program that holds the data directory may take until its database can be used. Crash recovery may be part
/// of it.
const STARTING: Duration = Duration::from_secs(120);

/// The embedded database that another process runs from our data directory, once it is ready; `None`: nobody holds the
/// directory, or the database is not embedded.
async fn beside(config: &Config) -> Option<Opened> {
    if config.database.is_some() {
        return None;
    }
    let (end, mut said) = (Instant::now() + STARTING, false);
    while embedded::is_held(&config.data_dir) && Instant::now() < end {
        if let Some(url) = embedded::running(&config.data_dir)
            && url.check().await.is_ok()
            && crate::store::is_migrated(&url).await
        {
            return Some(Opened { db: url.pools(2, 2), url, embedded: None });
        }
        if !std::mem::replace(&mut said, true) {
            tracing::info!("another Assay is starting in this data directory; waiting for its database");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}
