//! The verbs on sources and their flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `rollway gitops`.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub enum GitopsVerb {
    /// Follow a branch or tag of a repository.
    Add(Box<AddFlags>),
    /// List what is followed.
    List,
    /// Show a source and its services.
    Show(SourceFlag),
    /// Look at the repository now.
    Sync(SyncFlags),
    /// Show what would be done to each service, and why it is not.
    Diff(SourceFlag),
    /// Print the specs as they are deployed, overlays and all.
    Render(SourceFlag),
    /// Begin no deployment until it is resumed.
    Suspend(SourceFlag),
    /// Go on after a suspension.
    Resume(SourceFlag),
    /// Leave one service as it is.
    Hold(HoldFlags),
    /// Let a service that is held follow again.
    Unhold(ServiceOfSource),
    /// Check address, credentials, ref, path, signature and specs; change nothing.
    Test(SourceFlag),
    /// Follow no longer; services go on running.
    Remove(SourceFlag),
    /// Write the files of the revision that is followed into a folder.
    Checkout(CheckoutFlags),
}

/// Which source.
#[derive(Debug, Args)]
pub struct SourceFlag {
    /// The source [default: the only one].
    pub source: Option<String>,
}

/// Which service of which source.
#[derive(Debug, Args)]
pub struct ServiceOfSource {
    /// The source.
    pub source: String,
    /// The service.
    pub service: String,
}

/// `rollway gitops sync`.
#[derive(Debug, Args)]
pub struct SyncFlags {
    /// The source [default: the only one].
    pub source: Option<String>,
    /// Take what is refused otherwise: unrelated history, a moved tag, many services gone.
    #[arg(long)]
    pub confirm: bool,
}

/// `rollway gitops hold`.
#[derive(Debug, Args)]
pub struct HoldFlags {
    /// Which.
    #[command(flatten)]
    pub of: ServiceOfSource,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// For so long [default: until it is let go].
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<String>,
}

/// `rollway gitops checkout`.
#[derive(Debug, Args)]
pub struct CheckoutFlags {
    /// The source.
    pub source: String,
    /// A new or an empty folder, or one that this verb has made.
    pub folder: PathBuf,
}

/// `rollway gitops add`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  rollway gitops add shop https://git.example/shop/deploy.git --branch main --path services
  rollway gitops add shop git@git.example:shop/deploy.git --ssh-key ~/.ssh/deploy \\
      --known-hosts ~/.ssh/known_hosts --verify-ssh ~/allowed_signers
  rollway gitops add shop file:///srv/deploy.git --environment prod --prune \\
      --window 'deny 0 0 * * sat,sun for 24h in Europe/Berlin'")]
pub struct AddFlags {
    /// Its name here.
    pub name: String,
    /// The repository: https://, ssh://, user@host:path or file:///.
    pub url: String,
    /// Follow this branch [default: main].
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tag", "reference"])]
    pub branch: Option<String>,
    /// Follow this tag.
    #[arg(long, value_name = "NAME", conflicts_with = "reference")]
    pub tag: Option<String>,
    /// Follow this ref, in full.
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// Read only this folder of it.
    #[arg(long, value_name = "FOLDER", default_value = "")]
    pub path: String,
    /// Look at it this often.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub interval: String,
    /// Compare what runs with what is wanted this often.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub drift_interval: String,
    /// Lay environments/NAME.yaml over each spec.
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// The user that goes with --token-file [default: git].
    #[arg(long, value_name = "USER", requires = "token_file")]
    pub user: Option<String>,
    /// A file with a token or password.
    #[arg(long, value_name = "FILE", conflicts_with = "ssh_key")]
    pub token_file: Option<PathBuf>,
    /// A file with a private SSH key.
    #[arg(long, value_name = "FILE", requires = "known_hosts")]
    pub ssh_key: Option<PathBuf>,
    /// The file with the keys that the host may have.
    #[arg(long, value_name = "FILE", requires = "ssh_key")]
    pub known_hosts: Option<PathBuf>,
    /// Believe only commits signed with an SSH key of this list of allowed signers.
    #[arg(long, value_name = "FILE", conflicts_with = "verify_gpg")]
    pub verify_ssh: Option<PathBuf>,
    /// Believe only commits signed with a key of this home folder of GnuPG.
    #[arg(long, value_name = "FOLDER")]
    pub verify_gpg: Option<PathBuf>,
    /// Every commit since the last one must be signed, not only the last.
    #[arg(long)]
    pub every_commit: bool,
    /// Stop services that are no longer in Git.
    #[arg(long)]
    pub prune: bool,
    /// Change back what was changed by hand.
    #[arg(long)]
    pub self_heal: bool,
    /// Follow a tag that points elsewhere.
    #[arg(long)]
    pub follow_moved_tag: bool,
    /// When deployments may begin: `allow CRON for DURATION in ZONE`, or `deny ...`.
    #[arg(long = "window", value_name = "WINDOW")]
    pub windows: Vec<String>,
    /// After a rollback that nobody asked for, push a `branch` that reverts it, or a file that
    /// says so to a `status` branch; never to what is followed.
    #[arg(long, value_name = "WAY", default_value = "none")]
    pub write_back: String,
    /// The file with the secret of its webhook.
    #[arg(long, value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
}
