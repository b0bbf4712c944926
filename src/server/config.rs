//! Configuration: flags and environment variables, parsed once at start, each mistake one clear sentence.
//!
//! An absent value switches its part off, and the log, the dashboard and `assay verify` say so. No secret has a
//! default. `docs/CONFIGURATION.md` is generated from [`Options`] (`server/reference.rs`); a test compares the two.

use crate::gateway::Networks;
use crate::store::DatabaseUrl;
use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, time::Duration};

/// A secret from the environment or a file; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which parts of the program this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessRole {
    /// Pages, gateway and workers.
    All,
    /// Pages and gateway.
    Web,
    /// Workers.
    Worker,
}

impl ProcessRole {
    /// Whether it runs jobs.
    pub const fn works(self) -> bool {
        matches!(self, ProcessRole::All | ProcessRole::Worker)
    }
    /// The word as configured.
    pub const fn word(self) -> &'static str {
        match self {
            ProcessRole::All => "all",
            ProcessRole::Web => "web",
            ProcessRole::Worker => "worker",
        }
    }
}

// An empty value, as a compose file writes for an absent one, stands for these too.
const SITE_ADDR: &str = "127.0.0.1:3000";
const TERRA_API_URL: &str = "https://api.tryterra.co/v2";
const ROLE: &str = "all";
const DATA_DIR: &str = ".assay";
const PAYLOAD_HOSTS: &str = "amazonaws.com";
const SENDER_RATE: &str = "3000000";
const SIGNATURE_TOLERANCE: &str = "300";

/// The options as written by the operator. Flags win over variables.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// PostgreSQL's address with the owner's name and password, which may also be in PGPASSWORD or .pgpass; without one, pg_hba.conf must let assay_web and assay_worker in without one, too. Absent: the program starts a PostgreSQL of its own.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", global = true)]
    database_url: Option<String>,
    /// Address and port to listen on.
    #[arg(long, env = "LEPTOS_SITE_ADDR", default_value = SITE_ADDR, value_name = "ADDRESS:PORT", global = true)]
    site_addr: String,
    /// Terra's signing secrets, comma-separated while one is being replaced. Absent: no delivery is accepted.
    #[arg(long, env = "TERRA_SIGNING_SECRETS", hide_env_values = true, value_name = "SECRETS", global = true)]
    terra_signing_secrets: Option<String>,
    /// Key of Terra's REST side. Absent: no connect links, no backfill.
    #[arg(long, env = "TERRA_API_KEY", hide_env_values = true, value_name = "KEY", global = true)]
    terra_api_key: Option<String>,
    /// Developer id of Terra's REST side.
    #[arg(long, env = "TERRA_DEV_ID", value_name = "ID", global = true)]
    terra_dev_id: Option<String>,
    /// Address of Terra's REST side.
    #[arg(long, env = "TERRA_API_URL", default_value = TERRA_API_URL, value_name = "URL", global = true)]
    terra_api_url: String,
    /// Bearer key of job-worker, terra-webhook-test and, off loopback, /metrics. Absent: those answer 503, but an administrator's session opens terra-webhook-test.
    #[arg(long, env = "ASSAY_SERVICE_KEY", hide_env_values = true, value_name = "KEY", global = true)]
    service_key: Option<String>,
    /// Encrypts second-factor secrets: at least 32 characters. Absent: no second factor.
    #[arg(long, env = "ASSAY_SECRET_KEY", hide_env_values = true, value_name = "KEY", global = true)]
    secret_key: Option<String>,
    /// E-mail of the first administrator.
    #[arg(long, env = "ASSAY_ADMIN_EMAIL", value_name = "EMAIL", global = true)]
    admin_email: Option<String>,
    /// Password of the first administrator. Absent: one is made and printed once.
    #[arg(long, env = "ASSAY_ADMIN_PASSWORD", hide_env_values = true, value_name = "PASSWORD", global = true)]
    admin_password: Option<String>,
    /// 1: simulated clients fill the system and go on living.
    #[arg(long, env = "ASSAY_DEMO", value_name = "0|1", global = true)]
    demo: Option<String>,
    /// Which parts run in this process: all, web or worker.
    #[arg(long, env = "ASSAY_ROLE", default_value = ROLE, value_name = "ROLE", global = true)]
    process_role: String,
    /// Where the embedded PostgreSQL and generated secrets live.
    #[arg(long, env = "ASSAY_DATA_DIR", default_value = DATA_DIR, value_name = "DIRECTORY", global = true)]
    data_dir: OsString,
    /// The address people use, for links and the origin check, when a proxy stands in front.
    #[arg(long, env = "ASSAY_PUBLIC_URL", value_name = "URL", global = true)]
    public_url: Option<String>,
    /// Proxies whose X-Forwarded-For is believed: addresses or networks, comma-separated.
    #[arg(long, env = "ASSAY_TRUSTED_PROXIES", value_name = "NETWORKS", global = true)]
    trusted_proxies: Option<String>,
    /// Terra's addresses or networks, comma-separated: deliveries from elsewhere are refused. Absent: all are taken.
    #[arg(long, env = "ASSAY_TERRA_ADDRESSES", value_name = "NETWORKS", global = true)]
    terra_addresses: Option<String>,
    /// Domains that large payloads may be fetched from, comma-separated.
    #[arg(long, env = "ASSAY_PAYLOAD_HOSTS", default_value = PAYLOAD_HOSTS, value_name = "DOMAINS", global = true)]
    payload_hosts: String,
    /// Validly signed deliveries that are taken in a minute for each signing secret.
    #[arg(long, env = "ASSAY_SENDER_RATE", default_value = SENDER_RATE, value_name = "NUMBER", global = true)]
    sender_rate: String,
    /// How old, or how far in the future, a signature may be, in seconds.
    #[arg(long, env = "ASSAY_SIGNATURE_TOLERANCE", default_value = SIGNATURE_TOLERANCE, value_name = "SECONDS", global = true)]
    signature_tolerance: String,
    /// A file that your backup touches when it has finished; `assay verify` says how old it is.
    #[arg(long, env = "ASSAY_BACKUP_STAMP", value_name = "FILE", global = true)]
    backup_stamp: Option<OsString>,
}

