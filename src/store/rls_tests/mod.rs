//! Who may do what in the database, tried. The lists come from the catalogue: a new table, view, function or schema
//! without a line in the tables below fails here, and so does a line without an object.
//!
//! Everything is tried as the server's login roles would do it, with SQL of an attacker's choice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot prepare must stop")]

mod expected;
mod psql;
mod world;

use expected::Eyes::{AdminOnly, Closed, Itself, Members, OwnClients};
use expected::{ESCALATIONS, FUNCTIONS, RELATIONS, SECURITY_DEFINER};
use sqlx::Executor;
use std::collections::{BTreeMap, BTreeSet};
use world::{Outcome, World, attempt, both, ending, expected, relations, seen};

#[tokio::test]
async fn the_lists_of_this_file_are_those_of_the_catalogue() {
    let world = World::new().await;
    let there: BTreeSet<String> = relations(&world).await.into_iter().filter(|r| !r.partition).map(|r| r.name).collect();
    let listed: BTreeSet<String> = RELATIONS.iter().map(|(n, _, _)| (*n).to_owned()).collect();
    assert_eq!(there, listed, "tables, views and sequences");

    let functions: Vec<(String, bool, Option<Vec<String>>, bool, bool, bool, bool, bool)> = sqlx::query_as(
        "SELECT p.oid::regprocedure::text, p.prosecdef, p.proconfig, has_function_privilege('anon', p.oid, 'EXECUTE'),
                has_function_privilege('authenticated', p.oid, 'EXECUTE'), has_function_privilege('service_role', p.oid, 'EXECUTE'),
                has_function_privilege('assay_web', p.oid, 'EXECUTE'),
                EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) WHERE grantee = 0)
           FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    let callers: BTreeMap<String, String> = functions
        .iter()
        .map(|(name, _, _, anon, user, service, _, _)| {
            let letters = [(*anon, 'a'), (*user, 'u'), (*service, 's')].into_iter().filter_map(|(may, c)| may.then_some(c)).collect();
            (name.replace(", ", ","), letters)
        })
        .collect();
    let wanted: BTreeMap<String, String> = FUNCTIONS.iter().map(|(n, who)| ((*n).to_owned(), (*who).to_owned())).collect();
    assert_eq!(callers, wanted, "functions and who may call them");
    assert!(functions.iter().all(|f| !f.6 && !f.7), "nobody calls a function as PUBLIC or as the bare login role");

    let definers: Vec<_> = functions.iter().filter(|f| f.1).collect();
    assert_eq!(definers.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), SECURITY_DEFINER.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    assert!(definers.iter().all(|f| f.2.as_deref() == Some(&["search_path=pg_catalog, pg_temp".to_owned()])), "a fixed search_path");

    let schemas: Vec<String> =
        sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1")
            .fetch_all(world.t.db.owner())
            .await
            .unwrap();
    assert_eq!(schemas, ["app", "public"]);
}

#[tokio::test]
async fn every_table_is_under_forced_row_level_security_and_every_view_under_its_readers_rights() {
    let world = World::new().await;
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND NOT (relrowsecurity AND (relforcerowsecurity OR relispartition)) ORDER BY 1",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!(open, ["_sqlx_migrations"], "no right on it is given to anybody");
    let views: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'
            AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!(views, Vec::<String>::new());
    // Policies for everybody ("TO public") do not exist; reading ones are named as the checklist looks for them.
    let policies: Vec<(String, String, Vec<String>)> =
        sqlx::query_as("SELECT policyname::text, cmd, roles::text[] FROM pg_policies WHERE schemaname = 'public'")
            .fetch_all(world.t.db.owner())
            .await
            .unwrap();
    for (name, command, roles) in policies {
        assert!(!roles.contains(&"public".to_owned()), "{name}");
        if roles.contains(&"authenticated".to_owned()) {
            assert!(name.contains("_admin_trainer_") && command == "SELECT", "{name} {command}");
        }
    }
}

