//! Runs the Lambda function if Lambda started the process, otherwise the command line.

#![forbid(unsafe_code)]

use std::{env, process::ExitCode};

use moth_classifier::{cli, handler};

fn main() -> ExitCode {
    match env::var_os("AWS_LAMBDA_RUNTIME_API") {
        Some(_) => handler::serve(),
        None => cli::run(),
    }
}