/// The configuration after parsing.
#[derive(Debug, Clone)]
pub struct Config {
    /// The owner's address; `None`: embedded.
    pub database: Option<DatabaseUrl>,
    /// Where to listen.
    pub addr: SocketAddr,
    /// Active signing secrets, newest first; empty: deliveries are answered 503.
    pub signing_secrets: Vec<Secret>,
    /// Terra's REST side: key and developer id.
    pub terra_api: Option<(Secret, String)>,
    /// Its address.
    pub terra_api_url: String,
    /// Bearer key of the service endpoints.
    pub service_key: Option<Secret>,
    /// Encrypts second-factor secrets.
    pub secret_key: Option<Secret>,
    /// First administrator.
    pub admin_email: Option<String>,
    /// Its password.
    pub admin_password: Option<Secret>,
    /// Simulated clients.
    pub demo: bool,
    /// Which parts run here.
    pub role: ProcessRole,
    /// Data directory.
    pub data_dir: PathBuf,
    /// `https://host[:port]` without a trailing slash.
    pub public_url: Option<String>,
    /// Networks whose X-Forwarded-For is believed.
    pub trusted_proxies: Networks,
    /// The only networks deliveries are taken from; empty: all.
    pub terra_addresses: Networks,
    /// Domains that large payloads may be fetched from, in lower case.
    pub payload_hosts: Vec<String>,
    /// Validly signed deliveries a minute for each signing secret.
    pub sender_rate: u32,
    /// Tolerance of signatures.
    pub signature_tolerance: Duration,
    /// The file the backup touches.
    pub backup_stamp: Option<PathBuf>,
}

fn given(text: Option<String>) -> Option<String> {
    text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
}

fn given_or(text: String, default: &str) -> String {
    given(Some(text)).unwrap_or_else(|| default.to_owned())
}

fn path(text: Option<OsString>) -> Option<PathBuf> {
    text.filter(|t| !t.is_empty()).map(PathBuf::from)
}

