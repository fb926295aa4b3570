//! The whole system on one machine: S3, DynamoDB and Lambda, embedded, on loopback.
//!
//! A put into the bucket creates an S3 event, Lambda passes it to a function instance, and the instance is
//! this same binary, started again as the function. SDK clients, wire protocols and the function itself are
//! those of the cloud.

mod dynamodb;
mod folder;
mod instance;
pub(crate) mod lambda;
mod log;
mod objects;
mod tables;

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use versioned_s3 as s3;

use crate::{
    aws,
    config::{ApiConfig, FunctionConfig, Tables},
    error::Source,
    http::ApiKeys,
};

use folder::{Folder, FolderLock};

pub use self::{
    lambda::{FUNCTION, Lambda},
    tables::FolderTables,
};

/// Region of everything embedded.
pub const REGION: &str = "us-east-1";
/// The bucket whose events invoke the function.
pub const BUCKET: &str = "moths";
/// The bucket of thumbnails, which invokes nothing.
pub const THUMBNAILS_BUCKET: &str = "moths-thumbnails";
/// Access key id and secret access key that the embedded services accept.
pub const CREDENTIALS: (&str, &str) = ("local", "local-secret");

/// How to run the embedded services.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Configuration of the function.
    pub config: FunctionConfig,
    /// Configuration of its HTTP API.
    pub api: ApiConfig,
    /// Folder for objects, tables and the function's log.
    pub folder: PathBuf,
    /// Port of S3; DynamoDB and Lambda have the two after it. 0 means any free ports.
    pub port: u16,
    /// Number of function instances that run at once.
    pub concurrency: usize,
    /// The program that is started as the function.
    pub bootstrap: PathBuf,
    /// Time limit of an invocation.
    pub timeout: Duration,
    /// Whether a put invokes the function.
    pub notify: bool,
    /// Proxies between the function and the services, if any.
    pub proxies: Option<Proxies>,
}

/// Addresses at which the function reaches the services instead of their own.
#[derive(Debug, Clone, Copy)]
pub struct Proxies {
    /// For S3.
    pub s3: SocketAddr,
    /// For DynamoDB.
    pub dynamodb: SocketAddr,
}

/// Addresses of the services.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    /// S3.
    pub s3: SocketAddr,
    /// DynamoDB.
    pub dynamodb: SocketAddr,
    /// Lambda's Invoke API.
    pub lambda: SocketAddr,
}

/// An event that was delivered to the function.
#[derive(Debug)]
pub struct Delivery {
    /// The event.
    pub event: Value,
    /// The function's answer, or its error after the last retry.
    pub answer: Result<Value, String>,
}

