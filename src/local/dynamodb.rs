//! The embedded DynamoDB with the two tables.

use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, ProvideErrorMetadata},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, CreateGlobalSecondaryIndexAction,
        GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType, Projection, ProjectionType,
        ScalarAttributeType,
    },
};
use dynoxide::{Database, server};
use tokio::net::TcpListener;

use super::LocalError;
use crate::{
    config::Tables,
    error::Source,
    ledger::{CLASS_PREDICTION_ID, INDEXES, Index, LEDGER_KEY, PREDICTION_DATE, REJECTIONS},
};

/// The database's file in `folder`.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("tables.sqlite")
}

/// Opens the database in `folder`.
pub(super) fn open(folder: &Path) -> Result<Database, LocalError> {
    let failed = |source| LocalError::Tables {
        folder: folder.into(),
        source,
    };
    let path = file(folder);
    let path = path
        .to_str()
        .ok_or_else(|| failed("the path is not valid UTF-8".into()))?;
    Database::new(path).map_err(|error| failed(error.into()))
}

/// Serves the DynamoDB API until `stop` ends.
pub(super) async fn serve(
    listener: TcpListener,
    database: Database,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    if let Err(error) = server::serve_with_shutdown(listener, database, stop).await {
        tracing::error!(error, "the embedded DynamoDB stopped");
    }
}

/// Creates the missing tables, and adds the indexes that tables of an older version lack.
pub(super) async fn prepare_tables(client: &Client, tables: &Tables) -> Result<(), Source> {
    let predictions = [
        (PREDICTION_DATE, KeyType::Hash),
        (CLASS_PREDICTION_ID, KeyType::Range),
    ];
    let ledger = [(LEDGER_KEY, KeyType::Hash)];
    create_table(client, &tables.predictions, &predictions).await?;
    create_table(client, &tables.ledger, &ledger).await?;
    add_indexes(client, &tables.predictions, &predictions, &INDEXES).await?;
    add_indexes(client, &tables.ledger, &ledger, &[REJECTIONS]).await
}

async fn create_table(client: &Client, name: &str, keys: &[(&str, KeyType)]) -> Result<(), Source> {
    let mut request = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest);
    for (attribute, kind) in keys {
        request = request
            .attribute_definitions(definition(attribute)?)
            .key_schema(element(attribute, kind.clone())?);
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
        Err(error) => Err(error.into()),
    }
}

/// Adds the missing ones of `indexes` to a table with these `keys`. DynamoDB accepts one new index in an update. Existing
/// items are in the index when the update returns.
async fn add_indexes(
    client: &Client,
    table: &str,
    keys: &[(&str, KeyType)],
    indexes: &[Index],
) -> Result<(), Source> {
    for &index in indexes {
        if has_index(client, table, index).await? {
            continue;
        }
        let mut update = client.update_table().table_name(table);
        for (attribute, _) in keys {
            update = update.attribute_definitions(definition(attribute)?);
        }
        update
            .attribute_definitions(definition(index.partition_key)?)
            .attribute_definitions(definition(index.sort_key)?)
            .global_secondary_index_updates(creation(index)?)
            .send()
            .await?;
    }
    Ok(())
}

/// Whether the table has this index. DescribeTable would tell too, but the embedded DynamoDB counts the table's items for
/// it, which takes 0.1 s for 100,000 records.
async fn has_index(client: &Client, table: &str, index: Index) -> Result<bool, Source> {
    let query = client
        .query()
        .table_name(table)
        .index_name(index.name)
        .key_condition_expression("#key = :none")
        .expression_attribute_names("#key", index.partition_key)
        .expression_attribute_values(":none", AttributeValue::S("-".into()))
        .limit(1);
    match query.send().await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("ValidationException") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn creation(index: Index) -> Result<GlobalSecondaryIndexUpdate, BuildError> {
    let all = Projection::builder()
        .projection_type(ProjectionType::All)
        .build();
    let create = CreateGlobalSecondaryIndexAction::builder()
        .index_name(index.name)
        .key_schema(element(index.partition_key, KeyType::Hash)?)
        .key_schema(element(index.sort_key, KeyType::Range)?)
        .projection(all)
        .build()?;
    Ok(GlobalSecondaryIndexUpdate::builder().create(create).build())
}

/// An attribute that is part of a key. All of them are strings.
fn definition(attribute: &str) -> Result<AttributeDefinition, BuildError> {
    AttributeDefinition::builder()
        .attribute_name(attribute)
        .attribute_type(ScalarAttributeType::S)
        .build()
}

fn element(attribute: &str, kind: KeyType) -> Result<KeySchemaElement, BuildError> {
    KeySchemaElement::builder()
        .attribute_name(attribute)
        .key_type(kind)
        .build()
}
