//! Terra's own documents: the OpenAPI has every path we read, its examples give what a person read from them, and
//! `docs/NORMALISATION.md` shows the table that is used.
use super::*;
use crate::model::Model;
use std::fmt::Write as _;
use std::io::Read as _;

/// One block of the OpenAPI's YAML: key, rest of the line, and what is indented below.
struct Block {
    key: String,
    rest: String,
    below: Vec<Block>,
}

/// Reads the regular, two-space-indented block style of the bundled document; all that this test needs.
fn blocks(lines: &[(usize, &str)]) -> Vec<Block> {
    let mut out = Vec::new();
    let Some((level, _)) = lines.first() else { return out };
    let mut i = 0;
    while i < lines.len() {
        let end = (i + 1..lines.len()).find(|j| lines[*j].0 <= *level).unwrap_or(lines.len());
        let text = lines[i].1.trim_start_matches("- ");
        let (key, rest) = text.split_once(':').unwrap_or((text, ""));
        out.push(Block {
            key: key.trim_matches('\'').to_owned(),
            rest: rest.trim().trim_matches('\'').to_owned(),
            below: blocks(&lines[i + 1..end]),
        });
        i = end;
    }
    out
}

fn find<'b>(blocks: &'b [Block], key: &str) -> Option<&'b Block> {
    blocks.iter().find(|block| block.key == key)
}

/// Whether a schema, or one it refers to, has the dotted path.
fn has(schemas: &[Block], schema: &Block, path: &[&str], depth: u32) -> bool {
    let Some((step, rest)) = path.split_first() else { return true };
    if depth > 30 {
        return false;
    }
    if let Some(property) = find(&schema.below, "properties").and_then(|p| find(&p.below, step)) {
        return has(schemas, property, rest, depth + 1);
    }
    let mut refers = Vec::new();
    references(schema, &mut refers);
    refers.iter().any(|name| find(schemas, name).is_some_and(|target| has(schemas, target, path, depth + 1)))
}

fn references(block: &Block, out: &mut Vec<String>) {
    for child in &block.below {
        if child.key == "$ref" {
            out.extend(child.rest.rsplit('/').next().map(str::to_owned));
        } else if matches!(child.key.as_str(), "anyOf" | "oneOf" | "allOf" | "items" | "type" | "array") {
            references(child, out);
        }
    }
}

#[test]
fn every_path_we_read_is_in_terras_specification() {
    let Some(folder) = data() else { return };
    let file = std::fs::File::open(folder.join("terra_official/terra_v2-bundled.openapi.yaml.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    // A list item's dash counts as indentation, so that what follows it lies beside its first key.
    let lines: Vec<(usize, &str)> = text
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| {
            let bare = l.trim_start();
            (l.len() - bare.len() + usize::from(bare.starts_with("- ")) * 2, bare)
        })
        .collect();
    let start = lines.iter().position(|(level, text)| *level == 2 && *text == "schemas:").unwrap();
    let end = (start + 1..lines.len()).find(|i| lines[*i].0 <= 2).unwrap_or(lines.len());
    let schemas = blocks(&lines[start + 1..end]);
    let known = |model: Model, path: &str| {
        let name = match model {
            Model::Activity => "Activity",
            Model::Body => "Body",
            Model::Daily => "Daily",
            Model::Sleep => "Sleep",
            Model::Nutrition => "Nutrition",
            Model::Menstruation | Model::Athlete => panic!("not read"),
        };
        has(&schemas, find(&schemas, name).unwrap(), &path.split('.').collect::<Vec<_>>(), 0)
    };
    assert!(
        !known(Model::Daily, "distance_data.stepz") && !known(Model::Sleep, "heart_rate_data.summary.resting_hr"),
        "the check can fail"
    );
    for field in fields::TABLE {
        let prefix = if field.part == fields::Part::Measurement { "measurements_data.measurements." } else { "" };
        let paths = match field.take {
            fields::Take::Value(path) => vec![path.to_owned()],
            fields::Take::Sum(paths) => paths.iter().map(|p| (*p).to_owned()).collect(),
            fields::Take::Mean { list, item } => vec![format!("{list}.{item}")],
        };
        for path in paths {
            assert!(known(field.model, &format!("{prefix}{path}")), "{:?} {path}", field.model);
        }
    }
    for (model, path) in fields::RETIRED {
        assert!(!known(*model, path), "{model:?} {path} is a field of today");
    }
}

/// What an event comes to, in our words: its kind, then a line a record with its values, coverage and findings.
fn told(event: &Event) -> String {
    let mut said = format!("{:?}\n", event.kind);
    let out = normalise(event, None);
    for record in &out.records {
        write!(said, "  {} {} {:?}", record.key, record.date, record.origin.upload).unwrap();
        for (metric, value) in &record.values {
            write!(said, " {}={value}", metric.key()).unwrap();
        }
        let seen = serde_json::to_string(&record.coverage).unwrap();
        if seen != "{}" {
            write!(said, " {seen}").unwrap();
        }
        said.push('\n');
        for finding in &record.findings {
            writeln!(said, "    {:?} {}: {}", finding.kind, finding.metric.map_or("record", Metric::key), finding.detail).unwrap();
        }
    }
    for finding in &out.findings {
        writeln!(said, "  {:?}: {}", finding.kind, finding.detail).unwrap();
    }
    said
}

/// The snapshot was read line by line against the examples and the specification; a change of it is to be read again.
/// `ASSAY_UPDATE_DOCS=1` writes it anew.
#[test]
fn terras_examples_give_the_readings_of_the_snapshot() {
    let Some(folder) = data() else { return };
    let folder = folder.join("terra_official");
    let mut said =
        String::from("# What Terra's example webhooks come to. Written by `terras_examples_give_the_readings_of_the_snapshot`.\n");
    for examples in ["webhook_examples", "old_2021_fixtures_MIT"] {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join(examples)).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "json"));
        files.sort();
        assert!(files.len() >= 10, "{examples}");
        for file in files {
            let event = parse(&std::fs::read(&file).unwrap()).unwrap();
            write!(said, "\n{examples}/{}\n  ", file.file_name().unwrap().to_string_lossy()).unwrap();
            said.push_str(&told(&event));
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/terra/tests/examples.snapshot");
    if std::env::var_os("ASSAY_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &said).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    for (line, (kept, now)) in kept.lines().zip(said.lines()).enumerate() {
        assert_eq!(now, kept, "line {}", line + 1);
    }
    assert_eq!(said.lines().count(), kept.lines().count());
}

