//! A PostgreSQL of our own, when no `DATABASE_URL` names one.
//!
//! Finds the programs, makes a cluster in the data directory, runs the server as a child on a Unix socket and stops
//! it with us. Whatever a `kill -9` left behind (a running orphan, a stale pid file, a half-made cluster) is cleared
//! at the next start. A lock on the data directory keeps two programs from sharing it.

mod programs;

use super::config::Secret;
use crate::store::DatabaseUrl;
use programs::{OLDEST, find_programs, made_by, version};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::ffi::OsStrExt,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How the server's programs have to be started, because PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy)]
enum RunAs {
    /// We are not root.
    Ourselves,
    /// Root, and this unprivileged user can reach the data directory.
    User { uid: u32, gid: u32 },
    /// Root inside a user namespace in which we look like an ordinary user.
    Namespace,
}

/// The running server. [`Embedded::stop`] ends it; dropping it does so too, without waiting for the result.
pub struct Embedded {
    child: Child,
    /// The owner's address of our database.
    pub url: DatabaseUrl,
    _lock: File,
}

/// Starts it, making what is missing.
///
/// # Errors
/// One sentence: no programs found, another version's cluster, no room, another Assay in the same directory.
pub async fn start(data_dir: &Path) -> Result<Embedded, String> {
    let data_dir = prepare_directory(data_dir)?;
    let lock = lock(&data_dir)?;
    let cluster = data_dir.join("postgres");
    let made_by = made_by(&cluster);
    if let Some(old) = made_by.filter(|version| *version < OLDEST) {
        return Err(too_old(&cluster, old));
    }
    let bin = find_programs(made_by)?;
    let run_as = choose_user(&data_dir)?;
    let half_made = data_dir.join("postgres.new");
    room(&data_dir)?;
    if half_made.exists() {
        fs::remove_dir_all(&half_made).map_err(|e| format!("the half-made cluster {} could not be removed: {e}.", half_made.display()))?;
    }
    if !cluster.join("PG_VERSION").exists() {
        make_cluster(&bin, run_as, &half_made, &cluster)?;
    }
    same_version(&bin, &cluster)?;
    clear_leftovers(&cluster)?;
    let sockets = socket_directory(&data_dir, run_as)?;
    let child = spawn_server(&bin, run_as, &cluster, &sockets, &data_dir)?;
    // From here on whoever gives up, at an error or a signal, stops the server too.
    let mut server = Embedded { child, url: DatabaseUrl::socket(&sockets, PORT, OWNER, DATABASE), _lock: lock };
    let admin = DatabaseUrl::socket(&sockets, PORT, SUPERUSER, "postgres");
    wait_until_ready(&mut server.child, &admin, &data_dir).await?;
    make_owner_and_database(&admin).await?;
    Ok(server)
}

impl Embedded {
    /// Fast shutdown: open transactions are rolled back, everything committed is on disk. Waits up to 30 s.
    pub async fn stop(mut self) {
        signal(&self.child, Signal::INT);
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tracing::warn!("the embedded PostgreSQL did not stop within 30 s; it is stopped at once, nothing committed is lost");
        signal(&self.child, Signal::QUIT);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(&self.child, Signal::INT);
        }
    }
}

const PORT: u16 = 5432; // names the socket's file; nothing listens on the network
const SUPERUSER: &str = "postgres";
const OWNER: &str = "assay";
const DATABASE: &str = "assay";

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn prepare_directory(data_dir: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(data_dir)
        .map_err(|e| format!("the data directory {} cannot be made: {e}. Set ASSAY_DATA_DIR to one that can.", data_dir.display()))?;
    data_dir.canonicalize().map_err(|e| format!("the data directory {} cannot be read: {e}.", data_dir.display()))
}

fn lock(data_dir: &Path) -> Result<File, String> {
    let path = data_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| format!("{} cannot be written: {e}.", path.display()))?;
    // A command that asks whether somebody holds it (`is_held`) is in the way for a moment only.
    for _ in 0..5 {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("another Assay is running with the data directory {}. Stop it, or set ASSAY_DATA_DIR or DATABASE_URL.", data_dir.display()))
}

