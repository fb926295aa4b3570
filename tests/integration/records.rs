//! The records in the hands of people: reading, review, deletion, audit, export.

mod audit;
mod change;
mod cost;
mod list;
mod matrix;
mod older;
mod storm;
mod unknown;

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{
    command::{BINARY, json_lines, root},
    promise::{Reference, Version, deliver, upload},
    reviews,
    stack::Stack,
};

/// A command on the tables of `stack`, by a person named Ada.
pub(super) fn command(stack: &Stack, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--data").arg(stack.folder());
    command.current_dir(root()).env("USER", "Ada");
    command
}

/// Runs a command while the stack goes on.
pub(super) async fn run(stack: &Stack, arguments: &[&str]) -> Output {
    let mut command = command(stack, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Runs a command, which must succeed, with `--json`.
async fn json(stack: &Stack, arguments: &[&str]) -> Vec<Value> {
    let output = run(stack, &[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    json_lines(&output)
}

/// Uploads photos of these classes and delivers them. Returns their versions and ids.
pub(super) async fn photos(stack: &Stack, classes: &[&'static str]) -> Vec<(Version, String)> {
    let mut reference = Reference::new();
    let mut photos = Vec::new();
    for (n, class) in classes.iter().enumerate() {
        let key = format!("field-{}/cam/{n}.png", n % 2);
        let version = upload(stack, &mut reference, &key, Some(class)).await;
        deliver(stack, &version).await.unwrap();
        let id = reviews::id(&version);
        photos.push((version, id));
    }
    photos
}

/// Runs a command that reaches the tables through the proxy.
async fn through_proxy(stack: &Stack, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(BINARY);
    command
        .args(arguments)
        .args(["--predictions", "predictions", "--ledger", "ledger"])
        .current_dir(root())
        .env("USER", "Ada")
        .env(
            "AWS_ENDPOINT_URL_DYNAMODB",
            format!("http://{}", stack.dynamodb_proxy().address()),
        )
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local-secret")
        .env("AWS_REGION", "us-east-1");
    command.output().await.unwrap()
}

/// Uploads an object that is no photo, and delivers it. Returns its version.
pub(super) async fn rejected_photo(stack: &Stack) -> Version {
    let key = "a.txt";
    let version = upload(stack, &mut Reference::new(), key, None).await;
    deliver(stack, &version).await.unwrap();
    version
}
