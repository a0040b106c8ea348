//! Opening the database: nothing is trusted before it was checked, or changed before it is trusted.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::place::{self, FILE_MODE, Identity};
use super::script::{Cell, Script};
use super::{schema, seal};
use crate::crash;
use crate::failure::{Failure, FailureKind};
use crate::files::{folder_of, remove_leftovers, sync_folder, temporary_beside};

/// How long a statement waits for another process (someone's `sqlite3` shell) to let go.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How long a reader waits for one of the connections; reads take milliseconds.
const READER_WAIT: Duration = Duration::from_secs(10);
/// Connections that are not used give their thread and memory back.
const READER_IDLE_MAX: Duration = Duration::from_secs(30);
/// Two: the page and the engine do not wait for each other, and each costs memory.
const READERS_MAX: u32 = 2;
/// Page cache of the writer, in KiB: the hot pages of some hundred services.
const WRITER_CACHE_KIB: u32 = 2048;
/// Page cache of a reader, in KiB: histories are read once, in order.
const READER_CACHE_KIB: u32 = 512;
/// The write-ahead log is cut back to this after a long reader held it up, in bytes.
const LOG_BYTES_KEPT: u32 = 4 << 20;
/// Prepared texts kept by the writer: the usual shapes of a step.
const WRITER_STATEMENTS_KEPT: usize = 32;
/// Prepared texts kept by a reader: there are about as many queries.
const READER_STATEMENTS_KEPT: usize = 16;

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where the header has its `user_version` and `application_id`, 4 bytes each.
const VERSION_OFFSET: usize = 60;
const APPLICATION_OFFSET: usize = 68;
const HEADER_BYTES: usize = 100;

/// Primary result codes of SQLite by which it says that a file is not one of its own, or broken.
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;

/// Opens the database of a state folder, making it if nothing was ever there, and says which it is.
pub(super) async fn open(state_dir: &Path) -> Result<(Identity, SqliteConnection), Failure> {
    place::prepare_folder(state_dir)?;
    let database = place::database_path(state_dir);
    let beside = Identity::read(state_dir)?;
    match (exists(&database)?, &beside) {
        (true, _) => {}
        (false, None) if exists(&place::log_path(&database))? => {
            return Err(damaged(&database, "it is missing, and its write-ahead log is there"));
        }
        (false, None) => create(&database).await?,
        (false, Some(_)) => {
            let what = "it is missing, but this folder had one; hint: restore rollway.db and \
                        instance-id from the same backup, or choose another state folder";
            return Err(damaged(&database, what));
        }
    }
    check_header(&database)?;
    let within = inspect(&database).await?;
    check_identity(&database, beside.as_ref(), &within)?;
    if beside.is_none() {
        within.write(state_dir)?;
    }
    let closed = fs::set_permissions(&database, Permissions::from_mode(FILE_MODE));
    closed.map_err(|error| Failure::because(FailureKind::NotDone, opening(&database), error))?;
    let writer = writer(&database).await?;
    Ok((within, writer))
}

/// The one connection that writes, with everything that durability rests on read back.
pub(super) async fn writer(database: &Path) -> Result<SqliteConnection, Failure> {
    let options = options(database)
        .journal_mode(SqliteJournalMode::Wal)
        .statement_cache_capacity(WRITER_STATEMENTS_KEPT)
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .pragma("journal_size_limit", LOG_BYTES_KEPT.to_string());
    let mut connection = connect(database, &options).await?;
    let wanted = [
        ("journal_mode", "wal".to_owned()),
        ("synchronous", (synchronous() as u8).to_string()),
        ("foreign_keys", "1".to_owned()),
        ("application_id", schema::APPLICATION_ID.to_string()),
        ("user_version", schema::VERSION.to_string()),
    ];
    for (name, wanted) in wanted {
        let seen = pragma(&mut connection, name).await.map_err(|e| failed(database, e))?;
        if seen != wanted {
            let what = format!("{name} is {seen} where {wanted} was asked for: not durable");
            return Err(Failure::because(FailureKind::NotDone, opening(database), what));
        }
    }
    Ok(connection)
}

