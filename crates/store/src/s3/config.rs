//! The settings of a bucket, checked before anything is sent.

use moorline_base::Secret;
use serde::Deserialize;

use super::authority::check_authority;

/// Which digest a put carries. Exactly one: stores refuse two of different kinds (R2), and some refuse one kind (B2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// `Content-MD5`, which every store knows.
    #[default]
    Md5,
    /// `x-amz-checksum-crc32c`, for stores without MD5.
    Crc32c,
}

/// What counts as the acknowledgement of a put, besides the answer 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// HEAD each object and compare its size (and its digest, where the probe found the ETag to be one): catches a store that answers
    /// 200 and keeps nothing. One request more per segment.
    #[default]
    Head,
    /// Compare the ETag of the answer, where the probe saw that it is the MD5 and that the store refuses a wrong digest; else HEAD.
    Etag,
}

/// A bucket, how it is reached and by whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// `https://s3.example.com`; `None` for AWS itself.
    pub endpoint: Option<String>,
    /// The region that signatures name; Garage's and MinIO's is a setting of theirs.
    #[serde(default = "default_region")]
    pub region: String,
    /// The bucket. It must exist.
    pub bucket: String,
    /// The id of the key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`. `None`: where an endpoint is given.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// The digest of a put.
    #[serde(default)]
    pub digest: Digest,
    /// What acknowledges a put.
    #[serde(default)]
    pub verify: Verify,
    /// PEM of authorities that the store's certificate may be of, beside the public ones: see [`check_authority`].
    #[serde(default)]
    pub authority: Option<String>,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

/// A setting that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value:?}: {right}")]
pub struct InvalidS3Config {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What would be right.
    pub right: &'static str,
}

impl S3Config {
    /// Whether requests name the bucket in the path.
    pub fn uses_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    pub(super) fn check(&self) -> Result<(), InvalidS3Config> {
        let wrong = |field, value: &str, right| {
            Err(InvalidS3Config {
                field,
                value: value.to_owned(),
                right,
            })
        };
        if let Some(endpoint) = &self.endpoint {
            let host = endpoint
                .strip_prefix("https://")
                .or_else(|| endpoint.strip_prefix("http://"));
            let named =
                host.is_some_and(|host| !host.is_empty() && !host.contains(['@', '?', '#', ' ']));
            if !named {
                return wrong(
                    "endpoint",
                    endpoint,
                    "write it like https://s3.example.com, without key or bucket",
                );
            }
        }
        let in_bucket =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(in_bucket) {
            return wrong(
                "bucket",
                &self.bucket,
                "a bucket's name has 3 to 63 letters, digits, dots and hyphens",
            );
        }
        if self.region.is_empty() {
            return wrong(
                "region",
                &self.region,
                "name a region: us-east-1 fits most stores that are not AWS",
            );
        }
        if self.access_key.is_empty() {
            return wrong("access_key", &self.access_key, "name the key's id");
        }
        if self.secret_key.expose().is_empty() {
            return wrong(
                "secret_key",
                "",
                "give the key's secret, or the file that it stands in",
            );
        }
        if let Some(pem) = &self.authority
            && check_authority(pem).is_err()
        {
            return wrong(
                "authority",
                pem.lines().next().unwrap_or_default(),
                "give the certificate of the authority that the store's is signed by, as PEM",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "endpoint = 'https://s3.example.com'\nbucket = 'cctv'\naccess_key = 'GK1'\nsecret_key = 'hunter2'\n";

    #[test]
    fn the_defaults_are_the_safe_ones() {
        let config: S3Config = toml::from_str(GOOD).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert!(config.uses_path_style());
        assert_eq!(
            (config.digest, config.verify, config.region.as_str()),
            (Digest::Md5, Verify::Head, "us-east-1")
        );
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut config: S3Config = toml::from_str(GOOD).unwrap();
        config.endpoint = Some("s3.example.com".to_owned());
        let told = config.check().unwrap_err().to_string();
        assert_eq!(
            told,
            "endpoint = \"s3.example.com\": write it like https://s3.example.com, without key or bucket"
        );
        config.endpoint = None;
        config.bucket = "a/b".to_owned();
        assert_eq!(config.check().unwrap_err().field, "bucket");
        assert!(toml::from_str::<S3Config>(&format!("{GOOD}buckett = 'x'")).is_err());
    }

    #[test]
    fn what_is_no_authority_is_refused_before_the_sdk_meets_it() {
        let mut config: S3Config = toml::from_str(GOOD).unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, shown) in [
            ("", ""),
            ("no certificate", "no certificate"),
            (broken, "-----BEGIN CERTIFICATE-----"),
        ] {
            config.authority = Some(pem.to_owned());
            let told = config.check().unwrap_err().to_string();
            let right =
                "give the certificate of the authority that the store's is signed by, as PEM";
            assert_eq!(told, format!("authority = {shown:?}: {right}"));
        }
        config.authority = Some(moorline_testkit::authority::pem().unwrap());
        assert_eq!(config.check(), Ok(()));
    }
}
