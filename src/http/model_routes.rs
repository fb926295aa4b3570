//! `/v1/models`: which models there are, and their reload.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    models::NamedModel,
    problem::{Kind, Problem},
};
use crate::{error::chain, model::decimal};

/// The models of the server.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelList {
    /// Name of the model that serves requests without `model`.
    default: String,
    /// All models, by name.
    models: Vec<ModelInfo>,
}

/// A model.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModelInfo {
    /// Name of its folder.
    #[schema(example = "model")]
    name: String,
    /// First 12 digits of the SHA-256 of its ONNX file.
    #[schema(example = "d53b8b1f68a1")]
    version: String,
    /// Its classes.
    labels: Vec<String>,
    /// Scientific names of the classes.
    taxa: BTreeMap<String, String>,
    /// Below this probability a photo is UNKNOWN, for classes without a threshold of their own. 0: never.
    #[schema(minimum = 0, maximum = 1)]
    threshold: f64,
    /// Thresholds of single classes.
    thresholds: BTreeMap<String, f64>,
    /// The size to which photos are resized, in pixels.
    input: InputSize,
    /// The code that runs it.
    #[schema(example = "engine, compiled, avx2")]
    backend: String,
}

/// Size of a model's input, in pixels.
#[derive(Serialize, ToSchema)]
struct InputSize {
    width: u32,
    height: u32,
}

/// The models that were loaded.
#[derive(Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// Their names.
    models: Vec<String>,
}

impl ModelInfo {
    fn of(named: &NamedModel) -> Self {
        let manifest = named.manifest();
        let thresholds = named.classifier.thresholds();
        let by_label = thresholds.by_label.iter();
        let taxa = manifest.taxa.iter();
        Self {
            name: named.name.clone(),
            version: manifest.model_version().to_owned(),
            labels: manifest.labels.iter().map(ToString::to_string).collect(),
            taxa: taxa
                .map(|(label, taxon)| (label.to_string(), taxon.clone()))
                .collect(),
            threshold: decimal(thresholds.all),
            thresholds: by_label
                .map(|(label, threshold)| (label.to_string(), decimal(*threshold)))
                .collect(),
            input: InputSize {
                width: manifest.input.width,
                height: manifest.input.height,
            },
            backend: named.classifier.model().backend().to_string(),
        }
    }
}

/// List the models
#[utoipa::path(get, path = "/v1/models", tag = "Models", operation_id = "listModels",
    responses((status = 200, description = "The models", body = ModelList)))]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<ModelList>, Problem> {
    let serving = api.models.loaded()?;
    Ok(Json(ModelList {
        default: serving.default_name().to_owned(),
        models: serving.all().map(|named| ModelInfo::of(named)).collect(),
    }))
}

/// Load the models again
///
/// Loads and tests all models, and only then replaces those that serve. A model that cannot be used changes nothing.
#[utoipa::path(post, path = "/v1/models/reload", tag = "Models", operation_id = "reloadModels",
    responses((status = 200, description = "The models that serve now", body = Reloaded)))]
pub(super) async fn reload(State(api): State<Arc<Api>>) -> Result<Json<Reloaded>, Problem> {
    match api.models.reload().await {
        Ok(models) => Ok(Json(Reloaded { models })),
        Err(error) => {
            tracing::error!(reason = chain(&error), "the models were not loaded");
            Err(Problem::new(
                Kind::BadModel,
                format!("{}. The models that serve stay as they are", chain(&error)),
            ))
        }
    }
}
