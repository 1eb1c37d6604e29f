//! The SDK's connections, where they are not its own: to a store with an authority of its own, and to a bucket that a tenant named (rule S17). Of that a
//! name is resolved here, and what may not be reached is left out, so that the address that was checked is the one that is dialled. The SDK follows no
//! redirect.

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use moorline_core::outside::Outside;

/// A client that believes this authority (PEM) beside the system's, and with `outside` dials allowed addresses only: literal ones do not come by the
/// resolver, [`Outside::check`] has seen them. `None`: the SDK's own does.
pub(super) fn connections(
    authority: Option<&str>,
    outside: Option<&Outside>,
) -> Option<SharedHttpClient> {
    if authority.is_none() && outside.is_none() {
        return None;
    }
    let trusted = authority.map_or_else(TrustStore::default, |pem| {
        TrustStore::default().with_pem_certificate(pem)
    });
    // It never fails: certificates are parsed by the first client of it.
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let builder = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context.unwrap_or_default());
    Some(match outside {
        Some(outside) => builder.build_with_resolver(Guarded(outside.clone())),
        None => builder.build_https(),
    })
}

#[derive(Debug, Clone)]
struct Guarded(Outside);

/// A name that leads nowhere allowed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} lies in a network that may not be reached: the operator can list it in cluster.store_private"
)]
struct Private(String);

impl ResolveDns for Guarded {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 443)).await;
            let found = found.map_err(ResolveDnsError::new)?;
            let allowed: Vec<_> = found
                .map(|address| address.ip())
                .filter(|address| self.0.allows(*address))
                .collect();
            match allowed.is_empty() {
                true => Err(ResolveDnsError::new(Private(name.to_owned()))),
                false => Ok(allowed),
            }
        })
    }
}