/// The connections that read; they are made when needed.
pub(super) fn readers(database: &Path) -> SqlitePool {
    let options = options(database)
        .read_only(true)
        .statement_cache_capacity(READER_STATEMENTS_KEPT)
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"));
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .min_connections(0)
        .idle_timeout(READER_IDLE_MAX)
        .acquire_timeout(READER_WAIT)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Reads one pragma as text, whatever its type.
pub(super) async fn pragma(
    connection: &mut SqliteConnection,
    name: &'static str,
) -> Result<String, sqlx::Error> {
    let query = AssertSqlSafe(format!("PRAGMA {name}"));
    let row = connection.fetch_one(query).await?;
    match row.try_get_unchecked::<i64, _>(0) {
        Ok(number) if row.try_get::<String, _>(0).is_err() => Ok(number.to_string()),
        Ok(_) | Err(_) => row.try_get(0),
    }
}

/// A failure of SQLite, of kind `Damaged` if it says that the file is broken.
pub(super) fn failed(database: &Path, error: sqlx::Error) -> Failure {
    let kind = match code(&error) {
        Some(CORRUPT | NOT_A_DATABASE) => FailureKind::Damaged,
        Some(_) | None => FailureKind::NotDone,
    };
    Failure::because(kind, opening(database), error)
}

/// The same of a database that is in use.
pub(super) fn failed_writing(database: &Path, error: sqlx::Error) -> Failure {
    let doing = format!("could not write to {}", database.display());
    Failure { doing, ..failed(database, error) }
}

/// The same of a database that is in use.
pub(super) fn failed_reading(database: &Path, error: sqlx::Error) -> Failure {
    let doing = format!("could not read from {}", database.display());
    Failure { doing, ..failed(database, error) }
}

/// The primary result code that SQLite gave, if it was SQLite that failed.
pub(super) fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

pub(super) fn damaged(database: &Path, what: impl Into<String>) -> Failure {
    Failure::because(FailureKind::Damaged, opening(database), what.into())
}

fn opening(database: &Path) -> String {
    format!("could not open the history in {}, which was left as it is", database.display())
}

fn options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(false)
        .synchronous(synchronous())
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT)
        .disable_statement_logging()
}

/// Every commit is on the disk when it returns. A debug build can be told to do without, by
/// `ROLLWAY_STORE_SYNCHRONOUS=off`: only so can a test of power cuts show that it would see a loss.
fn synchronous() -> SqliteSynchronous {
    let off = cfg!(debug_assertions)
        && std::env::var_os("ROLLWAY_STORE_SYNCHRONOUS").is_some_and(|word| word == "off");
    if off { SqliteSynchronous::Off } else { SqliteSynchronous::Full }
}

async fn connect(
    database: &Path,
    options: &SqliteConnectOptions,
) -> Result<SqliteConnection, Failure> {
    options.connect().await.map_err(|error| failed(database, error))
}

fn exists(path: &Path) -> Result<bool, Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            let doing = format!("could not look at {}", path.display());
            Err(Failure::because(FailureKind::NotDone, doing, error))
        }
    }
}

/// Makes the database under another name and renames it when it is whole, so that half of one is
/// never found under its own name.
async fn create(database: &Path) -> Result<(), Failure> {
    remove_leftovers(database);
    let temporary = temporary_beside(database);
    let made = match fill(&temporary).await {
        Ok(()) => put_in_place(&temporary, database)
            .map_err(|error| Box::new(error) as Box<dyn std::error::Error + Send + Sync>),
        Err(error) => Err(error),
    };
    made.map_err(|error| {
        // It may never have been made, and nothing depends on its going.
        let _ = fs::remove_file(&temporary);
        let doing = format!("could not create {}", database.display());
        Failure::because(FailureKind::NotDone, doing, error)
    })
}

fn put_in_place(temporary: &Path, database: &Path) -> io::Result<()> {
    crash::point("store.create.filled");
    fs::rename(temporary, database)?;
    crash::point("store.create.renamed");
    sync_folder(folder_of(database))
}

async fn fill(path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    File::options().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    let identity = Identity::fresh()?;
    // A journal that is deleted leaves one file, which is what can be renamed.
    let mut connection = options(path).journal_mode(SqliteJournalMode::Delete).connect().await?;
    let header = format!(
        "PRAGMA application_id = {}; PRAGMA user_version = {};",
        schema::APPLICATION_ID,
        schema::VERSION
    );
    connection.execute(AssertSqlSafe(header)).await?;
    for version in schema::VERSIONS {
        connection.execute(sqlx::raw_sql(version)).await?;
    }
    let mut script = Script::default();
    let sum = seal::instance(&identity.instance, identity.epoch);
    script.add(
        "INSERT INTO instance (id, epoch, sum) VALUES ($1, $2, $3)",
        [identity.instance.into(), Cell::from(identity.epoch), sum.into()],
    );
    script.run(&mut connection).await.map_err(|stopped| stopped.error)?;
    connection.close().await?;
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Looks at the first bytes of the file, before SQLite does.
fn check_header(database: &Path) -> Result<(), Failure> {
    let not_ours = "hint: move it away if it is not needed, or restore rollway.db and instance-id \
                    from the same backup";
    let mut header = [0; HEADER_BYTES];
    let io_failed = |e: io::Error| Failure::because(FailureKind::NotDone, opening(database), e);
    let metadata = fs::symlink_metadata(database).map_err(io_failed)?;
    if !metadata.is_file() {
        return Err(damaged(database, format!("it is not a regular file; {not_ours}")));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let what = format!("it belongs to user {}; {not_ours}", metadata.uid());
        return Err(damaged(database, what));
    }
    match File::open(database).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged(database, format!("it is cut short; {not_ours}")));
        }
        Err(error) => return Err(io_failed(error)),
    }
    if !header.starts_with(MAGIC) {
        return Err(damaged(database, format!("it is not a database; {not_ours}")));
    }
    if number_at(&header, APPLICATION_OFFSET) != schema::APPLICATION_ID {
        return Err(damaged(database, format!("it is another program's database; {not_ours}")));
    }
    check_version(database, number_at(&header, VERSION_OFFSET))
}

