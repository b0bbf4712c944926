//! What answers carry.
use super::*;

#[tokio::test]
async fn no_number_leaves_without_its_quality() {
    let world = World::new().await;
    let history = world.ok("/api/v1/clients/anna/history?limit=1000").await;
    let rows = history["data"].as_array().unwrap();
    assert_eq!((rows.len(), history["next"].is_null()), (40 * 4 - 1, true));
    for row in rows {
        let quality = &row["quality"];
        let vendor = row["metric"] == "sleep_score";
        assert_eq!(quality["score"].is_null(), vendor, "{row}");
        assert_eq!(quality["badge"] == "unknown", vendor, "{row}");
        assert_eq!(quality["unknown_because"].is_string(), vendor, "{row}");
        assert_eq!(quality["currency"].is_number(), !vendor, "{row}");
        if !vendor {
            let (low, score, high) = (
                quality["interval"]["low"].as_i64().unwrap(),
                quality["score"].as_i64().unwrap(),
                quality["interval"]["high"].as_i64().unwrap(),
            );
            assert!(low <= score && score <= high, "{row}");
        }
        assert_eq!((row["device"].as_str(), row["upload"].as_str()), (Some("Garmin Venu"), Some("automatic")));
    }
}

/// Every way to a score counts itself; tests beside this one can only add to the counts.
#[tokio::test]
async fn what_the_cache_answered_and_what_it_could_not_are_counted_on_every_path() {
    let world = World::new().await;
    let reads = crate::store::clients::cache_reads;
    let history = "/api/v1/clients/anna/history?metric=steps&source=garmin";
    let paths = [
        (history, 40),
        ("/api/v1/clients/anna/scores?metric=steps&source=garmin", 40),
        ("/api/v1/clients/anna/latest?metric=steps", 2),
        ("/api/v1/clients/anna/scores/steps/garmin/2026-07-10", 1),
    ];
    for (path, values) in paths {
        let before = reads().0;
        world.ok(path).await;
        assert!(reads().0 >= before + values, "{path}");
    }
    world.sql("DELETE FROM metric_confidence_cache WHERE metric_name = 'steps'").await;
    for (path, values) in [paths[0], paths[2]] {
        let before = reads().1;
        world.ok(path).await;
        assert!(reads().1 >= before + values, "{path}");
    }
    let before = reads().1;
    let answer = world.ask(&world.mine, paths[3].0, &[]).await;
    assert!(answer.status == 404 && answer.body.contains("has no score") && reads().1 > before, "{}", answer.body);
    let nothing = world.ask(&world.mine, "/api/v1/clients/anna/scores/steps/garmin/2020-01-01", &[]).await;
    assert!(nothing.status == 404 && nothing.body.contains("no score of this"), "{}", nothing.body);
}

#[tokio::test]
async fn the_newest_values_are_those_of_the_view_and_say_why_their_source() {
    let world = World::new().await;
    world.sql("REFRESH MATERIALIZED VIEW latest_unified_metrics").await;
    let latest = world.ok("/api/v1/clients/anna/latest").await;
    let got: Vec<(String, String, String, f64)> = latest["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| {
            let word = |name: &str| l["taken"][name].as_str().unwrap().to_owned();
            (word("metric"), word("source"), word("date"), l["taken"]["value"].as_f64().unwrap())
        })
        .collect();
    let view: Vec<(String, String, String, f64)> = sqlx::query_as(
        "SELECT metric_name, source, measurement_date::text, value FROM latest_unified_metrics WHERE user_id = 'anna' ORDER BY metric_name",
    )
    .fetch_all(world.t.db.service())
    .await
    .unwrap();
    assert_eq!(got, view);
    let steps = async || {
        let found = world.ok("/api/v1/clients/anna/latest?metric=steps").await;
        let one = found["data"].as_array().unwrap().first().unwrap().clone();
        assert_eq!(found["data"].as_array().unwrap().len(), 1);
        (one["taken"]["source"].as_str().unwrap().to_owned(), one["because"].as_str().unwrap().to_owned(), one["others"].clone())
    };
    let (source, because, others) = steps().await;
    assert_eq!((source.as_str(), because.as_str()), ("garmin", "evidence"));
    assert_eq!((others[0]["source"].as_str(), others[0]["quality"]["score"].is_number()), (Some("apple"), true), "suppressed, not hidden");
    world.sql("INSERT INTO source_choices (user_id, metric_name, source) VALUES ('anna', 'steps', 'apple')").await;
    assert_eq!(steps().await.0, "apple");
    assert_eq!(steps().await.1, "chosen");
    world.sql("DELETE FROM unified_metrics WHERE source = 'apple' AND measurement_date > '2026-07-05'").await;
    assert_eq!((steps().await.0.as_str(), steps().await.1.as_str()), ("garmin", "newest_day"));
    world.sql("DELETE FROM unified_metrics WHERE source = 'apple'").await;
    assert_eq!(steps().await.1, "only_source");
}

