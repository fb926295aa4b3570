//! Tests of the configuration.

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<FunctionConfig, ConfigError> {
    FunctionConfig::read(|name| {
        let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
        Some(OsString::from(value))
    })
}

const TABLES: [(&str, &str); 2] = [
    ("PREDICTIONS_TABLE", "predictions"),
    ("LEDGER_TABLE", "ledger"),
];

#[test]
fn only_the_tables_are_required() {
    let config = read(&TABLES).unwrap();
    assert_eq!(config.record.capture.time_zone, Tz::Africa__Lagos);
    assert_eq!(config.record.capture.night_starts.to_string(), "12:00:00");
    assert_eq!(
        (config.compute.unknown_below, config.record.review_below),
        (None, 0.9)
    );
    assert_eq!(config.compute.model_dir, PathBuf::from("model"));
    assert_eq!(
        config.compute.limits,
        Limits {
            bytes: 52_428_800,
            pixels: 50_000_000
        }
    );
    let visible = thread::available_parallelism().unwrap().get();
    assert_eq!(config.compute.cpus, visible);
    assert_eq!(config.compute.isa, Isa::detect());
}

#[test]
fn a_configuration_is_the_same_after_a_round_trip_through_the_environment() {
    let set = [
        ("MODEL_DIR", "/opt/model"),
        ("MAX_IMAGE_BYTES", "1_000_000"),
        ("MAX_IMAGE_PIXELS", "12"),
        ("MAX_CPU_ISA", "portable"),
        ("TIME_ZONE", "Pacific/Auckland"),
        ("NIGHT_STARTS", "00:30"),
        ("KEY_PATTERN", "^(?<camera>[^-]+)-"),
        ("UNKNOWN_BELOW", "0.55"),
        ("REVIEW_BELOW", "0"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
    ];
    for variables in [&TABLES[..], &[&TABLES[..], &set].concat()] {
        let config = read(variables).unwrap();
        let env = config.to_env();
        let again = FunctionConfig::read(|name| {
            let (_, value) = env.iter().find(|(variable, _)| *variable == name)?;
            Some(value.clone())
        });
        assert_eq!(again.unwrap(), config);
        let again = FunctionConfig::read_with_tables(config.tables.clone(), |name| {
            let found = env.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.clone())
        });
        assert_eq!(again.unwrap(), config);
    }
}

#[test]
fn all_problems_are_reported_together_by_name() {
    let error = read(&[
        ("PREDICTIONS_TABLE", "no spaces"),
        ("TIME_ZONE", "Lagos"),
        ("NIGHT_STARTS", "noon"),
        ("KEY_PATTERN", "^[^/]+/"),
        ("UNKNOWN_BELOW", "1.5"),
        ("REVIEW_BELOW", "NaN"),
        ("MAX_IMAGE_BYTES", "0"),
        ("MAX_IMAGE_PIXELS", "-1"),
        ("MAX_CPU_ISA", "mmx"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "much"),
    ])
    .unwrap_err()
    .to_string();
    for name in [
        "PREDICTIONS_TABLE",
        "LEDGER_TABLE",
        "TIME_ZONE",
        "NIGHT_STARTS",
        "KEY_PATTERN",
        "UNKNOWN_BELOW",
        "REVIEW_BELOW",
        "MAX_IMAGE_BYTES",
        "MAX_IMAGE_PIXELS",
        "MAX_CPU_ISA",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    ] {
        assert!(error.contains(name), "{name} is missing in {error}");
    }
}

#[test]
fn the_tables_must_differ() {
    let error = read(&[("PREDICTIONS_TABLE", "moths"), ("LEDGER_TABLE", "moths")]).unwrap_err();
    assert!(error.to_string().contains("the same table"));
}