#[test]
fn the_old_shapes_are_degraded_with_a_reason() {
    let Some(folder) = data() else { return };
    let read = |name: &str| parse(&std::fs::read(folder.join("terra_official/old_2021_fixtures_MIT").join(name)).unwrap()).unwrap();
    for (name, values, retired) in [
        ("daily.json", 5, "heart_rate_data.summary.resting_hr"),
        ("sleep.json", 2, "metadata.sleep_efficiency"),
        ("body.json", 0, "measurements_data.weight_kg"),
    ] {
        let out = normalise(&read(name), None);
        assert_eq!((out.records.len(), out.refused), (1, 0), "{name}");
        assert_eq!(out.records[0].values.len(), values, "{name} {:?}", out.records[0].values);
        assert!(
            out.records[0].findings.iter().any(|f| f.kind == FindingKind::BadField && f.detail.contains(retired)),
            "{name} {:?}",
            out.records[0].findings
        );
    }
    for name in [
        "activity.json",
        "athlete.json",
        "authenticate_user.json",
        "deauthenticate_user.json",
        "menstruation.json",
        "subscriptions.json",
        "user_info.json",
    ] {
        let event = read(name);
        assert_eq!(event.kind, EventKind::Unknown(String::new()), "{name}");
        assert_eq!(normalise(&event, None), Normalised::default(), "{name}");
    }
}

fn field_table() -> String {
    let mut out = String::from("| metric | unit | model | field | conversion |\n|---|---|---|---|---|\n");
    for field in fields::TABLE {
        let part = match field.part {
            fields::Part::Measurement => " (each of `measurements_data.measurements[]`)",
            _ => "",
        };
        let unit = if field.metric.unit().is_empty() { "–" } else { field.metric.unit() };
        writeln!(
            out,
            "| {} | {unit} | {}{part} | `{}` | {} |",
            field.metric.key(),
            field.model.word(),
            field.path(),
            field.convert.words()
        )
        .unwrap();
    }
    out
}

