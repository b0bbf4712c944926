//! The packaging files: what can be checked without the programs they are for, and with them where they are here.

use crate::docs::blocks;
use assay::server::config::Options;
use clap::Parser;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The variables of the generated reference.
pub fn settings() -> BTreeSet<String> {
    read("docs/CONFIGURATION.md")
        .lines()
        .filter_map(|l| Some(l.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .filter(|n| n.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect()
}

fn here(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !found {
        println!("skipped: {program} is not here");
    }
    found
}

#[test]
fn every_setting_that_packaging_names_is_one() {
    let settings = settings();
    assert!(settings.len() > 12, "{settings:?}");
    let compose = read("packaging/compose.yaml");
    let assay = compose.split("\n  assay:\n").nth(1).unwrap().split("\nconfigs:").next().unwrap();
    let environment = assay
        .split("    environment:\n")
        .nth(1)
        .unwrap()
        .lines()
        .take_while(|l| l.starts_with("      "))
        .filter(|l| !l.trim().starts_with('#'))
        .filter_map(|l| l.trim().split_once(':'))
        .map(|(n, _)| n.to_owned());
    let example = read("packaging/assay.env.example");
    let file = example.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once('=')).map(|(n, _)| n.to_owned());
    let docker = read("packaging/Dockerfile");
    let image = docker
        .lines()
        .filter_map(|l| l.strip_prefix("ENV "))
        .flat_map(|l| l.split(' ').filter_map(|p| Some(p.split_once('=')?.0.to_owned())).collect::<Vec<_>>());
    let unit = read("packaging/assay.service") + &read("packaging/assay-backup.service");
    let units = unit.lines().filter_map(|l| l.strip_prefix("Environment=")?.split_once('=')).map(|(n, _)| n.to_owned()).collect::<Vec<_>>();
    let named: Vec<String> = environment.chain(file).chain(image).chain(units).collect();
    assert!(named.len() > 20, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|n| !settings.contains(*n)).collect();
    assert!(unknown.is_empty(), "the program knows nothing of {unknown:?}");
}

#[test]
fn the_image_is_small_runs_as_nobody_and_copies_what_is_there() {
    let docker = read("packaging/Dockerfile");
    let stages: Vec<&str> = docker.split("\nFROM ").collect();
    let last = stages.last().unwrap();
    assert!(stages.len() >= 3 && last.starts_with("debian:bookworm-slim"), "built in one stage, run in another");
    let lines: Vec<&str> = last.lines().collect();
    let at = |start: &str| lines.iter().position(|l| l.starts_with(start)).unwrap_or_else(|| panic!("no {start}"));
    assert!(at("USER 10001") < at("ENTRYPOINT [") && lines.iter().filter(|l| l.starts_with("USER")).count() == 1);
    assert!(last.contains("HEALTHCHECK") && last.contains("/healthz") && last.contains("STOPSIGNAL SIGTERM"));
    assert!(!docker.contains(":latest") && !docker.lines().any(|l| l.starts_with("ADD ")), "pinned bases, no ADD");
    for secret in ["PASSWORD", "SECRET", "API_KEY", "SERVICE_KEY"] {
        assert!(!docker.contains(secret), "a secret in the image: {secret}");
    }
    // What is copied from the sources exists and is not ignored.
    let ignored: BTreeSet<String> = read(".dockerignore").lines().map(str::to_owned).collect();
    for line in docker.lines().filter(|l| l.starts_with("COPY ") && !l.contains("--from")) {
        let mut parts: Vec<&str> = line.split_whitespace().skip(1).collect();
        parts.pop();
        for part in parts {
            assert!(root().join(part).exists() && !ignored.contains(part), "{line}");
        }
    }
    for must in [".git", "target", "node_modules", ".assay"] {
        assert!(ignored.contains(must), "{must} is sent to the builder");
    }
    // Each step of the shell can be read by a shell.
    for run in docker.replace("\\\n", " ").lines().filter_map(|l| l.strip_prefix("RUN ")) {
        assert!(Command::new("sh").args(["-n", "-c", run]).status().unwrap().success(), "{run}");
    }
}

#[test]
fn units_are_valid_and_hardened() {
    if !here("systemd-analyze") {
        return;
    }
    // The paths of the units are those of an installation: the check gets its own.
    let dir = std::env::temp_dir().join(format!("assay-units-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for unit in ["assay.service", "assay-backup.service", "assay-backup.timer"] {
        let text = read(&format!("packaging/{unit}"))
            .replace("/opt/assay/assay serve", "/bin/true serve")
            .replace("/opt/assay/packaging/backup.sh", "/bin/true");
        std::fs::write(dir.join(unit), text).unwrap();
    }
    let verify = Command::new("systemd-analyze")
        .arg("verify")
        .args(["assay.service", "assay-backup.service", "assay-backup.timer"].map(|u| dir.join(u)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    assert!(verify.status.success() && !said.contains("assay"), "{said}");
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=20"])
        .arg(dir.join("assay.service"))
        .output()
        .unwrap();
    assert!(security.status.success(), "exposed more than 2.0: {}", String::from_utf8_lossy(&security.stdout));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_compose_file_and_the_alert_rules_are_yaml() {
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output().is_ok_and(|o| o.status.success());
    if !has_yaml {
        println!("skipped: python3 with yaml is not here");
        return;
    }
    for (file, question) in [
        (
            "packaging/compose.yaml",
            "d['services']['assay']['depends_on']['postgres']['condition'] == 'service_healthy' and d['services']['assay']['read_only'] and set(d['volumes']) == {'postgres', 'data'}",
        ),
        (
            "docs/prometheus/alerts.yml",
            "all(set(r) == {'alert', 'expr', 'for', 'labels', 'annotations'} for g in d['groups'] for r in g['rules'])",
        ),
    ] {
        let program = format!("import sys, yaml; d = yaml.safe_load(open(sys.argv[1])); assert {question}");
        let done = Command::new("python3").args(["-c", &program]).arg(root().join(file)).output().unwrap();
        assert!(done.status.success(), "{file}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn proxies_pass_what_the_program_needs() {
    let (nginx, caddy) = (read("packaging/nginx.conf"), read("packaging/Caddyfile"));
    for needed in
        ["client_max_body_size 17m", "proxy_buffering off", "X-Forwarded-For $remote_addr", "Host $host", "location = /live", "metrics"]
    {
        assert!(nginx.contains(needed), "nginx.conf lacks {needed}");
    }
    for needed in ["max_size 17MB", "flush_interval -1", "X-Forwarded-For {remote_host}", "/metrics", "/readyz"] {
        assert!(caddy.contains(needed), "the Caddyfile lacks {needed}");
    }
    for (text, name) in [(&nginx, "nginx.conf"), (&caddy, "Caddyfile")] {
        assert_eq!(text.matches('{').count(), text.matches('}').count(), "{name}");
    }
    // nginx reads its file in `proxies.rs`, where a whole one is put around it.
    if here("caddy") {
        let done = Command::new("caddy").args(["validate", "--config"]).arg(root().join("packaging/Caddyfile")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let here = |script: &Path| Command::new("sh").arg("-n").arg(script).status().unwrap().success();
    assert!(here(&root().join("packaging/backup.sh")));
}

#[test]
fn an_honest_503_takes_no_node_out_and_only_a_delivery_goes_to_the_next_one() {
    let nginx = read("packaging/nginx.conf");
    let servers: Vec<&str> =
        nginx.lines().map(|l| l.trim_start_matches([' ', '#'])).filter(|l| l.starts_with("server ") && l.contains(':')).collect();
    assert!(servers.len() >= 2 && servers.iter().all(|s| s.contains(" max_fails=0;")), "{servers:?}");
    let location = |name: &str| {
        let (_, rest) = nginx.split_once(&format!("location {name} {{")).unwrap_or_else(|| panic!("no location {name}"));
        rest.split("\n    }").next().unwrap().to_owned()
    };
    let delivery = location("= /functions/v1/webhook-terra");
    assert!(delivery.contains("proxy_next_upstream error timeout http_503 non_idempotent;"), "{delivery}");
    // It works for up to 30 seconds, and a second one would do the same work.
    let drain = location("= /functions/v1/job-worker");
    assert!(drain.contains("proxy_read_timeout 40s;") && drain.contains("proxy_next_upstream off;"), "{drain}");
    for (word, times) in [("http_503", 1), ("non_idempotent", 1), ("\n    proxy_connect_timeout 2s;", 1)] {
        assert_eq!(nginx.matches(word).count(), times, "{word}");
    }
}

#[test]
fn the_unit_lets_the_jobs_yield() {
    let unit = read("packaging/assay.service");
    let filters: Vec<&str> = unit.lines().filter_map(|l| l.strip_prefix("SystemCallFilter=")).collect();
    let taken = filters.iter().position(|f| f.starts_with('~') && f.contains("@resources"));
    let given = filters.iter().rposition(|f| !f.starts_with('~') && f.split(' ').any(|call| call == "setpriority"));
    assert!(taken.is_none() || given > taken, "threads.rs needs setpriority: {filters:?}");
}

/// Name and value of each line of the example. Every value stands in single quotes.
fn example() -> Vec<(String, String)> {
    let text = read("packaging/assay.env.example");
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|line| {
            let (name, quoted) = line.split_once('=').unwrap();
            let value = quoted.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')).filter(|v| !v.contains('\''));
            (name.to_owned(), value.unwrap_or_else(|| panic!("not in single quotes: {line}")).to_owned())
        })
        .collect()
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[test]
fn no_secret_of_the_example_passes_as_a_good_one() {
    let weak = |flag: &str, value: &str| Cli::parse_from(["assay", &format!("--{flag}={value}")]).options.parse().unwrap().weak();
    let secrets = [
        ("TERRA_SIGNING_SECRETS", "terra-signing-secrets", "copied-from-the-dashboard-of-terra"),
        ("ASSAY_SERVICE_KEY", "service-key", "at-least-16-random-characters"),
        ("ASSAY_SECRET_KEY", "secret-key", "at-least-32-random-characters-for-the-second-factor"),
        ("ASSAY_ADMIN_PASSWORD", "admin-password", "change-me-after-the-first-login"),
    ];
    let example = example();
    for (name, flag, formerly) in secrets {
        let (_, value) = example.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("the example has no {name}"));
        for value in [value, formerly].into_iter().filter(|v| !v.is_empty()) {
            assert!(weak(flag, value).iter().any(|said| said.contains(name)), "{name}={value} looks good");
        }
    }
}

/// A folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().canonicalize().unwrap().join(format!("assay-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn the_shell_takes_an_address_with_parameters_from_the_settings_as_it_is() {
    let dir = scratch("settings");
    let url = "postgres://u:p@db.example.com/assay?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem";
    let (_, there) = example().swap_remove(0);
    std::fs::write(dir.join("assay.env"), read("packaging/assay.env.example").replace(&there, url)).unwrap();
    let script = r#"set -a; . "$1"; set +a; printf '%s' "$DATABASE_URL""#;
    let said = Command::new("sh").args(["-c", script, "sh"]).arg(dir.join("assay.env")).env_remove("DATABASE_URL").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), url);
    std::fs::remove_dir_all(dir).unwrap();
}

/// A program of a few lines of shell. Written by a process of its own: whoever starts others meanwhile must not hold it open.
fn program(dir: &Path, name: &str, lines: &str) {
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#;
    let done = Command::new("sh").args(["-c", write, "sh"]).arg(dir.join(name)).arg(lines).status().unwrap();
    assert!(done.success());
}

/// The search path with a folder before all others.
fn before_others(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default())
}

/// Stand-ins for PostgreSQL's programs, which say into `$SAID` what they were given. The dump ends with `$STATUS`.
fn dump_and_restore(dir: &Path) {
    program(
        dir,
        "pg_dump",
        r#"printf '%s\n' "$@" >"$SAID/arguments"
printf '%s' "${PGPASSWORD-}" >"$SAID/password"
for word in "$@"; do case $word in --file=*) echo half >"${word#--file=}" ;; esac; done
exit "$STATUS""#,
    );
    program(dir, "pg_restore", "exit 0");
}

#[test]
fn a_backup_shows_no_password_and_a_failed_one_leaves_nothing() {
    let dir = scratch("backup");
    dump_and_restore(&dir);
    for (status, url, called, password) in [
        (
            "0",
            "postgres://assay:s%40f%2Fe%25x@h:5432/d?sslmode=prefer&connect_timeout=5",
            "postgres://assay@h:5432/d?sslmode=prefer&connect_timeout=5",
            "s@f/e%x",
        ),
        ("0", "postgres://assay@h/d", "postgres://assay@h/d", ""),
        ("1", "postgres://assay:safe@h/d", "postgres://assay@h/d", "safe"),
    ] {
        let backups = dir.join("backups");
        let done = Command::new("sh")
            .arg(root().join("packaging/backup.sh"))
            .arg(&backups)
            .env("PATH", before_others(&dir))
            .env("DATABASE_URL", url)
            .env("STATUS", status)
            .env("SAID", &dir)
            .env_remove("PGPASSWORD")
            .env_remove("ASSAY_BACKUP_STAMP")
            .output()
            .unwrap();
        assert_eq!(done.status.success(), status == "0", "{}", String::from_utf8_lossy(&done.stderr));
        let said = |what: &str| std::fs::read_to_string(dir.join(what)).unwrap();
        assert!(said("arguments").lines().any(|word| word == format!("--dbname={called}")), "{}", said("arguments"));
        assert_eq!(said("password"), password);
        let left: Vec<String> = std::fs::read_dir(&backups).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert!(left.iter().all(|name| name.ends_with(".dump")), "{left:?}");
        assert_eq!(left.len(), usize::from(status == "0"), "{left:?}");
        std::fs::remove_dir_all(&backups).unwrap();
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_stamp_that_somebody_else_left_stops_no_backup() {
    let dir = scratch("stamp");
    dump_and_restore(&dir);
    // Root may touch everything, and the test may be root.
    program(&dir, "touch", "exit 1");
    let (backups, stamp) = (dir.join("backups"), dir.join("backups/stamp"));
    let long_ago = |file: &Path| std::fs::File::create(file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    for (stamp, made) in [(&stamp, true), (&dir.join("pg_dump/stamp"), false)] {
        std::fs::create_dir_all(&backups).unwrap();
        let old = backups.join("assay-20200101T013000Z.dump");
        long_ago(&old);
        if made {
            long_ago(stamp);
            std::fs::set_permissions(stamp, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        }
        let done = Command::new("sh")
            .arg(root().join("packaging/backup.sh"))
            .arg(&backups)
            .arg("1")
            .env("PATH", before_others(&dir))
            .env("DATABASE_URL", "postgres://assay@h/d")
            .env("STATUS", "0")
            .env("SAID", &dir)
            .env("ASSAY_BACKUP_STAMP", stamp)
            .output()
            .unwrap();
        assert_eq!(done.status.success(), made, "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(std::fs::metadata(stamp).is_ok_and(|m| m.modified().unwrap() > std::time::UNIX_EPOCH), made);
        assert!(!old.exists(), "old dumps go, whatever becomes of the stamp");
        std::fs::remove_dir_all(&backups).unwrap();
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn an_upgrade_keeps_the_program_of_before_and_ends_at_what_fails() {
    let dir = scratch("upgrade");
    let checklist = read("docs/DEPLOYMENT_CHECKLIST.md");
    let block = blocks(&checklist, "bash").into_iter().find(|b| b.text.contains("/opt/assay.before")).unwrap();
    // Its places lie in this test's own folder.
    let within = |text: String, place: &str| text.replace(place, &format!("${{HERE:?}}{place}"));
    let lines = ["/opt/", "/home/", "/proc/"].into_iter().fold(block.text, within);
    let (bin, opt, checkout) = (dir.join("bin"), dir.join("opt/assay"), dir.join("home/you/assay"));
    for folder in [bin.clone(), opt.join("packaging"), checkout.join("packaging"), checkout.join("docs"), checkout.join("target/release")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let site = checkout.join("target/site");
    std::fs::create_dir(&site).unwrap();
    // What runs is a copy of what was there at its start.
    program(
        &bin,
        "systemctl",
        r#"cd "$HERE" || exit
case $1 in
start) mkdir -p proc/1 && cp opt/assay/assay proc/1/exe ;;
stop) rm -r proc ;;
show) echo 1 ;;
esac"#,
    );
    program(&bin, "curl", r#"test -e "$HERE/proc/1/exe""#);
    for place in [&opt, &checkout] {
        program(&place.join("packaging"), "backup.sh", "exit 0");
    }
    let run = |command: &str| {
        let path = before_others(&bin);
        Command::new("bash").args(["-c", command]).env("HERE", &dir).env("PATH", path).current_dir(&opt).output().unwrap()
    };
    let built = checkout.join("target/release");
    program(&opt, "assay", "echo assay 0");
    assert!(run("systemctl start assay").status.success());
    for version in [1, 2] {
        program(&built, "assay", &format!("echo assay {version}"));
        let done = run(&lines);
        let said = String::from_utf8_lossy(&done.stdout);
        let success = done.status.success() && said.ends_with(&format!("assay {version}\n"));
        assert!(success, "{said}{}", String::from_utf8_lossy(&done.stderr));
        let before = std::fs::read_to_string(dir.join("opt/assay.before/assay")).unwrap();
        assert!(before.contains(&format!("assay {}", version - 1)), "{before}");
    }
    let running = dir.join("proc/1/exe");
    std::fs::remove_file(built.join("assay")).unwrap();
    assert!(!run(&lines).status.success() && running.exists(), "nothing was built: the old one is not stopped");
    program(&built, "assay", "echo assay 3");
    std::fs::remove_dir(&site).unwrap();
    assert!(!run(&lines).status.success() && !running.exists(), "what could not be copied is not started");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn programs_of_a_postgresql_that_is_too_old_are_passed_over() {
    for (version, taken) in [("14.11 (Ubuntu 14.11-0ubuntu0.22.04.1)", false), ("16.3", true)] {
        let dir = scratch(&format!("programs-{taken}"));
        for name in ["initdb", "postgres"] {
            program(&dir, name, &format!("echo '{name} (PostgreSQL) {version}'"));
        }
        let found = Command::new("bash")
            .args(["-euo", "pipefail", "-c", ". scripts/lib.sh; pg_bin || true"])
            .env("PATH", before_others(&dir))
            .current_dir(root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        assert_eq!(said == dir.display().to_string(), taken, "{version}: {said}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