/// Why the embedded services cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A port is in use or not permitted.
    #[error("cannot listen on port {port}, choose another with --port")]
    Listen {
        /// The port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error("cannot use the folder {folder}")]
    Folder {
        /// Its path.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("{} is in use by another moth-classifier: stop it, or choose another folder with --data", folder.display())]
    InUse {
        /// Its path.
        folder: PathBuf,
    },
    /// The folder has no tables.
    #[error("{} has no tables: name the folder of an earlier `local --data`", folder.display())]
    NoTables {
        /// Its path.
        folder: PathBuf,
    },
    /// The object store cannot be opened.
    #[error("cannot use the objects in {}", folder.display())]
    Objects {
        /// Their folder.
        folder: PathBuf,
        /// The store's error.
        source: s3::StoreError,
    },
    /// The tables cannot be opened or created.
    #[error("cannot open the tables in {folder}")]
    Tables {
        /// Their folder.
        folder: PathBuf,
        /// The error of the database.
        source: Source,
    },
    /// The function ends before it requests its first event.
    #[error("the function does not start: {reason} (see {})", log.display())]
    Function {
        /// The last line of its log, or its exit status.
        reason: String,
        /// The function's log.
        log: PathBuf,
    },
}

/// The embedded services, running.
pub struct Local {
    endpoints: Endpoints,
    lambda: Lambda,
    instances: Instances,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    _lock: FolderLock,
}

/// The function instances that run now. Each is one process.
#[derive(Debug, Clone, Default)]
pub struct Instances(Arc<Mutex<BTreeSet<u32>>>);

impl Instances {
    /// Their process ids.
    pub fn ids(&self) -> BTreeSet<u32> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events of a running [`Local`].
pub struct Events {
    /// Each event with the function's answer.
    pub deliveries: mpsc::UnboundedReceiver<Delivery>,
    /// The error if the function does not start.
    pub failure: mpsc::Receiver<LocalError>,
}

impl Local {
    /// Starts the services, creates bucket and tables, and delivers the events that an earlier run in the
    /// same folder left undelivered.
    ///
    /// # Errors
    ///
    /// If a port or the folder cannot be used.
    pub async fn start(settings: Settings) -> Result<(Self, Events), LocalError> {
        let folder = settings.folder.clone();
        let mut lock = match FolderLock::take(&folder).await? {
            Folder::Ours(lock) => lock,
            Folder::Served(_) => return Err(LocalError::InUse { folder }),
        };
        let [s3_listener, dynamodb_listener, lambda_listener] = listeners(settings.port).await?;
        let address = |listener: &TcpListener| {
            let port = settings.port;
            let address = listener.local_addr();
            address.map_err(|source| LocalError::Listen { port, source })
        };
        let endpoints = Endpoints {
            s3: address(&s3_listener)?,
            dynamodb: address(&dynamodb_listener)?,
            lambda: address(&lambda_listener)?,
        };
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();

        let database = dynamodb::open(&folder)?;
        let dynamodb = dynamodb::serve(dynamodb_listener, database, is_true(&stopped));
        tasks.push(tokio::spawn(dynamodb));
        let tables = clients(endpoints).1;
        dynamodb::prepare_tables(&tables, &settings.config.tables)
            .await
            .map_err(|source| LocalError::Tables {
                folder: folder.clone(),
                source,
            })?;

        lock.publish(endpoints.dynamodb)
            .map_err(|source| LocalError::Folder {
                folder: folder.clone(),
                source,
            })?;

        let (store, notifications) = objects::open(&folder)?;
        tasks.push(objects::serve(s3_listener, &store, &stopped));

        let (failed, failure) = mpsc::channel(1);
        let (lambda, queue) = Lambda::new();
        let instances = Instances::default();
        let log =
            log::Log::open(&folder).map_err(|source| LocalError::Folder { folder, source })?;
        let function = instance::Function::new(&settings, endpoints, instances.clone(), log);
        let function = Arc::new(function);
        for _ in 0..settings.concurrency {
            tasks.push(tokio::spawn(instance::run(
                Arc::clone(&function),
                queue.clone(),
                failed.clone(),
                stopped.clone(),
            )));
        }
        let invoke_api = lambda::serve(lambda_listener, lambda.clone(), is_true(&stopped));
        tasks.push(tokio::spawn(invoke_api));

        let (delivered, deliveries) = mpsc::unbounded_channel();
        let delivery = objects::Notifier {
            lambda: lambda.clone(),
            store,
            delivered,
        };
        let until = is_true(&stopped);
        tasks.push(tokio::spawn(async move {
            match settings.notify {
                true => delivery.run(notifications, until).await,
                // The events are discarded, so that the channel does not fill up.
                false => objects::discard(notifications, until).await,
            }
        }));
        let local = Self {
            endpoints,
            lambda,
            instances,
            stop,
            tasks,
            _lock: lock,
        };
        let events = Events {
            deliveries,
            failure,
        };
        Ok((local, events))
    }

    /// Addresses of the services.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    /// The function instances.
    pub fn instances(&self) -> Instances {
        self.instances.clone()
    }

    /// SDK clients of the embedded S3 and DynamoDB.
    pub fn clients(&self) -> (aws_sdk_s3::Client, aws_sdk_dynamodb::Client) {
        clients(self.endpoints)
    }

    /// Stops the function instances, then the services.
    pub async fn stop(self) {
        self.lambda.close();
        self.stop.send_replace(true);
        for task in self.tasks {
            let grace = Duration::from_secs(2);
            let abort = task.abort_handle();
            if tokio::time::timeout(grace, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

/// Names of the tables in the embedded DynamoDB.
pub fn tables() -> Tables {
    Tables {
        predictions: "predictions".to_owned(),
        ledger: "ledger".to_owned(),
    }
}

/// An HTTP API on the embedded buckets, with these `keys`.
pub fn api(keys: ApiKeys) -> ApiConfig {
    ApiConfig {
        keys,
        photos_bucket: Some(BUCKET.to_owned()),
        thumbnails_bucket: Some(THUMBNAILS_BUCKET.to_owned()),
        sign_in: None,
    }
}

/// Listeners for S3, DynamoDB and Lambda on loopback.
async fn listeners(port: u16) -> Result<[TcpListener; 3], LocalError> {
    let bind = async |offset: u16| {
        let port = match port {
            0 => 0,
            port => port.saturating_add(offset),
        };
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|source| LocalError::Listen { port, source })
    };
    Ok([bind(0).await?, bind(1).await?, bind(2).await?])
}

fn clients(endpoints: Endpoints) -> (aws_sdk_s3::Client, aws_sdk_dynamodb::Client) {
    clients_at(endpoints.s3, endpoints.dynamodb)
}

fn clients_at(
    s3: SocketAddr,
    dynamodb: SocketAddr,
) -> (aws_sdk_s3::Client, aws_sdk_dynamodb::Client) {
    let (id, secret) = CREDENTIALS;
    let credentials = Credentials::new(id, secret, None, None, "local");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .retry_config(aws::retries())
        .timeout_config(aws::timeouts())
        .build();
    let s3 = aws_sdk_s3::config::Builder::from(&sdk)
        .endpoint_url(url(s3))
        .build();
    let dynamodb = aws_sdk_dynamodb::config::Builder::from(&sdk)
        .endpoint_url(url(dynamodb))
        .build();
    (
        aws_sdk_s3::Client::from_conf(s3),
        aws_sdk_dynamodb::Client::from_conf(dynamodb),
    )
}

/// The URL of a service.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Waits until `flag` is true or its sender is dropped.
fn is_true(flag: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut flag = flag.clone();
    async move {
        let _ = flag.wait_for(|flag| *flag).await;
    }
}

/// Creates `folder` if it is missing.
///
/// # Errors
///
/// If it cannot be created.
pub fn make_folder(folder: &Path) -> Result<(), LocalError> {
    std::fs::create_dir_all(folder).map_err(|source| LocalError::Folder {
        folder: folder.into(),
        source,
    })
}
