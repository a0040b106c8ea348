//! The command line of Rollway.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == "shim") {
        // Before anything else: a shim starts in a millisecond and stays small.
        let folder = arguments.next().unwrap_or_default();
        let code = rollway::driver::process::shim::shim_main(Path::new(&folder));
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    rollway::cli::run()
}
