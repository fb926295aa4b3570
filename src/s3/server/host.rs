//! Virtual-hosted-style addressing: the bucket in the `Host` header.
//!
//! | host, with or without a port | addressing style |
//! |---|---|
//! | an IP address, a single label such as `localhost`, or one of [`DOMAINS`] | path style: `/bucket/key` |
//! | a bucket, a dot and one of [`DOMAINS`], such as `moths.localhost` | virtual-hosted style: `/key` |
//!
//! Any other host is refused. If an unknown host were path style, a `PUT /photo.jpg` for a bucket in that host would
//! create a bucket named `photo.jpg`.

use s3s::host::{S3Host, VirtualHost};
use s3s::path::check_bucket_name;
use s3s::{S3Result, s3_error};

/// The domains that a bucket name may precede. `s3.localhost` comes before `localhost`, its suffix, because the first
/// match wins. The last two are the names of this machine in containers of Docker and Podman.
const DOMAINS: [&str; 4] = [
    "s3.localhost",
    "localhost",
    "host.docker.internal",
    "host.containers.internal",
];

/// Parses the `Host` header. s3s itself recognises IP addresses, except for an IPv6 address without a port.
pub(crate) struct LocalHost;

impl S3Host for LocalHost {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = without_port(host).to_ascii_lowercase();
        let is_ipv6 = name.starts_with('[');
        if is_ipv6 || !name.contains('.') || DOMAINS.contains(&name.as_str()) {
            return Ok(VirtualHost::new(name));
        }
        let bucket = DOMAINS
            .into_iter()
            .find_map(|domain| name.strip_suffix(domain)?.strip_suffix('.'));
        match bucket {
            Some(bucket) if check_bucket_name(bucket) => {
                Ok(VirtualHost::new(host).with_bucket(bucket.to_owned()))
            }
            Some(bucket) => Err(s3_error!(
                InvalidBucketName,
                "the host {host} names the bucket {bucket:?}, which is not a valid name"
            )),
            None => Err(s3_error!(
                InvalidRequest,
                "the host {host} is not served: use localhost or 127.0.0.1 with /bucket/key, \
                 or bucket.localhost with /key"
            )),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use s3s::host::S3Host;

    use super::LocalHost;

    fn bucket(host: &str) -> Result<Option<String>, String> {
        match LocalHost.parse_host_header(host) {
            Ok(host) => Ok(host.bucket().map(str::to_owned)),
            Err(error) => Err(error.code().as_str().to_owned()),
        }
    }

    #[test]
    fn bucket_precedes_a_known_domain() {
        for host in [
            "localhost",
            "s3.localhost:9000",
            "LOCALHOST:9000",
            "mybox",
            "[::1]",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert_eq!(bucket(host), Ok(None), "{host}");
        }
        for host in [
            "moths.localhost",
            "moths.localhost:9000",
            "moths.s3.localhost:9000",
            "Moths.Localhost",
            "moths.host.docker.internal",
        ] {
            assert_eq!(bucket(host), Ok(Some("moths".to_owned())), "{host}");
        }
        assert_eq!(
            bucket("my.moths.localhost"),
            Ok(Some("my.moths".to_owned()))
        );
        for host in [
            "_moths.localhost",
            ".localhost",
            "a.localhost",
            "127.0.0.1.localhost",
        ] {
            assert_eq!(bucket(host), Err("InvalidBucketName".to_owned()), "{host}");
        }
        for host in [
            "moths.example.com",
            "moths.localhost.example.com",
            "localhost.",
            "mothslocalhost.x",
        ] {
            assert_eq!(bucket(host), Err("InvalidRequest".to_owned()), "{host}");
        }
    }
}