/// Model by provider: how each field's unit becomes ours, what was seen to come, and what cannot.
fn provider_table() -> String {
    let columns = providers::PROVIDERS;
    let names: Vec<String> = columns.iter().map(|p| Source::from_provider(p.source).name()).collect();
    let mut out =
        format!("| model | metric | conversion | {} | any other |\n|---|---|---|{}---|\n", names.join(" | "), "---|".repeat(names.len()));
    let mut done: Vec<(Model, Metric)> = Vec::new();
    for field in fields::TABLE {
        if done.contains(&(field.model, field.metric)) {
            continue;
        }
        done.push((field.model, field.metric));
        write!(out, "| {} | {} | {} |", field.model.word(), field.metric.key(), field.convert.words()).unwrap();
        for provider in columns {
            let recorded = provider.recorded.iter().any(|(m, metrics)| *m == field.model && metrics.contains(&field.metric));
            let never = field.model != Model::Activity && provider.never.iter().any(|(m, _)| *m == field.metric);
            out.push_str(match (recorded, never) {
                (true, _) => " ● |",
                (_, true) => " ✗ |",
                _ => " ○ |",
            });
        }
        out.push_str(" ○ |\n");
    }
    out
}

fn day_table() -> String {
    let mut out = String::from("| metric | first | then | then |\n|---|---|---|---|\n");
    for metric in Metric::ALL {
        let cells: Vec<String> = day::preference(*metric)
            .iter()
            .map(|(model, rule)| {
                format!(
                    "{}: {}",
                    model.word(),
                    match rule {
                        day::Rule::Single => "the day's record",
                        day::Rule::Sum => "main sleeps added up",
                        day::Rule::Mean => "mean of the main sleeps, by their length",
                        day::Rule::Last => "last of the day",
                    }
                )
            })
            .collect();
        let cell = |i: usize| cells.get(i).map_or("–", String::as_str);
        writeln!(out, "| {} | {} | {} | {} |", metric.key(), cell(0), cell(1), cell(2)).unwrap();
    }
    out
}

#[test]
fn the_documentation_shows_the_tables_that_are_used() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/NORMALISATION.md");
    let mut document = std::fs::read_to_string(&path).unwrap();
    for (name, table) in [("fields", field_table()), ("providers", provider_table()), ("days", day_table())] {
        let (open, close) = (format!("<!-- table: {name} -->\n"), "<!-- end -->");
        let start = document.find(&open).unwrap_or_else(|| panic!("docs/NORMALISATION.md has no place for the table {name}")) + open.len();
        let end = start + document[start..].find(close).unwrap();
        if std::env::var_os("ASSAY_UPDATE_DOCS").is_some() {
            document.replace_range(start..end, &table);
            std::fs::write(&path, &document).unwrap();
        } else {
            assert_eq!(&document[start..end], table, "run the test once with ASSAY_UPDATE_DOCS=1");
        }
    }
}

#[test]
fn every_metric_can_come_from_somewhere() {
    for metric in Metric::ALL {
        assert!(
            day::preference(*metric).iter().any(|(model, _)| fields::TABLE.iter().any(|f| f.metric == *metric && f.model == *model)),
            "{metric:?}"
        );
    }
}

#[test]
fn what_a_provider_cannot_measure_is_kept_and_marked() {
    let told = |provider: &str, kind: &str, element: Value| {
        let body = json!({"type": kind, "user": {"user_id": "u", "provider": provider}, "data": [element]});
        normalise(&event(&body), None).records.remove(0)
    };
    let steps = json!({"metadata": day(), "distance_data": {"steps": 900}});
    let whoop = told("WHOOP", "daily", steps.clone());
    assert_eq!(whoop.values, [(Metric::Steps, 900.0)]);
    assert_eq!(kinds(&whoop.findings), [(FindingKind::Implausible, Some(Metric::Steps))]);
    assert_eq!(told("FITBIT", "daily", steps).findings, []);
    let hrv = json!({"metadata": {"start_time": "2026-06-30T22:00:00Z", "end_time": "2026-07-01T06:00:00Z"}, "heart_rate_data": {"summary": {"avg_hrv_rmssd": 40, "avg_hrv_sdnn": 60}}});
    assert_eq!(kinds(&told("APPLE", "sleep", hrv.clone()).findings), [(FindingKind::Implausible, Some(Metric::HrvRmssd))]);
    assert_eq!(told("OURA", "sleep", hrv).findings, []);
    for provider in providers::PROVIDERS {
        assert_eq!(Source::from_provider(provider.source).as_str(), provider.source);
        let fits = |model: &Model, metric: &Metric| fields::TABLE.iter().any(|f| f.model == *model && f.metric == *metric);
        assert!(provider.recorded.iter().all(|(model, metrics)| metrics.iter().all(|m| fits(model, m))), "{}", provider.source);
    }
}