/// Whether another process holds the data directory. Asking takes nothing from anybody.
pub fn is_held(data_dir: &Path) -> bool {
    let Ok(file) = File::open(data_dir.join("lock")) else { return false };
    // A shared lock, given back at once with the file.
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

/// PostgreSQL refuses root, so as root its programs run as somebody else, or as nobody in particular.
fn choose_user(data_dir: &Path) -> Result<RunAs, String> {
    if !geteuid().is_root() {
        return Ok(RunAs::Ourselves);
    }
    let reachable = data_dir.ancestors().skip(1).all(|dir| fs::metadata(dir).is_ok_and(|m| m.mode() & 0o001 != 0));
    if reachable && let Some((uid, gid)) = ["postgres", "nobody"].into_iter().find_map(ids_of) {
        return Ok(RunAs::User { uid, gid });
    }
    let namespaces = Command::new("unshare").args(["-U", "--map-user=1000", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if namespaces.is_ok_and(|s| s.success()) {
        return Ok(RunAs::Namespace);
    }
    Err(format!(
        "PostgreSQL does not run as root, and no other user can reach {}. Set ASSAY_DATA_DIR to a directory others may enter (such as /var/lib/assay), run as an ordinary user, or set DATABASE_URL.",
        data_dir.display()
    ))
}

fn ids_of(user: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|l| l.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn program(bin: &Path, name: &str, run_as: RunAs) -> Command {
    let path = bin.join(name);
    let mut command = match run_as {
        RunAs::Ourselves => Command::new(path),
        RunAs::User { uid, gid } => {
            let mut c = Command::new(path);
            c.uid(uid).gid(gid);
            c
        }
        RunAs::Namespace => {
            let mut c = Command::new("unshare");
            c.args(["-U", "--map-user=1000"]).arg(path);
            c
        }
    };
    // A group of its own: Ctrl-C reaches us alone, and we stop the server after the last flush. "/" is a directory
    // that whoever it runs as may stand in.
    command.process_group(0).current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn give_to(path: &Path, run_as: RunAs) -> Result<(), String> {
    if let RunAs::User { uid, gid } = run_as {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .map_err(|e| format!("{} cannot be given to PostgreSQL's user: {e}.", path.display()))?;
    }
    Ok(())
}

fn make_cluster(bin: &Path, run_as: RunAs, half_made: &Path, cluster: &Path) -> Result<(), String> {
    fs::create_dir(half_made).map_err(|e| format!("{} cannot be made: {e}.", half_made.display()))?;
    fs::set_permissions(half_made, fs::Permissions::from_mode(0o700)).map_err(|e| e.to_string())?;
    give_to(half_made, run_as)?;
    // Local connections need no password: only who may enter the socket's directory can connect at all.
    let output = program(bin, "initdb", run_as)
        .arg("-D")
        .arg(half_made)
        .args(["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"])
        .output()
        .map_err(|e| format!("initdb could not be started: {e}."))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("initdb failed: {}", why.lines().last().unwrap_or("no reason given")));
    }
    fs::rename(half_made, cluster).map_err(|e| format!("{} could not be put in place: {e}.", cluster.display()))
}

fn too_old(cluster: &Path, version: u32) -> String {
    format!(
        "the cluster in {} was made by PostgreSQL {version}, which is too old: Assay needs {OLDEST} or newer, and never stored anything in this one. Set ASSAY_DATA_DIR to a new directory.",
        cluster.display()
    )
}

fn same_version(bin: &Path, cluster: &Path) -> Result<(), String> {
    let theirs =
        fs::read_to_string(cluster.join("PG_VERSION")).map_err(|e| format!("{} is not a PostgreSQL cluster: {e}.", cluster.display()))?;
    let ours = version(bin)?;
    if theirs.trim().parse() == Ok(ours) {
        Ok(())
    } else {
        Err(format!(
            "the cluster in {} was made by PostgreSQL {}, the programs found are {ours}. Install PostgreSQL {0} again, move the data with pg_upgrade, or set ASSAY_DATA_DIR to a new directory.",
            cluster.display(),
            theirs.trim()
        ))
    }
}

/// Ends an orphan of a killed program, and removes a pid file that names no server of this cluster: after a crash of the machine
/// its number may be anybody's. A server that hides from us so is found by PostgreSQL itself, by its shared memory.
fn clear_leftovers(cluster: &Path) -> Result<(), String> {
    let file = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let pid = text.lines().next().and_then(|l| l.trim().parse().ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid.filter(|pid| test_kill_process(*pid).is_ok() && is_ours(*pid, cluster)) {
        tracing::info!("a PostgreSQL of an earlier run is still there; stopping it");
        let _ = kill_process(pid, Signal::INT);
        let end = Instant::now() + Duration::from_secs(30);
        while test_kill_process(pid).is_ok() {
            if Instant::now() > end {
                return Err(format!("a PostgreSQL of an earlier run (process {}) does not stop; stop it by hand.", pid.as_raw_nonzero()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    match fs::remove_file(&file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{} cannot be removed: {e}.", file.display())),
        _ => Ok(()),
    }
}

fn is_ours(pid: Pid, cluster: &Path) -> bool {
    fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).is_ok_and(|command| serves(&command, cluster))
}

/// Whether a command line, its words ended by NUL, is that of a server started on this cluster as we start it.
fn serves(command: &[u8], cluster: &Path) -> bool {
    let mut words = command.split(|b| *b == 0);
    words.any(|word| word == b"-D") && words.next() == Some(cluster.as_os_str().as_bytes())
}

/// A socket's path may have 107 bytes; a deep data directory gets a short one in the system's temporary directory.
fn socket_path(data_dir: &Path) -> PathBuf {
    use sha2::Digest;
    let inside = data_dir.join("run");
    if inside.as_os_str().len() <= 80 {
        return inside;
    }
    let hash = hex::encode(sha2::Sha256::digest(data_dir.as_os_str().as_encoded_bytes()));
    std::env::temp_dir().join(format!("assay-{}-{}", geteuid().as_raw(), &hash[..12]))
}

fn socket_directory(data_dir: &Path, run_as: RunAs) -> Result<PathBuf, String> {
    let dir = socket_path(data_dir);
    fs::create_dir_all(&dir).map_err(|e| format!("{} cannot be made: {e}.", dir.display()))?;
    let metadata = fs::symlink_metadata(&dir).map_err(|e| e.to_string())?;
    let expected = if let RunAs::User { uid, .. } = run_as { uid } else { geteuid().as_raw() };
    if !metadata.is_dir() || (metadata.uid() != geteuid().as_raw() && metadata.uid() != expected) {
        return Err(format!("{} belongs to somebody else; remove it or set ASSAY_DATA_DIR.", dir.display()));
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(|e| e.to_string())?;
    give_to(&dir, run_as)?;
    Ok(dir)
}

fn spawn_server(bin: &Path, run_as: RunAs, cluster: &Path, sockets: &Path, data_dir: &Path) -> Result<Child, String> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(data_dir.join("postgres.log"))
        .map_err(|e| format!("postgres.log cannot be written: {e}."))?;
    let err = log.try_clone().map_err(|e| e.to_string())?;
    program(bin, "postgres", run_as)
        .arg("-D")
        .arg(cluster)
        .arg("-k")
        .arg(sockets)
        .args(["-p", &PORT.to_string(), "-c", "listen_addresses="])
        .args(["-c", "unix_socket_permissions=0700", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"])
        .args(["-c", "wal_compression=on", "-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "jit=off"])
        .args(["-c", "autovacuum_naptime=15s", "-c", "max_connections=100"])
        .stdout(log)
        .stderr(err)
        .spawn()
        .map_err(|e| format!("postgres could not be started: {e}."))
}

async fn wait_until_ready(child: &mut Child, admin: &DatabaseUrl, data_dir: &Path) -> Result<(), String> {
    use sqlx::ConnectOptions;
    // Crash recovery replays the log first; that may take a while and is not a failure.
    let end = Instant::now() + Duration::from_secs(300);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            let log = fs::read_to_string(data_dir.join("postgres.log")).unwrap_or_default();
            let why =
                log.lines().rev().find(|l| l.contains("FATAL") || l.contains("PANIC")).unwrap_or("see postgres.log in the data directory");
            return Err(format!("the embedded PostgreSQL ended at once ({status}): {why}"));
        }
        if admin.owner_options().connect().await.is_ok() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err("the embedded PostgreSQL did not become ready within 5 minutes; see postgres.log in the data directory.".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The owner's address of an embedded server that another process runs from this data directory, if its socket is there.
pub fn running(data_dir: &Path) -> Option<DatabaseUrl> {
    let data_dir = data_dir.canonicalize().ok()?;
    let sockets = socket_path(&data_dir);
    sockets.join(format!(".s.PGSQL.{PORT}")).exists().then(|| DatabaseUrl::socket(&sockets, PORT, OWNER, DATABASE))
}

/// The owner is no superuser, so that row-level security holds here as it does on a server of the user's.
async fn make_owner_and_database(admin: &DatabaseUrl) -> Result<(), String> {
    crate::store::bootstrap(admin, OWNER, DATABASE).await.map_err(|e| format!("the embedded database could not be prepared: {e}."))
}

fn room(data_dir: &Path) -> Result<(), String> {
    let stat = rustix::fs::statvfs(data_dir).map_err(|e| format!("the room on the disk of {} cannot be read: {e}.", data_dir.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) / 1_000_000;
    if free < 300 {
        return Err(format!(
            "only {free} MB are free on the disk of {}; at least 300 MB are needed. Make room, or set ASSAY_DATA_DIR.",
            data_dir.display()
        ));
    }
    Ok(())
}

/// Reads a generated secret from the data directory, making it at the first start: 32 random bytes in hexadecimal,
/// readable by us alone.
///
/// # Errors
/// A sentence when the file cannot be read or written.
pub fn generated_secret(data_dir: &Path, name: &str) -> Result<Secret, String> {
    let path = data_dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) if is_whole(&text) => return Ok(Secret::new(text.trim())),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(format!("{} cannot be read: {e}.", path.display())),
        _ => {}
    }
    let secret = hex::encode(rand::random::<[u8; 32]>());
    let written = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).and_then(|mut f| {
        f.write_all(secret.as_bytes())?;
        f.sync_all()
    });
    written.map_err(|e| format!("{} cannot be written: {e}.", path.display()))?;
    Ok(Secret::new(secret))
}

/// The secret that an earlier start generated, if there is one. Nothing is written.
pub fn kept_secret(data_dir: &Path, name: &str) -> Option<Secret> {
    fs::read_to_string(data_dir.join(name)).ok().filter(|text| is_whole(text)).map(|text| Secret::new(text.trim()))
}

/// One that was written in part is none.
fn is_whole(text: &str) -> bool {
    text.trim().len() >= 32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn only_a_server_of_this_cluster_is_an_orphan_of_ours() {
        let cluster = Path::new("/var/lib/assay/postgres");
        let ours = b"/usr/lib/postgresql/16/bin/postgres\0-D\0/var/lib/assay/postgres\0-k\0/var/lib/assay/run\0";
        assert!(serves(ours, cluster));
        for other in [
            "/usr/lib/postgresql/16/bin/postgres\0-D\0/var/lib/postgresql/16/main\0-c\0config_file=/etc/postgresql/16/main/postgresql.conf\0",
            "/usr/lib/postgresql/16/bin/postgres\0-D\0/var/lib/assay/postgres.old\0",
            "postgres: assay assay [local] idle\0",
            "less\0/var/lib/assay/postgres\0",
            "postgres\0-D\0",
            "",
        ] {
            assert!(!serves(other.as_bytes(), cluster), "{other:?}");
        }
    }

    #[test]
    fn a_number_that_another_process_has_by_now_is_left_alone() {
        let cluster = std::env::temp_dir().join(format!("assay-leftovers-{}", std::process::id()));
        fs::create_dir_all(&cluster).unwrap();
        // Its words hold "postgres" and even our path, as an editor's or a pager's may.
        let words = [OsStr::new("-c"), OsStr::new("read wait # postgres"), OsStr::new("-D"), OsStr::new("elsewhere"), cluster.as_os_str()];
        let mut other = Command::new("sh").args(words).stdin(Stdio::piped()).spawn().unwrap();
        fs::write(cluster.join("postmaster.pid"), format!("{}\n", other.id())).unwrap();
        clear_leftovers(&cluster).unwrap();
        assert!(!cluster.join("postmaster.pid").exists());
        assert!(other.try_wait().unwrap().is_none(), "it was stopped");
        other.kill().unwrap();
        other.wait().unwrap();
        fs::remove_dir_all(&cluster).unwrap();
    }

    #[test]
    fn a_cluster_that_is_too_old_is_told_so_with_the_way_out() {
        let said = too_old(Path::new("/data/postgres"), 14);
        assert!(["PostgreSQL 14", "15 or newer", "ASSAY_DATA_DIR"].into_iter().all(|word| said.contains(word)), "{said}");
    }
}
