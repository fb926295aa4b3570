//! The models of a server: loaded from folders, tested, and replaced as a whole.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    cache::ResultCache,
    problem::{Kind, Problem},
};
use crate::{
    classifier::{Classifier, SelfTestError},
    config::ComputeConfig,
    cpus::Cpus,
    model::{MANIFEST, Manifest, ModelError},
};

/// Where the models are.
#[derive(Debug, Clone)]
pub struct ModelFolders {
    /// The default model; the first of `more` if it is absent.
    pub default: Option<PathBuf>,
    /// A folder whose folders are models, each with the name of its folder.
    pub more: Option<PathBuf>,
}

/// A model with its name.
pub(super) struct NamedModel {
    /// Name of its folder.
    pub(super) name: String,
    pub(super) classifier: Arc<Classifier>,
    /// Its last results.
    pub(super) results: ResultCache,
}

impl NamedModel {
    fn new(folder: &Path, classifier: Arc<Classifier>) -> Self {
        Self {
            name: name_of(folder),
            classifier,
            results: ResultCache::new(),
        }
    }

    /// Its manifest.
    pub(super) fn manifest(&self) -> &Manifest {
        self.classifier.model().manifest()
    }
}

/// The models that serve now.
pub(super) struct Serving {
    default: Arc<NamedModel>,
    by_name: BTreeMap<String, Arc<NamedModel>>,
}

/// The models of a server, and how to load them again.
pub struct Models {
    serving: RwLock<Option<Arc<Serving>>>,
    /// Held during a load, so that loads run one after the other.
    loading: tokio::sync::Mutex<()>,
    source: Option<Source>,
}

/// What loading needs.
#[derive(Clone)]
struct Source {
    folders: ModelFolders,
    compute: ComputeConfig,
    /// Shared, so that all models together use no more than the CPUs.
    cpus: Arc<Cpus>,
}

/// Why the models were not loaded. Those that serve go on.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The folder of models cannot be read.
    #[error("cannot read the models in {}", folder.display())]
    Folder {
        /// Its path.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No folder is a model.
    #[error("no folder in {} has a {MANIFEST}: name the parent of folders that model/export.py wrote", .0.display())]
    NoModel(PathBuf),
    /// Two folders have the same name.
    #[error("two models have the name {0}: rename a folder")]
    SameName(String),
    /// A model cannot be loaded.
    #[error("cannot load the model {name}: export it again with model/export.py")]
    Load {
        /// Name of the model.
        name: String,
        /// Why.
        source: ModelError,
    },
    /// A model cannot be tested.
    #[error("cannot run the self-test of the model {name}: export it again with model/export.py")]
    SelfTest {
        /// Name of the model.
        name: String,
        /// Why.
        source: SelfTestError,
    },
    /// The probabilities of a model differ from those in its manifest.
    #[error(
        "the self-test of the model {name} failed, with a probability {difference:.3} off: export it again with model/export.py"
    )]
    SelfTestFailed {
        /// Name of the model.
        name: String,
        /// Largest difference of a probability.
        difference: f32,
    },
    /// The thread that loaded the models panicked.
    #[error("the thread that loaded the models panicked")]
    Aborted(#[source] tokio::task::JoinError),
}

impl Models {
    /// No models yet: [`reload`](Self::reload) loads those in `folders`, with limits and CPUs of `compute`.
    pub fn new(folders: ModelFolders, compute: ComputeConfig) -> Self {
        let cpus = Arc::new(Cpus::new(compute.cpus, compute.limits.pixels));
        Self {
            serving: RwLock::new(None),
            loading: tokio::sync::Mutex::new(()),
            source: Some(Source {
                folders,
                compute,
                cpus,
            }),
        }
    }

    /// The one model of a function, which stays until the process ends.
    pub(crate) fn of_function(folder: &Path, classifier: Arc<Classifier>) -> Self {
        let default = Arc::new(NamedModel::new(folder, classifier));
        let by_name = BTreeMap::from([(default.name.clone(), Arc::clone(&default))]);
        Self {
            serving: RwLock::new(Some(Arc::new(Serving { default, by_name }))),
            loading: tokio::sync::Mutex::new(()),
            source: None,
        }
    }

