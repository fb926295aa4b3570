//! Every environment variable, parsed and checked once.

use std::{ffi::OsString, fmt, num::NonZeroU64, path::PathBuf, str::FromStr, thread};

use chrono_tz::Tz;
use moth_engine::isa::Isa;

/// 50 MiB: phone cameras of 2026 write up to about 30 MB.
const MAX_IMAGE_BYTES: u64 = 50 * 1024 * 1024;
/// 50 megapixels are 150 MB of RGB, and 400 MB more while a 16-bit RGBA PNG decodes: the most memory
/// that decoding takes, as all threads together decode no more pixels at a time.
const MAX_IMAGE_PIXELS: u64 = 50_000_000;
/// MB for which Lambda grants one CPU: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>.
pub const MEMORY_OF_A_CPU: u64 = 1769;

/// What the function was told by its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// PREDICTIONS_TABLE: name of the table of prediction records.
    pub predictions_table: String,
    /// LEDGER_TABLE: name of the table that says what is counted.
    pub ledger_table: String,
    /// MODEL_DIR: folder of `model.json` and the ONNX file.
    pub model_dir: PathBuf,
    /// TIME_ZONE: IANA name of the zone whose days are counted.
    pub time_zone: Tz,
    /// How large an object and its picture may be.
    pub limits: Limits,
    /// MAX_CPU_ISA: the widest instructions that the model may use; at most what the CPU has.
    pub isa: Isa,
    /// AWS_LAMBDA_FUNCTION_MEMORY_SIZE: as many CPUs as Lambda grants for it, to the nearest; at most what
    /// the machine shows, which is two where it grants but one.
    pub cpus: usize,
}

/// How large an object and its picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// MAX_IMAGE_BYTES: largest object that is downloaded, in bytes.
    pub bytes: u64,
    /// MAX_IMAGE_PIXELS: largest width × height that is decoded.
    pub pixels: u64,
}

/// Everything that is wrong with the environment, one line a variable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid environment: {}", self.0.join("; "))
    }
}

impl Config {
    /// Reads the configuration through `variable`, which gives the value of an environment
    /// variable. An empty value counts as absent.
    ///
    /// # Errors
    ///
    /// All problems at once, each with the name of its variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut text = |name: &str| match variable(name)?.into_string() {
            Ok(value) => (!value.is_empty()).then_some(value),
            Err(_) => {
                problems.push(format!("{name} is not valid UTF-8"));
                None
            }
        };

        let predictions_table = text("PREDICTIONS_TABLE");
        let ledger_table = text("LEDGER_TABLE");
        let time_zone = text("TIME_ZONE");
        let bytes = text("MAX_IMAGE_BYTES");
        let pixels = text("MAX_IMAGE_PIXELS");
        let isa = text("MAX_CPU_ISA");
        let memory = text("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        let model_dir = variable("MODEL_DIR").filter(|dir| !dir.is_empty());

        let mut table = |name: &str, value: Option<String>| match value {
            Some(value) if is_table_name(&value) => value,
            Some(value) => {
                problems.push(format!(
                    "{name} is {value:?}, a table name has 3 to 255 of A–Z a–z 0–9 _ - ."
                ));
                value
            }
            None => {
                problems.push(format!("{name} is not set"));
                String::new()
            }
        };
        let predictions_table = table("PREDICTIONS_TABLE", predictions_table);
        let ledger_table = table("LEDGER_TABLE", ledger_table);
        if !predictions_table.is_empty() && predictions_table == ledger_table {
            problems.push("LEDGER_TABLE and PREDICTIONS_TABLE name the same table".into());
        }

        let what = "an IANA time zone such as Africa/Lagos";
        let time_zone = parse(
            "TIME_ZONE",
            time_zone,
            Tz::Africa__Lagos,
            what,
            &mut problems,
        );
        let mut limit = |name: &str, value: Option<String>, default: u64| {
            let value = value.map(|value| value.replace('_', ""));
            let default = NonZeroU64::new(default).unwrap_or(NonZeroU64::MIN);
            parse(
                name,
                value,
                default,
                "a whole number above 0",
                &mut problems,
            )
            .get()
        };
        let limits = Limits {
            bytes: limit("MAX_IMAGE_BYTES", bytes, MAX_IMAGE_BYTES),
            pixels: limit("MAX_IMAGE_PIXELS", pixels, MAX_IMAGE_PIXELS),
        };

        let shown = thread::available_parallelism().map_or(1, usize::from);
        let memory = limit("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory, u64::MAX / 2);
        let granted = memory.saturating_add(MEMORY_OF_A_CPU / 2) / MEMORY_OF_A_CPU;

        let here = Isa::detect();
        let what = "avx512, avx2 or portable";
        let isa = parse("MAX_CPU_ISA", isa, here, what, &mut problems);

        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let model_dir = model_dir.map_or_else(|| PathBuf::from("model"), PathBuf::from);
        Ok(Self {
            predictions_table,
            ledger_table,
            model_dir,
            time_zone,
            limits,
            isa: isa.min(here),
            cpus: usize::try_from(granted).map_or(shown, |granted| granted.clamp(1, shown)),
        })
    }
}

