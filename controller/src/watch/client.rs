//! The client: where the API server is and who we are to it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::stream::SILENCE;

/// The flags that say how to reach the API server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `--kubeconfig`: a file with address and credentials; its current context is used.
    pub kubeconfig: Option<PathBuf>,
    /// `--apiserver-host`: an address that goes before that of the file, or of the Pod.
    pub host: Option<String>,
    /// `--certificate-authority`: PEM by which the API server's certificate is checked.
    pub certificate_authority: Option<PathBuf>,
}

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// No answer may be silent for longer, whoever asked: the other end of the connection is gone without a word. Who asks
/// has time-outs of its own, watches among them, which come before.
const READ_TIME: Duration = SILENCE.saturating_add(Duration::from_secs(10));

/// A client. It connects when it is first used: an API server that can't be reached is no error here.
pub async fn connect(access: &Access) -> anyhow::Result<Client> {
    Client::try_from(configure(access).await?).context("the client for the API server can't be made")
}

async fn configure(access: &Access) -> anyhow::Result<Config> {
    // rustls must know whose cryptography to use when several are compiled in. Whoever was first may stay.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = match (&access.kubeconfig, &access.host) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("--kubeconfig {} can't be used", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("--kubeconfig {} can't be used", path.display()))?
        }
        (None, Some(host)) => Config::incluster().unwrap_or_else(|_| anonymous(host)),
        (None, None) => Config::incluster()
            .context("this is no Pod with a service account: say where the API server is with --kubeconfig")?,
    };
    if let Some(host) = &access.host {
        config.cluster_url = host.parse().with_context(|| format!("--apiserver-host {host} is no URL"))?;
    }
    if let Some(path) = &access.certificate_authority {
        let pem =
            std::fs::read(path).with_context(|| format!("--certificate-authority {} can't be read", path.display()))?;
        let certificates = rustls::pki_types::pem::PemObject::pem_slice_iter(&pem)
            .map(|certificate: Result<rustls::pki_types::CertificateDer<'_>, _>| certificate.map(|der| der.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("--certificate-authority {} is no PEM", path.display()))?;
        config.root_cert = Some(certificates);
        config.root_cert_file = None;
    }
    config.connect_timeout = Some(CONNECT_TIME);
    config.read_timeout = Some(READ_TIME);
    config.write_timeout = Some(READ_TIME);
    // Else what the API server refuses (429, 503, 504) is asked again up to 15 times before anybody hears of it. Who
    // asks tries again by itself.
    config.default_retry = false;
    Ok(config)
}

/// Without credentials, as `kubectl proxy` wants it.
fn anonymous(host: &str) -> Config {
    let mut config = Config::new(host.parse().unwrap_or_default());
    config.auth_info = AuthInfo::default();
    config
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{failure, serve};
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_heard_by_whoever_asked_and_no_answer_may_be_silent_for_ever() {
        let (url, requests) = serve(vec![failure(503)]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let text = format!(
            "{{current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], users: [{{name: a, user: {{}}}}], \
             clusters: [{{name: a, cluster: {{server: '{url}'}}}}]}}"
        );
        std::fs::write(&path, text).unwrap();
        let access = Access { kubeconfig: Some(path), ..Access::default() };
        let config = configure(&access).await.unwrap();
        assert!(config.read_timeout.is_some_and(|time| time > SILENCE) && config.write_timeout.is_some());
        let error = connect(&access).await.unwrap().apiserver_version().await.unwrap_err();
        assert!(matches!(error, kube::Error::Api(status) if status.code == 503));
        assert_eq!(*requests.lock(), ["/version"]);
    }
}
