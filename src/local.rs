//! The whole system on one machine: S3, DynamoDB and Lambda, embedded, on loopback.
//!
//! A put into the bucket makes an S3 event, Lambda hands it to a sandbox, and the sandbox is this
//! same binary, started again as the function. SDK clients, wire protocols, and the function itself
//! are those of the cloud.

mod dynamodb;
pub mod lambda;
mod log;
mod sandbox;

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

use crate::{aws, config::Config, error::chain};

pub use lambda::Lambda;
pub use versioned_s3 as s3;

/// Region of everything embedded.
pub const REGION: &str = "us-east-1";
/// The bucket whose events invoke the function.
pub const BUCKET: &str = "moths";
/// Access key id and secret access key that the embedded services take.
pub const CREDENTIALS: (&str, &str) = ("local", "local-secret");

/// How to run the embedded services.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Configuration of the function.
    pub config: Config,
    /// Where objects, tables and the function's log are kept.
    pub folder: PathBuf,
    /// Port of S3; DynamoDB and Lambda have the two after it. 0 takes any three.
    pub port: u16,
    /// How many sandboxes run at once.
    pub concurrency: usize,
    /// The binary that is started as the function.
    pub bootstrap: PathBuf,
    /// How long the function may work on one event.
    pub timeout: Duration,
    /// Whether a put invokes the function.
    pub notify: bool,
    /// Where the function finds S3 and DynamoDB, where something stands between them.
    pub between: Option<Between>,
}

/// What stands between the function and the services.
#[derive(Debug, Clone, Copy)]
pub struct Between {
    /// In front of S3.
    pub s3: SocketAddr,
    /// In front of DynamoDB.
    pub dynamodb: SocketAddr,
}

/// Where the services listen.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    /// S3.
    pub s3: SocketAddr,
    /// DynamoDB.
    pub dynamodb: SocketAddr,
    /// Lambda's Invoke API.
    pub lambda: SocketAddr,
}

/// What became of one event.
#[derive(Debug)]
pub struct Delivery {
    /// The event as it was sent to the function.
    pub event: Value,
    /// The function's answer, or its error after the last retry.
    pub answer: Result<Value, String>,
}

