//! Pages: whole, without repetition, whatever happens between them.
use super::*;
use std::collections::BTreeSet;

/// Every row of a list, page by page; `between` runs after each page.
async fn walk(world: &World, path: &str, limit: usize, between: impl AsyncFn(usize)) -> Vec<String> {
    let (mut rows, mut address, mut pages) = (Vec::new(), format!("{path}limit={limit}"), 0);
    loop {
        let answer = world.ask(&world.mine, &address, &[]).await;
        assert_eq!(answer.status, 200, "{address}: {}", answer.body);
        let json = answer.json();
        let page = json["data"].as_array().unwrap();
        assert!(page.len() <= limit);
        rows.extend(page.iter().map(|r| format!("{} {} {} {}", r["user_id"], r["date"], r["metric"], r["source"])));
        between(pages).await;
        pages += 1;
        assert!(pages < 500);
        let Some(cursor) = json["next"].as_str() else {
            assert_eq!(answer.header("link"), "");
            return rows;
        };
        // The header's address leads to the same page.
        let link = answer.header("link").to_owned();
        assert!(link.ends_with(&format!("cursor={cursor}>; rel=\"next\"")), "{link}");
        address = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
}

#[tokio::test]
async fn pages_of_any_size_give_every_row_once_in_one_order() {
    let world = World::new().await;
    for path in
        ["/api/v1/clients/anna/history?", "/api/v1/clients/anna/scores?", "/api/v1/clients/anna/history?metric=steps&from=2026-06-10&"]
    {
        let whole = walk(&world, path, 1000, async |_| {}).await;
        assert!(whole.len() > 20);
        for size in [1, 7, whole.len() - 1, whole.len()] {
            assert_eq!(walk(&world, path, size, async |_| {}).await, whole, "{path} by {size}");
        }
        assert!(whole.is_sorted_by_key(|row| row.split(' ').nth(1).unwrap().to_owned()), "{path}");
    }
    assert_eq!(walk(&world, "/api/v1/clients?", 1, async |_| {}).await.len(), 2);
}

#[tokio::test]
async fn rows_that_come_and_go_between_pages_neither_repeat_nor_hide_others() {
    let world = World::new().await;
    let before = walk(&world, "/api/v1/clients/anna/history?", 1000, async |_| {}).await;
    let during = walk(&world, "/api/v1/clients/anna/history?", 10, async |page| match page {
        2 => {
            world
                .sql(
                    "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
                     SELECT user_id, metric_name, source, measurement_date - 40, value, unit, 1, 't', received_at, delivery_id, provenance
                       FROM unified_metrics WHERE user_id = 'anna'",
                )
                .await;
        }
        4 => world.sql("DELETE FROM unified_metrics WHERE user_id = 'anna' AND measurement_date < '2026-05-20'").await,
        _ => {}
    })
    .await;
    assert_eq!(during, before);
    assert_eq!(during.iter().collect::<BTreeSet<_>>().len(), during.len());
}

#[tokio::test]
async fn a_cursor_of_another_question_is_refused() {
    let world = World::new().await;
    let next = world.ok("/api/v1/clients/anna/history?limit=5").await["next"].as_str().unwrap().to_owned();
    assert_eq!(world.ask(&world.mine, &format!("/api/v1/clients/anna/history?limit=9&cursor={next}"), &[]).await.status, 200);
    for path in ["clients?", "clients/anna/scores?", "clients/bert%2Fb/history?", "clients/anna/history?metric=steps&"] {
        let answer = world.ask(&world.mine, &format!("/api/v1/{path}cursor={next}"), &[]).await;
        assert_eq!((answer.status, answer.json()["errors"][0]["field"].as_str()), (422, Some("cursor")), "{path}");
    }
}
