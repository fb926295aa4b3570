//! Data that is older than the tests, or was written by an older version of this program.
//!
//! These tests edit the database of a stopped S3: neither its protocol nor its public API can set its clock, and
//! nothing else writes the tables of an older version.

use tempfile::TempDir;

use super::upload::{complete, versions, with_upload};
use crate::support::s3::{Server, failure};

#[tokio::test]
async fn a_completion_is_forgotten_after_a_week() {
    let folder = TempDir::new().unwrap();
    let (server, upload, part) = with_upload(&folder).await;
    let parts = [part];
    let first = complete(&server.client, &upload, &parts).send().await;
    first.unwrap();
    server.stop().await;

    let server = Server::start(aged(&folder, 6)).await;
    let again = complete(&server.client, &upload, &parts).send().await;
    again.unwrap();
    server.stop().await;

    let server = Server::start(aged(&folder, 2)).await;
    let again = complete(&server.client, &upload, &parts).send().await;
    assert_eq!(failure(again), (404, "NoSuchUpload".to_owned()));
    assert_eq!(versions(&server).await, 1);
}

/// Moves the completions in the folder into the past.
fn aged(folder: &TempDir, days: i64) -> &TempDir {
    let database = folder.path().join("objects.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    let age = "UPDATE completed_upload SET completed = completed - ?1 * 86400";
    assert_eq!(database.execute(age, [days]).unwrap(), 1);
    folder
}

#[tokio::test]
async fn a_folder_of_an_older_version_opens() {
    let folder = TempDir::new().unwrap();
    let (server, upload, part) = with_upload(&folder).await;
    server.stop().await;
    let database = folder.path().join("objects.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    database.execute("DROP TABLE completed_upload", []).unwrap();
    drop(database);

    let server = Server::start(&folder).await;
    for _ in 0..2 {
        let completed = complete(&server.client, &upload, std::slice::from_ref(&part));
        completed.send().await.unwrap();
    }
    assert_eq!(versions(&server).await, 1);
}
