//! `api-key`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{
    Args,
    builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser},
};
use serde_json::json;
use strum::VariantNames;

use crate::{
    http::{NewApiKey, Principal, Role},
    records::Author,
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Who will use it. The name is in the log, and in the history of records
    #[arg(value_parser = name)]
    name: Author,
    /// What its owner may do
    #[arg(long, value_parser = PossibleValuesParser::new(Role::VARIANTS).try_map(|text| text.parse::<Role>()))]
    role: Role,
    /// The only station that it may use
    #[arg(long, value_parser = NonEmptyStringValueParser::new().try_map(station))]
    station: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A name in an entry of API_KEYS.
fn name(text: &str) -> Result<Author, String> {
    let is_separator = |c: char| c == ':' || c == ',' || c.is_whitespace();
    match text.contains(is_separator) {
        true => Err("a name of a key has no colon, comma or space".to_owned()),
        false => text
            .parse()
            .map_err(|error: crate::records::NameError| error.to_string()),
    }
}

fn station(text: String) -> Result<String, String> {
    match text.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
        true => Err("the station of a key has no comma or space".to_owned()),
        false => Ok(text),
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let principal = Principal {
        name: arguments.name,
        role: arguments.role,
        station: arguments.station,
    };
    let NewApiKey { key, entry } = NewApiKey::draw(&principal);
    let mut stdout = io::stdout().lock();
    match arguments.json {
        true => writeln!(stdout, "{}", json!({"key": key, "entry": entry}))?,
        false => writeln!(
            stdout,
            "Key, for its owner; it is not shown again:\n  {key}\n\nEntry of API_KEYS, for the server:\n  {entry}"
        )?,
    }
    Ok(ExitCode::SUCCESS)
}