fn number_at(header: &[u8; HEADER_BYTES], offset: usize) -> i64 {
    let bytes = header[offset..offset + 4].try_into().expect("four bytes are four bytes");
    i64::from(i32::from_be_bytes(bytes))
}

fn check_version(database: &Path, version: i64) -> Result<(), Failure> {
    if version > schema::VERSION {
        let known = schema::VERSION;
        let what = format!(
            "a newer rollway wrote it (schema {version}, this one knows {known}); \
             hint: use that one"
        );
        return Err(damaged(database, what));
    }
    if version < 1 {
        return Err(damaged(database, format!("its schema has the impossible number {version}")));
    }
    Ok(())
}

/// Reads through the file on a connection that cannot write.
async fn inspect(database: &Path) -> Result<Identity, Failure> {
    let options = options(database).read_only(true);
    let mut connection = connect(database, &options).await?;
    let seen = inspect_with(database, &mut connection).await;
    // A connection that cannot write has nothing to lose when it goes.
    let _ = connection.close().await;
    seen
}

async fn inspect_with(
    database: &Path,
    connection: &mut SqliteConnection,
) -> Result<Identity, Failure> {
    let broken = |error| failed(database, error);
    // The header in the file may be older than the one in the write-ahead log.
    let version = pragma(connection, "user_version").await.map_err(broken)?;
    check_version(database, version.parse().unwrap_or(0))?;
    let check = connection.fetch_all("PRAGMA quick_check(1)").await.map_err(broken)?;
    let verdict: String = match check.first() {
        Some(row) => row.try_get(0).map_err(broken)?,
        None => "no answer".to_owned(),
    };
    if verdict != "ok" {
        return Err(damaged(database, format!("it is corrupt: {verdict}; {RESTORE}")));
    }
    let rows = connection.fetch_all("SELECT id, epoch, sum FROM instance").await;
    let rows = rows.map_err(|error| damaged(database, error.to_string()))?;
    let [row] = rows.as_slice() else {
        return Err(damaged(database, format!("it has {} instance rows; {RESTORE}", rows.len())));
    };
    let instance: String = row.try_get(0).map_err(broken)?;
    let epoch = u64::try_from(row.try_get::<i64, _>(1).map_err(broken)?).unwrap_or(u64::MAX);
    let sum: Vec<u8> = row.try_get(2).map_err(broken)?;
    if sum != seal::instance(&instance, epoch).0 {
        return Err(damaged(database, format!("its instance row was altered; {RESTORE}")));
    }
    let torn = connection.fetch_optional(TORN_CHAIN).await.map_err(broken)?;
    if let Some(row) = torn {
        let service: String = row.try_get(0).map_err(broken)?;
        let what = format!("the history of {service} does not end where it should; {RESTORE}");
        return Err(damaged(database, what));
    }
    Ok(Identity { instance, epoch })
}

const RESTORE: &str = "hint: restore rollway.db and instance-id from the same backup";

/// A service whose last event is not the one that its head names.
const TORN_CHAIN: &str = "
    SELECT name FROM services
    WHERE (last_seq > 0 AND NOT EXISTS (
        SELECT 1 FROM events WHERE service = name AND seq = last_seq AND hash = last_hash
    )) OR EXISTS (SELECT 1 FROM events WHERE service = name AND seq > last_seq)
    LIMIT 1";

fn check_identity(
    database: &Path,
    beside: Option<&Identity>,
    within: &Identity,
) -> Result<(), Failure> {
    match beside {
        // Nothing was ever started on it: making it was interrupted before the file beside it.
        None if within.epoch == 0 => Ok(()),
        None => {
            Err(damaged(database, format!("the file instance-id beside it is missing; {RESTORE}")))
        }
        Some(beside) if beside.instance != within.instance => Err(damaged(
            database,
            format!(
                "it is instance {}, but this folder belongs to {}; {RESTORE}",
                within.instance, beside.instance
            ),
        )),
        Some(beside) if beside.epoch > within.epoch => Err(damaged(
            database,
            format!(
                "it is older than this folder ({} starts, not {}); {RESTORE}",
                within.epoch, beside.epoch
            ),
        )),
        Some(_) => Ok(()),
    }
}
