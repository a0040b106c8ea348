//! Whether a commit is signed by somebody who may: decided by git's exit code, never by its words.

use rollway_core::gitops::config::Signatures;
use rollway_core::gitops::name::Oid;
use rollway_core::gitops::state::Reason;

use super::complaint::Trouble;
use super::mirror::{Mirror, ran};
use super::run::Call;

/// So many commits between two are checked; more at once are a mistake.
const COMMITS_MAX: usize = 10_000;

impl Mirror {
    /// Checks a commit, and where it is wanted every one since `since`; answers the last signer.
    pub async fn verify(
        &self,
        policy: &Signatures,
        since: Option<&Oid>,
        commit: &Oid,
    ) -> Result<Option<String>, Trouble> {
        let every_commit = match policy {
            Signatures::None => return Ok(None),
            Signatures::Ssh { every_commit, .. } | Signatures::Gpg { every_commit, .. } => {
                *every_commit
            }
        };
        if let Some(since) = since.filter(|_| every_commit) {
            let between = format!("{since}..{commit}");
            let most = format!("--max-count={}", COMMITS_MAX + 1);
            let output = self.local(&["rev-list", &most, "--end-of-options", &between]).await?;
            let text = String::from_utf8_lossy(&output).into_owned();
            if text.lines().count() > COMMITS_MAX {
                let what = format!("more than {COMMITS_MAX} commits are to be checked");
                return Err(Trouble::new(Reason::SignatureInvalid, what));
            }
            for line in text.lines().filter(|line| *line != commit.as_str()) {
                self.verify_one(policy, line).await?;
            }
        }
        self.verify_one(policy, commit.as_str()).await.map(Some)
    }

    async fn verify_one(&self, policy: &Signatures, commit: &str) -> Result<String, Trouble> {
        let call = with(policy, self.here(&["verify-commit", "--raw", commit]));
        let said = ran("could not check a signature", &call).await?;
        let format = "--format=%G?%n%GS%n%GF";
        let call = with(policy, self.here(&["log", "-1", format, "--end-of-options", commit]));
        let shown = ran("could not read a signature", &call).await?;
        let text = String::from_utf8_lossy(&shown.output).into_owned();
        let mut lines = text.lines();
        let verdict = lines.next().unwrap_or_default().to_owned();
        let signer: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        if said.code == Some(0) && matches!(verdict.as_str(), "G" | "U") {
            return Ok(signer.join(", "));
        }
        let short = &commit[..10];
        let (reason, what) = match verdict.as_str() {
            "N" => (Reason::SignatureMissing, "is not signed"),
            "B" => (Reason::SignatureInvalid, "has a signature that is not of it"),
            "X" | "Y" => (Reason::SignerNotAllowed, "is signed with a key that has expired"),
            "R" => (Reason::SignerNotAllowed, "is signed with a key that was revoked"),
            _ => (Reason::SignerNotAllowed, "is signed by nobody who may"),
        };
        Err(Trouble::new(reason, format!("commit {short} {what}")))
    }
}

/// The call with the keys that count. The kind of a signature that the policy does not know is
/// given no program: it cannot be good.
fn with(policy: &Signatures, mut call: Call) -> Call {
    let mut set = |name: &str, value: &str| call.settings.push((name.to_owned(), value.to_owned()));
    set("log.showSignature", "false");
    set("gpg.x509.program", "/bin/false");
    match policy {
        Signatures::None => {}
        Signatures::Ssh { allowed_signers, .. } => {
            set("gpg.ssh.allowedSignersFile", allowed_signers);
            set("gpg.program", "/bin/false");
        }
        Signatures::Gpg { keyring, .. } => {
            set("gpg.ssh.program", "/bin/false");
            call.environment.push(("GNUPGHOME".to_owned(), keyring.clone()));
        }
    }
    call
}