#[tokio::test]
async fn the_roles_are_members_of_what_they_need_and_nothing_else() {
    let world = World::new().await;
    let members: BTreeSet<(String, String)> = sqlx::query_as::<_, (String, String)>(
        "SELECT m.member::regrole::text, m.roleid::regrole::text FROM pg_auth_members m
          WHERE m.member::regrole::text IN ('anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker')",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap()
    .into_iter()
    .collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        members,
        BTreeSet::from([pair("assay_web", "anon"), pair("assay_web", "authenticated"), pair("assay_worker", "service_role")])
    );
    let (mighty, owning): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication),
                (SELECT count(*) FROM pg_class c WHERE c.relowner IN (SELECT oid FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker')))
           FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker')",
    )
    .fetch_one(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!((mighty, owning), (0, 0));
}

#[tokio::test]
async fn everybody_reads_what_is_theirs_and_no_more() {
    let world = World::new().await;
    for r in relations(&world).await {
        let mut owner = world.t.db.owner().acquire().await.unwrap();
        let all = seen(&mut owner, &r.name, r.has_person).await.unwrap();
        assert!(r.partition || all.0 > 0, "{}: plant a row, or this proves nothing", r.name);
        let (eyes, service) = if r.partition { (Closed, "") } else { expected(&r.name) };
        let anon_may = r.name == "public.health_snapshots";
        for (persona, may) in [(&world.web, false), (&world.anon, anon_may)] {
            let got = seen(&mut *persona.begin().await, &r.name, r.has_person).await;
            assert_eq!(got.is_some(), may, "{} reads {}", persona.name, r.name);
        }
        for persona in &world.forgers {
            let got = seen(&mut *persona.begin().await, &r.name, r.has_person).await;
            assert_eq!(got.map(|g| g.0), (eyes != Closed).then_some(0), "{} reads {}", persona.name, r.name);
        }
        let got = seen(&mut *world.service.begin().await, &r.name, r.has_person).await;
        assert_eq!(got, service.contains('S').then(|| all.clone()), "service_role reads {}", r.name);
        let got = seen(&mut *world.admin.begin().await, &r.name, r.has_person).await;
        assert_eq!(got, (eyes != Closed).then(|| all.clone()), "administrator reads {}", r.name);
        for (persona, own) in [(&world.trainer_a, Some("person-a")), (&world.trainer_b, Some("person-b")), (&world.trainer_without, None)] {
            let got = seen(&mut *persona.begin().await, &r.name, r.has_person).await;
            let own: BTreeSet<String> = own.map(str::to_owned).into_iter().collect();
            let itself = if r.name == "public.accounts" { 1 } else { i64::try_from(own.len()).unwrap() };
            match eyes {
                Closed => assert_eq!(got, None, "{} reads {}", persona.name, r.name),
                AdminOnly => assert_eq!(got.unwrap().0, 0, "{} reads {}", persona.name, r.name),
                OwnClients => {
                    assert!(r.has_person && all.1 == both(), "{}: plant rows of both persons", r.name);
                    let got = got.unwrap();
                    assert_eq!((got.0, got.1), (i64::try_from(own.len()).unwrap(), own), "{} reads {}", persona.name, r.name);
                }
                Itself => assert_eq!(got.unwrap().0, itself, "{} reads {}", persona.name, r.name),
                Members => assert_eq!(got.unwrap(), all, "{} reads {}", persona.name, r.name),
            }
        }
    }
}

#[tokio::test]
async fn nobody_from_the_web_writes_and_the_service_writes_only_what_it_may() {
    let world = World::new().await;
    let mut web = vec![&world.web, &world.anon, &world.admin, &world.trainer_a];
    web.push(&world.forgers[0]);
    for r in relations(&world).await {
        let (_, service) = if r.partition { (Closed, "") } else { expected(&r.name) };
        let column = r.first_column.clone().unwrap_or_else(|| "last_value".into());
        let statements = [
            ('I', format!("INSERT INTO {} DEFAULT VALUES", r.name)),
            ('U', format!("UPDATE {} SET {column} = DEFAULT", r.name)),
            ('D', format!("DELETE FROM {}", r.name)),
            ('T', format!("TRUNCATE {}", r.name)),
        ];
        let is_table = matches!(r.kind.as_str(), "r" | "p");
        for (letter, sql) in &statements {
            for persona in &web {
                let outcome = attempt(&mut *persona.begin().await, sql).await;
                assert!(
                    if is_table { outcome == Outcome::Denied } else { outcome != Outcome::Done },
                    "{}: {sql}: {outcome:?}",
                    persona.name
                );
            }
            let outcome = attempt(&mut *world.service.begin().await, sql).await;
            if is_table {
                assert_eq!(outcome == Outcome::Denied, !service.contains(*letter), "service_role: {sql}: {outcome:?}");
            } else {
                assert_ne!(outcome, Outcome::Done, "service_role: {sql}");
            }
        }
    }
    // A right that only a policy holds back would be one policy away from a leak.
    let granted: Vec<String> = sqlx::query_scalar(
        "SELECT r || ' on ' || c.oid::regclass || ': ' || p
           FROM unnest(ARRAY['anon', 'authenticated', 'assay_web']) r, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p, pg_class c
          WHERE c.relnamespace::regnamespace::text IN ('public', 'app') AND c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege(r, c.oid, p)",
    )
    .fetch_all(world.t.db.owner())
    .await
    .unwrap();
    assert_eq!(granted, Vec::<String>::new());
    // The weak points of the system this one replaces, by name.
    for sql in [
        "UPDATE public.metric_confidence_cache SET confidence_score = 100",
        "INSERT INTO public.edge_function_logs (level, function_name, message) VALUES ('info', 'forged', '')",
        "DELETE FROM public.rate_limits",
        "INSERT INTO public.background_jobs (type, payload) VALUES ('x', '{}')",
        "UPDATE public.trainer_clients SET user_id = 'person-b'",
        "UPDATE public.accounts SET role = 'admin'",
        "INSERT INTO public.audit_log (actor, action) VALUES ('somebody else', 'forged')",
    ] {
        for persona in &web {
            assert_eq!(attempt(&mut *persona.begin().await, sql).await, Outcome::Denied, "{}: {sql}", persona.name);
        }
    }
    for sql in ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
        assert_eq!(attempt(&mut *world.service.begin().await, sql).await, Outcome::Denied, "{sql}");
    }
}

