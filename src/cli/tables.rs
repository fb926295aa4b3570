//! Which tables a command works on: those of a stack, of a data folder, or by name.

use std::time::Duration;

use anyhow::Context;
use chrono::{NaiveDate, Utc};
use clap::Args;

use aws_sdk_dynamodb::config::ProvideCredentials;

use crate::{
    aws::{self, Deadline},
    capture::Rules,
    config::{RecordConfig, Tables},
    ledger::Ledger,
};

/// Time limit of one call of the library. A page of records or a change takes milliseconds.
const CALL: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(super) struct TableArguments {
    /// The tables of this stack [default: moth-classifier]
    #[cfg(feature = "stack")]
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["predictions", "ledger"],
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    stack: Option<String>,
    /// The tables of a folder of `local --data`, which may be running
    #[cfg(feature = "local")]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["predictions", "ledger"])]
    #[cfg_attr(feature = "stack", arg(conflicts_with = "stack"))]
    data: Option<std::path::PathBuf>,
    /// Name of the predictions table
    #[arg(long, value_name = "TABLE", requires = "ledger")]
    predictions: Option<String>,
    /// Name of the ledger table
    #[arg(long, value_name = "TABLE", requires = "predictions")]
    ledger: Option<String>,
}

/// The tables, open.
pub(super) struct Opened {
    pub(super) ledger: Ledger,
    /// How the function that writes them reads clocks.
    pub(super) rules: Rules,
    #[cfg(feature = "local")]
    _folder: Option<crate::local::FolderTables>,
}

impl Opened {
    /// The date in TIME_ZONE.
    pub(super) fn today(&self) -> NaiveDate {
        Utc::now().with_timezone(&self.rules.time_zone).date_naive()
    }
}

/// A deadline for one call of the library.
pub(super) fn deadline() -> Deadline {
    Deadline::after(CALL)
}

impl TableArguments {
    /// Opens the tables. Region and credentials of AWS come from the environment.
    pub(super) async fn open(&self) -> anyhow::Result<Opened> {
        #[cfg(feature = "local")]
        if let Some(folder) = &self.data {
            let folder = crate::local::FolderTables::open(folder).await?;
            return Ok(Opened {
                ledger: ledger(folder.client.clone(), crate::local::tables()),
                rules: rules(None)?,
                _folder: Some(folder),
            });
        }
        let sdk = aws::sdk_config().await;
        if let Some(credentials) = sdk.credentials_provider() {
            credentials
                .provide_credentials()
                .await
                .context("found no AWS credentials: run `aws configure`, or name a folder of `local --data` with --data")?;
        }
        let client = aws_sdk_dynamodb::Client::new(&sdk);
        if let (Some(predictions), Some(ledger)) = (&self.predictions, &self.ledger) {
            let tables = Tables {
                predictions: predictions.clone(),
                ledger: ledger.clone(),
            };
            return Ok(opened(client, tables, rules(None)?));
        }
        self.of_stack(&sdk, client).await
    }

    #[cfg(feature = "stack")]
    async fn of_stack(
        &self,
        sdk: &aws_config::SdkConfig,
        client: aws_sdk_dynamodb::Client,
    ) -> anyhow::Result<Opened> {
        use crate::aws::stack::StackTables;

        let name = self.stack.as_deref().unwrap_or("moth-classifier");
        let found = StackTables::find(name, sdk).await;
        let stack =
            found.context("no folder is named with --data, so the tables of a stack are wanted")?;
        let rules = rules(Some([
            ("TIME_ZONE", &stack.time_zone),
            ("NIGHT_STARTS", &stack.night_starts),
        ]))?;
        Ok(opened(client, stack.tables, rules))
    }

    #[cfg(not(feature = "stack"))]
    async fn of_stack(
        &self,
        _sdk: &aws_config::SdkConfig,
        _client: aws_sdk_dynamodb::Client,
    ) -> anyhow::Result<Opened> {
        anyhow::bail!("name the tables with --predictions and --ledger")
    }
}

fn opened(client: aws_sdk_dynamodb::Client, tables: Tables, rules: Rules) -> Opened {
    Opened {
        ledger: ledger(client, tables),
        rules,
        #[cfg(feature = "local")]
        _folder: None,
    }
}

fn ledger(client: aws_sdk_dynamodb::Client, tables: Tables) -> Ledger {
    Ledger::new(client, tables.predictions, tables.ledger)
}

/// The rules of the environment, or of these variables.
fn rules(given: Option<[(&str, &String); 2]>) -> anyhow::Result<Rules> {
    let config = RecordConfig::read(|name| match &given {
        Some(given) => {
            let value = given.iter().find(|(variable, _)| *variable == name);
            value.map(|(_, value)| value.as_str().into())
        }
        None => std::env::var_os(name),
    });
    Ok(config?.capture)
}
