//! The packaging files: what can be checked without the programs they are for, and with them where they are here.

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
fn settings() -> BTreeSet<String> {
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