/// Why the embedded services cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A port is taken, or may not be used.
    #[error("cannot listen on port {port}, choose another with --port")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error("cannot use the folder {folder}")]
    Folder {
        /// Where objects and tables were to be kept.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The objects cannot be opened.
    #[error("cannot use the objects in {}", folder.display())]
    Objects {
        /// Where they are kept.
        folder: PathBuf,
        /// What went wrong.
        source: s3::StoreError,
    },
    /// The tables cannot be opened or made.
    #[error("cannot open the tables in {folder}: {reason}")]
    Tables {
        /// Where they are kept.
        folder: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The function ends before it asks for its first event.
    #[error("the function does not start: {reason} (see {})", log.display())]
    Function {
        /// The last line of its log, or how it ended.
        reason: String,
        /// The function's log.
        log: PathBuf,
    },
}

/// The embedded services, running.
pub struct Local {
    endpoints: Endpoints,
    lambda: Lambda,
    processes: Processes,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// The processes of the function that run now.
#[derive(Debug, Clone, Default)]
pub struct Processes(Arc<Mutex<BTreeSet<u32>>>);

impl Processes {
    /// Their ids.
    pub fn ids(&self) -> BTreeSet<u32> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a running [`Local`] tells.
pub struct Events {
    /// What became of each event, as it ends.
    pub deliveries: mpsc::UnboundedReceiver<Delivery>,
    /// Comes where the function does not start.
    pub failure: mpsc::Receiver<LocalError>,
}

impl Local {
    /// Starts the services, makes bucket and tables, and sends the events that an earlier run in the
    /// same folder left undelivered.
    ///
    /// # Errors
    ///
    /// Where a port or the folder cannot be used.
    pub async fn start(settings: Settings) -> Result<(Self, Events), LocalError> {
        let folder = settings.folder.clone();
        let listeners = listeners(settings.port).await?;
        let addresses: Vec<SocketAddr> = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()
            .map_err(|source| LocalError::Listen {
                port: settings.port,
                source,
            })?;
        let [s3_listener, dynamodb_listener, lambda_listener] = listeners;
        let endpoints = Endpoints {
            s3: addresses[0],
            dynamodb: addresses[1],
            lambda: addresses[2],
        };

        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();

        let database = dynamodb::open(&folder)?;
        tasks.push(tokio::spawn(dynamodb::serve(
            dynamodb_listener,
            database,
            is_true(&stopped),
        )));
        let tables = clients(endpoints).1;
        dynamodb::prepare_tables(&tables, &settings.config)
            .await
            .map_err(|reason| LocalError::Tables {
                folder: folder.clone(),
                reason,
            })?;

        let configuration = s3::Configuration {
            region: REGION.to_owned(),
            notifying_bucket: BUCKET.to_owned(),
        };
        let objects = |source| LocalError::Objects {
            folder: folder.clone(),
            source,
        };
        let (store, mut notifications) =
            s3::Store::open(&folder, configuration).map_err(objects)?;
        store.create_bucket(BUCKET, true).map_err(objects)?;
        let (access_key, secret_key) = (CREDENTIALS.0.to_owned(), CREDENTIALS.1.to_owned());
        let credentials = s3::Credentials {
            access_key,
            secret_key,
        };
        let serve = s3::serve(s3_listener, store.clone(), credentials, is_true(&stopped));
        tasks.push(tokio::spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the embedded S3 stopped");
            }
        }));

        let (failed, failure) = mpsc::channel(1);
        let (lambda, queue) = Lambda::new();
        let processes = Processes::default();
        let log = log::Log::open(&folder).map_err(|source| LocalError::Folder {
            folder: folder.clone(),
            source,
        })?;
        let function = sandbox::Function::new(&settings, endpoints, processes.clone(), log);
        let function = Arc::new(function);
        for _ in 0..settings.concurrency {
            let sandbox = sandbox::run(
                Arc::clone(&function),
                queue.clone(),
                failed.clone(),
                stopped.clone(),
            );
            tasks.push(tokio::spawn(sandbox));
        }
        tasks.push(tokio::spawn(lambda::serve(
            lambda_listener,
            lambda.clone(),
            is_true(&stopped),
        )));

        let (delivered, deliveries) = mpsc::unbounded_channel();
        let asynchronous = lambda.clone();
        let end = is_true(&stopped);
        tasks.push(tokio::spawn(async move {
            tokio::pin!(end);
            // The channel never closes by itself: the store that each delivery needs holds its sender.
            while let Some(s3::Notification { id, event }) = tokio::select! {
                notification = notifications.recv() => notification,
                () = &mut end => None,
            } {
                if !settings.notify {
                    continue;
                }
                let (lambda, store, delivered) =
                    (asynchronous.clone(), store.clone(), delivered.clone());
                tokio::spawn(async move {
                    let Some(answer) = lambda.invoke_asynchronously(event.to_string().into()).await
                    else {
                        return; // stopped: the event stays for the next run
                    };
                    if let Err(error) = store.delivered(id) {
                        tracing::error!(
                            error = chain(&error),
                            "a delivered event cannot be forgotten: the next run in this folder delivers it again"
                        );
                    }
                    // Nobody listens any more where the process is about to end.
                    let _ = delivered.send(Delivery { event, answer });
                });
            }
        }));
        Ok((
            Self {
                endpoints,
                lambda,
                processes,
                stop,
                tasks,
            },
            Events {
                deliveries,
                failure,
            },
        ))
    }

    /// Where the services listen.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints
    }

    /// The function's processes.
    pub fn processes(&self) -> Processes {
        self.processes.clone()
    }

    /// SDK clients of the embedded S3 and DynamoDB.
    pub fn clients(&self) -> (aws_sdk_s3::Client, aws_sdk_dynamodb::Client) {
        clients(self.endpoints)
    }

    /// Ends the function's processes, then the services.
    pub async fn stop(self) {
        self.lambda.close();
        let _ = self.stop.send(true);
        for task in self.tasks {
            let grace = Duration::from_secs(2);
            let abort = task.abort_handle();
            if tokio::time::timeout(grace, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

/// Three listeners on loopback.
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
        .endpoint_url(url(endpoints.s3))
        .build();
    let dynamodb = aws_sdk_dynamodb::config::Builder::from(&sdk)
        .endpoint_url(url(endpoints.dynamodb))
        .build();
    (
        aws_sdk_s3::Client::from_conf(s3),
        aws_sdk_dynamodb::Client::from_conf(dynamodb),
    )
}

/// `http://` and the address.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Ends when `flag` becomes true or its sender is gone.
fn is_true(flag: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut flag = flag.clone();
    async move {
        let _ = flag.wait_for(|flag| *flag).await;
    }
}

/// Makes `folder` where it is missing.
///
/// # Errors
///
/// Where it cannot be made.
pub fn make_folder(folder: &Path) -> Result<(), LocalError> {
    std::fs::create_dir_all(folder).map_err(|source| LocalError::Folder {
        folder: folder.into(),
        source,
    })
}