    /// Loads and tests all models, and only then replaces those that serve. Returns the names of the models. Without
    /// folders, nothing changes.
    ///
    /// # Errors
    ///
    /// If a model cannot be used. Then all models stay as they are.
    pub async fn reload(&self) -> Result<Vec<String>, ModelsError> {
        let _guard = self.loading.lock().await;
        if let Some(source) = self.source.clone() {
            let loaded = tokio::task::spawn_blocking(move || source.load())
                .await
                .map_err(ModelsError::Aborted)??;
            let loaded = Some(Arc::new(loaded));
            *self.serving.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        }
        let serving = self.serving();
        let names = serving.iter().flat_map(|serving| serving.by_name.keys());
        Ok(names.cloned().collect())
    }

    /// The models that serve now; `None` while the first ones are being loaded.
    pub(super) fn serving(&self) -> Option<Arc<Serving>> {
        let serving = self.serving.read().unwrap_or_else(PoisonError::into_inner);
        serving.clone()
    }

    /// The models that serve now, if they are loaded.
    pub(super) fn loaded(&self) -> Result<Arc<Serving>, Problem> {
        self.serving().ok_or_else(|| {
            Problem::new(
                Kind::Starting,
                "the server is loading its models: send the request again in a second",
            )
        })
    }

    /// The model with this `name`, or the default one.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Arc<NamedModel>, Problem> {
        let serving = self.loaded()?;
        let Some(name) = name else {
            return Ok(Arc::clone(&serving.default));
        };
        serving.by_name.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = serving.by_name.keys().map(String::as_str).collect();
            Problem::new(
                Kind::NotFound,
                format!(
                    "the server has no model {name:?}: choose one of {}",
                    names.join(", ")
                ),
            )
        })
    }
}

impl Serving {
    /// The models by name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<NamedModel>> {
        self.by_name.values()
    }

    /// Name of the default model.
    pub(super) fn default_name(&self) -> &str {
        &self.default.name
    }
}

impl Source {
    fn load(&self) -> Result<Serving, ModelsError> {
        let mut folders = Vec::new();
        folders.extend(self.folders.default.clone());
        if let Some(parent) = &self.folders.more {
            folders.extend(models_in(parent)?);
        }
        let mut by_name = BTreeMap::new();
        let mut default = None;
        for folder in folders {
            let named = Arc::new(self.load_one(&folder)?);
            default.get_or_insert_with(|| Arc::clone(&named));
            if let Some(other) = by_name.insert(named.name.clone(), named) {
                return Err(ModelsError::SameName(other.name.clone()));
            }
        }
        let none = || ModelsError::NoModel(self.folders.more.clone().unwrap_or_default());
        Ok(Serving {
            default: default.ok_or_else(none)?,
            by_name,
        })
    }

    fn load_one(&self, folder: &Path) -> Result<NamedModel, ModelsError> {
        let name = name_of(folder);
        let config = ComputeConfig {
            model_dir: folder.to_owned(),
            ..self.compute.clone()
        };
        let classifier = match Classifier::load_on(&config, Arc::clone(&self.cpus)) {
            Ok(classifier) => classifier,
            Err(source) => return Err(ModelsError::Load { name, source }),
        };
        match classifier.self_test() {
            Ok(test) if test.passed() => {}
            Ok(test) => {
                let difference = test.difference;
                return Err(ModelsError::SelfTestFailed { name, difference });
            }
            Err(source) => return Err(ModelsError::SelfTest { name, source }),
        }
        Ok(NamedModel::new(folder, Arc::new(classifier)))
    }
}

/// The folders in `parent` that have a manifest, by name.
fn models_in(parent: &Path) -> Result<Vec<PathBuf>, ModelsError> {
    let entries = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(parent)?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect()
    };
    let mut folders = entries().map_err(|source| ModelsError::Folder {
        folder: parent.to_owned(),
        source,
    })?;
    folders.retain(|folder| folder.join(MANIFEST).is_file());
    folders.sort();
    match folders.is_empty() {
        true => Err(ModelsError::NoModel(parent.to_owned())),
        false => Ok(folders),
    }
}

/// Name of the folder. A link keeps its own name; `.` has that of the folder which it means.
fn name_of(folder: &Path) -> String {
    let meant = || {
        folder
            .canonicalize()
            .ok()?
            .file_name()
            .map(ToOwned::to_owned)
    };
    let name = folder.file_name().map(ToOwned::to_owned).or_else(meant);
    name.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
