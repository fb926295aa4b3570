//! A deployed stack: where its queues and its function are, as its outputs say.

use std::{collections::HashMap, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_cloudformation::error::ProvideErrorMetadata;

use crate::{aws, error::Source};

/// The longest that Lambda lets a function work on one event, and some seconds for the way.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(900 + 30);

/// What the commands for a stack need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// ARN of the function's alias: what S3 and the queue invoke.
    pub function: String,
    /// URL of the queue with the events that were given up on.
    pub failure_queue: String,
    /// URL of the queue in which photos wait for the function.
    pub upload_queue: String,
}

/// Why a stack cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The region is not known.
    #[error(
        "the region is not known: set AWS_REGION, or a region in the AWS CLI's profile (aws configure)"
    )]
    Region,
    /// There is no such stack.
    #[error(
        "there is no stack {name} in {region}: name another with --stack, or another region with AWS_REGION"
    )]
    Missing {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        region: String,
    },
    /// The stack lacks an output.
    #[error("the stack {name} has no output {output}: deploy this version's template.yaml first")]
    Output {
        /// The stack's name.
        name: String,
        /// The output's key.
        output: &'static str,
    },
    /// CloudFormation refused or could not be reached.
    #[error("cannot read the outputs of the stack {name}")]
    Describe {
        /// The stack's name.
        name: String,
        /// What the client said.
        source: Source,
    },
}

impl Stack {
    /// Reads the outputs of the stack `name`.
    ///
    /// # Errors
    ///
    /// Where there is no such stack, it cannot be read, or it is of an older version.
    pub async fn find(name: &str, sdk: &SdkConfig) -> Result<Self, StackError> {
        let region = sdk.region().ok_or(StackError::Region)?.to_string();
        let client = aws_sdk_cloudformation::Client::new(sdk);
        let described = client.describe_stacks().stack_name(name).send().await;
        let described = described.map_err(|error| match error.message() {
            Some(message) if message.contains("does not exist") => StackError::Missing {
                name: name.to_owned(),
                region,
            },
            _ => StackError::Describe {
                name: name.to_owned(),
                source: error.into(),
            },
        })?;
        let mut outputs: HashMap<String, String> = described
            .stacks()
            .iter()
            .flat_map(|stack| stack.outputs())
            .filter_map(|output| Some((output.output_key.clone()?, output.output_value.clone()?)))
            .collect();
        let mut output = |output: &'static str| {
            outputs.remove(output).ok_or_else(|| StackError::Output {
                name: name.to_owned(),
                output,
            })
        };
        Ok(Self {
            function: output("FunctionAlias")?,
            failure_queue: output("FailureQueueUrl")?,
            upload_queue: output("UploadQueueUrl")?,
        })
    }
}

/// A client that waits for the function's answer as long as the function may take.
pub fn lambda(sdk: &SdkConfig) -> aws_sdk_lambda::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(aws::CONNECT_TIMEOUT)
        .operation_attempt_timeout(INVOKE_TIMEOUT)
        .build();
    let config = aws_sdk_lambda::config::Builder::from(sdk)
        .timeout_config(timeouts)
        // A repeat after an answer that was lost finds the photos counted: it does no harm.
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .build();
    aws_sdk_lambda::Client::from_conf(config)
}
