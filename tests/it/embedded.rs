//! The embedded PostgreSQL: started, stopped, killed, found again.

use crate::process::{ADMIN, PASSWORD, binary, free_port};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Running(Child, PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        stop_orphan(&self.1);
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn postmaster(dir: &Path) -> Option<rustix::process::Pid> {
    let text = std::fs::read_to_string(dir.join("postgres/postmaster.pid")).ok()?;
    rustix::process::Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

fn stop_orphan(dir: &Path) {
    if let Some(pid) = postmaster(dir) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn start(dir: &Path, port: u16) -> Child {
    Command::new(binary())
        .env_remove("DATABASE_URL")
        .env("LEPTOS_SITE_ADDR", format!("127.0.0.1:{port}"))
        .env("ASSAY_DATA_DIR", dir)
        .env("ASSAY_ADMIN_EMAIL", ADMIN)
        .env("ASSAY_ADMIN_PASSWORD", PASSWORD)
        .env("ASSAY_DEMO", "0")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn ready(port: u16) {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.is_ok_and(|r| r.status() == 200) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not ready after a minute");
}

/// Waits until the program holds its data directory.
async fn locked(dir: &Path) {
    let end = Instant::now() + Duration::from_secs(30);
    while !dir.join("lock").exists() {
        assert!(Instant::now() < end, "the program does not hold its data directory after 30 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Sends SIGTERM and waits for the ordered end.
async fn terminate(running: &mut Child) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = running.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "still running 20 s after SIGTERM");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "ended by SIGTERM: {status}");
}

#[tokio::test]
async fn it_starts_stops_and_recovers_from_kill_9_and_a_half_made_cluster() {
    let dir = std::env::temp_dir().join(format!("assay-embedded-{}", free_port()));
    std::fs::create_dir_all(dir.join("postgres.new")).unwrap(); // a first start that was killed during initdb
    let port = free_port();
    let mut running = Running(start(&dir, port), dir.clone());
    // A command beside a program that is still starting its database waits for it.
    locked(&dir).await;
    let beside = Command::new(binary())
        .args(["simulate", "--clear"])
        .env_remove("DATABASE_URL")
        .env("ASSAY_DATA_DIR", &dir)
        .env("LEPTOS_SITE_ADDR", format!("127.0.0.1:{port}"))
        .current_dir("/")
        .output()
        .unwrap();
    assert!(beside.status.success(), "{}", String::from_utf8_lossy(&beside.stderr));
    ready(port).await;
    assert!(!dir.join("postgres.new").exists());
    use std::os::unix::fs::PermissionsExt;
    for secret in ["signing-secret", "service-key"] {
        assert_eq!(std::fs::metadata(dir.join(secret)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Whoever verifies beside it sees what it runs with: it has both secrets, from its directory.
    let verify = Command::new(binary())
        .arg("verify")
        .env_remove("DATABASE_URL")
        .env_remove("TERRA_SIGNING_SECRETS")
        .env_remove("ASSAY_SERVICE_KEY")
        .env_remove("ASSAY_SECRET_KEY")
        .env("ASSAY_DATA_DIR", &dir)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(said.contains("ASSAY_SECRET_KEY is not set"), "it says what is off: {said}");
    for generated in ["TERRA_SIGNING_SECRETS is not set", "ASSAY_SERVICE_KEY is not set"] {
        assert!(!said.contains(generated), "{said}");
    }
    // So do a repair, which puts back what was dropped, and the commands about accounts.
    let pid_file = std::fs::read_to_string(dir.join("postgres/postmaster.pid")).unwrap();
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .socket(pid_file.lines().nth(4).unwrap())
        .port(5432)
        .username("assay")
        .database("assay");
    let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("DROP TRIGGER on_max_retries_exceeded ON background_jobs").execute(&mut conn).await.unwrap();
    for arguments in [["migrate", "--repair"], ["user", "list"]] {
        let done = Command::new(binary())
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env("ASSAY_DATA_DIR", &dir)
            .current_dir("/")
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let back: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_trigger WHERE tgname = 'on_max_retries_exceeded'").fetch_one(&mut conn).await.unwrap();
    assert_eq!(back, 1);
    drop(conn);
    // A second program on the same directory is refused and disturbs nothing.
    let second = Command::new(binary())
        .env_remove("DATABASE_URL")
        .env("ASSAY_DATA_DIR", &dir)
        .env("LEPTOS_SITE_ADDR", format!("127.0.0.1:{}", free_port()))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another Assay is running"));
    // kill -9 leaves PostgreSQL behind; the next start clears it.
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    let orphan = postmaster(&dir).unwrap();
    assert!(rustix::process::test_kill_process(orphan).is_ok(), "the orphan should still be there");
    running.0 = start(&dir, port);
    ready(port).await;
    assert_ne!(postmaster(&dir).unwrap(), orphan);
    // SIGTERM stops both.
    let server = postmaster(&dir).unwrap();
    terminate(&mut running.0).await;
    assert!(rustix::process::test_kill_process(server).is_err(), "PostgreSQL outlived the program");
    // So it does while the program is still starting, whenever it comes.
    for after in [0, 50, 120, 250, 400] {
        std::fs::remove_file(dir.join("lock")).unwrap();
        running.0 = start(&dir, port);
        locked(&dir).await; // by now it listens for signals
        tokio::time::sleep(Duration::from_millis(after)).await;
        terminate(&mut running.0).await;
    }
    let end = Instant::now() + Duration::from_secs(20);
    while postmaster(&dir).is_some_and(|server| rustix::process::test_kill_process(server).is_ok()) {
        assert!(Instant::now() < end, "PostgreSQL outlived a program that was stopped while starting");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
