//! `deployments`

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{block_on, change::author, output::Output};
use crate::{
    cli::tables::{TableArguments, deadline},
    deployments::Deployments,
    records::Author,
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Replace the deployments table by a CSV file
    ///
    /// The columns are those of deployments.csv of Camtrap DP 1.0.2, with timeZone and clockOffsetSeconds.
    Import {
        /// The CSV file, or - for standard input
        file: PathBuf,
        #[command(flatten)]
        tables: TableArguments,
        /// Who replaces the table [default: the user's name in USER]
        #[arg(long, value_name = "NAME")]
        by: Option<Author>,
    },
    /// Write the deployments table to a CSV file
    Export {
        /// The CSV file, or - for standard output
        #[arg(default_value = "-")]
        file: PathBuf,
        #[command(flatten)]
        tables: TableArguments,
    },
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    block_on(async {
        match &arguments.command {
            Command::Import { file, tables, by } => {
                let by = author(by.as_ref())?;
                let csv = read(file)?;
                let deployments = Deployments::parse(&csv)
                    .with_context(|| format!("{} was not imported", file.display()))?;
                let opened = tables.open().await?;
                opened
                    .ledger
                    .put_deployments(&deployments, &by, deadline())
                    .await?;
                writeln!(
                    io::stdout(),
                    "Deployments: {}. Photos that come from now on follow them.",
                    deployments.rows().len()
                )?;
            }
            Command::Export { file, tables } => {
                let opened = tables.open().await?;
                let deployments = opened.ledger.deployments(deadline()).await?;
                let deployments = deployments.context(
                    "there is no deployments table: make one with `deployments import FILE`",
                )?;
                let mut output = Output::create(file)?;
                output.write_all(deployments.to_csv().as_bytes())?;
                output.finish()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut csv = Vec::new();
        io::stdin().read_to_end(&mut csv)?;
        return Ok(csv);
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