impl Options {
    /// Checks every value.
    ///
    /// # Errors
    /// One sentence that names the variable.
    pub fn parse(self) -> Result<Config, String> {
        let database = given(self.database_url).map(|u| DatabaseUrl::parse(&u).map_err(|e| e.sentence)).transpose()?;
        let addr = given_or(self.site_addr, SITE_ADDR);
        let addr = addr.parse().map_err(|_| {
            format!("LEPTOS_SITE_ADDR is \"{addr}\"; it must be an address and a port, such as 127.0.0.1:3000 or [::]:8080.")
        })?;
        let signing_secrets: Vec<Secret> = given(self.terra_signing_secrets)
            .iter()
            .flat_map(|all| all.split(','))
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(Secret::new)
            .collect();
        if let Some(short) = signing_secrets.iter().find(|s| s.expose().len() < 8) {
            return Err(format!(
                "TERRA_SIGNING_SECRETS has a secret of {} characters; Terra's are longer. Copy it from Terra's dashboard.",
                short.expose().len()
            ));
        }
        let terra_api = match (given(self.terra_api_key), given(self.terra_dev_id)) {
            (Some(key), Some(dev)) => Some((Secret::new(key), dev)),
            (None, None) => None,
            (Some(_), None) => return Err("TERRA_API_KEY is set but TERRA_DEV_ID is not; Terra's REST side needs both.".into()),
            (None, Some(_)) => return Err("TERRA_DEV_ID is set but TERRA_API_KEY is not; Terra's REST side needs both.".into()),
        };
        let service_key = at_least("ASSAY_SERVICE_KEY", given(self.service_key), 16)?;
        let secret_key = at_least("ASSAY_SECRET_KEY", given(self.secret_key), 32)?;
        let demo = match given(self.demo).as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(format!("ASSAY_DEMO is \"{other}\"; it must be 1 (simulated clients) or 0.")),
        };
        let role = match given_or(self.process_role, ROLE).as_str() {
            "all" => ProcessRole::All,
            "web" => ProcessRole::Web,
            "worker" => ProcessRole::Worker,
            other => return Err(format!("ASSAY_ROLE is \"{other}\"; it must be all, web or worker.")),
        };
        let seconds = given_or(self.signature_tolerance, SIGNATURE_TOLERANCE);
        let seconds: u64 = seconds
            .parse()
            .ok()
            .filter(|s| (1..=86_400).contains(s))
            .ok_or_else(|| format!("ASSAY_SIGNATURE_TOLERANCE is \"{seconds}\"; it must be a number of seconds from 1 to 86400."))?;
        let rate = given_or(self.sender_rate, SENDER_RATE);
        Ok(Config {
            database,
            addr,
            signing_secrets,
            terra_api,
            terra_api_url: url("TERRA_API_URL", &given_or(self.terra_api_url, TERRA_API_URL))?,
            service_key,
            secret_key,
            admin_email: given(self.admin_email).map(email).transpose()?,
            admin_password: given(self.admin_password).map(Secret::new),
            demo,
            role,
            data_dir: path(Some(self.data_dir)).unwrap_or_else(|| DATA_DIR.into()),
            public_url: given(self.public_url).map(|u| url("ASSAY_PUBLIC_URL", &u)).transpose()?,
            trusted_proxies: Networks::parse(&given(self.trusted_proxies).unwrap_or_default())
                .map_err(|e| format!("ASSAY_TRUSTED_PROXIES: {e}"))?,
            terra_addresses: Networks::parse(&given(self.terra_addresses).unwrap_or_default())
                .map_err(|e| format!("ASSAY_TERRA_ADDRESSES: {e}"))?,
            payload_hosts: domains(&given_or(self.payload_hosts, PAYLOAD_HOSTS))?,
            sender_rate: rate
                .parse()
                .ok()
                .filter(|n| (100..=100_000_000).contains(n))
                .ok_or_else(|| format!("ASSAY_SENDER_RATE is \"{rate}\"; it must be a number a minute from 100 to 100000000."))?,
            signature_tolerance: Duration::from_secs(seconds),
            backup_stamp: path(self.backup_stamp),
        })
    }
}

