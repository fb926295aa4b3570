//! Which bucket a request names by its host: virtual-hosted-style addressing.
//!
//! | host, with or without a port | style |
//! |---|---|
//! | an IP address, a single label such as `localhost`, one of [`DOMAINS`] | path: `/bucket/key` |
//! | a bucket, a dot and one of [`DOMAINS`], such as `moths.localhost` | virtual-hosted: `/key` |
//!
//! Any other host is refused. Read as path style, `PUT /photo.jpg` for a bucket in an unknown host would make a
//! bucket named `photo.jpg`.

use s3s::host::{S3Host, VirtualHost};
use s3s::path::check_bucket_name;
use s3s::{S3Result, s3_error};

/// What a bucket's name may stand before; `s3.localhost` comes before the name it ends with. The last two are this
/// machine as Docker's and Podman's containers see it.
const DOMAINS: [&str; 4] = [
    "s3.localhost",
    "localhost",
    "host.docker.internal",
    "host.containers.internal",
];

/// Parses the `Host` header. s3s takes an IP address for path style without asking, but for `[::1]` without a port.
pub(super) struct LocalHost;

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
    fn a_bucket_stands_before_a_known_domain() {
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