#[tokio::test]
async fn columns_with_secrets_are_closed_even_where_the_table_is_not() {
    let world = World::new().await;
    for column in ["password_hash", "totp_secret", "totp_last_step"] {
        assert_eq!(attempt(&mut *world.admin.begin().await, &format!("SELECT {column} FROM accounts")).await, Outcome::Denied);
    }
    assert_eq!(attempt(&mut *world.admin.begin().await, "SELECT * FROM accounts").await, Outcome::Denied);
    assert_eq!(attempt(&mut *world.admin.begin().await, "SELECT email, role FROM accounts").await, Outcome::Done);
    assert_eq!(attempt(&mut *world.anon.begin().await, "SELECT checks FROM health_snapshots").await, Outcome::Denied);
    assert_eq!(attempt(&mut *world.anon.begin().await, "SELECT at, status FROM health_snapshots").await, Outcome::Done);
    // The planner's statistics do not tell what the rows would.
    world.t.db.owner().execute("ANALYZE unified_metrics").await.unwrap();
    let known: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stats WHERE schemaname = 'public'")
        .fetch_one(&mut *world.trainer_a.begin().await)
        .await
        .unwrap();
    assert_eq!(known, 0);
}

#[tokio::test]
async fn nobody_becomes_more_than_they_are() {
    let world = World::new().await;
    let mut worker = world.t.db.service().acquire().await.unwrap();
    let end_worker = ending(&mut worker).await;
    for persona in [&world.anon, &world.web, &world.forgers[0], &world.trainer_a, &world.admin] {
        for sql in ESCALATIONS {
            let mut tx = persona.begin().await;
            assert_ne!(attempt(&mut tx, sql).await, Outcome::Done, "{}: {sql}", persona.name);
        }
        assert_eq!(attempt(&mut *persona.begin().await, &end_worker).await, Outcome::Denied, "{}: {end_worker}", persona.name);
        // Switching row-level security off makes a query fail, not see.
        let mut tx = persona.begin().await;
        tx.execute("SET LOCAL row_security = off").await.unwrap();
        assert_eq!(attempt(&mut tx, "SELECT count(*) FROM public.unified_metrics").await, Outcome::Denied, "{}", persona.name);
    }
    worker.execute("SELECT 1").await.expect("the worker's connection lives");
    drop(worker);
    for sql in [
        "SET ROLE authenticated",
        "SET ROLE assay_web",
        "ALTER TABLE unified_metrics DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE public.mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)",
        "REFRESH MATERIALIZED VIEW latest_unified_metrics",
        "GRANT service_role TO assay_web",
    ] {
        assert_ne!(attempt(&mut *world.service.begin().await, sql).await, Outcome::Done, "service_role: {sql}");
    }
    // A trainer cannot hand the proof of a role over by leaving the role: outside it the login role has nothing.
    let mut tx = world.trainer_a.begin().await;
    tx.execute("RESET ROLE").await.unwrap();
    assert_eq!(attempt(&mut tx, "SELECT count(*) FROM public.unified_metrics").await, Outcome::Denied);
}