impl Config {
    /// What is switched off because a value is absent: shown in the log, on the dashboard and by `verify`.
    pub fn switched_off(&self) -> Vec<&'static str> {
        let mut off = Vec::new();
        if self.signing_secrets.is_empty() {
            off.push("deliveries are refused: TERRA_SIGNING_SECRETS is not set");
        }
        if self.service_key.is_none() {
            off.push(
                "job-worker and, for other machines, /metrics are off, and only administrators send test events: ASSAY_SERVICE_KEY is not set",
            );
        }
        if self.secret_key.is_none() {
            off.push("no second factor: ASSAY_SECRET_KEY is not set");
        }
        if self.terra_api.is_none() {
            off.push("no connect links and no backfill: TERRA_API_KEY and TERRA_DEV_ID are not set");
        }
        // This program speaks no TLS itself, so people on https come through a proxy.
        if self.public_url.as_ref().is_some_and(|url| url.starts_with("https://")) && self.trusted_proxies.is_empty() {
            off.push("all people count as one address, in limits and in the audit log: ASSAY_TRUSTED_PROXIES is not set, though ASSAY_PUBLIC_URL is https");
        }
        off
    }

    /// What is set but easy to guess or used twice; the sentences do not show it.
    pub fn weak(&self) -> Vec<String> {
        let mut named: Vec<(&str, &str)> = self.signing_secrets.iter().map(|s| ("TERRA_SIGNING_SECRETS", s.expose())).collect();
        named.extend(self.service_key.iter().map(|s| ("ASSAY_SERVICE_KEY", s.expose())));
        named.extend(self.secret_key.iter().map(|s| ("ASSAY_SECRET_KEY", s.expose())));
        let mut weak: Vec<String> = named
            .iter()
            .filter(|(_, secret)| guessable(secret))
            .map(|(name, _)| format!("{name} looks easy to guess: use random characters, for example from openssl rand -hex 32"))
            .collect();
        for (n, (name, secret)) in named.iter().enumerate() {
            if let Some((other, _)) = named.iter().take(n).find(|(other, same)| other != name && same == secret) {
                weak.push(format!("{name} is the same as {other}: give each a value of its own"));
            }
        }
        if self.admin_password.as_ref().is_some_and(|p| guessable(p.expose())) {
            weak.push("ASSAY_ADMIN_PASSWORD looks easy to guess: change it under /account".into());
        }
        weak
    }

    /// The address people type.
    pub fn public_address(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.addr))
    }

    /// The address on this machine, for clients that run beside the server.
    pub fn local_address(&self) -> String {
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(if addr.is_ipv6() { std::net::Ipv6Addr::LOCALHOST.into() } else { std::net::Ipv4Addr::LOCALHOST.into() });
        }
        format!("http://{addr}")
    }
}

fn at_least(name: &str, value: Option<String>, length: usize) -> Result<Option<Secret>, String> {
    match value {
        Some(v) if v.len() < length => Err(format!("{name} has {} characters; use at least {length} random ones.", v.len())),
        other => Ok(other.map(Secret::new)),
    }
}

/// Few different characters, or a word that everybody tries.
fn guessable(secret: &str) -> bool {
    let lower = secret.to_lowercase();
    let different = secret.chars().collect::<std::collections::BTreeSet<_>>().len();
    different < 8
        || ["secret", "password", "changeme", "change-me", "example", "123456", "admin", "assay", "random-characters", "copied-from"]
            .iter()
            .any(|w| lower.contains(w))
}

fn url(name: &str, text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err(format!("{name} is \"{text}\"; it must be an address such as https://assay.example.com.")),
    }
}

/// Names such as `amazonaws.com`: no scheme, no path, no address, and none that stands for everything.
fn domains(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(|name| name.trim().trim_matches('.').to_ascii_lowercase()).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
            let is_name = letters && name.contains('.') && name.bytes().any(|b| b.is_ascii_alphabetic());
            if is_name { Ok(name) } else { Err(format!("ASSAY_PAYLOAD_HOSTS has \"{name}\"; it must be domains such as amazonaws.com.")) }
        })
        .collect()
}

fn email(text: String) -> Result<String, String> {
    match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() => Ok(text.to_lowercase()),
        _ => Err(format!("ASSAY_ADMIN_EMAIL is \"{text}\"; it must be an e-mail address.")),
    }
}

#[cfg(test)]
mod tests;
