//! The program as a process: started on a database of its own, killed for real, asked over HTTP.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{
    io::Read,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

pub const SECRET: &str = "integration-test-signing-secret";
pub const SERVICE_KEY: &str = "integration-test-service-key";
pub const ADMIN: &str = "admin@example.com";
pub const PASSWORD: &str = "integration test password";

static NEXT: AtomicU32 = AtomicU32::new(0);

pub fn binary() -> PathBuf {
    PathBuf::from(std::env::var_os("ASSAY_BIN").expect("ASSAY_BIN is not set; run the tests with `make test`"))
}

fn admin_url() -> String {
    std::env::var("ASSAY_TEST_DATABASE_URL").expect("ASSAY_TEST_DATABASE_URL is not set; run the tests with `make test`")
}

/// An empty database, dropped at the end.
pub struct Database {
    pub name: String,
    pub url: String,
    /// Where it is dropped.
    pub server: String,
}

impl Database {
    pub async fn new() -> Self {
        Self::on(&admin_url()).await
    }

    /// On a given server.
    pub async fn on(server: &str) -> Self {
        let name = format!("assay_test_it_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Tests plant by the date and read by it: none begins in the last seconds of a day.
        let left = 86_400_u32.saturating_sub(chrono::Timelike::num_seconds_from_midnight(&chrono::Utc::now()));
        if left <= 20 {
            tokio::time::sleep(Duration::from_secs(left.into())).await;
        }
        let mut conn = PgConnection::connect(server).await.unwrap();
        conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await.unwrap();
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        Self { name, url, server: server.to_owned() }
    }

    /// A connection as the owner, as an operator with psql has it.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        assert!(self.name.starts_with("assay_test_"));
        let (name, url) = (self.name.clone(), self.server.clone());
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut conn) = PgConnection::connect(&url).await {
                    let _ = conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await;
                }
            });
        })
        .join();
    }
}

/// A running program.
pub struct Assay {
    pub child: Child,
    pub address: String,
    data_dir: PathBuf,
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The program with a complete configuration, not started yet.
pub fn command(database_url: &str, port: u16, data_dir: &std::path::Path) -> Command {
    let mut command = Command::new(binary());
    command
        .env("DATABASE_URL", database_url)
        .env("LEPTOS_SITE_ADDR", format!("127.0.0.1:{port}"))
        .env("TERRA_SIGNING_SECRETS", SECRET)
        .env("ASSAY_SERVICE_KEY", SERVICE_KEY)
        .env("ASSAY_ADMIN_EMAIL", ADMIN)
        .env("ASSAY_ADMIN_PASSWORD", PASSWORD)
        .env("ASSAY_DATA_DIR", data_dir)
        .env_remove("ASSAY_DEMO")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

impl Assay {
    /// Starts it and waits until it is ready.
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, &[]).await
    }

    pub async fn start_with(database: &Database, env: &[(&str, &str)]) -> Self {
        match Self::try_start(database, env).await {
            // Somebody else took the port between the finding and the use of it.
            Err(said) if said.contains("is taken") => Self::try_start(database, env).await,
            other => other,
        }
        .unwrap_or_else(|said| panic!("{said}"))
    }

    /// Starts it; else what it said.
    async fn try_start(database: &Database, env: &[(&str, &str)]) -> Result<Self, String> {
        let port = free_port();
        let data_dir = std::env::temp_dir().join(format!("assay-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&data_dir).unwrap();
        let log = std::fs::File::create(data_dir.join("log")).unwrap();
        let child = command(&database.url, port, &data_dir).envs(env.iter().copied()).stderr(log).spawn().unwrap();
        let mut assay = Self { child, address: format!("http://127.0.0.1:{port}"), data_dir };
        assay.wait_until_ready().await?;
        Ok(assay)
    }

    async fn wait_until_ready(&mut self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the program ended ({status}): {}", self.log()));
            }
            if reqwest::get(format!("{}/readyz", self.address)).await.is_ok_and(|r| r.status() == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("not ready after a minute: {}", self.log()))
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let _ = std::fs::File::open(self.data_dir.join("log")).and_then(|mut f| f.read_to_string(&mut text));
        text
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, then the exit status within 20 seconds.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still running 20 s after SIGTERM: {}", self.log());
    }
}

impl Drop for Assay {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}

/// A body, signed now with `secret`.
pub fn signature(secret: &str, body: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{t}.").as_bytes());
    mac.update(body);
    format!("t={t},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// One day of steps, as Terra sends it.
pub fn daily(user: &str, date: &str, steps: u32) -> String {
    serde_json::json!({
        "type": "daily", "version": "2022-03-16",
        "user": {"user_id": format!("terra-{user}"), "provider": "FITBIT", "reference_id": user, "active": true},
        "data": [{
            "metadata": {"start_time": format!("{date}T00:00:00.000000+00:00"), "end_time": format!("{date}T23:59:59.000000+00:00"), "upload_type": 1},
            "distance_data": {"steps": steps, "distance_meters": f64::from(steps) * 0.7},
            "calories_data": {"total_burned_calories": 2300},
            "heart_rate_data": {"summary": {"resting_hr_bpm": 58, "avg_hr_bpm": 71}},
            "device_data": {"name": "Fitbit Sense", "manufacturer": "Fitbit"}
        }]
    })
    .to_string()
}

pub async fn send(client: &reqwest::Client, address: &str, trace: &str, body: &str) -> reqwest::Result<reqwest::Response> {
    client
        .post(format!("{address}/functions/v1/webhook-terra"))
        .header("content-type", "application/json")
        .header("terra-signature", signature(SECRET, body.as_bytes()))
        .header("x-terra-trace-id", trace)
        .body(body.to_owned())
        .send()
        .await
}

/// Asks until the answer is what is wanted, for at most `seconds`.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, seconds: u64, mut holds: F) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within {seconds} s: {what}");
}

/// A key of whoever is logged in with this cookie, made as a person makes it: on the account's page.
pub async fn api_key(assay: &Assay, cookie: &str, scope: &str) -> String {
    let page = reqwest::Client::new()
        .post(format!("{}/account/keys", assay.address))
        .header("origin", &assay.address)
        .header("cookie", cookie)
        .form(&[("name", "test"), ("scope", scope), ("days", "30")])
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let start = page.find("assay_").unwrap_or_else(|| panic!("no key on the page: {page}"));
    page[start..start + 70].to_owned()
}