#[tokio::test]
async fn factors_add_up_to_the_score_and_one_score_is_explained() {
    let world = World::new().await;
    let scores = world.ok("/api/v1/clients/anna/scores?metric=steps&source=garmin&from=2026-07-10&to=2026-07-10").await;
    let score = &scores["data"][0];
    let sum = |list: &Value| list.as_array().unwrap().iter().map(|f| f["points"].as_i64().unwrap()).sum::<i64>();
    assert_eq!(scores["data"].as_array().unwrap().len(), 1);
    assert_eq!(Some(sum(&score["factors"])), score["score"].as_i64());
    let explained = world.ok("/api/v1/clients/anna/scores/steps/garmin/2026-07-10").await;
    assert_eq!(&explained["score"], score);
    assert_eq!(explained["current"], true, "explained with the same eyes as it was scored");
    assert_eq!(Some(sum(&explained["bars"])), score["score"].as_i64());
    assert!(!explained["advice"].as_array().unwrap().is_empty());
    assert!(explained["bars"].as_array().unwrap().iter().all(|b| !b["rule"].as_str().unwrap().is_empty()));
    for path in ["sleep_score/garmin/2026-07-10", "steps/oura/2026-07-10", "steps/garmin/2020-01-01"] {
        assert_eq!(world.ask(&world.mine, &format!("/api/v1/clients/anna/scores/{path}"), &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_unchanged_answer_is_not_sent_again_and_a_changed_one_is() {
    let world = World::new().await;
    for path in ["clients", "clients/anna", "clients/anna/latest", "clients/anna/history", "clients/anna/scores", "metrics"] {
        let path = format!("/api/v1/{path}");
        let first = world.ask(&world.mine, &path, &[]).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{path}: {tag}");
        assert_eq!((first.header("cache-control"), first.header("vary")), ("private, no-cache", "accept, authorization"));
        let again = world.ask(&world.mine, &path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", tag.as_str()), "{path}");
        assert!(again.header("ratelimit").starts_with("\"api\";r="));
        assert_eq!(world.ask(&world.mine, &path, &[("if-none-match", &tag), ("accept", "text/csv")]).await.status, 200, "{path}");
    }
    let tag = world.ask(&world.mine, "/api/v1/clients/anna/latest", &[]).await.header("etag").to_owned();
    world.sql("UPDATE metric_confidence_cache SET confidence_score = 1 WHERE metric_name = 'steps'").await;
    assert_eq!(world.ask(&world.mine, "/api/v1/clients/anna/latest", &[("if-none-match", &tag)]).await.status, 200, "a score changed");
}

#[tokio::test]
async fn csv_has_a_field_for_every_column_and_runs_in_no_spreadsheet() {
    let world = World::new().await;
    for path in [
        "clients",
        "clients/anna",
        "clients/anna/latest",
        "clients/anna/history",
        "clients/anna/scores",
        "metrics",
        "clients/anna/scores/steps/garmin/2026-07-10",
    ] {
        let answer = world.ask(&world.mine, &format!("/api/v1/{path}"), &[("accept", "text/csv")]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/csv; charset=utf-8; header=present"), "{path}");
        let lines: Vec<&str> = answer.body.split_terminator("\r\n").collect();
        assert!(lines.len() > 1, "{path}");
        // Commas inside quotes do not part fields.
        let fields = |line: &str| line.split('"').step_by(2).map(|part| part.matches(',').count()).sum::<usize>();
        assert!(lines.iter().all(|l| fields(l) == fields(lines[0])), "{path}: {}", answer.body);
        assert!(!answer.body.contains("\"=") && !answer.body.contains(",="), "{path}");
    }
    let clients = world.ask(&world.mine, "/api/v1/clients?format=csv", &[("accept", "application/json")]).await.body;
    assert!(clients.contains("\"'=cmd()\""), "{clients}");
}

#[tokio::test]
async fn a_trainers_reading_is_recorded_once_an_hour_and_before_anything_is_shown() {
    let world = World::new().await;
    for path in ["clients/anna/latest", "clients/anna/history", "clients/anna"] {
        world.ok(&format!("/api/v1/{path}")).await;
    }
    assert_eq!(world.ask(&world.admin, "/api/v1/clients/anna", &[]).await.status, 200);
    let entries: Vec<(String, String)> =
        sqlx::query_as("SELECT actor, subject FROM audit_log WHERE action = 'person.read'").fetch_all(world.t.db.service()).await.unwrap();
    assert_eq!(entries, [("mine@example.test (key test)".to_owned(), "anna".to_owned())]);
}
