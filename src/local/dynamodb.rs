//! The embedded DynamoDB, with the two tables.

use std::path::Path;

use aws_sdk_dynamodb::{
    Client,
    error::DisplayErrorContext,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use dynoxide::{Database, server};
use tokio::net::TcpListener;

use super::LocalError;
use crate::{
    config::Config,
    ledger::{CLASS_PREDICTION_ID, LEDGER_KEY, PREDICTION_DATE},
};

/// Opens the tables kept in `folder`.
pub(super) fn open(folder: &Path) -> Result<Database, LocalError> {
    let failed = |reason: String| LocalError::Tables {
        folder: folder.into(),
        reason,
    };
    let path = folder.join("tables.sqlite");
    let path = path
        .to_str()
        .ok_or_else(|| failed("the path is not valid UTF-8".into()))?;
    Database::new(path).map_err(|error| failed(error.to_string()))
}

/// Serves until `stop` ends.
pub(super) async fn serve(
    listener: TcpListener,
    database: Database,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    if let Err(error) = server::serve_with_shutdown(listener, database, stop).await {
        tracing::error!(error, "the embedded DynamoDB stopped");
    }
}

/// Makes the tables that `config` names, where they are missing.
pub(super) async fn create_tables(client: &Client, config: &Config) -> Result<(), String> {
    let predictions = [
        (PREDICTION_DATE, KeyType::Hash),
        (CLASS_PREDICTION_ID, KeyType::Range),
    ];
    create_table(client, &config.predictions_table, &predictions).await?;
    create_table(client, &config.ledger_table, &[(LEDGER_KEY, KeyType::Hash)]).await
}

async fn create_table(client: &Client, name: &str, keys: &[(&str, KeyType)]) -> Result<(), String> {
    let mut request = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest);
    for (attribute, kind) in keys {
        let definition = AttributeDefinition::builder()
            .attribute_name(*attribute)
            .attribute_type(ScalarAttributeType::S)
            .build();
        let element = KeySchemaElement::builder()
            .attribute_name(*attribute)
            .key_type(kind.clone())
            .build();
        request = request
            .attribute_definitions(definition.map_err(|error| error.to_string())?)
            .key_schema(element.map_err(|error| error.to_string())?);
    }
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_in_use_exception()) =>
        {
            Ok(())
        }
        Err(error) => Err(DisplayErrorContext(error).to_string()),
    }
}
