//! What an open page hears over `/live`: an administrator of everybody, a trainer of their own persons only.

use crate::process::{ADMIN, Assay, Database, PASSWORD, daily, send};
use crate::visitors::{client, log_in, trainer};
use std::time::Duration;

/// The stream of an open page.
async fn listen(assay: &Assay, cookie: &str) -> reqwest::Response {
    let page = client().get(format!("{}/live", assay.address)).header("cookie", cookie).send().await.unwrap();
    assert_eq!(page.status(), 200);
    page
}

/// Reads until scores are announced; all that was said on the way.
async fn heard(page: &mut reqwest::Response) -> String {
    let read = async {
        let mut text = String::new();
        while !(text.contains("event: scores\n") && text.ends_with("\n\n")) {
            let bytes = page.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        text
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("scores are announced")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainers_page_is_silent_about_others_persons_and_speaks_of_their_own() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let mine = trainer(&assay, &database, "hearing@example.com").await;
    let mut conn = database.connect().await;
    sqlx::raw_sql(
        "INSERT INTO persons (user_id) VALUES ('own-person');
         INSERT INTO trainer_clients (trainer_id, user_id) SELECT id, 'own-person' FROM accounts WHERE email = 'hearing@example.com'",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let (mut trainers, mut administrators) = (listen(&assay, &mine).await, listen(&assay, &log_in(&assay, ADMIN, PASSWORD).await).await);
    let client = reqwest::Client::new();
    let deliver = async |user: &str| {
        let answer = send(&client, &assay.address, user, &daily(user, "2026-11-20", 9000)).await.unwrap();
        assert_eq!(answer.status(), 200);
    };

    deliver("somebody-elses-person").await;
    // Both pages are told by the same process in the same order: what the administrator heard, the trainer was told or not.
    let told = heard(&mut administrators).await;
    assert!(told.contains("event: deliveries\ndata: {\"n\":1}\n\n"), "{told}");
    let silence = tokio::time::timeout(Duration::from_millis(300), trainers.chunk()).await;
    assert!(silence.is_err(), "the trainer heard {silence:?}");

    deliver("own-person").await;
    let told = heard(&mut trainers).await;
    assert_eq!(told, "event: deliveries\ndata: {\"n\":1}\n\nevent: scores\ndata: {\"n\":1}\n\n");
}
