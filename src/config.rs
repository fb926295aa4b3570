//! Configuration: every environment variable, parsed and checked once.

mod api;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    num::NonZeroU64,
    path::PathBuf,
    str::FromStr,
    thread,
};

use chrono::NaiveTime;
use chrono_tz::Tz;
use moth_engine::isa::Isa;

use crate::{
    capture::{KeyPattern, Rules},
    cpus::{granted_cpus, memory_of_cpus},
    photo::Limits,
};

/// 50 MiB: phone cameras of 2026 write files of up to about 30 MB.
const MAX_IMAGE_BYTES: u64 = 50 * 1024 * 1024;
/// 50 megapixels are 150 MB as RGB, and 400 MB more while a 16-bit RGBA PNG is decoded. All threads together
/// decode no more pixels at a time, so this bounds the memory of decoding.
const MAX_IMAGE_PIXELS: u64 = 50_000_000;

/// From noon to noon a trap catches the moths of one night.
const NOON: NaiveTime = match NaiveTime::from_hms_opt(12, 0, 0) {
    Some(noon) => noon,
    None => panic!("noon is a time of day"),
};
/// Format of NIGHT_STARTS.
const TIME_OF_DAY: &str = "%H:%M";
/// A record under this probability waits for review.
const REVIEW_BELOW: f32 = 0.9;

pub use self::api::ApiConfig;

/// What classifying a photo needs. The function, `classify` and `local` use it alike.
#[derive(Debug, Clone, PartialEq)]
pub struct ComputeConfig {
    /// MODEL_DIR: folder with `model.json` and the ONNX file.
    pub model_dir: PathBuf,
    /// UNKNOWN_BELOW: the threshold of all labels, instead of the model's thresholds.
    pub unknown_below: Option<f32>,
    /// MAX_IMAGE_BYTES and MAX_IMAGE_PIXELS.
    pub limits: Limits,
    /// MAX_CPU_ISA: the widest instructions that the model may use. At most those of this CPU.
    pub isa: Isa,
    /// Number of CPUs, from AWS_LAMBDA_FUNCTION_MEMORY_SIZE: those that Lambda grants, at most those visible.
    pub cpus: usize,
}

/// How a classified photo becomes a record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordConfig {
    /// TIME_ZONE: the zone of days and nights, and of clocks that name none.
    /// NIGHT_STARTS: the time of day at which a night begins.
    /// KEY_PATTERN: where station and camera are in an object key.
    pub capture: Rules,
    /// REVIEW_BELOW: a record with a lower probability waits for review.
    pub review_below: f32,
}

/// What the function needs: [`ComputeConfig`], and where and how to count.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionConfig {
    /// What classifying needs.
    pub compute: ComputeConfig,
    /// How photos become records.
    pub record: RecordConfig,
    /// PREDICTIONS_TABLE and LEDGER_TABLE.
    pub tables: Tables,
}

/// Names of the two DynamoDB tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// PREDICTIONS_TABLE: the prediction records.
    pub predictions: String,
    /// LEDGER_TABLE: the photos that are counted or rejected, and the counters.
    pub ledger: String,
}

impl Tables {
    /// Reads the names, like [`ComputeConfig::read`].
    ///
    /// # Errors
    ///
    /// All problems at once, each with the name of its variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(&variable);
        let tables = environment.tables();
        environment.finish(tables)
    }
}

/// All that is wrong with the environment: one message for each variable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid environment: {}", self.0.join("; "))
    }
}

impl ComputeConfig {
    /// Reads the configuration. `variable` returns the value of an environment variable; an empty value
    /// counts as absent.
    ///
    /// # Errors
    ///
    /// All problems at once, each with the name of its variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(&variable);
        let config = environment.compute();
        environment.finish(config)
    }

    /// The environment variables from which [`read`](Self::read) gives this configuration again.
    pub fn to_env(&self) -> Vec<(&'static str, OsString)> {
        let memory = memory_of_cpus(self.cpus);
        let mut env: Vec<(&str, OsString)> = vec![
            ("MODEL_DIR", self.model_dir.clone().into()),
            ("MAX_IMAGE_BYTES", self.limits.bytes.to_string().into()),
            ("MAX_IMAGE_PIXELS", self.limits.pixels.to_string().into()),
            ("MAX_CPU_ISA", self.isa.to_string().into()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory.to_string().into()),
        ];
        if let Some(threshold) = self.unknown_below {
            env.push(("UNKNOWN_BELOW", threshold.to_string().into()));
        }
        env
    }
}

impl RecordConfig {
    /// Reads the configuration, like [`ComputeConfig::read`].
    ///
    /// # Errors
    ///
    /// All problems at once, each with the name of its variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(&variable);
        let config = environment.record();
        environment.finish(config)
    }
}

impl FunctionConfig {
    /// Reads the configuration, like [`ComputeConfig::read`].
    ///
    /// # Errors
    ///
    /// All problems at once, each with the name of its variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(&variable);
        let tables = environment.tables();
        let config = Self {
            compute: environment.compute(),
            record: environment.record(),
            tables,
        };
        environment.finish(config)
    }

    /// Reads the configuration of a function that uses these `tables`.
    ///
    /// # Errors
    ///
    /// All problems at once, each with the name of its variable.
    pub fn read_with_tables(
        tables: Tables,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(&variable);
        let config = Self {
            compute: environment.compute(),
            record: environment.record(),
            tables,
        };
        environment.finish(config)
    }

    /// The environment variables from which [`read`](Self::read) gives this configuration again.
    pub fn to_env(&self) -> Vec<(&'static str, OsString)> {
        let mut env = self.compute.to_env();
        env.extend(self.record.to_env());
        env.push(("PREDICTIONS_TABLE", self.tables.predictions.clone().into()));
        env.push(("LEDGER_TABLE", self.tables.ledger.clone().into()));
        env
    }
}

