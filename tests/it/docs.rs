//! The documentation's own commands: every SQL and shell block in README.md and docs/ runs, or says why it does not.
//!
//! A block is left out only by the comment `<!-- not executed: reason -->` on the line before it. Shell blocks run with
//! `ASSAY_URL`, `ASSAY_SERVICE_KEY`, `ASSAY_API_KEY`, `DATABASE_URL` and `SCRATCH` (an empty directory) set, against a running Assay.

use crate::process::{ADMIN, Assay, Database, PASSWORD, SECRET, SERVICE_KEY, api_key, binary, daily, eventually, send};
use crate::visitors::log_in;
use std::path::Path;
use std::process::Command;

pub struct Block {
    pub text: String,
    pub line: usize,
    pub not_executed: Option<String>,
}

/// The fenced blocks of a language.
pub fn blocks(markdown: &str, language: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = markdown.lines().enumerate();
    let mut previous = "";
    while let Some((number, line)) = lines.next() {
        if line.trim() == format!("```{language}") {
            let text: Vec<&str> = lines.by_ref().map(|(_, l)| l).take_while(|l| l.trim() != "```").collect();
            let reason =
                previous.trim().strip_prefix("<!-- not executed:").and_then(|r| r.strip_suffix("-->")).map(|r| r.trim().to_owned());
            found.push(Block { text: text.join("\n"), line: number + 1, not_executed: reason });
        }
        if !line.trim().is_empty() {
            previous = line;
        }
    }
    found
}

/// Splits at semicolons outside quotes, dollar quotes and comments.
pub fn statements(sql: &str) -> Vec<String> {
    let (mut found, mut current, mut rest) = (Vec::new(), String::new(), sql);
    while let Some(c) = rest.chars().next() {
        let take = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(tail) = rest.strip_prefix("$$") {
            tail.find("$$").map_or(rest.len(), |n| n + 4)
        } else if c == '\'' {
            rest[1..].find('\'').map_or(rest.len(), |n| n + 2)
        } else {
            c.len_utf8()
        };
        current.push_str(&rest[..take]);
        rest = &rest[take..];
        if c == ';' {
            found.push(std::mem::take(&mut current).trim().to_owned());
        }
    }
    let left: String = current.lines().filter(|l| !l.trim_start().starts_with("--")).collect();
    if !left.trim().is_empty() {
        found.push(current.trim().to_owned());
    }
    found
}

/// One statement through psql, as an operator sends it: whether it worked, and all it said.
pub fn psql(url: &str, sql: &str) -> (bool, String) {
    let output = Command::new("psql").args(["-X", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]).output().expect("psql must be installed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn statements_are_split_where_postgresql_splits_them() {
    let sql = "-- one; comment\nSELECT ';' AS a; DO $$ BEGIN PERFORM 1; END $$;\nSELECT 2";
    let found = statements(sql);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[1].starts_with("DO $$") && found[1].ends_with("END $$;"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_of_the_documentation_runs() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let client = reqwest::Client::new();
    assert_eq!(send(&client, &assay.address, "docs-1", &daily("test-user-id", "2026-11-20", 9000)).await.unwrap().status(), 200);
    let mut conn = database.connect().await;
    eventually("a delivery is scored", 20, async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM metric_confidence_cache").fetch_one(&mut conn).await.unwrap() > 0
    })
    .await;
    let key = api_key(&assay, &log_in(&assay, ADMIN, PASSWORD).await, "metrics:read").await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = std::env::temp_dir().join(format!("assay-docs-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(root.join("docs"))
        .unwrap()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
        .collect();
    files.push(root.join("README.md"));
    files.sort();
    let (mut ran, mut left_out, mut failures) = (0, 0, Vec::new());
    for file in files {
        let before = (ran, left_out);
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // No block escapes by another name for its language.
        let fences: Vec<&str> = text.lines().filter_map(|l| l.trim().strip_prefix("```")).step_by(2).collect();
        assert!(fences.iter().all(|f| ["", "sql", "bash", "yaml", "json"].contains(f)), "{name}: {fences:?}");
        // In the order of the document: what a block takes away, a later one puts back.
        let mut found: Vec<_> = ["sql", "bash"].into_iter().flat_map(|l| blocks(&text, l).into_iter().map(move |b| (l, b))).collect();
        found.sort_by_key(|(_, block)| block.line);
        for (language, block) in found {
            if let Some(reason) = block.not_executed {
                assert!(reason.len() > 10, "{name}:{}: the reason says nothing", block.line);
                left_out += 1;
                continue;
            }
            ran += 1;
            let result = if language == "sql" {
                run_sql(&database.url, &block.text)
            } else {
                run_shell(&assay, &database.url, &key, &scratch, &block.text)
            };
            if let Err(said) = result {
                failures.push(format!("{name}:{}:\n{}\n{said}", block.line, block.text));
            }
        }
        println!("{name}: {} blocks ran, {} are marked as not executed", ran - before.0, left_out - before.1);
    }
    std::fs::remove_dir_all(scratch).unwrap();
    assert!(ran > 50, "only {ran} blocks ran: blocks are not found where they stand");
    println!("documentation: {ran} blocks ran, {left_out} are marked as not executed");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn run_sql(url: &str, text: &str) -> Result<(), String> {
    for sql in statements(text) {
        let (ok, said) = psql(url, &sql);
        if !ok {
            return Err(said);
        }
    }
    Ok(())
}

fn run_shell(assay: &Assay, url: &str, key: &str, scratch: &Path, text: &str) -> Result<(), String> {
    let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", text])
        .env("ASSAY_URL", &assay.address)
        .env("ASSAY_SERVICE_KEY", SERVICE_KEY)
        .env("ASSAY_API_KEY", key)
        .env("TERRA_SIGNING_SECRETS", SECRET)
        .env("LEPTOS_SITE_ADDR", assay.address.trim_start_matches("http://"))
        // With parameters, as an address of a server elsewhere has them.
        .env("DATABASE_URL", format!("{url}?sslmode=prefer&application_name=documentation"))
        .env("SCRATCH", scratch)
        .env("PATH", path)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }
}
