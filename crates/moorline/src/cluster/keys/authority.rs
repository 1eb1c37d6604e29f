//! The authority of the cluster's inside, and the certificates that it issues.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Map, Value};

/// The servers of the inside, each with the Service beside its own under which it is reached too.
pub(super) const SERVERS: [(&str, Option<&str>); 2] =
    [("mon", Some("mon-peers")), ("signer", None)];

/// The authority of the cluster's inside.
pub(super) struct Authority {
    /// Its certificate, in PEM.
    pub(super) certificate: String,
    key: KeyPair,
    params: CertificateParams,
}

impl Authority {
    /// A new one.
    pub(super) fn make() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let params = params();
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            key,
            params,
        })
    }

    /// One that was made before: what it issues names it by its subject, and that is always the same.
    pub(super) fn again(certificate: &str, key: &str) -> anyhow::Result<Self> {
        Ok(Self {
            certificate: certificate.to_owned(),
            key: KeyPair::from_pem(key)?,
            params: params(),
        })
    }

    /// Its private key, in PEM.
    pub(super) fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// A new certificate of one of the [`SERVERS`], as files of its Secret, with the authorities (PEM) that the server itself trusts.
    pub(super) fn files(
        &self,
        (server, beside): (&str, Option<&str>),
        release: &str,
        namespace: &str,
        trusted: &str,
    ) -> anyhow::Result<Map<String, Value>> {
        let services = [Some(server), beside].into_iter().flatten();
        let names: Vec<String> = services
            .flat_map(|service| service_names(&format!("{release}-{service}"), namespace))
            .collect();
        let (certificate, key) = self.issue(&names)?;
        Ok(Map::from_iter([
            ("ca.crt".to_owned(), trusted.into()),
            ("tls.crt".to_owned(), certificate.into()),
            ("tls.key".to_owned(), key.into()),
        ]))
    }

    /// A certificate for servers of these names, which are also clients of each other (rule S24).
    fn issue(&self, names: &[String]) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = named(names.first().map_or("moorline", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok((certificate, key.serialize_pem()))
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Moorline cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The names under which a Service is reached.
fn service_names(service: &str, namespace: &str) -> [String; 2] {
    [
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // An X.520 common name holds 64 characters; what counts are the alternative names.
    distinguished.push(
        DnType::CommonName,
        name.chars().take(64).collect::<String>(),
    );
    distinguished
}