impl RecordConfig {
    fn to_env(&self) -> Vec<(&'static str, OsString)> {
        let Rules {
            time_zone,
            night_starts,
            key_pattern,
        } = &self.capture;
        vec![
            ("TIME_ZONE", time_zone.name().into()),
            (
                "NIGHT_STARTS",
                night_starts.format(TIME_OF_DAY).to_string().into(),
            ),
            ("KEY_PATTERN", key_pattern.as_str().into()),
            ("REVIEW_BELOW", self.review_below.to_string().into()),
        ]
    }
}

/// Reads variables and gathers the problems.
struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    problems: Vec<String>,
}

impl<'a> Environment<'a> {
    fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self {
            variable,
            problems: Vec::new(),
        }
    }

    /// `config`, which holds a placeholder for each value with a problem, if there is no problem.
    fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        match self.problems.is_empty() {
            true => Ok(config),
            false => Err(ConfigError(self.problems)),
        }
    }

    fn compute(&mut self) -> ComputeConfig {
        let visible = thread::available_parallelism().map_or(1, usize::from);
        let here = Isa::detect();
        let model_dir = self.raw("MODEL_DIR").unwrap_or_else(|| "model".into());
        let limits = Limits {
            bytes: self.positive("MAX_IMAGE_BYTES").unwrap_or(MAX_IMAGE_BYTES),
            pixels: self
                .positive("MAX_IMAGE_PIXELS")
                .unwrap_or(MAX_IMAGE_PIXELS),
        };
        let isa: Option<Isa> = self.parsed("MAX_CPU_ISA", "avx512, avx2 or portable");
        let memory = self.positive("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        ComputeConfig {
            model_dir: model_dir.into(),
            unknown_below: self.probability("UNKNOWN_BELOW"),
            limits,
            isa: isa.map_or(here, |isa| isa.min(here)),
            cpus: memory.map_or(visible, |memory| granted_cpus(memory, visible)),
        }
    }

    fn record(&mut self) -> RecordConfig {
        let time_zone = self.parsed("TIME_ZONE", "an IANA time zone such as Africa/Lagos");
        RecordConfig {
            capture: Rules {
                time_zone: time_zone.unwrap_or(Tz::Africa__Lagos),
                night_starts: self.time_of_day("NIGHT_STARTS").unwrap_or(NOON),
                key_pattern: self.key_pattern(),
            },
            review_below: self.probability("REVIEW_BELOW").unwrap_or(REVIEW_BELOW),
        }
    }

    fn time_of_day(&mut self, name: &str) -> Option<NaiveTime> {
        let value = self.text(name)?;
        let time = NaiveTime::parse_from_str(&value, TIME_OF_DAY).ok();
        if time.is_none() {
            self.problems.push(format!(
                "{name} is {value:?}, not a time of day such as 12:00"
            ));
        }
        time
    }

    fn key_pattern(&mut self) -> KeyPattern {
        let name = "KEY_PATTERN";
        let Some(value) = self.text(name) else {
            return KeyPattern::default();
        };
        value.parse().unwrap_or_else(|error| {
            self.problems.push(format!("{name} is {value:?}: {error}"));
            KeyPattern::default()
        })
    }

    /// A number from 0 to 1.
    fn probability(&mut self, name: &str) -> Option<f32> {
        let value = self.text(name)?;
        let probability = value
            .parse()
            .ok()
            .filter(|value| (0.0..=1.0).contains(value));
        if probability.is_none() {
            self.problems.push(format!(
                "{name} is {value:?}, not a probability from 0 to 1"
            ));
        }
        probability
    }

    fn tables(&mut self) -> Tables {
        let tables = Tables {
            predictions: self.table("PREDICTIONS_TABLE"),
            ledger: self.table("LEDGER_TABLE"),
        };
        if !tables.predictions.is_empty() && tables.predictions == tables.ledger {
            self.problems
                .push("LEDGER_TABLE and PREDICTIONS_TABLE name the same table".into());
        }
        tables
    }

    fn table(&mut self, name: &str) -> String {
        match self.text(name) {
            Some(value) if is_table_name(&value) => value,
            Some(value) => {
                self.problems.push(format!(
                    "{name} is {value:?}, but a table name has 3 to 255 of A–Z a–z 0–9 _ - ."
                ));
                value
            }
            None => {
                self.problems.push(format!("{name} is not set"));
                String::new()
            }
        }
    }

    fn raw(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| value.as_os_str() != OsStr::new(""))
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.raw(name)?.into_string() {
            Ok(value) => Some(value),
            Err(_) => {
                self.problems.push(format!("{name} is not valid UTF-8"));
                None
            }
        }
    }

    /// A whole number above 0. Underscores may group its digits.
    fn positive(&mut self, name: &str) -> Option<u64> {
        let value = self.text(name)?;
        self.value::<NonZeroU64>(name, &value.replace('_', ""), "a whole number above 0")
            .map(NonZeroU64::get)
    }

    fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.text(name)?;
        self.value(name, &value, expected)
    }

    fn value<T: FromStr>(&mut self, name: &str, value: &str, expected: &str) -> Option<T> {
        let Ok(value) = value.parse() else {
            self.problems
                .push(format!("{name} is {value:?}, not {expected}"));
            return None;
        };
        Some(value)
    }
}

/// DynamoDB's naming rules.
fn is_table_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (3..=255).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