fn parse<T: FromStr>(
    name: &str,
    value: Option<String>,
    default: T,
    what: &str,
    problems: &mut Vec<String>,
) -> T {
    let Some(value) = value else { return default };
    value.parse().unwrap_or_else(|_| {
        problems.push(format!("{name} is {value:?}, not {what}"));
        default
    })
}

/// DynamoDB's naming rules.
fn is_table_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (3..=255).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(OsString::from(value))
        })
    }

    #[test]
    fn only_the_tables_must_be_named() {
        let tables = [
            ("PREDICTIONS_TABLE", "predictions"),
            ("LEDGER_TABLE", "ledger"),
        ];
        let config = read(&tables).unwrap();
        assert_eq!(config.time_zone, Tz::Africa__Lagos);
        assert_eq!(config.model_dir, PathBuf::from("model"));
        assert_eq!(
            config.limits,
            Limits {
                bytes: 52_428_800,
                pixels: 50_000_000
            }
        );
    }

    #[test]
    fn all_problems_are_reported_together_by_name() {
        let error = read(&[
            ("PREDICTIONS_TABLE", "no spaces"),
            ("TIME_ZONE", "Lagos"),
            ("MAX_IMAGE_BYTES", "0"),
            ("MAX_IMAGE_PIXELS", "-1"),
            ("MAX_CPU_ISA", "mmx"),
        ])
        .unwrap_err()
        .to_string();
        for name in [
            "PREDICTIONS_TABLE",
            "LEDGER_TABLE",
            "TIME_ZONE",
            "MAX_IMAGE_BYTES",
            "MAX_IMAGE_PIXELS",
            "MAX_CPU_ISA",
        ] {
            assert!(error.contains(name), "{name} is missing in {error}");
        }
    }

    #[test]
    fn lambda_grants_cpus_by_memory() {
        let cpus = |memory| {
            let tables = [("PREDICTIONS_TABLE", "moths"), ("LEDGER_TABLE", "done")];
            let memory = [("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)];
            read(&[&tables[..], &memory].concat()).unwrap().cpus
        };
        let shown = thread::available_parallelism().unwrap().get();
        for (memory, granted) in [
            ("128", 1),
            ("1769", 1),
            ("2048", 1),
            ("3008", 2),
            ("3538", 2),
            ("10240", 6),
            ("", shown),
        ] {
            assert_eq!(cpus(memory), granted.min(shown), "{memory} MB");
        }
    }

    #[test]
    fn the_tables_must_differ() {
        let error = read(&[("PREDICTIONS_TABLE", "moths"), ("LEDGER_TABLE", "moths")]).unwrap_err();
        assert!(error.to_string().contains("the same table"));
    }
}
