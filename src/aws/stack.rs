//! The outputs of a deployed stack: its function and its queues.

use std::{collections::HashMap, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_cloudformation::error::ProvideErrorMetadata;

use crate::{aws, config::Tables, error::Source};

/// Limit on one invocation attempt: Lambda's maximum timeout, and 30 s for the network.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(900 + 30);
/// Attempts of one invocation. A repeat after a lost response finds the photos in the ledger.
const INVOKE_ATTEMPTS: u32 = 3;
/// Limit on one invocation: all attempts, and 60 s of back-off.
pub(crate) const INVOKE_LIMIT: Duration =
    Duration::from_secs(INVOKE_TIMEOUT.as_secs() * INVOKE_ATTEMPTS as u64 + 60);

/// Outputs that the operator's commands use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// ARN of the function's alias, which S3 and the queue's event source mapping invoke.
    pub function: String,
    /// URL of the queue with the events on which the function gave up.
    pub failure_queue: String,
    /// URL of the queue in which photos wait for the function.
    pub upload_queue: String,
}

/// Why a stack cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The region is unknown.
    #[error(
        "the region is unknown: set AWS_REGION, or a region in the AWS CLI's profile (aws configure)"
    )]
    Region,
    /// The stack does not exist.
    #[error(
        "there is no stack {name} in {region}: name another with --stack, or another region with AWS_REGION"
    )]
    Missing {
        /// The requested name.
        name: String,
        /// The region that was searched.
        region: String,
    },
    /// The name does not identify one stack.
    #[error("{stacks} stacks have the name {name:?}: name one with --stack")]
    Ambiguous {
        /// The requested name.
        name: String,
        /// Number of stacks.
        stacks: usize,
    },
    /// The stack lacks an output or a parameter.
    #[error("the stack {name} has no {what} {key}: deploy this version's template.yaml first")]
    Lacks {
        /// The stack's name.
        name: String,
        /// "output" or "parameter".
        what: &'static str,
        /// The key of the output or parameter.
        key: &'static str,
    },
    /// CloudFormation refused or could not be reached.
    #[error("cannot read the outputs of the stack {name}")]
    Describe {
        /// The stack's name.
        name: String,
        /// The client's error.
        source: Source,
    },
}

impl Stack {
    /// Reads the outputs of the stack `name`.
    ///
    /// # Errors
    ///
    /// If the stack does not exist, cannot be read, or lacks an output.
    pub async fn find(name: &str, sdk: &SdkConfig) -> Result<Self, StackError> {
        let mut described = Described::read(name, sdk).await?;
        Ok(Self {
            function: described.output("FunctionAlias")?,
            failure_queue: described.output("FailureQueueUrl")?,
            upload_queue: described.output("UploadQueueUrl")?,
        })
    }
}

/// The tables of a deployed stack, and how its function writes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackTables {
    /// The tables.
    pub tables: Tables,
    /// Parameter TimeZone.
    pub time_zone: String,
    /// Parameter NightStarts.
    pub night_starts: String,
}

impl StackTables {
    /// Reads outputs and parameters of the stack `name`.
    ///
    /// # Errors
    ///
    /// As [`Stack::find`].
    pub async fn find(name: &str, sdk: &SdkConfig) -> Result<Self, StackError> {
        let mut described = Described::read(name, sdk).await?;
        Ok(Self {
            tables: Tables {
                predictions: described.output("PredictionsTable")?,
                ledger: described.output("LedgerTable")?,
            },
            time_zone: described.parameter("TimeZone")?,
            night_starts: described.parameter("NightStarts")?,
        })
    }
}

/// Outputs and parameters of a stack, by name.
struct Described {
    name: String,
    outputs: HashMap<String, String>,
    parameters: HashMap<String, String>,
}

impl Described {
    async fn read(name: &str, sdk: &SdkConfig) -> Result<Self, StackError> {
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
        // CloudFormation would describe every stack if the name were empty.
        let [stack] = described.stacks() else {
            return Err(StackError::Ambiguous {
                name: name.to_owned(),
                stacks: described.stacks().len(),
            });
        };
        // What is missing is an error when it is asked for.
        let outputs = stack.outputs().iter();
        let parameters = stack.parameters().iter();
        Ok(Self {
            name: name.to_owned(),
            outputs: outputs
                .filter_map(|output| {
                    Some((output.output_key.clone()?, output.output_value.clone()?))
                })
                .collect(),
            parameters: parameters
                .filter_map(|one| Some((one.parameter_key.clone()?, one.parameter_value.clone()?)))
                .collect(),
        })
    }

    fn output(&mut self, output: &'static str) -> Result<String, StackError> {
        let found = self.outputs.remove(output);
        found.ok_or_else(|| self.lacks("output", output))
    }

    fn parameter(&mut self, parameter: &'static str) -> Result<String, StackError> {
        let found = self.parameters.remove(parameter);
        found.ok_or_else(|| self.lacks("parameter", parameter))
    }

    fn lacks(&self, what: &'static str, key: &'static str) -> StackError {
        StackError::Lacks {
            name: self.name.clone(),
            what,
            key,
        }
    }
}

/// A client whose timeout covers the longest run of the function.
pub fn lambda(sdk: &SdkConfig) -> aws_sdk_lambda::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(aws::CONNECT_TIMEOUT)
        .operation_attempt_timeout(INVOKE_TIMEOUT)
        // If unset, the limit of `sdk` applies, which is some seconds.
        .operation_timeout(INVOKE_LIMIT)
        .build();
    let config = aws_sdk_lambda::config::Builder::from(sdk)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(INVOKE_ATTEMPTS))
        .build();
    aws_sdk_lambda::Client::from_conf(config)
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;

    use super::*;

    #[test]
    fn an_invocation_has_the_time_that_the_function_has() {
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .timeout_config(aws::timeouts())
            .build();
        let client = lambda(&sdk);
        let timeouts = client.config().timeout_config().unwrap();
        assert_eq!(timeouts.operation_attempt_timeout(), Some(INVOKE_TIMEOUT));
        assert_eq!(timeouts.operation_timeout(), Some(INVOKE_LIMIT));
        assert_eq!(timeouts.connect_timeout(), Some(aws::CONNECT_TIMEOUT));
    }
}