#[tokio::test]
async fn what_is_made_later_is_closed_until_somebody_opens_it() {
    let world = World::new().await;
    world
        .t
        .db
        .owner()
        .execute(
            "CREATE TABLE later (a int); CREATE VIEW later_view AS SELECT * FROM later; CREATE FUNCTION later_function() RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE SEQUENCE later_sequence; SELECT app.make_raw_partition('2031-05-01'), app.make_job_history_partition('2031-05-01')",
        )
        .await
        .unwrap();
    for persona in [&world.web, &world.anon, &world.trainer_a, &world.admin, &world.service] {
        for sql in [
            "SELECT * FROM public.later",
            "SELECT * FROM public.later_view",
            "SELECT public.later_function()",
            "SELECT nextval('public.later_sequence')",
            "SELECT * FROM public.terra_webhooks_raw_203105",
            "SELECT * FROM public.job_history_20310501",
            "DELETE FROM public.terra_webhooks_raw_203105",
        ] {
            assert_eq!(attempt(&mut *persona.begin().await, sql).await, Outcome::Denied, "{}: {sql}", persona.name);
        }
    }
    assert!(relations(&world).await.iter().any(|r| r.name == "public.later" && !RELATIONS.iter().any(|(n, _, _)| *n == r.name)));
}

#[tokio::test]
async fn the_proof_is_read_at_once_when_rights_change() {
    let world = World::new().await;
    let mut tx = world.trainer_a.begin().await;
    assert_eq!(seen(&mut tx, "unified_metrics", true).await.unwrap().0, 1);
    tx.rollback().await.unwrap();
    world.t.db.service().execute("DELETE FROM trainer_clients WHERE user_id = 'person-a'").await.unwrap();
    assert_eq!(seen(&mut *world.trainer_a.begin().await, "unified_metrics", true).await.unwrap().0, 0);
    world.t.db.service().execute("UPDATE accounts SET role = 'trainer' WHERE email = 'admin@example.com'").await.unwrap();
    assert_eq!(seen(&mut *world.admin.begin().await, "unified_metrics", true).await.unwrap().0, 0);
    world.t.db.service().execute("DELETE FROM login_sessions").await.unwrap();
    assert_eq!(seen(&mut *world.trainer_b.begin().await, "unified_metrics", true).await.unwrap().0, 0);
}
