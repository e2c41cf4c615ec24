//! Certificate files (`--validating-webhook-certificate`, `--validating-webhook-key`): read at the start, and again when
//! they change, as cert-manager renews them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use genkan_routing::name::CertificateId;
use rustls::sign::CertifiedKey;
use tokio::time::{MissedTickBehavior, interval};

use super::serving::Serving;
use crate::certificate::parse_pem;

/// A certificate and its key in files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What the files hold. Not printable: there is a key in it.
#[derive(PartialEq)]
struct Content {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl CertificateFiles {
    /// Reads the files and shows the certificate.
    pub fn load(&self, serving: &Serving) -> anyhow::Result<()> {
        serving.show(self.read()?.parse().with_context(|| self.describe())?);
        Ok(())
    }

    /// Looks at the files `every` so often; a new certificate is shown, a broken one is told once and the last one stays.
    ///
    /// Kubernetes changes a mounted Secret by turning a link above the files, of which not every mount tells: the files
    /// are read and compared.
    pub async fn follow(self, serving: Arc<Serving>, every: Duration) {
        let mut last = self.read().ok();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Half a change, or files that are just being replaced: the next look tells.
            let Ok(now) = self.read() else { continue };
            if last.as_ref() == Some(&now) {
                continue;
            }
            match now.parse() {
                Ok(certificate) => {
                    tracing::info!(file = %self.certificate.display(), "the webhook shows a new certificate");
                    serving.show(certificate);
                }
                Err(error) => {
                    tracing::warn!("{}: {error:#}; the webhook goes on with the last one", self.describe());
                }
            }
            last = Some(now);
        }
    }

    fn read(&self) -> anyhow::Result<Content> {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("{} can't be read", path.display()));
        Ok(Content { chain: read(&self.certificate)?, key: read(&self.key)? })
    }

    fn describe(&self) -> String {
        format!("the certificate in {} with the key in {}", self.certificate.display(), self.key.display())
    }
}

impl Content {
    fn parse(&self) -> anyhow::Result<Arc<CertifiedKey>> {
        let certificate = parse_pem(CertificateId::new("webhook"), None, &self.chain, &self.key)?;
        let chain = certificate.chain.iter().map(|der| der.to_vec().into()).collect();
        Ok(Arc::new(CertifiedKey::new(chain, certificate.key.signing().clone())))
    }
}
