//! The evidence's order of sources, where SQL can join it.

use sqlx::PgPool;

/// Replaces the table's contents when they differ: (metric, source, rank from 1).
pub async fn put(pool: &PgPool, metrics: &[String], sources: &[String], ranks: &[i32]) -> sqlx::Result<()> {
    sqlx::query(
        "WITH wanted AS (SELECT * FROM unnest($1::text[], $2::text[], $3::int[]) AS t (metric_name, source, rank)),
              gone AS (DELETE FROM source_ranks r WHERE NOT EXISTS (SELECT 1 FROM wanted w WHERE w.metric_name = r.metric_name AND w.source = r.source))
         INSERT INTO source_ranks AS r SELECT * FROM wanted
         ON CONFLICT (metric_name, source) DO UPDATE SET rank = EXCLUDED.rank WHERE r.rank <> EXCLUDED.rank",
    )
    .bind(metrics)
    .bind(sources)
    .bind(ranks)
    .execute(pool)
    .await?;
    Ok(())
}
